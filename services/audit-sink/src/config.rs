//! What the sink is told beside what every service is.

use marque_runtime::{Common, ConfigError};
use serde::{Deserialize, Serialize};

/// Threads that judge, at the most: more than any machine of one sink has use for.
const JUDGING_THREADS_MAX: usize = 256;
const CHECKPOINT_INTERVAL_MS: u64 = 1000;
const CHECKPOINT_INTERVAL_MS_MIN: u64 = 50;
const CHECKPOINT_INTERVAL_MS_MAX: u64 = 60_000;

/// The sink's configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Broker, bundle, key, health page, state directory, telemetry.
    #[serde(flatten)]
    pub common: Common,
    /// The sink's own.
    pub audit_sink: AuditSink,
}

/// The sink's own section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditSink {
    /// Between two checkpoints while the log grows, in milliseconds.
    pub checkpoint_interval_ms: u64,
    /// Threads that check signatures; 0 takes one per core.
    pub judging_threads: usize,
    /// Show the log under `/log/` of the health page's address. Records are not secret within a trust domain, but
    /// they are not for everybody: bind the page accordingly, or set this to false.
    pub serve_log: bool,
}

impl Default for AuditSink {
    fn default() -> Self {
        Self { checkpoint_interval_ms: CHECKPOINT_INTERVAL_MS, judging_threads: 0, serve_log: true }
    }
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

impl AuditSink {
    /// How many threads judge.
    pub fn threads(&self) -> Result<usize, ConfigError> {
        match self.judging_threads {
            0 => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
            threads if threads <= JUDGING_THREADS_MAX => Ok(threads),
            threads => Err(ConfigError::Value(format!(
                "`audit_sink.judging_threads` is {threads}, at most {JUDGING_THREADS_MAX}"
            ))),
        }
    }

    /// Between two checkpoints.
    pub fn checkpoint_interval(&self) -> Result<std::time::Duration, ConfigError> {
        let allowed = CHECKPOINT_INTERVAL_MS_MIN..=CHECKPOINT_INTERVAL_MS_MAX;
        if !allowed.contains(&self.checkpoint_interval_ms) {
            return Err(ConfigError::Value(format!(
                "`audit_sink.checkpoint_interval_ms` is {}, must be {CHECKPOINT_INTERVAL_MS_MIN} to {CHECKPOINT_INTERVAL_MS_MAX}",
                self.checkpoint_interval_ms
            )));
        }
        Ok(std::time::Duration::from_millis(self.checkpoint_interval_ms))
    }
}
