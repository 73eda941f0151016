//! The duty `marque.gate.<tool subject>`: stands in front of a tool that knows nothing of us.
//!
//! 1. names the tool, 2. decides and stores the *decided* record, 3. forwards the payload to the tool's own subject,
//! 4. stores the *completed* record, 5. answers with the tool's bytes.

use std::time::Duration;

use marque_agent::DECIDED;
use marque_agent::enforce::{Asked, EnforcementPoint, Outcome, Permitted, Presentation, Received, Ruling, reply};
use marque_bus::async_nats::HeaderMap;
use marque_bus::service::Request;
use marque_bus::{Bus, CallError, Reply, header, subjects};
use marque_identity::{Code, Refusal};
use marque_runtime::telemetry::traceparent;

use crate::span;

/// The duty.
pub struct Gate {
    bus: Bus,
    point: EnforcementPoint,
    tool_timeout: Duration,
}

impl Gate {
    /// Decides at this enforcement point and waits at most `tool_timeout` for a tool.
    pub fn new(bus: &Bus, point: EnforcementPoint, tool_timeout: Duration) -> Self {
        Self { bus: bus.clone(), point, tool_timeout }
    }

    /// Passes one call, or refuses it.
    pub async fn pass(&self, request: Request) -> Result<Reply, Refusal> {
        // 1. The tool behind this gate.
        let Some(tool_subject) = subjects::gated_tool(&request.subject) else {
            return Err(Refusal::new(Code::NotFound, "the gate's subject names no tool"));
        };
        let tool = format!("nats:{tool_subject}");

        // 2. The decision, stored.
        let audience = self.point.policy().domain().audience(tool_subject);
        let presentation = gated(tool_subject).and_then(|()| Presentation::read(&request, audience));
        let asked = Asked { tool: &tool, presentation, received: Received::of(&request) };
        let ruling = self.point.decide(asked).await;
        span::decided(&ruling);
        let permitted = match ruling {
            Ruling::Permitted(permitted) => permitted,
            Ruling::Denied(denied) => return Ok(reply::refusal(&denied.refusal, denied.record.as_deref())),
        };

        // 3. The tool.
        let headers = forwarded(&request, &permitted);
        let answer = self.bus.request(tool_subject, headers, request.payload.clone(), self.tool_timeout).await;

        // 4. and 5. What came of it.
        let record = permitted.record().to_owned();
        match answer {
            Ok(answer) => {
                self.point.complete(permitted, Outcome::Answered(&answer.payload)).await;
                Ok(reply::answer(answer.payload, &record))
            }
            Err(error) => {
                let (status, refusal) = failure(error);
                self.point.complete(permitted, Outcome::Failed(&status)).await;
                Ok(reply::refusal(&refusal, Some(&record)))
            }
        }
    }
}

/// Whether a subject is one that the gate stands in front of. An allow-list: the verifier may publish on subjects of
/// its own that no agent shall reach through it, whatever its chain says.
fn gated(tool_subject: &str) -> Result<(), Refusal> {
    if subjects::is_publishable(tool_subject) && subjects::matches(subjects::TOOLS_GATED, tool_subject) {
        return Ok(());
    }
    let message = format!("the gate serves tools on `{}` alone", subjects::TOOLS_GATED);
    Err(Refusal::at("14", Code::PolicyDenied, message))
}

/// What the tool is told: which decision let the call through, and the caller's trace. Neither chain nor proof.
fn forwarded(request: &Request, permitted: &Permitted) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(DECIDED, permitted.record());
    // Our own span where traces are on, so that the tool's is its child.
    let traceparent = traceparent::current();
    if let Some(traceparent) = traceparent.as_deref().or_else(|| request.header(header::TRACEPARENT)) {
        headers.insert(header::TRACEPARENT, traceparent);
    }
    headers
}

/// A tool's failure: what is recorded, and what the caller hears.
fn failure(error: CallError) -> (String, Refusal) {
    let status = match &error {
        CallError::Refused(refusal) => refusal.code.as_str().to_owned(),
        CallError::Foreign { code, .. } => code.clone(),
        // It certainly did not run, and the caller is told so.
        CallError::Unanswered(refusal) if refusal.code == Code::ToolUnserved => {
            return (refusal.code.as_str().to_owned(), refusal.clone());
        }
        CallError::Unanswered(refusal) => refusal.code.as_str().to_owned(),
    };
    (status, Refusal::new(Code::ToolFailed, format!("the tool: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_gated_tools_alone() {
        assert!(gated("gated.crm.query").is_ok());
        for subject in [
            "tools.crm.query",
            "marque.record.decided.none",
            "$JS.API.STREAM.DELETE.X",
            "gated",
            "gated.*",
            "gated.a b",
            "_INBOX.x",
        ] {
            assert_eq!(gated(subject).unwrap_err().code, Code::PolicyDenied, "{subject}");
        }
    }
}
