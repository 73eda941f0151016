//! Why a credential was not made, or not believed.

use marque_identity::refusal::{Code, Refusal};
use marque_json::JsonError;
use marque_signing::{JwsError, KeyError};

use crate::tools::{ToolsError, Widening};

/// Why a credential was not made, or not believed. Chains have their own refusals, with their steps
/// (`marque-judgement`).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CredentialError {
    /// The envelope.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// The payload's JSON.
    #[error("the payload is not the JSON that belongs here: {0}")]
    Json(#[source] JsonError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A claim is missing or not of its kind.
    #[error("claim `{name}` is missing or not of its kind")]
    Claim {
        /// Which.
        name: &'static str,
    },
    /// The signer does not hold the token that it derives from or proves.
    #[error("the key does not hold the token")]
    NotHolder,
    /// The tools are not well-formed.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// A child would grant more than its parent.
    #[error(transparent)]
    Widened(#[from] Widening),
    /// A depth rule would be broken (AAT §4.3).
    #[error("{reason}")]
    Depth {
        /// Which.
        reason: &'static str,
    },
    /// A time rule would be broken (AAT §4.4).
    #[error("{reason}")]
    Life {
        /// Which.
        reason: &'static str,
    },
    /// The token would be larger than one may be.
    #[error("the token has {bytes} bytes where {bytes_max} are allowed")]
    Oversize {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// An issuer that is no URI (AAT §3.2).
    #[error("the issuer is not a URI")]
    IssuerNotUri,
    /// An identity credential that no given issuer signed.
    #[error("no known issuer signed the credential")]
    IssuerUnknown,
    /// An identity credential out of its time.
    #[error("the credential has expired, or is from the future")]
    OutOfTime,
    /// The JWT library refused.
    #[error("the credential could not be encoded or decoded: {reason}")]
    Library {
        /// Its words.
        reason: String,
    },
}

impl CredentialError {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Jws(error) => error.code(),
            Self::Json(error) => marque_signing::jws::json_code(error),
            Self::Key(error) => error.code(),
            Self::Claim { .. } => Code::ClaimsMalformed,
            Self::NotHolder => Code::PossessionUnproven,
            Self::Tools(error) => error.code(),
            Self::Widened(_) => Code::AuthorityWidened,
            Self::Depth { .. } => Code::DepthInvalid,
            Self::Life { .. } => Code::LifetimeInvalid,
            Self::Oversize { .. } => Code::Oversize,
            Self::IssuerNotUri => Code::ClaimsMalformed,
            Self::IssuerUnknown | Self::Library { .. } => Code::CredentialInvalid,
            Self::OutOfTime => Code::TokenExpired,
        }
    }

    /// The step of AAT §8 that would refuse, where it is one.
    pub fn step(&self) -> Option<&'static str> {
        if let Self::Widened(widening) = self { Some(widening.step) } else { None }
    }
}

impl From<CredentialError> for Refusal {
    fn from(error: CredentialError) -> Self {
        Refusal { step: error.step(), ..Refusal::new(error.code(), error.to_string()) }
    }
}
