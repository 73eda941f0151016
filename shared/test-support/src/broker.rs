//! A private nats-server with our accounts, permissions and streams.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use marque_bus::permissions::{BusRole, ServerSettings, User, server_config};
use marque_bus::{Bus, ConnectOptions};
use marque_runtime::nats_server::{self, NatsServer};
use marque_signing::SigningKey;
use tempfile::TempDir;

use crate::free_port;

const START_DEADLINE: Duration = Duration::from_secs(20);
/// Another process may take the port between our choice and the server's start.
const PORTS_TRIED: usize = 5;

/// A nats-server of the test's own on 127.0.0.1, in a directory that goes with it.
pub struct Broker {
    // Dropped before its directory.
    server: NatsServer,
    address: String,
    binary: PathBuf,
    dir: TempDir,
}

impl Broker {
    /// Starts one, with the streams in place, as `bootstrap` makes them.
    pub async fn start() -> Self {
        let broker = Self::start_empty(false);
        broker.connect(BusRole::Bootstrap).await.bootstrap_streams(1).await.unwrap();
        broker
    }

    /// Starts one without streams; with `sync_always` each write is synced before its ack.
    pub fn start_empty(sync_always: bool) -> Self {
        let binary = binary();
        let dir = tempfile::tempdir().unwrap();
        let mut failures = Vec::new();
        for _ in 0..PORTS_TRIED {
            let address = format!("127.0.0.1:{}", free_port());
            let settings = ServerSettings {
                listen: address.clone(),
                store_dir: dir.path().join("store").display().to_string(),
                sync_always,
                monitor: None,
                users: BusRole::ALL.iter().map(|role| User { role: *role, key: Self::key(*role).public() }).collect(),
                callout: None,
            };
            std::fs::write(dir.path().join("nats.conf"), server_config(&settings)).unwrap();
            match spawn(&binary, dir.path(), &address) {
                Ok(server) => return Self { server, address, binary, dir },
                Err(failure) => failures.push(failure),
            }
        }
        panic!("{}", failures.join("\n"));
    }

    /// `nats://host:port`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The key of a role's user.
    pub fn key(role: BusRole) -> SigningKey {
        let place = BusRole::ALL.iter().position(|other| *other == role).unwrap();
        SigningKey::from_seed(&[0xb0 + u8::try_from(place).unwrap(); 32])
    }

    /// The directory: `nats.conf`, `nats.log`, `store/`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How to connect as a role.
    pub fn options(&self, role: BusRole) -> ConnectOptions {
        ConnectOptions::new(self.url(), format!("test-{}", role.as_str())).signing_key(Arc::new(Self::key(role)))
    }

    /// Connects as a role.
    pub async fn connect(&self, role: BusRole) -> Bus {
        Bus::connect_now(self.options(role), START_DEADLINE).await.unwrap()
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again after a [`kill`](Self::kill), on the same port and store.
    pub fn restart(&mut self) {
        let mut failures = Vec::new();
        for _ in 0..PORTS_TRIED {
            match spawn(&self.binary, self.dir.path(), &self.address) {
                Ok(server) => return self.server = server,
                Err(failure) => failures.push(failure),
            }
        }
        panic!("{}", failures.join("\n"));
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

fn spawn(binary: &Path, dir: &Path, address: &str) -> Result<NatsServer, String> {
    NatsServer::start(binary, &dir.join("nats.conf"), address, &dir.join("nats.log"), START_DEADLINE)
        .map_err(|error| error.to_string())
}

/// Found once for each process; fetched into the build folder where it has to be.
fn binary() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let target = std::env::var_os("CARGO_TARGET_DIR")
                .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
            nats_server::find(&target.join("nats-server")).unwrap_or_else(|error| panic!("{error}"))
        })
        .clone()
}
