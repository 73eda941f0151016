//! The attestor's configuration.

use std::path::PathBuf;

use marque_runtime::{Common, ConfigError};
use serde::{Deserialize, Serialize};

/// A DNS name's length (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// Everything that the attestor is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// What every service is told. The attestor uses the key, the bundle, the health page and the log.
    #[serde(flatten)]
    pub common: Common,
    /// The attestor's own section.
    pub attestor: AttestorConfig,
}

/// The section `[attestor]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttestorConfig {
    /// The path of its Unix socket.
    pub socket: Option<PathBuf>,
    /// The machine's name, as evidence states it.
    pub host: Option<String>,
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

impl AttestorConfig {
    /// The socket's path.
    pub(crate) fn socket(&self) -> Result<PathBuf, ConfigError> {
        let how = "where processes of this machine reach it, such as /run/marque/attestor.sock";
        self.socket.clone().ok_or(ConfigError::Missing { key: "attestor.socket", how })
    }

    /// The machine's name.
    pub(crate) fn host(&self) -> Result<String, ConfigError> {
        let how = "the machine's name, as evidence states it";
        let host = self.host.clone().ok_or(ConfigError::Missing { key: "attestor.host", how })?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(is_plain) {
            let message = format!("`attestor.host` must be 1 to {HOST_BYTES_MAX} letters, digits, `-`, `.` or `_`");
            return Err(ConfigError::Value(message));
        }
        Ok(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_name_that_is_no_machine_s() {
        let named = |host: &str| AttestorConfig { host: Some(host.to_owned()), ..AttestorConfig::default() }.host();
        assert_eq!(named("node-1.acme.example").unwrap(), "node-1.acme.example");
        assert!(named(&"a".repeat(HOST_BYTES_MAX)).is_ok());
        for bad in ["", "a b", "a\nb", "ä", &"a".repeat(HOST_BYTES_MAX + 1)] {
            assert!(named(bad).is_err(), "{bad}");
        }
        assert!(AttestorConfig::default().host().is_err());
    }
}
