//! A directive as a security event token: RFC 8417, with CAEP 1.0 event types and RFC 9493 subjects.
//!
//! Strict by construction: what is read is written again, and must give the bytes that were signed. So there is
//! one encoding of a directive, unknown members are refused, and the CAEP event never says another thing than
//! ours.

use std::collections::BTreeMap;

use marque_identity::{Did, TrustDomain, UnixSeconds};
use marque_json::Limits;
use marque_signing::{Algorithms, Compact, JwsError, PublicKey, SigningKey, jws, sha256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::RevocationError;
use crate::{Directive, DirectiveId, Op, SignedDirective, Target};

/// `typ` of a directive (RFC 8417 §2.3).
pub const DIRECTIVE_TYP: &str = "secevent+jwt";
/// A narrowing of 8 KiB in base64url, and room for the rest.
pub const DIRECTIVE_BYTES_MAX: usize = 16 * 1024;

/// The member of `events` that carries what we say.
const MARQUE_EVENT: &str = "urn:marque:event:directive";
/// OpenID CAEP 1.0 §3.
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";

/// The claims of a directive's token: a security event token without `exp` and `sub`.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Directive")]
pub struct SecurityEvent {
    /// The broadcaster's DID.
    #[schemars(with = "String")]
    iss: Did,
    /// When it was signed.
    #[schemars(with = "i64")]
    iat: UnixSeconds,
    /// The directive's id.
    #[schemars(with = "String")]
    jti: DirectiveId,
    /// The trust domain.
    #[schemars(with = "String")]
    aud: TrustDomain,
    /// The target, in the words of RFC 9493.
    sub_id: Value,
    /// One CAEP event, and `urn:marque:event:directive`.
    events: BTreeMap<String, Value>,
}

/// What stands under `urn:marque:event:directive`.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Directive event")]
pub struct DirectiveEvent {
    /// Its id, a UUID.
    #[schemars(with = "String")]
    id: DirectiveId,
    /// What it does.
    op: Op,
    /// To what.
    target: Target,
    /// When it ends by itself, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    until: Option<UnixSeconds>,
    /// The constraints of a narrow: `{"tools": {…}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    narrow: Option<Value>,
    /// The directive that a resume or lift ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    lifts: Option<DirectiveId>,
    /// For people.
    reason: String,
    /// Who asked: a DID.
    #[schemars(with = "String")]
    requested_by: Did,
}

impl SignedDirective {
    /// Signs a directive as its broadcaster.
    pub fn sign(directive: Directive, broadcaster: &SigningKey) -> Result<Self, RevocationError> {
        directive.check()?;
        let payload = encode(&directive, broadcaster.did())?;
        let compact = jws::sign(broadcaster, DIRECTIVE_TYP, Some(&broadcaster.did().url()), &payload);
        if compact.len() > DIRECTIVE_BYTES_MAX {
            return Err(RevocationError::Shape { rule: "a directive is at most 16 KiB" });
        }
        Ok(Self { digest: sha256(compact.as_bytes()), compact, directive })
    }

    /// Verifies a directive under one of the broadcasters' keys: signature first, then the bytes, strictly.
    pub fn verify(bytes: &[u8], broadcasters: &[PublicKey]) -> Result<Self, RevocationError> {
        if bytes.len() > DIRECTIVE_BYTES_MAX {
            return Err(JwsError::Oversize { bytes: bytes.len(), bytes_max: DIRECTIVE_BYTES_MAX }.into());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RevocationError::NotUtf8)?;
        let compact = Compact::split(text)?;
        let key = signer_of(text, broadcasters)?;
        let payload = compact.verify(&key, DIRECTIVE_TYP, Algorithms::Ed25519)?;
        let directive = decode(&payload)?;
        directive.check()?;
        if encode(&directive, key.did())? != payload {
            return Err(RevocationError::NotCanonical);
        }
        Ok(Self { compact: text.to_owned(), digest: sha256(bytes), directive })
    }
}

/// The key among `trusted` that the token's `kid` names.
pub(crate) fn signer_of(token: &str, trusted: &[PublicKey]) -> Result<PublicKey, RevocationError> {
    let claimed = jws::claimed_signer(token)?;
    trusted.iter().find(|key| **key == claimed).copied().ok_or(RevocationError::SignerUnknown)
}

fn encode(directive: &Directive, broadcaster: Did) -> Result<Vec<u8>, RevocationError> {
    let (caep_type, caep_event) = caep(directive);
    let ours = DirectiveEvent {
        id: directive.id,
        op: directive.op,
        target: directive.target.clone(),
        until: directive.until,
        narrow: directive.narrow.clone(),
        lifts: directive.lifts,
        reason: directive.reason.clone(),
        requested_by: directive.requested_by,
    };
    let shape = |_| RevocationError::Shape { rule: "a directive's members are not JSON" };
    let events = BTreeMap::from([
        (format!("{CAEP}{caep_type}"), caep_event),
        (MARQUE_EVENT.to_owned(), serde_json::to_value(ours).map_err(shape)?),
    ]);
    let token = SecurityEvent {
        iss: broadcaster,
        iat: directive.iat,
        jti: directive.id,
        aud: directive.domain.clone(),
        sub_id: subject_identifier(&directive.target),
        events,
    };
    marque_json::to_canonical(&token).map_err(RevocationError::Json)
}

fn decode(payload: &[u8]) -> Result<Directive, RevocationError> {
    let payload_error = |error| RevocationError::Token(JwsError::Payload(error));
    let token: SecurityEvent =
        marque_json::from_slice(payload, Limits::bytes(DIRECTIVE_BYTES_MAX)).map_err(payload_error)?;
    let missing = RevocationError::Shape { rule: "the event `urn:marque:event:directive` is missing or malformed" };
    let mut events = token.events;
    let ours = events.remove(MARQUE_EVENT).ok_or_else(|| missing.clone())?;
    let ours: DirectiveEvent = serde_json::from_value(ours).map_err(|_| missing)?;
    Ok(Directive {
        id: ours.id,
        op: ours.op,
        target: ours.target,
        until: ours.until,
        narrow: ours.narrow,
        lifts: ours.lifts,
        reason: ours.reason,
        requested_by: ours.requested_by,
        iat: token.iat,
        domain: token.aud,
    })
}

/// SPEC: CAEP 1.0 §3.1 (session revoked), §3.2 (token claims change, `claims` required), §3.6 (established).
fn caep(directive: &Directive) -> (&'static str, Value) {
    let mut event = json!({
        "event_timestamp": directive.iat,
        "reason_admin": { "en": directive.reason },
    });
    let caep_type = match directive.op {
        Op::Revoke | Op::Suspend => "session-revoked",
        Op::Resume => "session-established",
        Op::Narrow | Op::Lift => {
            let in_force = (directive.op == Op::Narrow).then_some(directive.id);
            event["claims"] = json!({ "urn:marque:narrow": in_force });
            "token-claims-change"
        }
    };
    (caep_type, event)
}

/// SPEC: RFC 9493 §3.2: `did`, `uri`, and `opaque` where no format fits.
fn subject_identifier(target: &Target) -> Value {
    match target {
        Target::Key(did) => json!({ "format": "did", "url": did }),
        Target::Task(task) => json!({ "format": "uri", "uri": task }),
        Target::Issuer(uri) => json!({ "format": "uri", "uri": uri }),
        Target::Token(_) | Target::Manifest(_) | Target::Blueprint(_) | Target::Domain(_) => {
            json!({ "format": "opaque", "id": format!("{}:{}", target.kind(), target.value()) })
        }
    }
}
