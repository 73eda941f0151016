//! The configuration files that a bootstrap directory holds, one for each service.

use std::path::{Path, PathBuf};

use marque_bus::permissions::BusRole;
use marque_identity::Digest;

use crate::directory::{ACCOUNT_KEY, Directory, XKEY};

/// The services of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Enrols agents and issues root tokens.
    Issuer,
    /// Decides, and gates tools that know nothing of us.
    Verifier,
    /// Publishes directives.
    Broadcaster,
    /// Keeps the audit log.
    Sink,
    /// Lets agents in at the broker.
    Gatekeeper,
}

impl Service {
    /// Every service, in the order in which they are started.
    pub const ALL: [Self; 5] = [Self::Broadcaster, Self::Sink, Self::Issuer, Self::Verifier, Self::Gatekeeper];

    /// Its name: of its configuration file and its state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Verifier => "verifier",
            Self::Broadcaster => "revocation-broadcaster",
            Self::Sink => "audit-sink",
            Self::Gatekeeper => "gatekeeper",
        }
    }

    /// Its package and binary.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Issuer => "marque-issuer",
            Self::Verifier => "marque-verifier",
            Self::Broadcaster => "marque-revocation-broadcaster",
            Self::Sink => "marque-audit-sink",
            Self::Gatekeeper => "marque-gatekeeper",
        }
    }

    /// Its user at the broker.
    pub fn role(self) -> BusRole {
        match self {
            Self::Issuer => BusRole::Issuer,
            Self::Verifier => BusRole::Verifier,
            Self::Broadcaster => BusRole::Broadcaster,
            Self::Sink => BusRole::Sink,
            Self::Gatekeeper => BusRole::Gatekeeper,
        }
    }

    /// The name of its key file.
    pub fn key(self) -> &'static str {
        self.role().as_str()
    }
}

/// Where keys lie.
#[derive(Debug, Clone)]
enum Keys {
    /// In the bootstrap directory.
    Directory(Directory),
    /// Mounted as secrets.
    Secrets,
}

impl Keys {
    fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.key_file(name),
            Self::Secrets => PathBuf::from(format!("/run/secrets/{name}_key")),
        }
    }
}

/// Where a service finds and keeps things.
#[derive(Debug, Clone)]
pub struct Place {
    keys: Keys,
    bundle_file: PathBuf,
    blueprints: PathBuf,
    state: PathBuf,
    nats_url: String,
    http_listen: String,
}

/// The port of every service's page inside its container.
const CONTAINER_HTTP: &str = "0.0.0.0:7070";

impl Place {
    /// On this machine, out of the bootstrap directory.
    pub fn here(service: Service, directory: &Directory, nats_url: &str, http_port: u16) -> Self {
        Self {
            keys: Keys::Directory(directory.clone()),
            bundle_file: directory.bundle_file(),
            blueprints: directory.blueprints(),
            state: directory.path().join("state").join(service.name()),
            nats_url: nats_url.to_owned(),
            http_listen: format!("127.0.0.1:{http_port}"),
        }
    }

    /// In its container of deploy/compose.yaml.
    pub fn in_compose() -> Self {
        Self {
            keys: Keys::Secrets,
            bundle_file: "/marque/bundle.jwt".into(),
            blueprints: "/marque/blueprints".into(),
            state: "/state".into(),
            nats_url: "nats://nats:4222".into(),
            http_listen: CONTAINER_HTTP.into(),
        }
    }
}

/// The text of a service's configuration file.
pub fn text(service: Service, place: &Place, fingerprint: &Digest) -> String {
    let mut text = format!(
        "# Made by `marque nats bootstrap`. Flags and MARQUE_… environment variables override it: `{} config show --origin`.\n\
         key_file = {}\n\
         state_dir = {}\n\
         http_listen = {}\n\
         \n\
         [nats]\n\
         url = {}\n\
         \n\
         [bundle]\n\
         file = {}\n\
         pin = {}\n",
        service.binary(),
        path(&place.keys.file(service.key())),
        path(&place.state),
        quote(&place.http_listen),
        quote(&place.nats_url),
        path(&place.bundle_file),
        quote(&fingerprint.to_string()),
    );
    match service {
        Service::Issuer => text.push_str(&format!("\n[issuer]\nblueprints = {}\n", path(&place.blueprints))),
        Service::Gatekeeper => {
            text.push_str("\n[gatekeeper]\n");
            for (setting, name) in [
                ("callout_key_file", "callout"),
                ("kicker_key_file", "kicker"),
                ("account_key_file", ACCOUNT_KEY),
                ("xkey_file", XKEY),
            ] {
                text.push_str(&format!("{setting} = {}\n", path(&place.keys.file(name))));
            }
        }
        Service::Verifier | Service::Broadcaster | Service::Sink => {}
    }
    text
}

/// The binary of a machine's attestor. It is no [`Service`]: it needs no broker, and each machine has its own.
pub const ATTESTOR_BINARY: &str = "marque-attestor";

/// The text of an attestor's configuration file. `name` is that of its key file, `machine` what evidence states.
pub fn attestor_text(name: &str, machine: &str, directory: &Directory, http_port: u16, fingerprint: &Digest) -> String {
    format!(
        "# Made by `marque nats bootstrap`. Flags and MARQUE_… environment variables override it: `{ATTESTOR_BINARY} config show --origin`.\n\
         key_file = {}\n\
         http_listen = {}\n\
         \n\
         [bundle]\n\
         file = {}\n\
         pin = {}\n\
         \n\
         [attestor]\n\
         socket = {}\n\
         host = {}\n",
        path(&directory.key_file(name)),
        quote(&format!("127.0.0.1:{http_port}")),
        path(&directory.bundle_file()),
        quote(&fingerprint.to_string()),
        path(&directory.attestor_socket()),
        quote(machine),
    )
}

fn path(path: &Path) -> String {
    quote(&path.display().to_string())
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
