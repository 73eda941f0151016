//! A command that did not get its yes: code, what, why, and what to do next.

use std::path::Path;

use marque_agent::{AgentError, CallError, Denial};
use marque_identity::{Blame, Code, Refusal};
use serde::Serialize;

use crate::Exit;

/// Why a command failed, as people and scripts are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// Stable reason out of the one closed list.
    pub code: Code,
    /// The step of the algorithm that refused, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What happened, one sentence.
    pub message: String,
    /// Who has to change something.
    pub blame: Blame,
    /// What to do next, with a command.
    pub hint: String,
    /// Where a write may have happened: the key with which asking again changes nothing twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_key: Option<String>,
    /// The exit code.
    #[serde(serialize_with = "exit_number")]
    pub exit: Exit,
}

fn exit_number<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(exit.code())
}

impl Failure {
    /// A failure for this reason, with the reason's own hint and exit code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            step: None,
            message: message.into(),
            blame: code.blame(),
            hint: code.hint().to_owned(),
            retry_key: None,
            exit: Exit::of(code),
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::ConfigInvalid, message)
            .hint("`marque help` lists the commands; `marque <command> --help` its flags")
    }

    /// A file could not be read or written.
    pub fn file(path: &Path, error: &std::io::Error) -> Self {
        let message = format!("{}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::new(Code::NotFound, message)
                .hint("check the path, or name the directory of `marque nats bootstrap` with --dir"),
            std::io::ErrorKind::AlreadyExists => Self::new(Code::Conflict, message),
            std::io::ErrorKind::PermissionDenied => {
                Self { exit: Exit::NoPermission, ..Self::new(Code::Unavailable, message) }
                    .hint("check the file's owner and mode")
            }
            // `ErrorKind` is the library's, and open: whatever else it says, the file could not be used.
            _ => Self::new(Code::Unavailable, message).hint("check the disk and the path"),
        }
    }

    /// The same failure with a better hint than the reason's own.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same failure, at a step of the algorithm.
    #[must_use]
    pub fn step(mut self, step: impl Into<String>) -> Self {
        self.step = Some(step.into());
        self
    }

    /// The same failure, which may have changed something: ask again with this key.
    #[must_use]
    pub fn retry_key(mut self, key: impl Into<String>) -> Self {
        self.retry_key = Some(key.into());
        self
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let failure = Self { blame: refusal.blame, ..Self::new(refusal.code, refusal.message) };
        Self { step: refusal.step.map(str::to_owned), ..failure }
    }
}

impl From<marque_json::JsonError> for Failure {
    fn from(error: marque_json::JsonError) -> Self {
        let code = match error {
            marque_json::JsonError::Oversize { .. } => Code::Oversize,
            marque_json::JsonError::TooDeep { .. } => Code::TooDeep,
            marque_json::JsonError::DuplicateMember { .. } => Code::DuplicateMember,
            marque_json::JsonError::NotUtf8 { .. }
            | marque_json::JsonError::Syntax { .. }
            | marque_json::JsonError::Shape { .. } => Code::Malformed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        let hint = match denial.record {
            Some(record) => format!("{}; `marque audit explain {record}` tells the whole story", denial.hint),
            None => denial.hint,
        };
        let failure = Self { step: denial.step, blame: denial.blame, ..Self::new(denial.code, denial.message) };
        if hint.is_empty() { failure } else { failure.hint(hint) }
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Refused(denial) => (*denial).into(),
            AgentError::Unanswered(refusal) => refusal.into(),
            other => Self::new(other.code(), with_cause(&other)),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Denied(denial) | CallError::ToolFailed(denial) => (*denial).into(),
            CallError::Unanswered(refusal) => refusal.into(),
            other => Self::new(other.code(), with_cause(&other)),
        }
    }
}

/// An error's sentence, and its cause's.
fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_cause(cause)),
        None => error.to_string(),
    }
}
