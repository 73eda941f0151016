//! The gatekeeper's configuration.

use std::path::PathBuf;
use std::time::Duration;

use marque_agent::enforce::{STALENESS_MAX_MS, STALENESS_MIN_MS};
use marque_runtime::{Common, ConfigError};
use serde::{Deserialize, Serialize};

use crate::connections::CONNECTIONS_MAX;
use crate::renewal::RENEWALS_MAX;

/// Shorter, a connection would end while the client still waits for its first answer.
const CONNECTION_LIFE_SECONDS_MIN: u64 = 5;
/// A day: a connection is looked at again at least that often, whatever else happens.
const CONNECTION_LIFE_SECONDS_MAX: u64 = 24 * 3600;
/// So long before its end at the most, and half its life at the most, a connection is renewed: as many as may be there
/// take 79 s, where all came at once.
const RENEW_BEFORE_MAX: Duration = Duration::from_secs(80);
const _: () = assert!(CONNECTIONS_MAX <= RENEWALS_MAX * 80);
/// Questions in hand at once; each holds its chain, 64 KiB at the most.
const REQUESTS_MAX: usize = 4096;

/// Everything that the gatekeeper is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// What every service is told.
    #[serde(flatten)]
    pub common: Common,
    /// The gatekeeper's own section.
    pub gatekeeper: GatekeeperConfig,
}

/// The section `[gatekeeper]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct GatekeeperConfig {
    /// The key by which it connects where the broker asks whom to let in.
    pub callout_key_file: Option<PathBuf>,
    /// The key by which it connects where connections are seen and closed.
    pub kicker_key_file: Option<PathBuf>,
    /// The key that signs users. Whoever holds it can be anybody.
    pub account_key_file: Option<PathBuf>,
    /// The seed of the xkey that questions are sealed for.
    pub xkey_file: Option<PathBuf>,
    /// How long a connection lives at most, seconds. A little before that it is closed, its client connects anew and is
    /// judged anew. The life of a task and of a credential are looked after by themselves.
    pub connection_life_seconds: u64,
    /// How long whoever shows nothing but a key may take to enrol, seconds.
    pub enrol_life_seconds: u64,
    /// How old the view of the directives may be to let somebody in, milliseconds.
    pub staleness_ms: u64,
    /// How many questions are answered at once.
    pub requests_max: usize,
    /// How many connections one key may have at a time, at all servers together.
    pub connections_per_agent: usize,
    /// Tools whose arguments are kept out of the log, so that they can be erased: names, or `nats:` patterns, as the
    /// verifier and the tool hosts have them. What an agent states of its own calls of them is refused.
    pub erasable: Vec<String>,
}

impl Default for GatekeeperConfig {
    fn default() -> Self {
        Self {
            callout_key_file: None,
            kicker_key_file: None,
            account_key_file: None,
            xkey_file: None,
            connection_life_seconds: 3600,
            enrol_life_seconds: 120,
            // The standard tier's (PROTOCOL §6): rides out a leader crash; a tool's own bound holds all the same.
            staleness_ms: 15_000,
            requests_max: 256,
            // A process holds one, or one for each task; so many tasks at once are many.
            connections_per_agent: 64,
            erasable: Vec::new(),
        }
    }
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// How long connections live, and how fresh a view they are judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// A connection's life.
    pub(crate) connection_life_seconds: i64,
    /// The life of one that may only enrol.
    pub(crate) enrol_life_seconds: i64,
    /// The view's age.
    pub(crate) staleness: Duration,
    /// Questions in hand.
    pub(crate) requests_max: usize,
    /// Connections of one key.
    pub(crate) connections_per_agent: usize,
}

impl Bounds {
    /// The age at which a connection is renewed: before the broker ends it.
    pub(crate) fn renewed_after(&self) -> Duration {
        let life = Duration::from_secs(u64::try_from(self.connection_life_seconds).unwrap_or(0));
        life.saturating_sub(RENEW_BEFORE_MAX.min(life / 2))
    }
}

impl GatekeeperConfig {
    /// The bounds, checked.
    pub(crate) fn bounds(&self) -> Result<Bounds, ConfigError> {
        let within = |key: &str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                return Ok(value);
            }
            Err(ConfigError::Value(format!("`gatekeeper.{key}` is {value}, it must be {min} to {max}")))
        };
        let life = |key, value| {
            let seconds = within(key, value, CONNECTION_LIFE_SECONDS_MIN, CONNECTION_LIFE_SECONDS_MAX)?;
            Ok::<_, ConfigError>(i64::try_from(seconds).unwrap_or(i64::MAX))
        };
        if !(1..=REQUESTS_MAX).contains(&self.requests_max) {
            return Err(ConfigError::Value(format!("`gatekeeper.requests_max` must be 1 to {REQUESTS_MAX}")));
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections_per_agent) {
            let message = format!("`gatekeeper.connections_per_agent` must be 1 to {CONNECTIONS_MAX}");
            return Err(ConfigError::Value(message));
        }
        let staleness = within("staleness_ms", self.staleness_ms, STALENESS_MIN_MS, STALENESS_MAX_MS)?;
        Ok(Bounds {
            connection_life_seconds: life("connection_life_seconds", self.connection_life_seconds)?,
            enrol_life_seconds: life("enrol_life_seconds", self.enrol_life_seconds)?,
            staleness: Duration::from_millis(staleness),
            requests_max: self.requests_max,
            connections_per_agent: self.connections_per_agent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renews_a_connection_before_its_life_is_over() {
        let of_life = |connection_life_seconds| {
            let config = GatekeeperConfig { connection_life_seconds, ..GatekeeperConfig::default() };
            config.bounds().unwrap().renewed_after().as_millis()
        };
        assert_eq!((of_life(CONNECTION_LIFE_SECONDS_MIN), of_life(60), of_life(3600)), (2500, 30_000, 3_520_000));
    }

    #[test]
    fn refuses_bounds_that_serve_nobody() {
        assert!(GatekeeperConfig::default().bounds().is_ok());
        let with = |change: fn(&mut GatekeeperConfig)| {
            let mut config = GatekeeperConfig::default();
            change(&mut config);
            config.bounds()
        };
        assert!(with(|c| c.connection_life_seconds = CONNECTION_LIFE_SECONDS_MIN - 1).is_err());
        assert!(with(|c| c.connection_life_seconds = CONNECTION_LIFE_SECONDS_MAX + 1).is_err());
        assert!(with(|c| c.enrol_life_seconds = 0).is_err());
        assert!(with(|c| c.staleness_ms = STALENESS_MIN_MS - 1).is_err());
        assert!(with(|c| c.staleness_ms = STALENESS_MAX_MS + 1).is_err());
        assert!(with(|c| c.requests_max = 0).is_err());
        assert!(with(|c| c.requests_max = REQUESTS_MAX + 1).is_err());
        assert!(with(|c| c.connections_per_agent = 0).is_err());
        assert!(with(|c| c.connections_per_agent = CONNECTIONS_MAX + 1).is_err());
        assert!(with(|c| c.connections_per_agent = 1).is_ok());
    }
}
