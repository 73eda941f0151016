//! What is to be said of a stored record, under a trust bundle.

use marque_identity::Did;
use marque_signing::{Role, TrustBundle};

use super::{Record, RecordKind, Verdict};

/// The verdict on a record that holds, as text.
pub const VALID: &str = "valid";

/// A stored record, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Its id, where it could be read and its signature holds.
    pub id: Option<String>,
    /// The record, where it holds in every respect.
    pub record: Option<Record>,
    /// `valid`, or the code of what is wrong with it.
    pub verdict: String,
}

/// Judges a stored payload: size, envelope, signature, shape, and whether its signer may state such a thing.
pub fn judge(payload: &[u8], bundle: &TrustBundle) -> Judged {
    let not_text = |_| Verdict::Payload("not UTF-8".to_owned(), marque_identity::Code::Malformed);
    let opened = std::str::from_utf8(payload).map_err(not_text).and_then(Record::open_any);
    match opened {
        Err(verdict) => Judged { id: None, record: None, verdict: verdict.code().to_string() },
        Ok((record, _)) if may_sign(bundle, &record.by, record.agent.as_ref(), record.kind()) => {
            Judged { id: Some(record.id.clone()), record: Some(record), verdict: VALID.to_owned() }
        }
        Ok((record, _)) => {
            let verdict = Verdict::NotAuthorized { by: record.by, kind: record.kind() };
            Judged { id: Some(record.id), record: None, verdict: verdict.code().to_string() }
        }
    }
}

/// Whether a signer may sign a record of this kind, about this agent.
pub fn may_sign(bundle: &TrustBundle, by: &Did, agent: Option<&Did>, kind: RecordKind) -> bool {
    let any = |roles: &[Role]| roles.iter().any(|role| bundle.has_role(by, *role));
    // An agent states things about itself alone; its key needs no entry in the bundle.
    let agent_itself = agent == Some(by);
    match kind {
        RecordKind::Issued => any(&[Role::Issuer]),
        RecordKind::Refused => any(&[Role::Issuer, Role::Verifier, Role::Host, Role::Broadcaster]),
        RecordKind::Delegated => agent_itself || any(&[Role::Verifier, Role::Host]),
        RecordKind::Requested => agent_itself,
        RecordKind::Decided | RecordKind::Completed => any(&[Role::Verifier, Role::Host]),
        RecordKind::Directive | RecordKind::Receipt => any(&[Role::Broadcaster]),
        RecordKind::Connected | RecordKind::Kicked => any(&[Role::Verifier]),
        RecordKind::Risk => any(&[Role::Sink, Role::Risk]),
    }
}
