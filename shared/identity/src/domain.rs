//! The trust domain: the name under which one operator's keys, agents and log stand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A DNS name's limit (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// A trust domain: a lower-case DNS-like name such as `acme.example`. Source: SPIFFE ID §2.1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(String);

/// A text that is no trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a trust domain is 1 to {NAME_BYTES_MAX} of a-z 0-9 . - _")]
pub struct TrustDomainError;

impl TrustDomain {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The issuer's URI, the `iss` of root tokens: `https://<domain>`.
    pub fn issuer_uri(&self) -> String {
        format!("https://{}", self.0)
    }

    /// The audience of a tool served on a bus subject: `nats://<domain>/<subject>`.
    pub fn audience(&self, bus_subject: &str) -> String {
        format!("nats://{}/{bus_subject}", self.0)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(TrustDomainError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = TrustDomainError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0
    }
}
