//! What can go wrong for an agent, apart by who has to change something.

use std::time::Duration;

use marque_bus::BusError;
use marque_credential::CredentialError;
use marque_identity::{Code, Did, Refusal};
use marque_json::JsonError;
use marque_judgement::record::SealError;
use marque_signing::{JwsError, jws};

use crate::Denial;

/// Why an agent was not enrolled, commissioned, or could not delegate.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The service answered no.
    #[error("{0}")]
    Refused(Box<Denial>),
    /// The service's answer is not what was agreed on.
    #[error("the answer can't be read")]
    Reply(#[source] JsonError),
    /// The request went out but no answer came, on no attempt.
    #[error("no answer from `{subject}` within {waited:?}: it may have happened")]
    OutcomeUnknown {
        /// Where it was sent.
        subject: String,
        /// How long in all.
        waited: Duration,
    },
    /// Nobody serves it, or there is no broker: nothing happened.
    #[error(transparent)]
    Unanswered(Refusal),
    /// The broker did not let the agent in with what it presents.
    #[error(transparent)]
    NotAdmitted(#[from] BusError),
    /// A chain that was handed over is no chain.
    #[error("the chain can't be read: {0}")]
    ChainUnreadable(&'static str),
    /// A chain that was handed over is bound to another's key.
    #[error("the chain's leaf is bound to {bound}, this agent is {own}")]
    NotTheHolder {
        /// Whom the leaf is bound to.
        bound: Did,
        /// Who adopts it.
        own: Did,
    },
    /// What was to be derived would not verify.
    #[error("the child would not verify: {0}")]
    Derive(#[source] CredentialError),
    /// A request could not be signed.
    #[error("the request could not be signed")]
    Sign(#[from] JwsError),
    /// A statement could not be signed.
    #[error("the statement could not be signed")]
    State(#[from] SealError),
}

/// Why a call has no answer of the tool.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The enforcement point said no, and the tool did not run.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// The call was permitted, and the tool failed, or nobody serves it (`tool_unserved`).
    #[error("{0}")]
    ToolFailed(Box<Denial>),
    /// No answer came: the tool may have run. The decision, if there was one, stands in the log under this `jti`.
    #[error("no answer from `{subject}` within {waited:?}: the tool may have run (action `{action}`)")]
    OutcomeUnknown {
        /// Where it was sent.
        subject: String,
        /// How long was waited.
        waited: Duration,
        /// The proof's `jti`.
        action: String,
    },
    /// Nobody serves it, or there is no broker: nothing happened.
    #[error(transparent)]
    Unanswered(Refusal),
    /// The arguments are not a JSON object, or go beyond a limit.
    #[error("the arguments are not a JSON object within the limits")]
    Arguments(#[source] JsonError),
    /// The arguments are JSON, but not an object.
    #[error("the arguments are not a JSON object")]
    NotAnObject,
    /// The proof could not be made.
    #[error("the proof can't be made: {0}")]
    Proof(#[source] CredentialError),
}

impl AgentError {
    /// The stable reason; of a refusal the one that the service gave.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(denial) => denial.code,
            Self::Reply(_) => Code::Internal,
            Self::NotAdmitted(error) => error.code(),
            Self::OutcomeUnknown { .. } => Code::OutcomeUnknown,
            Self::Unanswered(refusal) => refusal.code,
            Self::ChainUnreadable(_) => Code::Malformed,
            Self::NotTheHolder { .. } => Code::PossessionUnproven,
            Self::Derive(error) => error.code(),
            Self::Sign(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }
}

impl CallError {
    /// The stable reason; of a denial the one that the enforcement point gave.
    pub fn code(&self) -> Code {
        match self {
            Self::Denied(denial) | Self::ToolFailed(denial) => denial.code,
            Self::OutcomeUnknown { .. } => Code::OutcomeUnknown,
            Self::Unanswered(refusal) => refusal.code,
            Self::Arguments(error) => jws::json_code(error),
            Self::NotAnObject => Code::Malformed,
            Self::Proof(error) => error.code(),
        }
    }

    /// The answer of the enforcement point, if it gave one.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Denied(denial) | Self::ToolFailed(denial) => Some(denial),
            Self::OutcomeUnknown { .. }
            | Self::Unanswered(_)
            | Self::Arguments(_)
            | Self::NotAnObject
            | Self::Proof(_) => None,
        }
    }
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}
