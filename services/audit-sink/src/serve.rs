//! Wiring: from the configuration to a log that grows, until it is asked to stop.
//!
//! The page and the log under it answer before there is a broker. The first examination of the stream is fatal; a
//! later one halts the log, which goes on answering and says so.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marque_bus::service::Request;
use marque_bus::{Bus, BusError, ConnectOptions, Endpoint, RunningService, Service, header, streams, subjects};
use marque_ledger::epoch::{first_origin, later_epoch};
use marque_ledger::origin;
use marque_runtime::telemetry::traceparent;
use marque_runtime::{Clock, ConfigError, Context, Failure, Health};
use marque_signing::{Role, bundle::fingerprint};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::archive::Archiver;
use crate::compact;
use crate::config::Config;
use crate::desk::{Desk, Halted, QUESTION_BYTES_MAX, Question};
use crate::epoch::{self, Standing, standing};
use crate::files::{BUNDLE_FILE, INDEX_FILE, INVENTORY_FILE, LOG_FILE};
use crate::guard::examine;
use crate::headroom::{Headroom, RoomMetrics};
use crate::index::Index;
use crate::intake::{Intake, blocking};
use crate::inventory::Inventory;
use crate::judge::Judge;
use crate::mend::Mender;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::outside::Outside;
use crate::parted::Partings;
use crate::peers::Peers;
use crate::pull::Pull;
use crate::reader::Library;
use crate::seal::Sealer;
use crate::step::Step;
use crate::store::LogStore;
use crate::{Hole, SinkError};

/// What the sink is called.
pub const SPEC: marque_runtime::ServiceSpec = marque_runtime::ServiceSpec {
    name: "marque-audit-sink",
    section: "audit_sink",
    version: env!("CARGO_PKG_VERSION"),
    about: "Keeps the audit log: a Merkle tree over the audit stream, its checkpoints, and what can be asked of it.",
};

/// What is pending while the audit stream is not read: the log does not grow, and nothing newer is answered.
const STREAM: &str = "stream";
/// Between two tries at a broker that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// How long a checkpoint's publish may take before the next one is tried.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(2);
/// How long requests in hand may take at the end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Serves until `context.shutdown`.
pub async fn serve(context: Context<Config>) -> Result<(), Failure> {
    let Context { config, shutdown, clock, health } = context;
    let sink = Sink::open(&config, clock, &health)?;
    let bus = Bus::connect(connect_options(&config)?).await.map_err(Failure::fatal)?;
    let broker = bus.clone();
    health.check("broker", move || broker.pending().map(str::to_owned));
    bus.when_lost(|| marque_runtime::run::abandon("nobody drives the connection to the broker any more"));
    let Some(()) = shutdown.cut_short(bus.connected()).await else { return Ok(()) };
    // 1. The stream must be the log's own, and our last published checkpoint must be one of its roots.
    let Some(found) = shutdown.cut_short(sink.begin(&bus)).await else { return Ok(()) };
    found.map_err(Failure::fatal)?;
    // 2. Questions, intake, checkpoints and what the sink says itself, each by itself.
    let service = sink.answer(&bus).await.map_err(Failure::fatal)?;
    health.serving();
    let head = sink.intake.store.head();
    tracing::info!(instance = service.id(), size = head.size, root = %head.root, "serving");
    let (stop, stopped) = watch::channel(false);
    let sealing = sink.seal_until(&bus, stopped.clone(), config.audit_sink.checkpoint_interval()?);
    let asked = async {
        shutdown.requested().await;
        stop.send_replace(true);
    };
    let speaking = sink.notices.run(&bus, stopped.clone(), || sink.desk.halted.why().is_some());
    let cosigning = sink.cosign_until(&bus, stopped.clone());
    let accusing = sink.partings.run(&bus, stopped.clone());
    let outside = Outside::all(&sink.sealer, &sink.intake.store, &sink.intake.metrics).map_err(unusable)?;
    let outside: JoinSet<()> = outside.into_iter().map(|witness| witness.run(stopped.clone())).collect();
    let looking = sink.headroom.run(&bus, stopped.clone());
    let archiving = sink.archive_until(config.audit_sink.archive_dir.as_deref(), stopped.clone());
    tokio::join!(
        sink.take_in_until(&bus, stopped),
        looking,
        archiving,
        sealing,
        cosigning,
        speaking,
        accusing,
        asked,
        outside.join_all()
    );
    // 3. What was taken in last is signed, too.
    if sink.desk.halted.why().is_none() {
        sink.seal(&bus, &mut 0).await;
    }
    service.drain(DRAIN_DEADLINE).await;
    bus.drain().await.map_err(Failure::fatal)
}

struct Sink {
    intake: Intake,
    desk: Desk,
    sealer: Arc<Sealer>,
    peers: Peers,
    partings: Arc<Partings>,
    mender: Mender,
    notices: Notices,
    headroom: Headroom,
    clock: Clock,
    health: Health,
}

impl Sink {
    /// Opens everything that needs no broker.
    fn open(config: &Config, clock: Clock, health: &Health) -> Result<Self, Failure> {
        let key = config.common.signing_key()?;
        let bundle = config.common.trust_bundle()?;
        let bundle_text = bundle_text(config)?;
        let threads = config.audit_sink.threads()?;
        config.audit_sink.checkpoint_interval()?;
        let heads_every = config.audit_sink.heads_interval()?;
        if !bundle.has_role(&key.did(), Role::Sink) {
            return Err(unusable(format!("the trust bundle does not name {} as a sink", key.did())));
        }
        let Standing { folder: state_dir, origin, .. } =
            standing(&config.common.state_dir()?, &origin(&bundle.trust_domain)).map_err(refused)?;
        let path = state_dir.join(BUNDLE_FILE);
        std::fs::write(&path, &bundle_text).map_err(|source| ConfigError::File { path, source })?;
        let path = state_dir.join(LOG_FILE);
        let mut store = LogStore::open(&path, &origin).map_err(refused)?;
        if let Some(done) = compact::if_large(&mut store, &path).map_err(refused)? {
            tracing::info!(before = done.before, after = done.after, "compacted");
        }
        let print = fingerprint(&bundle_text).to_string();
        let index = Index::open(&state_dir.join(INDEX_FILE), &print, store.head().size).map_err(refused)?;
        let stock = state_dir.join(INVENTORY_FILE);
        let inventory = Inventory::open(&stock, bundle.clone(), &print, store.head().size).map_err(refused)?;
        let inventory = Arc::new(inventory);
        let notices = Notices {
            inventory: Arc::clone(&inventory),
            key: config.common.signing_key()?,
            clock,
            heads_every,
            first_sequence: store.first_sequence(),
        };
        let policy = config.audit_sink.policy(&origin, &key.did(), &bundle)?;
        let (own, trusted) = (key.did(), config.audit_sink.trusted(&origin, &bundle)?);
        let sealer = Arc::new(Sealer::open(&state_dir, &origin, key, policy).map_err(refused)?);
        let metrics = Metrics::default();
        health.metrics(|registry| metrics.register(registry));
        metrics.appended(0, store.head().size);
        metrics.indexed(0, index.upto());
        let store = Arc::new(store);
        let (seals, log, counts) = (Arc::clone(&sealer), Arc::clone(&store), metrics.clone());
        let halted = Halted::default();
        let stops = halted.clone();
        let partings = Arc::new(Partings::new(state_dir.clone(), config.common.signing_key()?, clock));
        let tells = Arc::clone(&partings);
        let peers = Peers::new(&bundle, seals, log, clock, counts, tells, stops).map_err(refused)?;
        let (log, counts) = (Arc::clone(&store), metrics.clone());
        let mender = Mender::new(&bundle, &own, &origin, trusted, log, counts);
        let room = RoomMetrics::default();
        health.metrics(|registry| room.register(registry));
        let headroom = Headroom {
            store: Arc::clone(&store),
            key: config.common.signing_key()?,
            clock,
            health: health.clone(),
            metrics: room,
            alarm_percent: config.audit_sink.alarm_percent()?,
            state_dir,
        };
        let judge = Arc::new(Judge::new(bundle));
        let library = Library { store, index: Arc::new(index), judge };
        let seen = halted.clone();
        health.check("log", move || seen.why());
        let desk = Desk {
            library: library.clone(),
            inventory: Arc::clone(&inventory),
            clock,
            sealer: Arc::clone(&sealer),
            bundle: bundle_text.into(),
            halted,
        };
        if config.audit_sink.serve_log {
            let files = desk.clone();
            health.files("/log/", move |path, query| {
                let files = files.clone();
                async move { files.file(path, query).await }
            });
        }
        let Library { store, index, judge } = library;
        let intake = Intake { store, index, inventory, judge, threads, metrics };
        health.pending(STREAM, "not read yet");
        Ok(Self { intake, desk, sealer, peers, partings, mender, notices, headroom, clock, health: health.clone() })
    }

    /// Examines the stream, mends the log where the stream begins behind its end, and looks up our last published
    /// checkpoint; waits for the broker as long as it takes.
    async fn begin(&self, bus: &Bus) -> Result<(), SinkError> {
        loop {
            let examined = match self.examine(bus).await {
                Err(SinkError::Hole(hole)) => match self.mend(bus, hole).await {
                    Ok(()) => continue,
                    failed => failed,
                },
                examined => examined,
            };
            match examined {
                Err(SinkError::Bus(error @ (BusError::Unavailable(_) | BusError::OutcomeUnknown(_)))) => {
                    tracing::warn!(%error, "waiting for the broker");
                }
                done => return done,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn examine(&self, bus: &Bus) -> Result<(), SinkError> {
        bus.expect_stream(streams::AUDIT).await?;
        bus.expect_stream(streams::CHECKPOINTS).await?;
        examine(bus, &self.intake.store).await?;
        let subject = subjects::checkpoint(&self.did());
        if let Some(published) = bus.read_last(streams::CHECKPOINTS, &subject).await? {
            self.sealer.remember(&published.payload)?;
        }
        Ok(())
    }

    fn did(&self) -> marque_identity::Did {
        self.sealer.verifier().key().did()
    }

    /// Takes in the stream. A broker that is gone is waited for; anything else that stops the intake halts the log.
    async fn take_in_until(&self, bus: &Bus, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let taken = tokio::select! {
                () = self.desk.halted.wait() => return,
                taken = self.take_in(bus, stopped.clone()) => taken,
            };
            let error = match taken {
                Ok(()) => return,
                Err(SinkError::Bus(error @ (BusError::Unavailable(_) | BusError::OutcomeUnknown(_)))) => error,
                Err(error) => return self.halt(&error),
            };
            tracing::warn!(%error, "the stream can't be read: trying again");
            self.health.pending(STREAM, &error.to_string());
            let mut stopped = stopped.clone();
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Takes in the stream, and what it lacks out of another sink's log.
    async fn take_in(&self, bus: &Bus, mut stopped: watch::Receiver<bool>) -> Result<(), SinkError> {
        loop {
            match self.take_in_to_a_hole(bus, stopped.clone()).await {
                Err(SinkError::Hole(hole)) => tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => return Ok(()),
                    mended = self.mend(bus, hole) => mended?,
                },
                done => return done,
            }
        }
    }

    async fn mend(&self, bus: &Bus, hole: Hole) -> Result<(), SinkError> {
        tracing::warn!(%hole, "the stream lacks what comes next: other sinks are asked");
        self.health.pending(STREAM, &format!("{hole}: other sinks are asked"));
        let mended = self.mender.mend(bus, hole).await;
        if matches!(mended, Err(SinkError::Halted(_))) {
            // Nobody is asked any more: why the log halts stands by itself.
            self.health.ready(STREAM);
        }
        mended
    }

    async fn take_in_to_a_hole(&self, bus: &Bus, mut stopped: watch::Receiver<bool>) -> Result<(), SinkError> {
        self.intake.level().await?;
        let begun = async {
            self.examine(bus).await?;
            let next = self.intake.store.last_sequence() + 1;
            Ok::<_, SinkError>(Pull::begin(bus, next).await?)
        };
        let source = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
            source = begun => source?,
        };
        self.health.ready(STREAM);
        self.intake.run(source, stopped).await
    }

    fn halt(&self, error: &SinkError) {
        tracing::error!(%error, "THE LOG HALTS: nothing more is taken in or signed");
        self.desk.halted.set(&error.to_string());
        self.intake.metrics.halted();
    }

    /// Cosigns with the other sinks. One whose log has another root halts ours.
    async fn cosign_until(&self, bus: &Bus, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() && self.desk.halted.why().is_none() {
            match self.peers.run(bus, stopped.clone()).await {
                Ok(()) => return,
                Err(SinkError::Bus(error)) => tracing::warn!(%error, "the other sinks can't be heard: trying again"),
                Err(error) => return self.halt(&error),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Archives the epoch that is the log: a later one beside those before, as it lies in the state directory.
    async fn archive_until(&self, archive_dir: Option<&Path>, stopped: watch::Receiver<bool>) {
        let Some(archive_dir) = archive_dir else { return };
        let epoch = later_epoch(self.sealer.origin()).unwrap_or(1);
        let to = epoch::at(archive_dir, first_origin(self.sealer.origin()), epoch).folder;
        let (store, sealer) = (Arc::clone(&self.intake.store), Arc::clone(&self.sealer));
        Archiver { store, sealer, metrics: self.intake.metrics.clone(), to }.run(stopped).await;
    }

    async fn seal_until(&self, bus: &Bus, mut stopped: watch::Receiver<bool>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sizes = self.sealer.finality().sizes();
        // What an earlier run made final and perhaps did not publish goes first.
        let (mut published, mut in_vain) = (0, false);
        loop {
            let ticked = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = self.desk.halted.wait() => return,
                _ = ticks.tick() => true,
                // Cosignatures make one final between two ticks. What could not be published waits for the next tick.
                Ok(_) = sizes.wait_for(|(last, _)| *last > published), if !in_vain => false,
            };
            let due = published;
            if ticked {
                self.seal(bus, &mut published).await;
            } else {
                self.publish(bus, &mut published).await;
            }
            in_vain = !ticked && published == due;
        }
    }

    /// Signs if there is something new, and publishes the newest final checkpoint if it is not published yet.
    async fn seal(&self, bus: &Bus, published: &mut u64) {
        let (sealer, store) = (Arc::clone(&self.sealer), Arc::clone(&self.intake.store));
        match blocking(move || sealer.seal(&store)).await {
            Ok(None) => {}
            Ok(Some(signed)) => {
                self.intake.metrics.signed(signed.checkpoint.size, self.clock.unix().0);
                tracing::debug!(size = signed.checkpoint.size, root = %signed.checkpoint.root, "signed");
            }
            Err(error) => return self.halt(&error),
        }
        self.publish(bus, published).await;
    }

    async fn publish(&self, bus: &Bus, published: &mut u64) {
        let Some(last) = self.sealer.last().filter(|last| last.checkpoint.size > *published) else { return };
        self.intake.metrics.made_final(last.checkpoint.size);
        let subject = subjects::checkpoint(&self.did());
        match bus.publish_stored(&subject, last.note.as_bytes(), None, PUBLISH_DEADLINE).await {
            Ok(_) => {
                Step::Published.taken();
                *published = last.checkpoint.size;
            }
            Err(error) => tracing::warn!(%error, "the checkpoint is not published yet"),
        }
    }

    async fn answer(&self, bus: &Bus) -> Result<RunningService, BusError> {
        let endpoint = |name: &'static str, subject: String, question: Question| {
            let desk = self.desk.clone();
            let answer = move |request: Request| {
                let desk = desk.clone();
                let span = tracing::info_span!("audit", duty = name);
                let span = traceparent::under(span, request.header(header::TRACEPARENT));
                async move { desk.answer(question, &request.payload).await }.instrument(span)
            };
            Endpoint::new(name, subject, answer).bytes_max(QUESTION_BYTES_MAX)
        };
        let (store, index) = (Arc::clone(&self.intake.store), Arc::clone(&self.intake.index));
        let (inventory, halted) = (Arc::clone(&self.intake.inventory), self.desk.halted.clone());
        let stats = move || {
            let (size, indexed) = (store.head().size, index.upto());
            serde_json::json!({
                "tree_size": size, "indexed_upto": indexed, "inventory_upto": inventory.upto(), "halted": halted.why(),
            })
        };
        Service::new(SPEC.name, SPEC.version, SPEC.about)
            .endpoint(endpoint("query", subjects::AUDIT_QUERY.into(), Question::Query))
            .endpoint(endpoint("explain", subjects::AUDIT_EXPLAIN.into(), Question::Explain))
            .endpoint(endpoint("proof", subjects::AUDIT_PROOF.into(), Question::Proof))
            .endpoint(endpoint("checkpoint", subjects::AUDIT_CHECKPOINT.into(), Question::Checkpoint))
            .endpoint(endpoint("agents", subjects::AUDIT_AGENTS.into(), Question::Agents))
            .endpoint(endpoint("tile", subjects::audit_tile(&self.did()), Question::Tile))
            .endpoint(endpoint("completeness", subjects::AUDIT_COMPLETENESS.into(), Question::Completeness))
            .stats(stats)
            .start(bus)
            .await
    }
}

pub(crate) fn connect_options(config: &Config) -> Result<ConnectOptions, ConfigError> {
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

/// A state directory of another log is for an operator to mend; so is a halted one, which a restart won't help.
fn refused(error: SinkError) -> Failure {
    match error {
        SinkError::ForeignStore(_) => unusable(error),
        error => Failure::fatal(error),
    }
}

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::Config(ConfigError::Value(error.to_string()))
}
