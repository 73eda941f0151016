//! Wiring: three connections to the broker (where it asks, where it shows and closes connections, and among the
//! services), and what runs on them until it is asked to stop.
//!
//! What agents send themselves comes over a fourth, which may be lost: a header that the client library stumbles over
//! ends that connection's task, and nothing else (see `statements`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::{FusedFuture, FutureExt};
use marque_agent::enforce::{Chains, DataSubject, Policy};
use marque_bus::async_nats::Message;
use marque_bus::callout::{Answerer, QUEUE_GROUP, Questions, SERVER_XKEY};
use marque_bus::permissions::system;
use marque_bus::{Bus, BusError, ConnectOptions, Endpoint, Feed, FeedOptions, RunningService, Service, subjects};
use marque_runtime::{Common, ConfigError, Context, Failure, Health, Shutdown, keys};
use marque_signing::xkey::SealingKey;
use marque_signing::{Role, SigningKey, TrustBundle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::config::{Bounds, Config, GatekeeperConfig};
use crate::door::Door;
use crate::list;
use crate::metrics::Metrics;
use crate::overlong::OverlongClients;
use crate::pace::Pace;
use crate::records::{Records, SERVICE};
use crate::registry::Registry;
use crate::renewal::Renewal;
use crate::scribe::Scribe;
use crate::seats::Seats;
use crate::server::Server;
use crate::span;
use crate::statements::Statements;
use crate::warden::Warden;

/// What the gatekeeper is called.
pub const SPEC: marque_runtime::ServiceSpec = marque_runtime::ServiceSpec {
    name: SERVICE,
    section: "gatekeeper",
    version: env!("CARGO_PKG_VERSION"),
    about: "Lets agents in at the broker with the permissions of their chains, and closes what a directive ends",
};

/// Between two tries at a broker that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// How long requests in hand may take at the end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// The gatekeeper's secrets.
struct Secrets {
    own: Arc<SigningKey>,
    callout: Arc<SigningKey>,
    kicker: Arc<SigningKey>,
    account: SigningKey,
    xkey: SealingKey,
}

/// The three connections.
struct Buses {
    services: Bus,
    callout: Bus,
    system: Bus,
    /// The one for agents' statements, made anew as often as it takes.
    statements: Statements,
}

/// Serves until `context.shutdown`.
pub async fn serve(context: Context<Config>) -> Result<(), Failure> {
    let Context { config, shutdown, clock, health } = context;
    let bounds = config.gatekeeper.bounds()?;
    let bundle = config.common.trust_bundle()?;
    let secrets = Secrets::read(&config)?;
    if !bundle.has_role(&secrets.own.did(), Role::Gatekeeper) {
        let message = format!("the trust bundle does not name {} as a gatekeeper", secrets.own.did());
        return Err(Failure::Config(ConfigError::Value(message)));
    }
    let buses = Buses::connect(&config.common, &secrets).await?;
    buses.watch(&health);
    tokio::select! {
        () = buses.connected() => {}
        () = shutdown.requested() => return Ok(()),
    }
    let of_tools = Policy::new(bundle.trust_domain.clone());
    let of_tools = config.gatekeeper.erasable.iter().fold(of_tools, |policy, pattern| {
        policy.erasing(pattern, DataSubject::Agent) // whose data it is does not matter here: nothing is kept
    });
    let gatekeeper =
        Gatekeeper::build(&buses, secrets, bundle, bounds, of_tools, clock, &health).await.map_err(Failure::fatal)?;
    // Among the workers, like what it begins: elsewhere each question would be handed from one thread to another and back.
    let serving = tokio::spawn(async move { gatekeeper.serve(&buses, &health, &shutdown).await });
    match serving.await {
        Ok(outcome) => outcome.map_err(Failure::fatal),
        Err(broken) => match broken.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(aborted) => Err(Failure::fatal(aborted)),
        },
    }
}

impl Secrets {
    fn read(config: &Config) -> Result<Self, ConfigError> {
        let GatekeeperConfig { callout_key_file, kicker_key_file, account_key_file, xkey_file, .. } =
            &config.gatekeeper;
        let key = |file: &Option<std::path::PathBuf>, key, how| {
            let path = file.as_deref().ok_or(ConfigError::Missing { key, how })?;
            Ok::<_, ConfigError>(keys::read_signing_key(path)?)
        };
        let made = "made by `marque nats bootstrap`";
        Ok(Self {
            own: Arc::new(config.common.signing_key()?),
            callout: Arc::new(key(callout_key_file, "gatekeeper.callout_key_file", made)?),
            kicker: Arc::new(key(kicker_key_file, "gatekeeper.kicker_key_file", made)?),
            account: key(account_key_file, "gatekeeper.account_key_file", made)?,
            xkey: SealingKey::from_seed(&key(xkey_file, "gatekeeper.xkey_file", made)?.seed()),
        })
    }
}

impl Buses {
    async fn connect(common: &Common, secrets: &Secrets) -> Result<Self, Failure> {
        let options = || ConnectOptions::new(&common.nats.url, SPEC.name);
        let among_services = match common.nats.credentials()? {
            Some((user, password)) => options().credentials(user, password.expose()),
            None => options().signing_key(Arc::new(common.nats_key()?)),
        };
        let statements = Statements::by(among_services.clone());
        let open = async |options| {
            let bus = Bus::connect(options).await.map_err(Failure::fatal)?;
            bus.when_lost(|| marque_runtime::run::abandon("nobody drives a connection to the broker any more"));
            Ok::<_, Failure>(bus)
        };
        Ok(Self {
            services: open(among_services).await?,
            callout: open(options().signing_key(secrets.callout.clone())).await?,
            system: open(options().signing_key(secrets.kicker.clone())).await?,
            statements,
        })
    }

    /// Without any one of them somebody is not let in, not closed, or not heard: `/readyz` says which.
    fn watch(&self, health: &Health) {
        for (which, bus) in
            [("services", &self.services), ("auth callout", &self.callout), ("system account", &self.system)]
        {
            let bus = bus.clone();
            health.check("broker", move || bus.pending().map(|why| format!("{which}: {why}")));
        }
        let statements = self.statements.current.subscribe();
        health.check("broker", move || {
            let why = statements.borrow().as_ref().map_or(Some("not connected yet"), Bus::pending);
            why.map(|why| format!("agents' statements: {why}"))
        });
    }

    async fn connected(&self) {
        tokio::join!(self.services.connected(), self.callout.connected(), self.system.connected());
    }
}

struct Gatekeeper {
    door: Arc<Door>,
    overlong: OverlongClients,
    registry: Registry,
    warden: Warden,
    renewal: Renewal,
    applied: mpsc::UnboundedReceiver<marque_revocation::DirectiveId>,
    scribe: Arc<Scribe>,
    service: RunningService,
    bounds: Bounds,
}

impl Gatekeeper {
    async fn build(
        buses: &Buses,
        secrets: Secrets,
        bundle: TrustBundle,
        bounds: Bounds,
        of_tools: Policy,
        clock: marque_runtime::Clock,
        health: &Health,
    ) -> Result<Self, BusError> {
        let metrics = Metrics::new();
        health.metrics(|registry| metrics.register(registry.sub_registry_with_prefix("gatekeeper")));
        let bus = &buses.services;
        let (applied, to_carry_out) = mpsc::unbounded_channel();
        let options = FeedOptions { ack_key: Some(secrets.own.clone()), applied: Some(applied) };
        let feed = Feed::start(bus, bundle.keys(Role::Broadcaster), options).await?;
        let records = Records::new(bus.clone(), secrets.own.clone(), clock, metrics.clone());
        let server = Server::new(buses.system.clone());
        let registry = Registry::new(
            bus.clone(),
            server.clone(),
            bundle.clone(),
            records.clone(),
            clock,
            metrics.clone(),
            bounds.renewed_after(),
        );
        let domain = bundle.trust_domain.clone();
        let questions = Questions::new(&secrets.account.public(), secrets.xkey);
        let pace = Arc::new(Pace::new(Instant::now()));
        let door = Arc::new(Door {
            answerer: Answerer::new(secrets.account, questions),
            chains: Chains::new(&bundle),
            issuers: bundle.keys(Role::Issuer),
            domain: domain.clone(),
            feed: feed.clone(),
            registry: registry.clone(),
            seats: Seats::new(registry.roster(), bounds.connections_per_agent, bounds.requests_max),
            records: records.clone(),
            bounds,
            clock,
            metrics: metrics.clone(),
            pace: pace.clone(),
        });
        let overlong = OverlongClients { server, records: records.clone(), metrics: metrics.clone(), pace };
        let (view, staleness) = (feed.clone(), bounds.staleness);
        health.check("view", move || stale(&view, staleness));
        let (view, callout, services) = (feed.clone(), buses.callout.clone(), bus.clone());
        let may_let_in =
            move || stale(&view, bounds.staleness).is_none() && callout.is_connected() && services.is_connected();
        let renewal = Renewal {
            registry: registry.clone(),
            records: records.clone(),
            feed: feed.clone(),
            domain: domain.clone(),
            clock,
            may_let_in: Box::new(may_let_in),
        };
        let warden = Warden {
            registry: registry.clone(),
            records: records.clone(),
            feed: feed.clone(),
            domain,
            clock,
            metrics: metrics.clone(),
        };
        let scribe = Arc::new(Scribe { records, bundle, of_tools, metrics });
        let service = Self::answer(bus, &registry, feed, bounds).await?;
        Ok(Self { door, overlong, registry, warden, renewal, scribe, applied: to_carry_out, service, bounds })
    }

    /// What it answers among the services: operators who ask who is connected.
    async fn answer(bus: &Bus, registry: &Registry, feed: Feed, bounds: Bounds) -> Result<RunningService, BusError> {
        let (listed, counted) = (registry.clone(), registry.clone());
        Service::new(SPEC.name, SPEC.version, SPEC.about)
            .endpoint(
                Endpoint::new("connections", subjects::GATEKEEPER_CONNECTIONS, move |request| {
                    let span = span::of("connections", &request);
                    let answer = span.in_scope(|| list::answer(&listed, &request));
                    async move { answer }
                })
                .bytes_max(list::QUESTION_BYTES_MAX),
            )
            .stats(move || {
                serde_json::json!({
                    "connections": counted.locked().len(), "pending": stale(&feed, bounds.staleness),
                    "epoch": feed.view().epoch(),
                })
            })
            .start(bus)
            .await
    }

    async fn serve(self, buses: &Buses, health: &Health, shutdown: &Shutdown) -> Result<(), BusError> {
        let Self { door, overlong, registry, warden, renewal, scribe, applied, service, bounds } = self;
        let questions_max = bounds.requests_max;
        // Known first, then asked: whoever is connected already ends by the next directive like anybody else.
        loop {
            match registry.take_stock().await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "the broker's connections could not be listed yet"),
            }
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        let asked = buses.callout.client().queue_subscribe(system::AUTH_CALLOUT, QUEUE_GROUP.to_owned()).await;
        let mut asked = asked.map_err(|error| BusError::Unavailable(error.to_string()))?;
        buses.callout.flush().await?;
        health.serving();
        tracing::info!(instance = service.id(), "serving");
        let in_hand = Arc::new(Semaphore::new(questions_max));
        let take = |turn: OwnedSemaphorePermit, message: Message| {
            let (door, bus) = (door.clone(), buses.callout.clone());
            tokio::spawn(async move {
                reply(&door, &bus, message).await;
                drop(turn);
            });
        };
        let stating = buses.statements.serve(&scribe, bounds.requests_max, shutdown, DRAIN_DEADLINE).fuse();
        tokio::pin!(stating);
        // A full door waits by itself: it keeps nobody from being closed. The semaphore is never closed, and the
        // subscription does not end before it is retired.
        let asking = async {
            while let (Ok(turn), Some(message)) = (in_hand.clone().acquire_owned().await, asked.next().await) {
                take(turn, message);
            }
            std::future::pending().await
        };
        let outcome = tokio::select! {
            () = shutdown.requested() => Ok(()),
            outcome = registry.follow() => outcome,
            outcome = overlong.watch() => outcome,
            outcome = &mut stating => outcome,
            never = renewal.watch() => match never {},
            () = warden.watch(applied) => Err(BusError::Unavailable("the feed has ended".into())),
            outcome = asking => outcome,
        };
        // The next question goes to another gatekeeper; those that came to this one are answered.
        let all = u32::try_from(questions_max).unwrap_or(u32::MAX);
        let answered = async {
            if let Err(error) = buses.callout.retire(&mut asked).await {
                tracing::warn!(%error, "questions that were on their way may be left without an answer");
            }
            while let Some(message) = buses.callout.rest(&mut asked).await {
                if let Ok(turn) = in_hand.clone().acquire_owned().await {
                    take(turn, message);
                }
            }
            let _ = in_hand.acquire_many(all).await;
        };
        if tokio::time::timeout(DRAIN_DEADLINE, answered).await.is_err() {
            tracing::warn!(deadline = ?DRAIN_DEADLINE, "questions were still in hand at the deadline");
        }
        let stating = async { if stating.is_terminated() { Ok(()) } else { stating.await } };
        match tokio::time::timeout(DRAIN_DEADLINE, stating).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "agents' statements may be left without an answer"),
            Err(_) => {
                tracing::warn!(deadline = ?DRAIN_DEADLINE, "agents' statements were still in hand at the deadline")
            }
        }
        service.drain(DRAIN_DEADLINE).await;
        for bus in [&buses.callout, &buses.system, &buses.services] {
            bus.drain().await?;
        }
        outcome
    }
}

async fn reply(door: &Door, bus: &Bus, message: Message) {
    let Some(to) = message.reply else { return };
    let xkey = message.headers.as_ref().and_then(|headers| headers.get(SERVER_XKEY)).map(|value| value.as_str());
    let Some(answer) = door.answer(&message.payload, xkey).await else { return };
    if let Err(error) = bus.client().publish(to, answer.into()).await {
        tracing::error!(%error, "an answer could not be sent");
    }
}

/// Why the view is not fresh enough to let anybody in, if it is not.
fn stale(feed: &Feed, bound: Duration) -> Option<String> {
    feed.view().freshness(feed.now(), bound).pending()
}
