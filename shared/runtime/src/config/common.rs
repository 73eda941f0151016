//! What every service is told: broker, bundle, key, health page, state directory, log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use marque_identity::Digest;
use marque_signing::TrustBundle;

use super::tree::read_text;
use super::{ConfigError, Secret};
use crate::keys;

/// A bundle names a handful of keys.
const BUNDLE_BYTES_MAX: u64 = 256 * 1024;

/// The keys that every service has. A service's configuration flattens this beside a section of its own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Common {
    /// The broker.
    pub nats: NatsConfig,
    /// The trust bundle.
    pub bundle: BundleConfig,
    /// The service's signing key: base64url of a 32-byte seed.
    pub key_file: Option<PathBuf>,
    /// `host:port` of the health page; none without it.
    pub http_listen: Option<String>,
    /// Where the service keeps its state.
    pub state_dir: Option<PathBuf>,
    /// Telemetry on stderr.
    pub log: LogConfig,
}

/// How to reach the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct NatsConfig {
    /// `nats://host:port`, or several separated by commas.
    pub url: String,
    /// A user's name, where the broker knows us by a password; without it we connect by the service's own key.
    pub user: Option<String>,
    /// The password itself: only by environment or a secret store.
    pub password: Option<Secret>,
    /// A file with the password on one line.
    pub password_file: Option<PathBuf>,
    /// The key to connect by, where it is not the service's own: base64url of a 32-byte seed.
    pub key_file: Option<PathBuf>,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self { url: "nats://127.0.0.1:4222".into(), user: None, password: None, password_file: None, key_file: None }
    }
}

impl NatsConfig {
    /// User and password, if a user is named. The file wins over the value.
    pub fn credentials(&self) -> Result<Option<(String, Secret)>, ConfigError> {
        let Some(user) = &self.user else { return Ok(None) };
        let password = match (&self.password_file, &self.password) {
            (Some(path), _) => keys::read_secret(path)?,
            (None, Some(password)) => password.clone(),
            (None, None) => {
                return Err(ConfigError::Missing { key: "nats.password_file", how: "a file with the user's password" });
            }
        };
        Ok(Some((user.clone(), password)))
    }
}

/// Which trust bundle holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BundleConfig {
    /// The bundle's file.
    pub file: Option<PathBuf>,
    /// The SHA-256 that it must have, 64 hexadecimal digits: its fingerprint, pinned at install.
    pub pin: Option<String>,
}

/// How telemetry is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `human` or `json`.
    pub format: LogFormat,
    /// A filter such as `info` or `warn,marque_bus=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".into() }
    }
}

/// The form of a line of telemetry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For a person.
    #[default]
    Human,
    /// One JSON object for each line.
    Json,
}

impl Common {
    /// The service's key, which must be configured.
    pub fn signing_key(&self) -> Result<marque_signing::SigningKey, ConfigError> {
        let path = self.key_file.as_deref().ok_or(ConfigError::Missing {
            key: "key_file",
            how: "the service's key, made by `marque nats bootstrap`",
        })?;
        Ok(keys::read_signing_key(path)?)
    }

    /// The key to connect to the broker by: the service's own unless another is configured.
    pub fn nats_key(&self) -> Result<marque_signing::SigningKey, ConfigError> {
        match &self.nats.key_file {
            Some(path) => Ok(keys::read_signing_key(path)?),
            None => self.signing_key(),
        }
    }

    /// The trust bundle, opened and compared with the pin where there is one.
    pub fn trust_bundle(&self) -> Result<TrustBundle, ConfigError> {
        let path = self.bundle.file.as_deref().ok_or(ConfigError::Missing {
            key: "bundle.file",
            how: "the trust bundle, made by `marque nats bootstrap`",
        })?;
        let pin = match self.bundle.pin.as_deref().filter(|pin| !pin.is_empty()) {
            Some(pin) => Some(
                pin.parse::<Digest>().map_err(|error| ConfigError::Value(format!("`bundle.pin` is wrong: {error}")))?,
            ),
            None => None,
        };
        let text = read_text(path, BUNDLE_BYTES_MAX)?;
        TrustBundle::open(text.trim(), pin).map_err(|source| ConfigError::Bundle { path: path.to_owned(), source })
    }

    /// The state directory, made if it is absent.
    pub fn state_dir(&self) -> Result<PathBuf, ConfigError> {
        let path = self
            .state_dir
            .clone()
            .ok_or(ConfigError::Missing { key: "state_dir", how: "a directory that only the service writes" })?;
        std::fs::create_dir_all(&path).map_err(|source| ConfigError::File { path: path.clone(), source })?;
        Ok(path)
    }
}
