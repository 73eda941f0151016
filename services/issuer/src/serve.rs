//! Wiring: from the configuration to a service that answers, until it is asked to stop.

use std::sync::Arc;
use std::time::Duration;

use marque_bus::header;
use marque_bus::service::Request;
use marque_bus::{
    Bus, BusError, ConnectOptions, Endpoint, Feed, FeedOptions, RunningService, Service, patiently, streams, subjects,
};
use marque_identity::{Code, Refusal};
use marque_runtime::{ConfigError, Context, Failure, Shutdown, telemetry};
use marque_signing::Role;
use serde_json::{Value, json};
use tracing::Instrument;

use crate::attest::Issuers;
use crate::blueprint::Blueprints;
use crate::config::Config;
use crate::desk::Desk;
use crate::documents;
use crate::metrics::{Metrics, ViewAge};
use crate::records::{Records, StreamRecords};
use crate::request::Duty;
use crate::rules::Rules;
use crate::standing::{Directives, LiveDirectives};
use crate::store::{Store, StoreError};

/// What the issuer is called.
pub const SPEC: marque_runtime::ServiceSpec = marque_runtime::ServiceSpec {
    name: "marque-issuer",
    section: "issuer",
    version: env!("CARGO_PKG_VERSION"),
    about: "Enrols agents by evidence, and issues root tokens within their blueprints' ceilings.",
};

/// Between two tries to record what an earlier run left.
const RETRY: Duration = Duration::from_secs(1);
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How long requests in hand may take at the end: one record's deadline and room.
const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

type LiveDesk = Desk<StreamRecords, LiveDirectives>;

/// Serves until `context.shutdown`. Everything that only an operator can mend is refused before the broker is asked.
pub async fn serve(context: Context<Config>) -> Result<(), Failure> {
    let Context { config, shutdown, clock, health } = context;
    let key = Arc::new(config.common.signing_key()?);
    let bundle = config.common.trust_bundle()?;
    let blueprints = Blueprints::load(config.issuer.blueprints()?).map_err(unusable)?;
    let bound = config.issuer.staleness_bound()?;
    let rules = Arc::new(Rules::new(bundle, blueprints, &key.public()).map_err(unusable)?);
    let oidc = Arc::new(Issuers::new(&config.issuer.oidc).map_err(unusable)?);
    rules.blueprints.check_issuers(|name| oidc.knows(name)).map_err(unusable)?;
    let store = open_store(&config, &rules, &key)?;
    let document = Arc::new(bundle_text(&config)?);
    let metrics = Metrics::default();
    health.metrics(|registry| metrics.register(registry));

    let bus = Bus::connect(connect_options(&config)?).await.map_err(Failure::fatal)?;
    let broker = bus.clone();
    health.check("broker", move || broker.pending().map(str::to_owned));
    bus.when_lost(|| marque_runtime::run::abandon("nobody drives the connection to the broker any more"));
    let Some(()) = shutdown.cut_short(bus.connected()).await else { return Ok(()) };
    let Some(()) = shutdown
        .cut_short(patiently(|| bus.expect_stream(streams::AUDIT)))
        .await
        .transpose()
        .map_err(Failure::fatal)?
    else {
        return Ok(());
    };
    let broadcasters = rules.bundle.keys(Role::Broadcaster);
    let feed = patiently(|| Feed::start(&bus, broadcasters.clone(), FeedOptions::default()));
    let Some(feed) = shutdown.cut_short(feed).await.transpose().map_err(Failure::fatal)? else { return Ok(()) };
    let domain = rules.bundle.trust_domain.clone();
    let directives = LiveDirectives::new(feed, rules.iss.clone(), domain, bound);
    let fresh = directives.clone();
    health.check("directives", move || fresh.pending());
    health.metrics(|registry| registry.register_collector(Box::new(ViewAge(directives.clone()))));

    let desk = Arc::new(Desk {
        key,
        rules,
        oidc,
        store,
        records: StreamRecords::new(bus.clone()),
        directives,
        now: Arc::new(move || clock.unix_millis()),
        metrics,
    });
    let Some(()) = shutdown.cut_short(settle(&desk)).await else { return Ok(()) };
    let service = start(&bus, &desk, document).await.map_err(Failure::fatal)?;
    health.serving();
    tracing::info!(instance = service.id(), blueprints = desk.rules.blueprints.iter().len(), "serving");

    let tidied = tidy_until(&shutdown, &desk).await;
    service.drain(DRAIN_DEADLINE).await;
    tidied.and(bus.drain().await.map_err(Failure::fatal))
}

async fn start(bus: &Bus, desk: &Arc<LiveDesk>, bundle: Arc<String>) -> Result<RunningService, BusError> {
    let duty = |duty: Duty, subject: &'static str| {
        let desk = desk.clone();
        let answer = move |request: Request| {
            let desk = desk.clone();
            let span = tracing::info_span!("issuer", duty = duty.as_str());
            let span = telemetry::traceparent::under(span, request.header(header::TRACEPARENT));
            async move { desk.answer(duty, &request.payload).await }.instrument(span)
        };
        // The broker's own limit holds here; the desk refuses what is larger than ours, so that it is recorded.
        Endpoint::new(duty.as_str(), subject, answer)
    };
    let rules = desk.rules.clone();
    let blueprints = move |request: Request| {
        let answer = documents::blueprints(&rules, &request.payload).and_then(|value| body(&value));
        async move { answer }
    };
    let age = desk.directives.clone();
    let view_age =
        move || json!({ "view_age_ms": age.age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)) });
    Service::new(SPEC.name, SPEC.version, SPEC.about)
        .endpoint(duty(Duty::Enrol, subjects::issuer::ENROL))
        .endpoint(duty(Duty::Issue, subjects::issuer::ISSUE))
        .endpoint(duty(Duty::Renew, subjects::issuer::RENEW))
        .endpoint(document("bundle", subjects::issuer::BUNDLE, bundle.as_bytes().to_vec()))
        .endpoint(document("jwks", subjects::issuer::JWKS, documents::jwks(&desk.rules).to_string().into_bytes()))
        .endpoint(document(
            "did",
            subjects::issuer::DID,
            documents::did_document(&desk.key.did()).to_string().into_bytes(),
        ))
        .endpoint(Endpoint::new("blueprints", subjects::issuer::BLUEPRINTS, blueprints))
        .stats(view_age)
        .start(bus)
        .await
}

fn document(name: &'static str, subject: &'static str, text: Vec<u8>) -> Endpoint {
    Endpoint::new(name, subject, move |_| {
        let text = text.clone();
        async move { Ok::<_, Refusal>(text) }
    })
}

fn body(value: &Value) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}

/// Records what an earlier run left, however long the broker needs.
async fn settle(desk: &LiveDesk) {
    loop {
        match desk.settle_pending().await {
            Ok(0) => return,
            Ok(settled) => return tracing::info!(settled, "recorded what an earlier run had begun"),
            Err(refusal) => tracing::warn!(error = %refusal, "grants of an earlier run are not recorded yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Tidies until it is time to stop, or the store answers no more: redb closes itself at the first failure of its disk,
/// a full one too, and only a store that is opened again goes on. So the process ends, to be started again.
async fn tidy_until<R: Records, D: Directives>(shutdown: &Shutdown, desk: &Desk<R, D>) -> Result<(), Failure> {
    let mut every = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            _ = every.tick() => match desk.tidy().await {
                Err(refusal) if refusal.code == Code::Unavailable => return Err(Failure::fatal(refusal)),
                Err(refusal) => tracing::warn!(error = %refusal, "the store could not be tidied"),
                Ok(()) => {}
            },
        }
    }
}

fn open_store(config: &Config, rules: &Rules, key: &marque_signing::SigningKey) -> Result<Store, Failure> {
    let path = config.common.state_dir()?.join("issuer.redb");
    Store::open(&path, &rules.bundle.trust_domain, &key.did()).map_err(|error| match error {
        StoreError::Foreign { .. } => unusable(error),
        StoreError::Disk(_) | StoreError::Locked | StoreError::Row(_) | StoreError::RequestDiffers => {
            Failure::fatal(error)
        }
    })
}

fn connect_options(config: &Config) -> Result<ConnectOptions, ConfigError> {
    let options = ConnectOptions::new(config.common.nats.url.clone(), SPEC.name);
    Ok(match config.common.nats.credentials()? {
        Some((user, password)) => options.credentials(user, password.expose()),
        None => options.signing_key(Arc::new(config.common.nats_key()?)),
    })
}

/// The bundle as it was signed: `trust_bundle` has opened the same file.
fn bundle_text(config: &Config) -> Result<String, ConfigError> {
    let path = config.common.bundle.file.clone().unwrap_or_default();
    let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::File { path, source })?;
    Ok(text.trim_end().to_owned())
}

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::Config(ConfigError::Value(error.to_string()))
}

#[cfg(test)]
mod tests;
