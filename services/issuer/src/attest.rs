//! Attestation: what a new agent shows, judged piece by piece against what its blueprint demands.
//!
//! ```text
//! join token       an operator's word         join
//! oidc, JWT-SVID   another issuer's word      attest::oidc, under keys of attest::source, read by attest::key_set
//! process          a host agent's word        attest::process
//! manifest         the agent's own word       attest::manifest: claimed, unless an attestor measured the same code
//! ```
//!
//! Each piece but the manifest enrols once: its use stands in the store until long after it has expired.

pub mod config;
mod key_set;
pub(crate) mod manifest;
pub(crate) mod oidc;
pub(crate) mod process;
mod source;

use marque_credential::EvidenceDigest;

use crate::store::EvidenceUse;

pub use config::{OidcConfig, OidcConfigError};
pub use source::Issuers;

/// How long a used piece of evidence is remembered after its end, in seconds: a clock set back a day does not revive it.
pub const EVIDENCE_MEMORY_SECONDS: i64 = 24 * 3600;

/// A piece of evidence that holds, and that it is used by this.
#[derive(Debug)]
pub(crate) struct Attested {
    pub(crate) evidence: EvidenceDigest,
    pub(crate) used: EvidenceUse,
}
