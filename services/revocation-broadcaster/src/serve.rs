//! Wiring: from the configuration to a service that answers, until it is asked to stop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marque_bus::service::Request;
use marque_bus::{
    Bus, BusError, ConnectOptions, Endpoint, RunningService, Service, header, patiently, streams, subjects,
};
use marque_identity::{Code, Refusal};
use marque_revocation::SignedDirective;
use marque_runtime::telemetry::traceparent;
use marque_runtime::{Clock, ConfigError, Context, Failure, Health};
use marque_signing::{PublicKey, Role, TrustBundle};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::acks::{self, Ackers};
use crate::board::Board;
use crate::config::Config;
use crate::desk::{Desk, Parts};
use crate::follow::Follow;
use crate::metrics::Metrics;
use crate::outbox::{Outbox, OutboxError};
use crate::publisher::{Publisher, ToPublish};
use crate::roster::Roster;
use crate::stream::Head;
use crate::{records, status};

/// What the broadcaster is called.
pub const SPEC: marque_runtime::ServiceSpec = marque_runtime::ServiceSpec {
    name: "marque-revocation-broadcaster",
    section: "broadcaster",
    version: env!("CARGO_PKG_VERSION"),
    about: "Publishes directives for those who may ask, and tells which verifiers have applied them.",
};

/// Before acks are taken again that could not be.
const RETRY: Duration = Duration::from_secs(1);
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at whether a gatekeeper is there.
const LOOK_AT_THE_DOOR_EVERY: Duration = Duration::from_secs(1);
/// Requests that wait for their turn at the publisher; more wait in their tasks.
const QUEUE_MAX: usize = 1024;
/// Without a heartbeat for so long, critical tools are denied everywhere.
const BEAT_AGE_MAX: Duration = Duration::from_secs(2);
/// How long requests in hand may take at the end: a directive's wait and its verifiers'.
const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// Serves until `context.shutdown`. Everything that only an operator can mend is refused before the broker is asked.
pub async fn serve(context: Context<Config>) -> Result<(), Failure> {
    let Context { config, shutdown, clock, health } = context;
    let key = Arc::new(config.common.signing_key()?);
    let bundle = config.common.trust_bundle()?;
    check_role(&bundle, &key.public())?;
    let reach_wait = config.broadcaster.reach_wait()?;
    let outbox = open_outbox(&config, &bundle, &key.public())?;
    let metrics = Metrics::default();
    health.metrics(|registry| metrics.register(registry));
    watch_beats(&health, &metrics);

    let bus = Bus::connect(connect_options(&config)?).await.map_err(Failure::fatal)?;
    let broker = bus.clone();
    health.check("broker", move || broker.pending().map(str::to_owned));
    bus.when_lost(|| marque_runtime::run::abandon("nobody drives the connection to the broker any more"));
    let Some(()) = shutdown.cut_short(bus.connected()).await else { return Ok(()) };
    for stream in [streams::DIRECTIVES, streams::AUDIT] {
        let expected = patiently(|| bus.expect_stream(stream));
        let Some(()) = shutdown.cut_short(expected).await.transpose().map_err(Failure::fatal)? else { return Ok(()) };
    }

    let has_gatekeepers = !bundle.keys(Role::Gatekeeper).is_empty();
    let ackers = Ackers::of(&bundle);
    let (head, board, roster) = (Head::default(), Board::default(), Roster::new(Instant::now(), ackers.len()));
    let to_record = Arc::new(Notify::new());
    let follow = Follow {
        key: key.clone(),
        outbox: outbox.clone(),
        board: board.clone(),
        roster: roster.clone(),
        to_record: to_record.clone(),
        clock,
        metrics: metrics.clone(),
        reach_wait,
    };
    let publisher = Publisher {
        bus: bus.clone(),
        key: key.clone(),
        broadcasters: bundle.keys(Role::Broadcaster),
        head: head.clone(),
        outbox: outbox.clone(),
        roster: roster.clone(),
        follow,
        clock,
        metrics: metrics.clone(),
    };
    let (queue, queued) = mpsc::channel(QUEUE_MAX);
    let left = left_over(&outbox, &board, &key.public())?;

    // Aborted when this returns.
    let mut tasks = JoinSet::new();
    tasks.spawn(records::publish(bus.clone(), outbox.clone(), to_record));
    tasks.spawn(take_acks(bus.clone(), ackers, roster.clone(), metrics.clone()));
    if has_gatekeepers {
        tasks.spawn(watch_the_door(health.clone(), roster.clone()));
    }
    let mut tidying = JoinSet::new();
    tidying.spawn(tidy(outbox.clone(), roster.clone(), metrics.clone(), clock));
    let publishing = tokio::spawn(publisher.run(left, queued, shutdown.clone()));

    // Who asks is answered about what is active now: the stream is read first.
    tokio::select! {
        () = shutdown.requested() => return Ok(()),
        failure = broken(&mut tidying) => return Err(failure),
        () = first_beat(&metrics) => {}
    }
    let desk = Desk::new(Parts {
        key,
        bundle,
        bus: bus.clone(),
        head: head.clone(),
        outbox: outbox.clone(),
        board,
        roster: roster.clone(),
        queue,
        clock,
        metrics: metrics.clone(),
        reach_wait,
    });
    let service = start(&bus, desk, head, outbox, roster, metrics).await.map_err(Failure::fatal)?;
    health.serving();
    tracing::info!(instance = service.id(), "serving");

    let failed = tokio::select! {
        () = shutdown.requested() => None,
        failure = broken(&mut tidying) => Some(failure),
    };
    service.drain(DRAIN_DEADLINE).await;
    if let Some(failure) = failed {
        return Err(failure);
    }
    drop(publishing.await);
    bus.drain().await.map_err(Failure::fatal)
}

async fn start(
    bus: &Bus,
    desk: Desk,
    head: Head,
    outbox: Outbox,
    roster: Roster,
    metrics: Metrics,
) -> Result<RunningService, BusError> {
    let desk = Arc::new(desk);
    let stats_head = head.clone();
    let span = |duty, request: &Request| {
        let span = tracing::info_span!("broadcaster", duty);
        traceparent::under(span, request.header(header::TRACEPARENT))
    };
    let request = move |request: Request| {
        let (desk, span) = (desk.clone(), span("request", &request));
        async move { desk.answer(&request.payload).await }.instrument(span)
    };
    let tell = move |request: Request| {
        let (head, outbox, roster) = (head.clone(), outbox.clone(), roster.clone());
        let span = span("status", &request);
        async move { status::answer(&head, &outbox, &roster, &request.payload).await }.instrument(span)
    };
    let stats = move || {
        let beat_age_ms = metrics.beat_age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        json!({ "epoch": stats_head.last(), "active": stats_head.active(), "heartbeat_age_ms": beat_age_ms })
    };
    Service::new(SPEC.name, SPEC.version, SPEC.about)
        // The broker's own limit holds here; the desk refuses what is larger than ours, so that it is recorded.
        .endpoint(Endpoint::new("request", subjects::REVOCATION_REQUEST, request))
        .endpoint(Endpoint::new("status", subjects::REVOCATION_STATUS, tell))
        .stats(stats)
        .start(bus)
        .await
}

/// What an earlier run accepted and did not see in the stream.
fn left_over(outbox: &Outbox, board: &Board, key: &PublicKey) -> Result<VecDeque<ToPublish>, Failure> {
    let mut left = VecDeque::new();
    for (row_key, row) in outbox.unpublished().map_err(Failure::fatal)? {
        let signed = SignedDirective::verify(row.compact.as_bytes(), &[*key]).map_err(Failure::fatal)?;
        board.put_up(row.id);
        // Whatever became of its raw copy: the committed one follows now.
        let not_before = Instant::now();
        left.push_back(ToPublish { key: row_key, signed: Arc::new(signed), gone_at: row.gone_at, not_before });
    }
    if !left.is_empty() {
        tracing::info!(directives = left.len(), "publishing what an earlier run had accepted");
    }
    Ok(left)
}

async fn first_beat(metrics: &Metrics) {
    while metrics.beat_age().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn take_acks(bus: Bus, ackers: Ackers, roster: Roster, metrics: Metrics) {
    loop {
        if let Err(error) = acks::take(&bus, &ackers, &roster, &metrics).await {
            tracing::warn!(%error, "acks can't be taken");
        }
        roster.deaf(Instant::now());
        tokio::time::sleep(RETRY).await;
    }
}

/// Says while no gatekeeper is there, for ever. The services go on; agents that are not connected yet are not let in.
async fn watch_the_door(health: Health, roster: Roster) {
    let mut looks = tokio::time::interval(LOOK_AT_THE_DOOR_EVERY);
    loop {
        looks.tick().await;
        if roster.lacks(Role::Gatekeeper, Instant::now()) {
            health.warn("gatekeeper", "none is present: no agent is let in at the broker");
        } else {
            health.calm("gatekeeper");
        }
    }
}

/// Tidies until the outbox answers no more: redb closes itself at the first failure of its disk, a full one too, and
/// only an outbox that is opened again goes on. Without it no heartbeat goes out: so the process ends, to be started
/// again.
async fn tidy(outbox: Outbox, roster: Roster, metrics: Metrics, clock: Clock) -> Refusal {
    let mut every = tokio::time::interval(TIDY_EVERY);
    loop {
        every.tick().await;
        let now = clock.unix();
        let tidied = records::blocking(&outbox, move |outbox| {
            outbox.forget(now)?;
            outbox.waiting()
        });
        match tidied.await {
            Ok((unpublished, unrecorded)) => {
                metrics.waiting(unpublished, unrecorded, roster.present_count(Instant::now()));
            }
            Err(refusal) if refusal.code == Code::Unavailable => return refusal,
            Err(error) => tracing::warn!(%error, "the outbox could not be tidied"),
        }
    }
}

/// Waits until the outbox answers no more.
async fn broken(tidying: &mut JoinSet<Refusal>) -> Failure {
    match tidying.join_next().await {
        Some(Ok(refusal)) => Failure::fatal(refusal),
        Some(Err(error)) => Failure::fatal(error),
        None => std::future::pending().await,
    }
}

fn watch_beats(health: &Health, metrics: &Metrics) {
    let metrics = metrics.clone();
    health.check("heartbeat", move || match metrics.beat_age() {
        None => Some("none yet".to_owned()),
        Some(age) if age > BEAT_AGE_MAX => Some(format!("none for {} ms", age.as_millis())),
        Some(_) => None,
    });
}

fn check_role(bundle: &TrustBundle, key: &PublicKey) -> Result<(), Failure> {
    if bundle.has_role(&key.did(), Role::Broadcaster) {
        return Ok(());
    }
    let message = format!("key {} is no broadcaster of trust domain `{}`", key.did(), bundle.trust_domain);
    Err(Failure::Config(ConfigError::Value(message)))
}

fn open_outbox(config: &Config, bundle: &TrustBundle, key: &PublicKey) -> Result<Outbox, Failure> {
    let path = config.common.state_dir()?.join("outbox.redb");
    Outbox::open(&path, &bundle.trust_domain, &key.did()).map_err(|error| match error {
        OutboxError::Foreign { .. } => Failure::Config(ConfigError::Value(error.to_string())),
        OutboxError::Disk(_)
        | OutboxError::Locked
        | OutboxError::Row(_)
        | OutboxError::Full
        | OutboxError::RequestDiffers => Failure::fatal(error),
    })
}

fn connect_options(config: &Config) -> Result<ConnectOptions, ConfigError> {
    let options = ConnectOptions::new(config.common.nats.url.clone(), SPEC.name);
    Ok(match config.common.nats.credentials()? {
        Some((user, password)) => options.credentials(user, password.expose()),
        None => options.signing_key(Arc::new(config.common.nats_key()?)),
    })
}

#[cfg(test)]
mod tests {
    use marque_test_support::TestDisk;

    use super::*;
    use crate::outbox::failing::open;

    #[tokio::test]
    async fn a_service_whose_disk_has_failed_ends() {
        let disk = TestDisk::default();
        let outbox = open(disk.clone()).unwrap();
        disk.fill();
        assert!(outbox.raise_time_floor(marque_identity::UnixMillis(1)).is_err());
        // There is room again, and still the outbox answers nothing.
        disk.make_room();
        let roster = Roster::new(Instant::now(), 0);
        let refusal = tidy(outbox, roster, Metrics::default(), Clock::new()).await;
        assert_eq!(refusal.code, Code::Unavailable);
    }
}
