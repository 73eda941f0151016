//! A service as a child process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::Failure;

/// How much of a service's telemetry a failure shows.
const TAIL_LINES: usize = 8;
/// How long a service may drain.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// A running service. Killed when dropped; [`stop`](Self::stop) lets it drain.
pub(super) struct ServiceProcess {
    name: &'static str,
    child: Child,
    log_file: PathBuf,
    reported: bool,
}

impl ServiceProcess {
    /// Starts the service's binary on its configuration file; its telemetry goes to `log_file`.
    pub(super) fn start(name: &'static str, binary: &Path, config: &Path, log_file: &Path) -> Result<Self, Failure> {
        let log = std::fs::File::options().create(true).append(true).open(log_file);
        let log = log.map_err(|error| Failure::file(log_file, &error))?;
        let log_too = log.try_clone().map_err(|error| Failure::file(log_file, &error))?;
        let child = Command::new(binary)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log_too)
            .stderr(log)
            // A group of its own: ctrl-c is ours to pass on, once.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::file(binary, &error))?;
        Ok(Self { name, child, log_file: log_file.to_path_buf(), reported: false })
    }

    /// Which service.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// How it ended, if it has ended and this was not told before.
    pub(super) fn newly_ended(&mut self) -> Option<ExitStatus> {
        if self.reported {
            return None;
        }
        let status = self.child.try_wait().ok().flatten();
        self.reported = status.is_some();
        status
    }

    /// The last lines of its telemetry.
    pub(super) fn tail(&self) -> String {
        let text = std::fs::read(&self.log_file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Where its telemetry goes.
    pub(super) fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// Asks it to drain.
    pub(super) fn ask_to_stop(&self) {
        // None: it has ended by itself, and there is nobody to ask.
        if let Some(pid) = self.child.id() {
            marque_runtime::nats_server::terminate(pid);
        }
    }

    /// Waits until it has drained, and kills it where that takes too long.
    pub(super) async fn stopped(&mut self) {
        if tokio::time::timeout(DRAIN_TIME, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
