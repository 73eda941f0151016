//! The attestor's configuration.

use std::path::PathBuf;

use marque_identity::Did;
use marque_runtime::{Common, ConfigError};
use marque_signing::{Role, TrustBundle};
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

    /// The machine's name, which the trust bundle must give this key: issuers believe it of no other. A key that the
    /// bundle does not know (yet) may be called anything.
    pub(crate) fn host_of(&self, bundle: &TrustBundle, key: &Did) -> Result<String, ConfigError> {
        let host = self.host()?;
        let named: Vec<&str> = bundle
            .services
            .iter()
            .filter(|service| service.role == Role::Attestor && service.did == *key)
            .map(|service| service.name.as_str())
            .collect();
        if !named.is_empty() && !named.contains(&host.as_str()) {
            let message =
                format!("`attestor.host` is {host}, and the trust bundle calls this machine {}", named.join(", "));
            return Err(ConfigError::Value(message));
        }
        Ok(host)
    }

    /// The machine's name.
    fn host(&self) -> Result<String, ConfigError> {
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
    use marque_identity::UnixSeconds;
    use marque_signing::{ServiceKey, SigningKey};

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

    #[test]
    fn refuses_a_name_that_the_bundle_gives_to_another() {
        let (own, other) = (SigningKey::from_seed(&[1; 32]).did(), SigningKey::from_seed(&[2; 32]).did());
        let service = |role, name: &str, did| ServiceKey { role, name: name.into(), did };
        let bundle = TrustBundle {
            trust_domain: "acme.example".parse().unwrap(),
            version: 1,
            issued_at: UnixSeconds(1),
            issuers: vec![],
            services: vec![
                service(Role::Attestor, "node-1", own),
                service(Role::Attestor, "node-2", other),
                service(Role::Host, "node-3", own),
            ],
            operators: vec![],
        };
        let named = |host: &str, key| {
            AttestorConfig { host: Some(host.to_owned()), ..AttestorConfig::default() }.host_of(&bundle, &key).is_ok()
        };
        assert!(named("node-1", own) && named("node-2", other));
        assert!(!named("node-2", own) && !named("node-3", own) && !named("node-4", own));
        assert!(named("node-4", SigningKey::from_seed(&[3; 32]).did()), "a bundle that does not know the key yet");
    }
}
