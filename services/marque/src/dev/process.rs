//! A service as a child process, started again where it ends by itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use super::backoff::Backoff;
use crate::Failure;
use crate::time::measured;

/// How much of a service's telemetry a failure shows.
const TAIL_LINES: usize = 8;
/// How long a service may drain.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// How a child process is run.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// What it is called.
    pub name: &'static str,
    /// The executable.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where its telemetry goes.
    pub log_file: PathBuf,
}

/// A child process, and what is to be done about it once it has ended. Killed when dropped;
/// [`ask_to_stop`](Self::ask_to_stop) lets it drain.
pub(super) struct ServiceProcess {
    recipe: Recipe,
    child: Child,
    begun: Instant,
    backoff: Backoff,
    /// It has ended, and is started again at this moment.
    again_at: Option<Instant>,
}

impl ServiceProcess {
    /// Starts it.
    pub(super) fn start(recipe: Recipe) -> Result<Self, Failure> {
        let child = recipe.spawn()?;
        Ok(Self { recipe, child, begun: Instant::now(), backoff: Backoff::default(), again_at: None })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.recipe.name
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Notices its end, and starts it again when that is due. What happened since the last look, in one line; for most
    /// looks nothing.
    pub(super) fn look(&mut self) -> Option<String> {
        let name = self.name();
        match self.again_at {
            None => {
                let status = self.ended()?;
                let delay = self.put_off();
                let log = self.log_file().display();
                Some(format!("{name} ended ({status}); it starts again in {}. Its telemetry: {log}", measured(delay)))
            }
            Some(at) if Instant::now() < at => None,
            Some(_) => match self.recipe.spawn() {
                Ok(child) => {
                    (self.child, self.begun, self.again_at) = (child, Instant::now(), None);
                    Some(format!("{name} runs again"))
                }
                Err(failure) => {
                    self.begun = Instant::now();
                    let delay = self.put_off();
                    Some(format!("{name} does not start: {}; tried again in {}", failure.message, measured(delay)))
                }
            },
        }
    }

    fn put_off(&mut self) -> Duration {
        let delay = self.backoff.after(self.begun.elapsed());
        self.again_at = Some(Instant::now() + delay);
        delay
    }

    /// The last lines of its telemetry.
    pub(super) fn tail(&self) -> String {
        let text = std::fs::read(&self.recipe.log_file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Where its telemetry goes.
    pub(super) fn log_file(&self) -> &Path {
        &self.recipe.log_file
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

impl Recipe {
    fn spawn(&self) -> Result<Child, Failure> {
        let wrong = |error: std::io::Error| Failure::file(&self.log_file, &error);
        let log = std::fs::File::options().create(true).append(true).open(&self.log_file).map_err(wrong)?;
        let log_too = log.try_clone().map_err(wrong)?;
        Command::new(&self.binary)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log_too)
            .stderr(log)
            // A group of its own: ctrl-c is ours to pass on, once.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::file(&self.binary, &error))
    }
}
