//! A whole system for one test: a real broker and the services as processes, each of which can be killed.
//!
//! What an operator would do goes through the `marque` binary, as theirs would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marque::bootstrap::{self, Layout, Plan};
use marque::dev::http;
use marque::directory::Directory;
use marque::service_config::{ATTESTOR_BINARY, Service};
use marque_agent::enforce::{Enforcer, Policy, Tier};
use marque_bus::permissions::{Account, BusRole};
use marque_bus::{Bus, ConnectOptions, Feed, FeedOptions, async_nats};
use marque_identity::{Did, TrustDomain};
use marque_judgement::record::{self, Body, Record};
use marque_ledger::{Entry, TileId, TileKind, decode_bundle};
use marque_runtime::nats_server::{self, NatsServer};
use marque_signing::{Role, TrustBundle};
use marque_test_support::{ChildGuard, eventually, free_port};
use serde_json::Value;
use tempfile::TempDir;

use crate::binaries;

/// Long enough for two slow cores that are shared; what needs it has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The name of a second gatekeeper and of a second sink, which a test may start.
const SECOND: &str = "second";
/// The name of this machine, whose attestor a test may start.
pub const ATTESTED: &str = "node-1";
/// One look at a page.
const LOOK_TIME: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running system. Its processes end with it.
pub struct TestSystem {
    services: BTreeMap<String, ChildGuard>,
    nats: Option<NatsServer>,
    /// The other broker of a cluster, and where it listens.
    second_nats: Option<(NatsServer, String)>,
    http: Vec<(Service, String)>,
    directory: Directory,
    bundle: TrustBundle,
    url: String,
    environment: Vec<(String, String)>,
    // Dropped last.
    folder: TempDir,
}

/// A copy of the audit log, checked offline.
#[derive(Debug, Clone, Default)]
pub struct LogCopy {
    /// Whether `marque log verify` said yes.
    pub verified: bool,
    /// What it said.
    pub report: Value,
    /// Every leaf's record, in order; none where the leaf holds no valid one.
    pub records: Vec<Option<Record>>,
    /// The ids of the *decided* records.
    pub decided: Vec<String>,
}

impl TestSystem {
    /// Bootstraps, starts the broker and the services, and waits until all are ready. `blueprints`: name and TOML.
    pub async fn start(blueprints: &[(String, String)]) -> Result<Self, String> {
        Self::start_with(blueprints, &[]).await
    }

    /// The same, with more TOML at the end of services' configuration files.
    pub async fn start_with(blueprints: &[(String, String)], settings: &[(Service, &str)]) -> Result<Self, String> {
        Self::start_in(blueprints, settings, &[]).await
    }

    /// The same, with more in the services' environment.
    pub async fn start_in(
        blueprints: &[(String, String)],
        settings: &[(Service, &str)],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::begin(blueprints, settings, environment, false).await
    }

    /// The same as [`start`](Self::start), with two brokers that are a cluster. The services stand at the first one.
    pub async fn start_clustered(blueprints: &[(String, String)]) -> Result<Self, String> {
        Self::begin(blueprints, &[], &[], true).await
    }

    async fn begin(
        blueprints: &[(String, String)],
        settings: &[(Service, &str)],
        environment: &[(&str, &str)],
        clustered: bool,
    ) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("marque-test-").tempdir().map_err(said)?;
        let directory = Directory::at(folder.path().join("system"));
        let ports = free_ports();
        let http_ports = [ports[1], ports[2], ports[3], ports[4], ports[5]];
        let plan = Plan {
            domain: "acme.example".parse().map_err(said)?,
            hosts: Vec::new(),
            gatekeepers: vec![SECOND.to_owned()],
            sinks: vec![SECOND.to_owned()],
            attestors: vec![ATTESTED.to_owned()],
            layout: Layout::Here,
            nats_url: format!("nats://127.0.0.1:{}", ports[0]),
            nats_port: ports[0],
            sync_always: false,
            http_ports,
            attestor_port: ports[6],
        };
        bootstrap::write(&directory, &plan).map_err(|failure| format!("{failure:?}"))?;
        for (name, toml) in blueprints {
            std::fs::write(directory.blueprints().join(format!("{name}.toml")), toml).map_err(said)?;
        }
        for (service, toml) in settings {
            let file = directory.config_file(service.name());
            let text = std::fs::read_to_string(&file).map_err(said)?;
            std::fs::write(&file, format!("{text}\n{toml}\n")).map_err(said)?;
        }
        let bundle = directory.bundle().map_err(|failure| format!("{failure:?}"))?;
        let http = Service::ALL.into_iter().zip(http_ports.map(|port| format!("127.0.0.1:{port}"))).collect();
        let url = plan.nats_url;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let services = BTreeMap::new();
        let (nats, second_nats) = (None, None);
        let mut system = Self { services, nats, second_nats, http, directory, bundle, url, environment, folder };
        if clustered {
            system.start_second_broker()?;
        }
        system.start_broker()?;
        let bootstrap = system.bus(BusRole::Bootstrap).await?;
        if clustered {
            // Until the two have a leader nobody makes a stream.
            eventually("the streams are made", DEADLINE, || bootstrap.bootstrap_streams(1)).await;
        } else {
            bootstrap.bootstrap_streams(1).await.map_err(said)?;
        }
        for service in Service::ALL {
            system.start_service(service);
        }
        for service in Service::ALL {
            system.until_ready(service).await?;
        }
        Ok(system)
    }

    /// Starts the broker, or starts it again after [`kill_broker`](Self::kill_broker).
    pub fn start_broker(&mut self) -> Result<(), String> {
        let binary = nats_server::find(&binaries::folder().join("nats-server")).map_err(said)?;
        let log = self.folder.path().join("nats-server.log");
        let server =
            NatsServer::start(&binary, &self.directory.nats_conf(), self.address(), &log, DEADLINE).map_err(said)?;
        self.nats = Some(server);
        Ok(())
    }

    /// Makes the broker, which has not been started yet, one of a cluster, and starts the other.
    fn start_second_broker(&mut self) -> Result<(), String> {
        let file = self.directory.nats_conf();
        let text = std::fs::read_to_string(&file).map_err(said)?;
        let address = format!("127.0.0.1:{}", free_port());
        let [own, others] = [free_port(), free_port()];
        let cluster = |listen: u16, route: u16| {
            format!(
                "cluster {{\n  name: test\n  listen: \"127.0.0.1:{listen}\"\n  routes: [\"nats://127.0.0.1:{route}\"]\n}}\n"
            )
        };
        let second = self.directory.path().join("nats-second.conf");
        let lines = text.lines().map(|line| match line.trim_start() {
            line if line.starts_with("server_name:") => "server_name: second".to_owned(),
            line if line.starts_with("listen:") => format!("listen: \"{address}\""),
            line if line.starts_with("store_dir:") => {
                format!("store_dir: \"{}\"", self.folder.path().join("nats-second").display())
            }
            _ => line.to_owned(),
        });
        let lines: Vec<String> = lines.collect();
        std::fs::write(&second, format!("{}\n{}", lines.join("\n"), cluster(others, own))).map_err(said)?;
        std::fs::write(&file, format!("{text}\n{}", cluster(own, others))).map_err(said)?;
        let binary = nats_server::find(&binaries::folder().join("nats-server")).map_err(said)?;
        let log = self.folder.path().join("nats-server-second.log");
        let server = NatsServer::start(&binary, &second, &address, &log, DEADLINE).map_err(said)?;
        self.second_nats = Some((server, address));
        Ok(())
    }

    /// The other broker's URL, of a cluster.
    pub fn second_url(&self) -> Option<String> {
        self.second_nats.as_ref().map(|(_, address)| format!("nats://{address}"))
    }

    /// Kills the broker as a crash would.
    pub fn kill_broker(&mut self) {
        if let Some(mut nats) = self.nats.take() {
            nats.kill();
        }
    }

    /// Has the broker read its configuration again, as an operator would (SIGHUP).
    pub fn reload_broker(&self) {
        let pid = self.nats.as_ref().map(NatsServer::pid).expect("the broker runs");
        signal("-HUP", pid);
    }

    /// A user without any limit in one of the broker's accounts, made by the broker's configuration: what an operator is
    /// who changes a stream by hand, or another server of a cluster.
    pub async fn administrator(&self, account: Account) -> Result<async_nats::Client, String> {
        let file = self.directory.nats_conf();
        let text = std::fs::read_to_string(&file).map_err(said)?;
        let opening = format!("\n  {} {{\n", account.as_str());
        let (before, after) = text.split_once(&opening).ok_or("the broker's configuration has no such account")?;
        let name = format!("admin-{}", account.as_str());
        let user = format!("users: [\n      {{ user: {name}, password: {name} }}\n");
        std::fs::write(&file, format!("{before}{opening}{}", after.replacen("users: [\n", &user, 1))).map_err(said)?;
        self.reload_broker();
        let options = async_nats::ConnectOptions::with_user_and_password(name.clone(), name);
        Ok(eventually("an administrator's connection", DEADLINE, || options.clone().connect(&self.url)).await)
    }

    /// Stops a service where it stands, as an overloaded machine would, or lets it go on (SIGSTOP, SIGCONT).
    pub fn freeze(&self, service: Service, frozen: bool) {
        signal(if frozen { "-STOP" } else { "-CONT" }, self.services[service.name()].pid());
    }

    /// Starts a service, or starts it again after [`kill`](Self::kill).
    pub fn start_service(&mut self, service: Service) {
        self.start_service_with(service, &[]);
    }

    /// The same, with these in its environment too.
    pub fn start_service_with(&mut self, service: Service, environment: &[(&str, &str)]) {
        let log = self.folder.path().join(format!("{}.log", service.name()));
        let mut command = Command::new(binaries::path(service.binary()));
        command.arg("--config").arg(self.directory.config_file(service.name()));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(environment.iter().copied());
        if service == Service::Sink {
            // Tests count leaves: the sink adds none of its own meanwhile.
            command.args(["--set", "audit_sink.heads_interval_ms=3600000"]);
        }
        self.services.insert(service.name().to_owned(), ChildGuard::spawn(&mut command, &log));
    }

    /// Starts another gatekeeper beside the first, and waits until it is ready; in a cluster, at the other broker. Gives its
    /// page's address.
    pub async fn start_second_gatekeeper(&mut self) -> Result<String, String> {
        let at = self.second_url().map(|url| format!("nats.url={url}"));
        let settings: Vec<&str> = at.as_deref().into_iter().collect();
        self.start_second(Service::Gatekeeper, &settings).await
    }

    /// Starts another sink beside the first, with settings of its own, and waits until it is ready. Gives its page's
    /// address. It has its own state, which a restart finds again.
    pub async fn start_second_sink(&mut self, settings: &[&str]) -> Result<String, String> {
        let heads = "audit_sink.heads_interval_ms=3600000";
        let settings: Vec<&str> = settings.iter().copied().chain([heads]).collect();
        self.start_second(Service::Sink, &settings).await
    }

    async fn start_second(&mut self, service: Service, settings: &[&str]) -> Result<String, String> {
        let first = std::fs::read_to_string(self.directory.config_file(service.name())).map_err(said)?;
        let page = format!("127.0.0.1:{}", free_ports()[0]);
        let own = self.http.iter().find(|(known, _)| *known == service).map(|(_, page)| page.as_str());
        let key = |name: &str| self.directory.key_file(name).display().to_string();
        let name = second(service);
        let state = self.directory.path().join("state");
        let text = first
            .replace(&key(service.key()), &key(&format!("{}-{SECOND}", service.key())))
            .replace(own.unwrap_or_default(), &page)
            .replace(&state.join(service.name()).display().to_string(), &state.join(&name).display().to_string());
        let config = self.folder.path().join(format!("{name}.toml"));
        std::fs::write(&config, text).map_err(said)?;
        let mut command = Command::new(binaries::path(service.binary()));
        command.arg("--config").arg(config);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let log = self.folder.path().join(format!("{name}.log"));
        self.services.insert(name.clone(), ChildGuard::spawn(&mut command, &log));
        let deadline = Instant::now() + DEADLINE;
        while !http::get(&page, "/readyz", LOOK_TIME).await.is_ok_and(|(status, _)| status == 200) {
            if Instant::now() > deadline {
                return Err(format!("{name} is not ready: {}", self.services[&name].said()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(page)
    }

    /// Starts this machine's attestor, and waits until it listens. Gives its socket.
    pub async fn start_attestor(&mut self) -> Result<PathBuf, String> {
        let name = format!("attestor-{ATTESTED}");
        let mut command = Command::new(binaries::path(ATTESTOR_BINARY));
        command.arg("--config").arg(self.directory.config_file(&name));
        let log = self.folder.path().join("attestor.log");
        self.services.insert(ATTESTOR_BINARY.to_owned(), ChildGuard::spawn(&mut command, &log));
        let socket = self.directory.attestor_socket();
        let deadline = Instant::now() + DEADLINE;
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            if Instant::now() > deadline {
                return Err(format!("the attestor does not listen: {}", self.services[ATTESTOR_BINARY].said()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(socket)
    }

    /// Kills the second of a service as a crash would.
    pub fn kill_second(&mut self, service: Service) {
        self.services.remove(&second(service));
    }

    /// Kills a service as a crash would (SIGKILL).
    pub fn kill(&mut self, service: Service) {
        self.services.remove(service.name());
    }

    /// Asks a service to drain (SIGTERM).
    pub fn terminate(&self, service: Service) {
        self.services[service.name()].terminate();
    }

    /// What a service has written so far.
    pub fn telemetry(&self, service: Service) -> String {
        let log = self.folder.path().join(format!("{}.log", service.name()));
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// Waits for the end of a service that was asked to drain. Gives its exit code.
    pub fn until_ended(&mut self, service: Service) -> Option<i32> {
        let mut child = self.services.remove(service.name())?;
        tokio::task::block_in_place(|| child.wait(DEADLINE)).code()
    }

    /// Kills a service, starts it again, and waits until it is ready.
    pub async fn kill_and_restart(&mut self, service: Service) -> Result<(), String> {
        self.kill(service);
        self.start_service(service);
        self.until_ready(service).await
    }

    /// Whether a service still runs.
    pub fn is_running(&mut self, service: Service) -> bool {
        self.services.get_mut(service.name()).is_some_and(ChildGuard::is_running)
    }

    /// Waits until a service says that nothing is pending.
    pub async fn until_ready(&mut self, service: Service) -> Result<(), String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (status, said) = self.page(service, "/readyz").await;
            if status == 200 {
                return Ok(());
            }
            if !self.is_running(service) || Instant::now() > deadline {
                let log = self.services.get(service.name()).map(ChildGuard::said).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(12).collect();
                return Err(format!(
                    "{} is not ready: {said}\n{}",
                    service.name(),
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A page of a service's health server: status (0 if there is none) and body.
    pub async fn page(&self, service: Service, path: &str) -> (u16, String) {
        http::get(self.address_of(service), path, DEADLINE).await.unwrap_or_else(|why| (0, why))
    }

    /// Where a service's page is: `host:port`.
    pub fn address_of(&self, service: Service) -> &str {
        self.http.iter().find(|(known, _)| *known == service).map_or("", |(_, address)| address)
    }

    /// The bootstrap directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Where the broker listens: `host:port`.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("nats://")
    }

    /// The trust domain.
    pub fn domain(&self) -> &TrustDomain {
        &self.bundle.trust_domain
    }

    /// The trust bundle.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// A connection in this role.
    pub async fn bus(&self, role: BusRole) -> Result<Bus, String> {
        let key = self.directory.key(role.as_str()).map_err(|failure| format!("{failure:?}"))?;
        let options = ConnectOptions::new(&self.url, format!("test-{}", role.as_str())).signing_key(Arc::new(key));
        Bus::connect_now(options, DEADLINE).await.map_err(said)
    }

    /// The broker's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A tool host's enforcement in this process, with the host's key and a view that is fresh.
    pub async fn enforcer(&self, policy: Policy) -> Result<Enforcer, String> {
        let bus = self.bus(BusRole::Host).await?;
        let key = Arc::new(self.directory.key("host").map_err(|failure| format!("{failure:?}"))?);
        let options = FeedOptions { ack_key: Some(key.clone()), ..FeedOptions::default() };
        let feed = Feed::start(&bus, self.bundle.keys(Role::Broadcaster), options).await.map_err(said)?;
        let fresh = feed.fresh(policy.bound(Tier::Standard));
        tokio::time::timeout(DEADLINE, fresh).await.map_err(|_| "the host's view does not become fresh".to_owned())?;
        Ok(Enforcer::new(&bus, key, &self.bundle, feed, policy))
    }

    /// Waits until the broadcaster has heard the verifier and the tool host, so that reach counts both.
    pub async fn until_heard(&self) -> Result<(), String> {
        let wanted = [Role::Verifier, Role::Host].map(|role| self.bundle.keys(role).first().map(|key| key.did()));
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (_, status) = self.marque(&["revoke", "status"]);
            let heard = |did: &Did| {
                let verifiers = status["verifiers"].as_array().into_iter().flatten();
                verifiers.into_iter().any(|heard| heard["verifier"] == did.to_string())
            };
            if wanted.iter().flatten().all(heard) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("the broadcaster has not heard the verifier and the host: {status}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Runs the `marque` binary in JSON mode on this system: exit code and document.
    pub fn marque(&self, args: &[&str]) -> (i32, Value) {
        let output = self.marque_command(args).output().expect("the command line starts");
        let document = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap_or(-1), document)
    }

    /// The same, for a test that does something while it runs.
    pub fn marque_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binaries::path("marque"));
        command.arg("-j").arg("--dir").arg(self.directory.path()).args(args);
        command
    }

    /// A one-time join token for a blueprint, made by the operator's command.
    pub fn join_token(&self, blueprint: &str) -> Result<String, String> {
        let (code, document) = self.marque(&["agent", "invite", "--blueprint", blueprint]);
        let token = document["join_token"].as_str().map(str::to_owned);
        token.filter(|_| code == 0).ok_or_else(|| format!("no join token: {document}"))
    }

    /// How many records the audit stream holds.
    pub async fn stream_size(&self) -> Result<u64, String> {
        let bus = self.bus(BusRole::Sink).await?;
        Ok(bus.stream_state(marque_bus::streams::AUDIT).await.map_err(said)?.last_sequence)
    }

    /// Waits until the sink has logged all that the stream holds now, copies the log and verifies the copy offline.
    pub async fn copy_log(&self) -> Result<LogCopy, String> {
        let wanted = self.stream_size().await?;
        let deadline = Instant::now() + DEADLINE;
        let mut tries = 0;
        let folder = loop {
            let folder = self.folder.path().join(format!("log-{tries}-{wanted}"));
            let path = folder.display().to_string();
            let (code, document) = self.marque(&["log", "export", &path]);
            let size = document["leaves"].as_u64().unwrap_or(0);
            if code == 0 && size >= wanted {
                break folder;
            }
            if Instant::now() > deadline {
                return Err(format!("the log has {size} leaves of {wanted}: {document}"));
            }
            tries += 1;
            tokio::time::sleep(LOOK_EVERY * 5).await;
        };
        let (code, report) = self.marque(&["log", "verify", &folder.display().to_string()]);
        let records = read_log(&folder, &self.bundle)?;
        let decided = |record: &Record| matches!(record.body, Body::Decided(_)).then(|| record.id.clone());
        let decided = records.iter().flatten().filter_map(decided).collect();
        Ok(LogCopy { verified: code == 0, report, records, decided })
    }

    /// Lets the services drain, then ends the broker.
    pub async fn stop(mut self) {
        let drain = move || {
            self.services.values().for_each(ChildGuard::terminate);
            for child in self.services.values_mut() {
                child.wait(DEADLINE);
            }
            if let Some(mut nats) = self.nats.take() {
                nats.stop(DEADLINE);
            }
            if let Some((mut nats, _)) = self.second_nats.take() {
                nats.stop(DEADLINE);
            }
        };
        // A panic in there is a test's failure already told.
        let _ = tokio::task::spawn_blocking(drain).await;
    }
}

/// The records of a copied log, read from its entries.
fn read_log(folder: &Path, bundle: &TrustBundle) -> Result<Vec<Option<Record>>, String> {
    let checkpoint = std::fs::read(folder.join(marque_ledger::layout::CHECKPOINT)).map_err(said)?;
    let note = marque_ledger::Note::parse(&checkpoint).map_err(said)?;
    let size = marque_ledger::Checkpoint::parse(note.text()).map_err(said)?.size;
    let mut records = Vec::new();
    for tile in TileId::all(size).filter(|tile| tile.kind == TileKind::Entries) {
        let bytes = std::fs::read(folder.join(tile.path())).map_err(said)?;
        for frame in decode_bundle(&bytes, tile.width).map_err(said)? {
            let entry = Entry::decode(frame).map_err(said)?;
            records.push(record::judge(entry.payload, bundle).record);
        }
    }
    Ok(records)
}

/// What the second of a service is called.
fn second(service: Service) -> String {
    format!("{}-{SECOND}", service.name())
}

fn signal(which: &str, pid: u32) {
    let sent = Command::new("kill").arg(which).arg(pid.to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "{which} to {pid}");
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Seven ports that nobody listens on.
fn free_ports() -> [u16; 7] {
    std::array::from_fn(|_| free_port())
}
