//! Why bytes are no directive, heartbeat, ack or request of ours.

use marque_identity::{Code, Refusal};
use marque_json::JsonError;
use marque_signing::JwsError;

use crate::TargetKind;

/// A refusal, named by the rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// Not a token that verifies.
    #[error("not a token that verifies: {0}")]
    Token(#[source] JwsError),
    /// Could not be written as JSON.
    #[error("cannot be written as JSON: {0}")]
    Json(#[source] JsonError),
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The signer is none of those who may sign this.
    #[error("signed by none of the keys that may sign this")]
    SignerUnknown,
    /// The payload is not, byte for byte, the canonical form of what it says.
    #[error("not the canonical form of what it says")]
    NotCanonical,
    /// A target's value is not of its kind.
    #[error("a target of kind {kind} has no such value: {reason}")]
    TargetInvalid {
        /// The kind.
        kind: TargetKind,
        /// The rule.
        reason: String,
    },
    /// A member is missing, too many, or too long for this `op`.
    #[error("{rule}")]
    Shape {
        /// The rule.
        rule: &'static str,
    },
}

impl RevocationError {
    /// The outward code.
    pub fn code(&self) -> Code {
        match self {
            Self::Token(error) => error.code(),
            Self::Json(error) => marque_signing::jws::json_code(error),
            Self::NotUtf8 => Code::Malformed,
            Self::SignerUnknown => Code::SignatureInvalid,
            Self::NotCanonical | Self::Shape { .. } => Code::ClaimsMalformed,
            Self::TargetInvalid { .. } => Code::TargetInvalid,
        }
    }
}

impl From<JwsError> for RevocationError {
    fn from(error: JwsError) -> Self {
        Self::Token(error)
    }
}

impl From<RevocationError> for Refusal {
    fn from(error: RevocationError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}
