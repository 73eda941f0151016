//! Why a chain, a call or a proof was refused: at which step of AAT §8.

use marque_identity::refusal::{Blame, Code, Refusal};

/// A refusal at a step of the algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {message}")]
pub struct ChainRefusal {
    /// The step's name in AAT §8: `"1"`, `"2a"` … `"7h"`; ours follow.
    pub step: &'static str,
    /// Stable reason.
    pub code: Code,
    /// One sentence, lower-case; outside input in backticks, cut short.
    pub message: String,
    /// The constraint that decided, as JSON text.
    pub constraint: Option<String>,
}

impl ChainRefusal {
    /// A refusal without a constraint.
    pub fn at(step: &'static str, code: Code, message: impl Into<String>) -> Self {
        Self { step, code, message: message.into(), constraint: None }
    }

    /// Who has to change something.
    pub fn blame(&self) -> Blame {
        self.code.blame()
    }
}

impl From<ChainRefusal> for Refusal {
    fn from(refusal: ChainRefusal) -> Self {
        Refusal::at(refusal.step, refusal.code, refusal.message)
    }
}

/// Refuses at a step, where a rule does not hold.
pub(crate) fn require(holds: bool, step: &'static str, code: Code, message: &'static str) -> Result<(), ChainRefusal> {
    if holds { Ok(()) } else { Err(ChainRefusal::at(step, code, message)) }
}
