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
    /// The argument of the command line that is wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<Box<str>>,
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
            argument: None,
            blame: code.blame(),
            hint: code.hint().to_owned(),
            retry_key: None,
            exit: Exit::of(code),
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A file could not be read or written: what was named is not what is needed there, or the disk failed.
    pub fn file(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let message = format!("{}: {error}", path.display());
        let unusable = || Self::new(Code::FileUnusable, message.clone());
        match error.kind() {
            ErrorKind::NotFound => Self::new(Code::NotFound, message)
                .hint("check the path, or name the directory of `marque nats bootstrap` with --dir"),
            ErrorKind::AlreadyExists => Self::new(Code::Conflict, message),
            ErrorKind::PermissionDenied => {
                Self { exit: Exit::NoPermission, ..unusable() }.hint("check the file's owner and mode")
            }
            ErrorKind::NotADirectory => unusable().hint("name a directory"),
            ErrorKind::IsADirectory => unusable().hint("name a file"),
            ErrorKind::InvalidData => unusable().hint("name a file of text: this one is not UTF-8"),
            ErrorKind::ReadOnlyFilesystem => unusable().hint("name a place that can be written"),
            ErrorKind::InvalidInput | ErrorKind::InvalidFilename => unusable(),
            // `ErrorKind` is the library's, and open: whatever else it says is the disk's word, not the path's.
            _ => Self { exit: Exit::Undecided, blame: Blame::World, ..unusable() }.hint("check the disk and the path"),
        }
    }

    /// The same failure with a better hint than the reason's own.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same failure as the user of one command meets it: a hint to run that very command again helps nobody.
    #[must_use]
    pub(crate) fn met_in(mut self, command: &str) -> Self {
        self.hint = elsewhere(&self.hint, command);
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

/// A hint without its clauses that name this command as the thing to run.
pub(crate) fn elsewhere(hint: &str, command: &str) -> String {
    let itself = format!("`marque {command}`");
    let clauses: Vec<&str> = hint.split("; ").filter(|clause| !clause.contains(&itself)).collect();
    if clauses.is_empty() { format!("`marque {command} --help` says what it takes") } else { clauses.join("; ") }
}

/// An error's sentence, and its cause's.
fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        // Some tell their cause themselves.
        Some(cause) if error.to_string().ends_with(&cause.to_string()) => error.to_string(),
        Some(cause) => format!("{error}: {}", with_cause(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_hint_names_no_command_that_was_just_run() {
        let hint = "start one; `marque doctor` looks; `marque doctor --dir DIR` connects as the operator";
        assert_eq!(elsewhere(hint, "doctor"), "start one; `marque doctor --dir DIR` connects as the operator");
        assert_eq!(elsewhere(hint, "agent ls"), hint);
        assert_eq!(elsewhere("`marque doctor`", "doctor"), "`marque doctor --help` says what it takes");
    }

    #[test]
    fn a_file_that_is_not_what_it_was_named_for_is_usage_and_the_disks_own_trouble_is_not() {
        for (kind, code, exit) in [
            (ErrorKind::NotFound, Code::NotFound, Exit::NotFoundOrConflict),
            (ErrorKind::AlreadyExists, Code::Conflict, Exit::NotFoundOrConflict),
            (ErrorKind::PermissionDenied, Code::FileUnusable, Exit::NoPermission),
            (ErrorKind::NotADirectory, Code::FileUnusable, Exit::Usage),
            (ErrorKind::IsADirectory, Code::FileUnusable, Exit::Usage),
            (ErrorKind::InvalidData, Code::FileUnusable, Exit::Usage),
            (ErrorKind::StorageFull, Code::FileUnusable, Exit::Undecided),
            (ErrorKind::Other, Code::FileUnusable, Exit::Undecided),
        ] {
            let failure = Failure::file(Path::new("there"), &Error::from(kind));
            assert_eq!((failure.code, failure.exit), (code, exit), "{kind:?}");
            assert!(failure.message.starts_with("there: ") && !failure.hint.is_empty(), "{failure:?}");
        }
    }
}
