//! What the broadcaster is told beside what every service is.

use std::time::Duration;

use marque_runtime::{Common, ConfigError};
use serde::{Deserialize, Serialize};

/// How long the slowest verifier is waited for: longer than a broadcaster that has just started needs to learn who is
/// present ([`crate::roster::COMPLETE_AFTER`]), and than a lost ack needs to be made good by presence. By the standard
/// tier's bound (15 s) a silent one has failed closed; a person at a terminal has given up before.
const REACH_WAIT_MS: u64 = 6_000;
const REACH_WAIT_MS_MAX: u64 = 15_000;

/// The broadcaster's configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Broker, bundle, key, health page, state directory, telemetry.
    #[serde(flatten)]
    pub common: Common,
    /// The broadcaster's own.
    pub broadcaster: BroadcasterConfig,
}

/// Section `[broadcaster]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct BroadcasterConfig {
    /// How long verifiers are waited for before a convergence receipt names them as silent, in milliseconds.
    pub reach_wait_ms: u64,
}

impl Default for BroadcasterConfig {
    fn default() -> Self {
        Self { reach_wait_ms: REACH_WAIT_MS }
    }
}

impl BroadcasterConfig {
    /// How long verifiers are waited for.
    pub fn reach_wait(&self) -> Result<Duration, ConfigError> {
        let wait = self.reach_wait_ms;
        if !(1..=REACH_WAIT_MS_MAX).contains(&wait) {
            let message = format!("`broadcaster.reach_wait_ms` is {wait}, not within 1 to {REACH_WAIT_MS_MAX}");
            return Err(ConfigError::Value(message));
        }
        Ok(Duration::from_millis(wait))
    }
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}
