//! The duty `marque.verifier.decide`: for hosts that ask, and enforce the answer themselves.
//!
//! The *decided* record is stored before the answer leaves. What came of a permitted call is the host's to record.

use marque_agent::enforce::{Asked, Chain, EnforcementPoint, Presentation, Received, Ruling, reply};
use marque_bus::Reply;
use marque_bus::service::Request;
use marque_identity::{Code, Did, Refusal};

use crate::authzen::{self, Evaluated, Evaluation, Reasons};
use crate::span;

/// The duty.
pub struct Decide {
    point: EnforcementPoint,
}

impl Decide {
    /// Decides at this enforcement point.
    pub fn new(point: EnforcementPoint) -> Self {
        Self { point }
    }

    /// Answers one question. A body that is no question is refused as an error; a question always gets a decision.
    pub async fn answer(&self, request: Request) -> Result<Reply, Refusal> {
        let received = Received::payload(&request.payload);
        let question = match authzen::read(&request.payload) {
            Ok(question) => question,
            Err(refusal) => {
                span::refused(&refusal);
                let record = self.point.refuse(&refusal, received).await;
                return Ok(reply::refusal(&refusal, record.as_deref()));
            }
        };
        // The arguments alone, in canonical form: what the record's input digest covers.
        let args = question.args.canonical();
        let presentation = presentation(&question, &self.point);
        let received = if presentation.is_ok() { Received::payload(&args) } else { received };
        let asked = Asked { tool: &question.tool, presentation, received };
        let ruling = self.point.decide(asked).await;
        span::decided(&ruling);
        let body = serde_json::to_vec(&evaluated(&ruling));
        body.map(Reply::from).map_err(|error| Refusal::new(Code::Internal, error.to_string()))
    }
}

fn presentation<'a>(question: &'a Evaluation<'a>, point: &EnforcementPoint) -> Result<Presentation<'a>, Refusal> {
    let agent: Did = question
        .agent
        .parse()
        .map_err(|error| Refusal::new(Code::Malformed, format!("`subject.id` is not a DID of ours: {error}")))?;
    Ok(Presentation {
        chain: Chain::Whole(&question.chain),
        proof: &question.proof,
        args: question.args.clone(),
        agent: Some(agent),
        audience: question.audience.clone().or_else(|| point.policy().audience(&question.tool)),
        nonce: question.nonce.as_deref(),
    })
}

fn evaluated(ruling: &Ruling) -> Evaluated {
    let (decision, basis, record, refusal) = match ruling {
        Ruling::Permitted(permitted) => (true, permitted.basis(), Some(permitted.record()), None),
        Ruling::Denied(denied) => (false, &denied.basis, denied.record.as_deref(), Some(&denied.refusal)),
    };
    let context = Reasons {
        code: refusal.map(|refusal| refusal.code),
        step: refusal.and_then(|refusal| refusal.step),
        message: refusal.map(|refusal| refusal.message.clone()),
        blame: refusal.map(|refusal| refusal.blame),
        hint: refusal.map(|refusal| refusal.code.hint()),
        record: record.map(str::to_owned),
        epoch: basis.epoch.0,
        view_age_ms: basis.view_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    };
    Evaluated { decision, context }
}
