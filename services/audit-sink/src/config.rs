//! What the sink is told beside what every service is.

use std::ops::RangeInclusive;
use std::time::Duration;

use marque_runtime::{Common, ConfigError};
use serde::{Deserialize, Serialize};

/// Threads that judge, at the most: more than any machine of one sink has use for.
const JUDGING_THREADS_MAX: usize = 256;
const CHECKPOINT_INTERVAL_MS: u64 = 1000;
const CHECKPOINT_INTERVAL_MS_MIN: u64 = 50;
const CHECKPOINT_INTERVAL_MS_MAX: u64 = 60_000;

/// Between two statements of heads: a minute of a chain's end is open, and an active key costs a line a minute.
const HEADS_INTERVAL_MS: u64 = 60_000;
const HEADS_INTERVAL_MS_MIN: u64 = 100;
const HEADS_INTERVAL_MS_MAX: u64 = 3_600_000;

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
    /// Between two statements of the heads of chains that grew, in milliseconds.
    pub heads_interval_ms: u64,
    /// Show the log under `/log/` of the health page's address. Records are not secret within a trust domain, but
    /// they are not for everybody: bind the page accordingly, or set this to false.
    pub serve_log: bool,
}

impl Default for AuditSink {
    fn default() -> Self {
        Self {
            checkpoint_interval_ms: CHECKPOINT_INTERVAL_MS,
            judging_threads: 0,
            heads_interval_ms: HEADS_INTERVAL_MS,
            serve_log: true,
        }
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
    pub fn checkpoint_interval(&self) -> Result<Duration, ConfigError> {
        let allowed = CHECKPOINT_INTERVAL_MS_MIN..=CHECKPOINT_INTERVAL_MS_MAX;
        interval("audit_sink.checkpoint_interval_ms", self.checkpoint_interval_ms, allowed)
    }

    /// Between two statements of heads.
    pub fn heads_interval(&self) -> Result<Duration, ConfigError> {
        let allowed = HEADS_INTERVAL_MS_MIN..=HEADS_INTERVAL_MS_MAX;
        interval("audit_sink.heads_interval_ms", self.heads_interval_ms, allowed)
    }
}

fn interval(key: &str, ms: u64, allowed: RangeInclusive<u64>) -> Result<Duration, ConfigError> {
    if !allowed.contains(&ms) {
        let (least, most) = (allowed.start(), allowed.end());
        return Err(ConfigError::Value(format!("`{key}` is {ms}, must be {least} to {most}")));
    }
    Ok(Duration::from_millis(ms))
}
