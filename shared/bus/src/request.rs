//! Asking a service, and what its answer means.

use std::time::Duration;

use async_nats::{HeaderMap, RequestErrorKind};
use bytes::Bytes;
use marque_identity::{Blame, Code, Refusal, refusal::quoted};
use serde::{Deserialize, Serialize};

use crate::connect::is_about;
use crate::{Bus, BusError, header, subjects};

/// A refusal's body is small: a code, a sentence, a hint.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

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
        let message = self
            .ask_once(subject, headers, payload.into(), timeout)
            .await
            .map_err(|error| CallError::Unanswered(unanswered(subject, error)))?;
        answer(message)
    }

    /// One request to the broker itself, one message back. An error says whether it can have been handled.
    pub(crate) async fn ask(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<async_nats::Message, BusError> {
        self.ask_once(subject, headers, payload, timeout).await.map_err(|error| match error {
            NoMessage::Unserved => BusError::Unavailable("nobody serves this subject".into()),
            NoMessage::Failed(error) => error,
        })
    }

    async fn ask_once(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<async_nats::Message, NoMessage> {
        let deadline = tokio::time::Instant::now() + timeout;
        // What is sent while disconnected is delivered late: wait here, where giving up means that nothing was sent.
        if !self.is_connected() && tokio::time::timeout_at(deadline, self.connected()).await.is_err() {
            return Err(BusError::Unavailable("not connected".into()).into());
        }
        let mut violations = self.violations();
        let mut request = async_nats::Request::new().payload(payload).timeout(None);
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let asked = self.client().send_request(subject.to_owned(), request);
        tokio::pin!(asked);
        loop {
            tokio::select! {
                answer = &mut asked => return answer.map_err(|error| request_error(&error)),
                violation = violations.recv() => match violation {
                    Ok(text) if is_about(&text, subject) => {
                        return Err(BusError::Forbidden(text.to_string()).into());
                    }
                    // Another's, or some were skipped: the deadline ends the wait in any case.
                    Ok(_) | Err(_) => {}
                },
                () = tokio::time::sleep_until(deadline) => {
                    return Err(BusError::OutcomeUnknown(format!("{subject}: {timeout:?}")).into());
                }
            }
        }
    }
}

/// Why no message came back.
enum NoMessage {
    /// The broker answered in nobody's name: nobody serves the subject.
    Unserved,
    /// Anything else.
    Failed(BusError),
}

impl From<BusError> for NoMessage {
    fn from(error: BusError) -> Self {
        Self::Failed(error)
    }
}

fn request_error(error: &async_nats::RequestError) -> NoMessage {
    NoMessage::Failed(match error.kind() {
        RequestErrorKind::NoResponders => return NoMessage::Unserved,
        RequestErrorKind::InvalidSubject => BusError::SubjectInvalid("the subject".into()),
        RequestErrorKind::MaxPayloadExceeded => BusError::Refused("larger than the broker's max_payload".into()),
        RequestErrorKind::TimedOut | RequestErrorKind::Other => BusError::OutcomeUnknown(error.to_string()),
    })
}

fn unanswered(subject: &str, error: NoMessage) -> Refusal {
    let error = match error {
        NoMessage::Unserved => return unserved(subject),
        NoMessage::Failed(error) => error,
    };
    let code = match &error {
        BusError::Forbidden(_) => Code::NotAuthorized,
        BusError::Refused(_) => Code::Oversize,
        BusError::Unavailable(_)
        | BusError::NotAdmitted(_)
        | BusError::OutcomeUnknown(_)
        | BusError::SequenceMoved(_)
        | BusError::Suppressed { .. }
        | BusError::StreamDiffers { .. }
        | BusError::Oversize { .. }
        | BusError::SubjectInvalid(_)
        | BusError::Malformed(_) => error.code(),
    };
    Refusal::new(code, format!("{}: {error}", quoted(subject)))
}

/// The broker answers, and knows of nobody to hand the request to: it was certainly not handled.
fn unserved(subject: &str) -> Refusal {
    if let Some(tool) = subjects::gated_tool(subject) {
        return Refusal::new(Code::Unavailable, format!("no verifier serves the gate of {}", quoted(tool)));
    }
    if [subjects::TOOLS_ENFORCED, subjects::TOOLS_GATED].iter().any(|tools| subjects::matches(tools, subject)) {
        return Refusal::new(Code::ToolUnserved, format!("no tool host serves {}", quoted(subject)));
    }
    Refusal::new(Code::Unavailable, format!("no service answers on {}", quoted(subject)))
}

/// TRUST: nothing; the answer may come from anyone who may serve the subject.
fn answer(message: async_nats::Message) -> Result<Reply, CallError> {
    let headers = message.headers.unwrap_or_default();
    let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let Some(code) = text(header::SERVICE_ERROR_CODE) else {
        return Ok(Reply { headers, payload: message.payload });
    };
    if message.payload.len() <= REFUSAL_BYTES_MAX
        && let Ok(refusal) = marque_json::from_slice::<WireRefusal>(&message.payload, marque_json::Limits::DEFAULT)
    {
        return Err(CallError::Refused(refusal));
    }
    Err(CallError::Foreign { code, message: text(header::SERVICE_ERROR).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_named() {
        for (subject, code, told) in [
            ("tools.crm.query", Code::ToolUnserved, "no tool host serves `tools.crm.query`"),
            ("gated.archive.find", Code::ToolUnserved, "no tool host serves `gated.archive.find`"),
            (
                "marque.gate.gated.archive.find",
                Code::Unavailable,
                "no verifier serves the gate of `gated.archive.find`",
            ),
            (subjects::issuer::ENROL, Code::Unavailable, "no service answers on `marque.issuer.enrol`"),
        ] {
            let refusal = unanswered(subject, NoMessage::Unserved);
            assert_eq!((refusal.code, refusal.message.as_str()), (code, told));
        }
    }
}
