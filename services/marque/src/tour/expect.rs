//! Comparing what came with what the story says must come.

use marque_agent::{Answer, CallError, Denial};
use marque_identity::Code;

use crate::{Exit, Failure};

/// The story took another turn: a definite no.
pub(super) fn otherwise(message: impl Into<String>) -> Failure {
    Failure { exit: Exit::No, ..Failure::new(Code::Internal, message) }
}

/// A call that must be permitted.
pub(super) fn permitted(outcome: Result<Answer, CallError>) -> Result<Answer, Failure> {
    outcome.map_err(|error| otherwise(format!("this must be permitted, but: {error}")))
}

/// A call that must be denied for this reason.
pub(super) fn denied(outcome: Result<Answer, CallError>, code: Code) -> Result<Denial, Failure> {
    match outcome {
        Ok(_) => Err(otherwise(format!("this must be denied as {code}, but was permitted"))),
        Err(CallError::Denied(denial)) if denial.code == code => Ok(*denial),
        Err(error) => Err(otherwise(format!("this must be denied as {code}, but: {error}"))),
    }
}

/// A denial in one line: step, code, sentence.
pub(super) fn told(denial: &Denial) -> String {
    let step = denial.step.as_deref().unwrap_or("-");
    format!("DENIED at step {step}: {} ({})", denial.message, denial.code)
}
