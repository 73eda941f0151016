//! `marque nats bootstrap DIR`: everything a trust domain needs before its first process starts, made once.
//!
//! Keys are made here and nowhere else; nothing is ever written over. The streams are created by the
//! same hand (`--streams`), because no running service may.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use marque_bus::permissions::{BusRole, CalloutSettings, ServerSettings, User, server_config};
use marque_identity::{Code, Digest, TrustDomain};
use marque_runtime::Clock;
use marque_signing::bundle::{Anchor, Operator, Role, ServiceKey, TrustBundle, fingerprint};
use marque_signing::xkey::SealingKey;
use serde_json::json;

use crate::cli::Common;
use crate::directory::{ACCOUNT_KEY, Directory, KEY_NAMES, XKEY, make_private, write_new, write_new_key};
use crate::output::{Answer, Output, facts};
use crate::service_config::{self, Place, Service};
use crate::{Failure, nats};

/// The blueprints that a new domain begins with.
const BLUEPRINTS: [(&str, &str); 2] = [
    ("research-orchestrator.toml", include_str!("../../../deploy/blueprints/research-orchestrator.toml")),
    ("summarizer.toml", include_str!("../../../deploy/blueprints/summarizer.toml")),
];

/// What to make.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// Where; must not hold a bundle yet.
    #[arg(value_name = "DIRECTORY")]
    target: PathBuf,
    /// The trust domain's name.
    #[arg(long, default_value = "acme.example")]
    domain: TrustDomain,
    /// Another tool host, which gets a key of its own; may be repeated.
    #[arg(long = "host", value_name = "NAME", value_parser = host_name)]
    hosts: Vec<String>,
    /// Another gatekeeper, which gets a key of its own; may be repeated.
    #[arg(long = "gatekeeper", value_name = "NAME", value_parser = host_name)]
    gatekeepers: Vec<String>,
    /// Another audit sink, which gets a key of its own and cosigns the first one's checkpoints; may be repeated.
    #[arg(long = "sink", value_name = "NAME", value_parser = host_name)]
    sinks: Vec<String>,
    /// A machine whose attestor states which process holds an agent's key, by the name that evidence gives it; may be
    /// repeated.
    #[arg(long = "attestor", value_name = "NAME", value_parser = machine_name)]
    attestors: Vec<String>,
    /// Where the processes will run.
    #[arg(long, value_enum, default_value_t)]
    layout: Layout,
    /// The broker's port on this machine's loopback.
    #[arg(long, value_name = "PORT", default_value_t = 4222)]
    nats_port: u16,
    /// The broker as services and commands reach it, where it is not on this machine.
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// Sync each write of the broker to disk: what was acked survives power loss, at about 4,000 messages a second.
    #[arg(long)]
    sync_always: bool,
    /// First of six ports for the services' pages on loopback: broadcaster, sink, issuer, verifier, gatekeeper, attestor.
    #[arg(long, value_name = "PORT", default_value_t = HTTP_PORT_FIRST)]
    http_port: u16,
    /// The port on loopback under which the sink's page is published, where it runs in a container.
    #[arg(long, value_name = "PORT", default_value_t = HTTP_PORT_FIRST)]
    sink_port: u16,
    /// Also create the streams; needs the broker to run already on this configuration.
    #[arg(long)]
    streams: bool,
    /// Limits of the audit stream, where the streams are created.
    #[command(flatten)]
    limits: nats::AuditLimitArgs,
    /// Say what would be made; make nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The services' pages stand on this port and the four after it, an attestor's on the next; in a container, each on this
/// one.
pub const HTTP_PORT_FIRST: u16 = 7070;

/// After a restart of the broker all agents come at once, about a thousand a second.
const CALLOUT_TIMEOUT_SECONDS: u32 = 8;

/// Where the processes will run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Layout {
    /// On this machine, out of this directory.
    #[default]
    Here,
    /// In the containers of deploy/compose.yaml: secrets under /run/secrets, the rest under /marque and /state.
    Compose,
}

/// A plan for a directory.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The trust domain.
    pub domain: TrustDomain,
    /// Names of tool hosts beside the first one.
    pub hosts: Vec<String>,
    /// Names of gatekeepers beside the first one.
    pub gatekeepers: Vec<String>,
    /// Names of sinks beside the first one.
    pub sinks: Vec<String>,
    /// Names of machines that have an attestor.
    pub attestors: Vec<String>,
    /// Where the processes will run.
    pub layout: Layout,
    /// The broker as commands on this machine reach it; services too, except in containers.
    pub nats_url: String,
    /// The broker's port, where it runs on this machine.
    pub nats_port: u16,
    /// Whether the broker syncs each write.
    pub sync_always: bool,
    /// The ports of the services' pages on loopback, in the order of [`Service::ALL`]. Of containers only the sink's
    /// is published, under this one.
    pub http_ports: [u16; Service::ALL.len()],
    /// The port of an attestor's page on its machine's loopback.
    pub attestor_port: u16,
}

/// A machine's name, as evidence states it: a DNS name at the most.
fn machine_name(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(fine) {
        Ok(text.to_owned())
    } else {
        Err("a machine's name is 1 to 64 of a-z 0-9 - .".into())
    }
}

fn host_name(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let short = (1..=64).contains(&text.len());
    if short && text.chars().all(fine) {
        Ok(text.to_owned())
    } else {
        Err("a host's name is 1 to 64 of a-z 0-9 -".into())
    }
}

/// Makes the directory.
pub async fn run(args: &BootstrapArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let directory = Directory::at(absolute(&args.target)?);
    let plan = Plan {
        domain: args.domain.clone(),
        hosts: args.hosts.clone(),
        gatekeepers: args.gatekeepers.clone(),
        sinks: args.sinks.clone(),
        attestors: args.attestors.clone(),
        layout: args.layout,
        nats_url: args.nats_url.clone().unwrap_or_else(|| format!("nats://127.0.0.1:{}", args.nats_port)),
        nats_port: args.nats_port,
        sync_always: args.sync_always,
        http_ports: match args.layout {
            Layout::Here => ports_from(args.http_port)?,
            Layout::Compose => [args.sink_port; Service::ALL.len()],
        },
        attestor_port: attestor_port(args.http_port)?,
    };
    if args.dry_run {
        let files: Vec<String> = plan.files(&directory).iter().map(|file| file.display().to_string()).collect();
        let text = format!("would write, each only if it is not there yet:\n  {}", files.join("\n  "));
        return Ok(Answer::yes(json!({ "dry_run": true, "files": files }), text));
    }
    let existing = directory.bundle_file().exists();
    if existing && !args.streams {
        let message = format!("{} holds a trust bundle already", directory.path().display());
        return Err(
            Failure::new(Code::Conflict, message).hint("its keys can't be made again; choose another directory")
        );
    }
    let pin = if existing { directory.fingerprint()? } else { write(&directory, &plan)? };
    if args.streams {
        nats::create_streams(&common.connection, Some(&directory), 1, args.limits.limits()).await?;
        out.talk("the streams are there, as asked for");
    }
    let path = directory.path().display().to_string();
    let text = facts(&[
        ("directory", path.clone()),
        ("trust domain", plan.domain.to_string()),
        ("fingerprint", pin.to_string()),
        ("next", format!("nats-server -c {path}/nats.conf, then marque nats streams --dir {path}")),
    ]);
    let done = format!("it is made: {path} has its fingerprint in `bundle.digest`");
    let data = json!({ "directory": path, "trust_domain": plan.domain, "fingerprint": pin });
    Ok(Answer::yes(data, text).changed(done))
}

/// A path that stays right when a service is started elsewhere.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file(path, &error))
}

fn ports_from(first: u16) -> Result<[u16; Service::ALL.len()], Failure> {
    attestor_port(first)?;
    Ok([first, first + 1, first + 2, first + 3, first + 4])
}

fn attestor_port(first: u16) -> Result<u16, Failure> {
    first.checked_add(5).ok_or_else(|| Failure::usage("--http-port needs six ports, the last at most 65535"))
}

impl Plan {
    /// Every file that [`write`] makes.
    fn files(&self, directory: &Directory) -> Vec<PathBuf> {
        let keys = KEY_NAMES.iter().map(|name| directory.key_file(name));
        let hosts = self.hosts.iter().map(|name| directory.key_file(&format!("host-{name}")));
        let gatekeepers = self.gatekeepers.iter().map(|name| directory.key_file(&format!("gatekeeper-{name}")));
        let sinks = self.sinks.iter().map(|name| directory.key_file(&format!("sink-{name}")));
        let attestors = self.attestors.iter().map(|name| attestor(name));
        let attestors =
            attestors.flat_map(|attestor| [directory.key_file(&attestor), directory.config_file(&attestor)]);
        let configs = Service::ALL.iter().map(|service| directory.config_file(service.name()));
        let blueprints = BLUEPRINTS.iter().map(|(name, _)| directory.blueprints().join(name));
        let single = [
            directory.bundle_file(),
            directory.fingerprint_file(),
            directory.nats_conf(),
            directory.nats_url_file(),
            directory.sink_page_file(),
        ];
        keys.chain(hosts)
            .chain(gatekeepers)
            .chain(sinks)
            .chain(attestors)
            .chain(configs)
            .chain(blueprints)
            .chain(single)
            .collect()
    }
}

impl Plan {
    fn server_settings(&self, directory: &Directory, users: Vec<User>, callout: CalloutSettings) -> ServerSettings {
        let (listen, store_dir, monitor) = match self.layout {
            Layout::Here => {
                (format!("127.0.0.1:{}", self.nats_port), directory.path().join("nats").display().to_string(), None)
            }
            // The server's own page stays on the container's loopback, for its health check.
            Layout::Compose => ("0.0.0.0:4222".into(), "/data".into(), Some("127.0.0.1:8222".into())),
        };
        ServerSettings { listen, store_dir, sync_always: self.sync_always, monitor, users, callout: Some(callout) }
    }
}

/// What a machine's attestor is called in the directory: its key file, its configuration.
fn attestor(machine: &str) -> String {
    format!("attestor-{machine}")
}

/// Makes the directory's files and answers the bundle's fingerprint. Refuses to write over anything.
pub fn write(directory: &Directory, plan: &Plan) -> Result<Digest, Failure> {
    // 1. Folders; the whole is its owner's alone.
    let root = directory.path();
    for folder in ["keys", "blueprints", "config", "state"] {
        make_private(&root.join(folder))?;
    }
    // 2. Keys, and the bundle that says which of them may do what.
    let key = |name: &str| write_new_key(&directory.key_file(name));
    let issuer = key("issuer")?;
    let mut users = vec![User { role: BusRole::Issuer, key: issuer.public() }];
    let mut services = Vec::new();
    for (role, at_the_broker, file) in [
        (Role::Broadcaster, BusRole::Broadcaster, "broadcaster"),
        (Role::Verifier, BusRole::Verifier, "verifier"),
        (Role::Sink, BusRole::Sink, "sink"),
        (Role::Gatekeeper, BusRole::Gatekeeper, "gatekeeper"),
        (Role::Host, BusRole::Host, "host"),
    ] {
        let key = key(file)?;
        services.push(ServiceKey { role, name: file.to_owned(), did: key.did() });
        users.push(User { role: at_the_broker, key: key.public() });
    }
    let hosts = plan.hosts.iter().map(|name| (Role::Host, BusRole::Host, name));
    let gatekeepers = plan.gatekeepers.iter().map(|name| (Role::Gatekeeper, BusRole::Gatekeeper, name));
    let sinks = plan.sinks.iter().map(|name| (Role::Sink, BusRole::Sink, name));
    for (role, at_the_broker, name) in hosts.chain(gatekeepers).chain(sinks) {
        let key = key(&format!("{}-{name}", at_the_broker.as_str()))?;
        services.push(ServiceKey { role, name: name.clone(), did: key.did() });
        users.push(User { role: at_the_broker, key: key.public() });
    }
    // An attestor is no user of the broker.
    for name in &plan.attestors {
        let key = key(&attestor(name))?;
        services.push(ServiceKey { role: Role::Attestor, name: name.clone(), did: key.did() });
    }
    let operator = key("operator")?;
    users.push(User { role: BusRole::Operator, key: operator.public() });
    let bundle = TrustBundle {
        trust_domain: plan.domain.clone(),
        version: 1,
        issued_at: Clock::new().unix(),
        issuers: vec![Anchor { iss: plan.domain.issuer_uri(), did: issuer.did() }],
        services,
        operators: vec![Operator { name: "operator".to_owned(), did: operator.did() }],
    };
    let signed = bundle.sign(&issuer).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let pin = fingerprint(&signed);
    write_new(&directory.bundle_file(), format!("{signed}\n").as_bytes(), 0o644)?;
    write_new(&directory.fingerprint_file(), format!("{pin}\n").as_bytes(), 0o644)?;
    // 3. The broker: its other users, who lets agents in, and the permissions of each.
    for role in [BusRole::Bootstrap, BusRole::Callout, BusRole::Kicker] {
        users.push(User { role, key: key(role.as_str())?.public() });
    }
    let callout = CalloutSettings {
        issuer: key(ACCOUNT_KEY)?.public(),
        xkey: SealingKey::from_seed(&key(XKEY)?.seed()).public(),
        timeout_seconds: CALLOUT_TIMEOUT_SECONDS,
    };
    let settings = plan.server_settings(directory, users, callout);
    write_new(&directory.nats_conf(), server_config(&settings).as_bytes(), 0o600)?;
    write_new(&directory.nats_url_file(), format!("{}\n", plan.nats_url).as_bytes(), 0o644)?;
    // 4. The services.
    for (name, text) in BLUEPRINTS {
        write_new(&directory.blueprints().join(name), text.as_bytes(), 0o644)?;
    }
    for (service, port) in Service::ALL.into_iter().zip(plan.http_ports) {
        let place = match plan.layout {
            Layout::Here => Place::here(service, directory, &plan.nats_url, port),
            Layout::Compose => Place::in_compose(),
        };
        let text = service_config::text(service, &place, &pin);
        write_new(&directory.config_file(service.name()), text.as_bytes(), 0o644)?;
        if service == Service::Sink {
            write_new(&directory.sink_page_file(), format!("127.0.0.1:{port}\n").as_bytes(), 0o644)?;
        }
    }
    // 5. The attestors, which are processes of their machines in either layout.
    for machine in &plan.attestors {
        let name = attestor(machine);
        let text = service_config::attestor_text(&name, machine, directory, plan.attestor_port, &pin);
        write_new(&directory.config_file(&name), text.as_bytes(), 0o644)?;
    }
    Ok(pin)
}
