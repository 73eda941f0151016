//! Asking a service, and what its answer means.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use marque_identity::{Blame, Code, Refusal};
use serde::{Deserialize, Serialize};

use crate::Bus;

/// A service's good answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Headers; often none.
    pub headers: HeaderMap,
    /// The body.
    pub payload: Bytes,
}

impl From<Vec<u8>> for Reply {
    fn from(payload: Vec<u8>) -> Self {
        Self { headers: HeaderMap::new(), payload: payload.into() }
    }
}

impl From<Bytes> for Reply {
    fn from(payload: Bytes) -> Self {
        Self { headers: HeaderMap::new(), payload }
    }
}

/// A refusal as it travels: the JSON body of a service error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireRefusal {
    /// Stable reason.
    pub code: Code,
    /// The step that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// One sentence.
    pub message: String,
    /// Who has to change something.
    pub blame: Blame,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// The id of the *decided* record behind it, if one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

impl From<&Refusal> for WireRefusal {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code,
            step: refusal.step.map(str::to_owned),
            message: refusal.message.clone(),
            blame: refusal.blame,
            hint: refusal.code.hint().to_owned(),
            record: None,
        }
    }
}

/// Why a call gave no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The service refused, in our form.
    #[error(transparent)]
    Refused(WireRefusal),
    /// The service answered with an error that is not in our form (a tool of another make).
    #[error("service error {code}: {message}")]
    Foreign {
        /// `Nats-Service-Error-Code`.
        code: String,
        /// `Nats-Service-Error`.
        message: String,
    },
    /// No answer: `unavailable` if it was certainly not handled, `outcome_unknown` if it may have been.
    #[error(transparent)]
    Unanswered(Refusal),
}

impl CallError {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Foreign { .. } => Code::ToolFailed,
            Self::Unanswered(refusal) => refusal.code,
        }
    }
}

impl Bus {
    /// Asks the service on `subject` and waits for its answer at most `timeout`.
    pub async fn request(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        let _ = (subject, headers, payload.into(), timeout);
        todo!()
    }
}
