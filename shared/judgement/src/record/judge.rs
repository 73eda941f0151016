//! What is to be said of a stored record, under a trust bundle.

use marque_credential::aat::{Claims, TOKEN_TYPE};
use marque_signing::{Compact, PublicKey, Role, TrustBundle, base64url};

use super::{Body, Delegated, Record, RecordKind, Verdict};
use crate::chain::ALGORITHMS;

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
        Ok((record, _)) if may_sign(bundle, &record) => {
            Judged { id: Some(record.id.clone()), record: Some(record), verdict: VALID.to_owned() }
        }
        Ok((record, _)) => {
            let verdict = Verdict::NotAuthorized { by: record.by, kind: record.kind() };
            Judged { id: Some(record.id), record: None, verdict: verdict.code().to_string() }
        }
    }
}

/// Whether a record's signer may state such a thing. TRUST: that `by` signed it was checked before.
pub fn may_sign(bundle: &TrustBundle, record: &Record) -> bool {
    let any = |roles: &[Role]| roles.iter().any(|role| bundle.has_role(&record.by, *role));
    match record.kind() {
        RecordKind::Issued => any(&[Role::Issuer]),
        RecordKind::Refused => any(&[Role::Issuer, Role::Verifier, Role::Host, Role::Broadcaster, Role::Gatekeeper]),
        RecordKind::Delegated => any(&[Role::Verifier, Role::Host, Role::Gatekeeper]) || is_parents_own(record),
        // An agent states what it asks for itself alone; its key needs no entry in the bundle.
        RecordKind::Requested => record.agent == Some(record.by),
        RecordKind::Decided | RecordKind::Completed => any(&[Role::Verifier, Role::Host]),
        RecordKind::Directive | RecordKind::Receipt => any(&[Role::Broadcaster]),
        RecordKind::Connected | RecordKind::Kicked | RecordKind::Disconnected => any(&[Role::Gatekeeper]),
        RecordKind::Risk => any(&[Role::Sink, Role::Risk, Role::Gatekeeper, Role::Issuer, Role::Verifier, Role::Host]),
        RecordKind::Heads => any(&[Role::Sink]),
        RecordKind::Erased => bundle.operators.iter().any(|operator| operator.did == record.by),
    }
}

/// Whether a *delegated* record is the parent's own word: its signer signed the very link, and the record says no more
/// than the link does (its holder, its digest, its parent's).
fn is_parents_own(record: &Record) -> bool {
    let Body::Delegated(Delegated { link, parent, depth }) = &record.body else { return false };
    let judged = || -> Option<bool> {
        let compact = Compact::split(link.compact()?).ok()?;
        compact.check_header(TOKEN_TYPE, ALGORITHMS).ok()?;
        compact.check_signature(&PublicKey::from_did(&record.by).ok()?).ok()?;
        let payload = compact.payload().ok()?;
        let claims = Claims::parse(&payload).ok()?;
        let digest = compact.signing_digest();
        Some(
            claims.text("par_hash") == Some(&base64url(&parent.0))
                && claims.natural("del_depth") == Some(*depth)
                && record.agent == Some(claims.holder().ok()?.did())
                && record.token == Some(digest)
                && record.links == [*parent, digest],
        )
    };
    judged().unwrap_or(false)
}
