//! What comes back: a tool's answer, or a denial with its reasons.

use std::time::Duration;

use bytes::Bytes;
use marque_bus::{Bus, CallError as BusCallError, Reply, WireRefusal};
use marque_identity::{Blame, Code};

use crate::AgentError;

/// Names the *decided* record in the answer of an enforcement point, and in what the gate forwards.
pub const DECIDED: &str = "Marque-Decided";

/// A tool's answer to a permitted action.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The tool's bytes.
    pub payload: Bytes,
    /// The id of the *decided* record, if the enforcement point named it: `marque audit explain <id>`.
    pub record: Option<String>,
    /// The proof's `jti`: what a later action names as its `cause`.
    pub action: String,
}

/// A refusal by a service or an enforcement point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Denial {
    /// Stable reason.
    pub code: Code,
    /// The step that refused: `"4p4"`, `"11"`; none outside the algorithm.
    pub step: Option<String>,
    /// One sentence.
    pub message: String,
    /// Who has to change something.
    pub blame: Blame,
    /// What to do about it.
    pub hint: String,
    /// The id of the *decided* record, if one was made.
    pub record: Option<String>,
}

impl From<WireRefusal> for Denial {
    fn from(refusal: WireRefusal) -> Self {
        let WireRefusal { code, step, message, blame, hint, record } = refusal;
        Self { code, step, message, blame, hint, record }
    }
}

impl Denial {
    /// An error of a tool that does not answer in our form.
    pub(crate) fn foreign(code: &str, message: &str) -> Self {
        Self {
            code: Code::ToolFailed,
            step: None,
            message: format!("the tool answered with error {code}: {message}"),
            blame: Code::ToolFailed.blame(),
            hint: Code::ToolFailed.hint().to_owned(),
            record: None,
        }
    }
}

/// How long one try of a request to a service may take; the issuer waits for its record's ack, which takes up to 8 s
/// while the audit stream elects a leader (NATS.md).
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a request is sent at the most. The same bytes each time: `jti` makes it idempotent.
const TRIES_MAX: u32 = 3;

/// One request to a service, repeated byte for byte while its outcome is unknown.
pub(crate) async fn ask(bus: &Bus, subject: &str, payload: Bytes) -> Result<Reply, AgentError> {
    for _ in 0..TRIES_MAX {
        match bus.request(subject, Default::default(), payload.clone(), TRY_TIMEOUT).await {
            Ok(reply) => return Ok(reply),
            Err(BusCallError::Refused(refusal)) => return Err(AgentError::Refused(Box::new(refusal.into()))),
            Err(BusCallError::Foreign { code, message }) => {
                return Err(AgentError::Refused(Box::new(Denial::foreign(&code, &message))));
            }
            Err(BusCallError::Unanswered(refusal)) if refusal.code == Code::OutcomeUnknown => {}
            Err(BusCallError::Unanswered(refusal)) => return Err(AgentError::Unanswered(refusal)),
        }
    }
    Err(AgentError::OutcomeUnknown { subject: subject.to_owned(), waited: TRY_TIMEOUT * TRIES_MAX })
}
