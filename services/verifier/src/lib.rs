//! The verifier service: decides and records for those who ask, and stands in front of tools that know nothing of us.
//!
//! Two duties, one [`EnforcementPoint`]: [`decide`] answers `marque.verifier.decide`, [`gate`] serves
//! `marque.gate.>`. Several verifiers share the requests as a queue group; each keeps its own view of the directives
//! and acknowledges it under its own key. In scope: wiring and the two duties. Out of scope: judging
//! (`marque-judgement`), deciding and recording (`marque-agent`), the feed (`marque-bus`).

pub mod authzen;
pub mod config;
pub mod decide;
pub mod gate;
mod metrics;
mod span;

use std::sync::Arc;
use std::time::Duration;

use marque_agent::enforce::{EnforcementPoint, Policy, Tier};
use marque_bus::service::Request;
use marque_bus::{Bus, BusError, ConnectOptions, Endpoint, Feed, FeedOptions, RunningService, Service, subjects};
use marque_runtime::run::{Context, Failure, ServiceSpec};
use marque_runtime::{Health, Shutdown};
use marque_signing::{Role, SigningKey, TrustBundle};
use tracing::Instrument;

pub use config::Config;
use metrics::Metrics;

/// What the service is called.
pub const SPEC: ServiceSpec = ServiceSpec {
    name: "marque-verifier",
    section: "verifier",
    version: env!("CARGO_PKG_VERSION"),
    about: "Decides whether an agent's signed action may run, and gates tools that know nothing of it",
};

/// How long calls in hand may take after a drain was asked for: the gate's default wait for a tool, and its records.
const DRAIN_DEADLINE: Duration = Duration::from_secs(25);

/// What a verifier is built of, handed in, so that a test builds one without a process.
pub struct Parts {
    /// Signs records and acks.
    pub key: Arc<SigningKey>,
    /// Whose tokens, directives and heartbeats count.
    pub bundle: TrustBundle,
    /// What is demanded of callers.
    pub policy: Policy,
    /// How long the gate waits for a tool.
    pub tool_timeout: Duration,
    /// How many requests are handled at once, for each endpoint.
    pub requests_max: usize,
}

/// A verifier that answers.
pub struct Verifier {
    feed: Feed,
    service: RunningService,
}

/// Runs the service until it is asked to stop.
pub async fn serve(context: Context<Config>) -> Result<(), Failure> {
    let Context { config, shutdown, health, .. } = context;
    let common = &config.common;
    let bundle = common.trust_bundle()?;
    let parts = Parts {
        key: Arc::new(common.signing_key()?),
        policy: config.verifier.policy(bundle.trust_domain.clone())?,
        bundle,
        tool_timeout: config.verifier.tool_timeout(),
        requests_max: config.verifier.requests_max,
    };
    let options = ConnectOptions::new(&common.nats.url, SPEC.name);
    let options = match common.nats.credentials()? {
        Some((user, password)) => options.credentials(user, password.expose()),
        None => options.signing_key(Arc::new(common.nats_key()?)),
    };
    let bus = Bus::connect(options).await.map_err(Failure::fatal)?;
    bus.when_lost(|| marque_runtime::run::abandon("nobody drives the connection to the broker any more"));
    serve_on(&bus, parts, health, shutdown).await.map_err(Failure::fatal)
}

/// The same on a connection that is there already.
pub async fn serve_on(bus: &Bus, parts: Parts, health: Health, shutdown: Shutdown) -> Result<(), BusError> {
    let broker = bus.clone();
    health.check("broker", move || broker.pending().map(str::to_owned));
    tokio::select! {
        () = bus.connected() => {}
        () = shutdown.requested() => return Ok(()),
    }
    let verifier = Verifier::build(bus, parts, &health).await?;
    health.serving();
    shutdown.requested().await;
    verifier.drain().await;
    bus.drain().await
}

impl Verifier {
    /// Starts the feed and both duties. Until the view is fresh every answer is a denial, and `/readyz` says so.
    pub async fn build(bus: &Bus, parts: Parts, health: &Health) -> Result<Self, BusError> {
        let Parts { key, bundle, policy, tool_timeout, requests_max } = parts;
        let options = FeedOptions { ack_key: Some(key.clone()), ..FeedOptions::default() };
        let feed = Feed::start(bus, bundle.keys(Role::Broadcaster), options).await?;
        let bound = policy.bound(Tier::Standard);
        let metrics = Arc::new(registered(health, &feed));
        let point = EnforcementPoint::observed_by(bus, key, SPEC.name, &bundle, feed.clone(), policy, metrics);
        let (view, stats) = (feed.clone(), feed.clone());
        health.check("view", move || pending(&view, bound));

        let decide = Arc::new(decide::Decide::new(point.clone()));
        let gate = Arc::new(gate::Gate::new(bus, point, tool_timeout));
        let service = Service::new(SPEC.name, SPEC.version, SPEC.about)
            .endpoint(
                Endpoint::new("decide", subjects::VERIFIER_DECIDE, move |request: Request| {
                    let (decide, span) = (decide.clone(), span::of("decide", &request));
                    async move { decide.answer(request).await }.instrument(span)
                })
                .concurrency(requests_max),
            )
            .endpoint(
                Endpoint::new("gate", subjects::GATE_ALL, move |request: Request| {
                    let (gate, span) = (gate.clone(), span::of("gate", &request));
                    async move { gate.pass(request).await }.instrument(span)
                })
                .concurrency(requests_max),
            )
            .stats(move || freshness(&stats, bound))
            .start(bus)
            .await?;
        Ok(Self { feed, service })
    }

    /// The view of the directives that it goes by.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Takes no more requests and finishes those in hand.
    pub async fn drain(self) {
        self.service.drain(DRAIN_DEADLINE).await;
    }
}

fn registered(health: &Health, feed: &Feed) -> Metrics {
    let metrics = Metrics::new();
    health.metrics(|registry| {
        metrics.register(registry.sub_registry_with_prefix("verifier"), feed.clone());
    });
    metrics
}

/// Why the view is not fresh enough to open, if it is not.
fn pending(feed: &Feed, bound: Duration) -> Option<String> {
    feed.view().freshness(feed.now(), bound).pending()
}

/// What `nats micro stats` shows.
fn freshness(feed: &Feed, bound: Duration) -> serde_json::Value {
    let pending = pending(feed, bound);
    let view = feed.view();
    serde_json::json!({
        "fresh": pending.is_none(),
        "pending": pending,
        "epoch": view.epoch(),
        "view_age_ms": view.age(feed.now()).map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        "directives_active": view.active_count(),
    })
}
