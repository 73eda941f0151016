//! What the issuer is told beside what every service is.

use std::path::PathBuf;
use std::time::Duration;

use marque_runtime::{Common, ConfigError};
use serde::{Deserialize, Serialize};

use crate::attest::OidcConfig;

/// Rides out the 4 to 8 s that a crashed stream leader takes (PROTOCOL §6, the standard tier).
const STALENESS_BOUND_MS: u64 = 15_000;
/// A bound beyond this is none; verifiers deny long before.
const STALENESS_BOUND_MS_MAX: u64 = 60_000;

/// The issuer's configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Broker, bundle, key, health page, state directory, telemetry.
    #[serde(flatten)]
    pub common: Common,
    /// The issuer's own.
    pub issuer: IssuerConfig,
}

/// Section `[issuer]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct IssuerConfig {
    /// Directory of blueprints, one `<name>.toml` each.
    pub blueprints: Option<PathBuf>,
    /// How old the view of the directives may be, in milliseconds; beyond it everything is refused.
    pub staleness_bound_ms: u64,
    /// Whose OpenID Connect tokens and JWT-SVIDs blueprints may go by.
    pub oidc: Vec<OidcConfig>,
}

impl Default for IssuerConfig {
    fn default() -> Self {
        Self { blueprints: None, staleness_bound_ms: STALENESS_BOUND_MS, oidc: Vec::new() }
    }
}

impl IssuerConfig {
    /// The blueprints' directory, which must be configured.
    pub fn blueprints(&self) -> Result<&PathBuf, ConfigError> {
        let how = "a directory of blueprints, such as deploy/blueprints";
        self.blueprints.as_ref().ok_or(ConfigError::Missing { key: "issuer.blueprints", how })
    }

    /// The staleness bound.
    pub fn staleness_bound(&self) -> Result<Duration, ConfigError> {
        let bound = self.staleness_bound_ms;
        if !(1..=STALENESS_BOUND_MS_MAX).contains(&bound) {
            let message = format!("`issuer.staleness_bound_ms` is {bound}, not within 1 to {STALENESS_BOUND_MS_MAX}");
            return Err(ConfigError::Value(message));
        }
        Ok(Duration::from_millis(bound))
    }
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}
