//! A directive as a security event token: RFC 8417, with CAEP 1.0 event types and RFC 9493 subjects.
//!
//! A directive has one encoding: [`read`] refuses every other.

mod read;

use std::collections::BTreeMap;

use marque_identity::{Did, Digest, TrustDomain, UnixSeconds};
use marque_signing::{Algorithms, Compact, JwsError, PublicKey, SigningKey, jws, sha256};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::RevocationError;
use crate::signer::{KnownSigner, signer_of};
use crate::{Directive, DirectiveId, Op, SignedDirective, Target};

/// `typ` of a directive (RFC 8417 §2.3).
pub const DIRECTIVE_TYP: &str = "secevent+jwt";
/// A narrowing of 8 KiB in base64url, and room for the rest.
pub const DIRECTIVE_BYTES_MAX: usize = 16 * 1024;

/// The member of `events` that carries what we say.
const MARQUE_EVENT: &str = "urn:marque:event:directive";
/// OpenID CAEP 1.0 §3.
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
/// The claim that a narrowing changes, in the words of CAEP: the directive in force, or null.
const NARROW_CLAIM: &str = "urn:marque:narrow";

/// The claims of a directive's token: a security event token without `exp` and `sub`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
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
#[derive(Debug, Serialize, schemars::JsonSchema)]
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
        let (text, compact) = split(bytes)?;
        let key = signer_of(text, broadcasters)?;
        let payload = compact.verify(&key, DIRECTIVE_TYP, Algorithms::Ed25519)?;
        Self::read(text, sha256(bytes), &payload, &key.did().to_string())
    }

    /// The same, for who knows the digest of the bytes and the headers that the broadcasters write. A header that
    /// is written otherwise is read.
    pub(crate) fn verify_known(bytes: &[u8], digest: Digest, known: &[KnownSigner]) -> Result<Self, RevocationError> {
        let (text, compact) = split(bytes)?;
        let Some(signer) = known.iter().find(|signer| signer.directive_header == compact.header_base64()) else {
            let keys: Vec<PublicKey> = known.iter().map(|signer| signer.key).collect();
            return Self::verify(bytes, &keys);
        };
        compact.check_signature(&signer.key)?;
        Self::read(text, digest, &compact.payload()?, &signer.did)
    }

    /// INVARIANT: only on a payload whose signature by `signer` was verified.
    fn read(text: &str, digest: Digest, payload: &[u8], signer: &str) -> Result<Self, RevocationError> {
        let directive = read::directive(payload, signer)?;
        directive.check()?;
        Ok(Self { compact: text.to_owned(), digest, directive })
    }
}

fn split(bytes: &[u8]) -> Result<(&str, Compact<'_>), RevocationError> {
    if bytes.len() > DIRECTIVE_BYTES_MAX {
        return Err(JwsError::Oversize { bytes: bytes.len(), bytes_max: DIRECTIVE_BYTES_MAX }.into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| RevocationError::NotUtf8)?;
    Ok((text, Compact::split(text)?))
}

fn encode(directive: &Directive, broadcaster: Did) -> Result<Vec<u8>, RevocationError> {
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
        (format!("{CAEP}{}", caep_type(directive.op)), caep_event(directive)),
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

/// SPEC: CAEP 1.0 §3.1 (session revoked), §3.2 (token claims change), §3.6 (established).
fn caep_type(op: Op) -> &'static str {
    match op {
        Op::Revoke | Op::Suspend => "session-revoked",
        Op::Resume => "session-established",
        Op::Narrow | Op::Lift => "token-claims-change",
    }
}

/// SPEC: CAEP 1.0 §2, and §3.2, where `claims` is required.
fn caep_event(directive: &Directive) -> Value {
    let mut event = json!({
        "event_timestamp": directive.iat,
        "reason_admin": { "en": directive.reason },
    });
    match directive.op {
        Op::Revoke | Op::Suspend | Op::Resume => {}
        Op::Narrow => event["claims"] = json!({ NARROW_CLAIM: directive.id }),
        Op::Lift => event["claims"] = json!({ NARROW_CLAIM: null }),
    }
    event
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TargetKind;
    use proptest::prelude::*;

    fn directives() -> Vec<Directive> {
        let (digest, did) = ("ab".repeat(32), Did::from_key_bytes([7; 32]).to_string());
        let values = [&digest, &did, "reader", "urn:task:q3", &digest, "https://acme.example", "acme.example"];
        let of = |op: Op, (kind, value): (TargetKind, &str)| Directive {
            id: DirectiveId::from_bytes([1; 16]),
            op,
            target: Target::parse(kind, value).unwrap(),
            until: (op == Op::Suspend).then_some(UnixSeconds(1_900_000_000)),
            narrow: (op == Op::Narrow)
                .then(|| json!({"tools": {"*": {"n": {"constraint_type": "exact", "value": 1e21}}}})),
            lifts: (!op.tightens()).then(|| DirectiveId::from_bytes([2; 16])),
            reason: "seen \u{e4} \"elsewhere\"".into(),
            requested_by: Did::from_key_bytes([4; 32]),
            iat: UnixSeconds(1_800_000_000),
            domain: "acme.example".parse().unwrap(),
        };
        let targets = || TargetKind::ALL.into_iter().zip(values);
        Op::ALL.into_iter().flat_map(|op| targets().map(move |target| of(op, target))).collect()
    }

    /// Every value inside, by its JSON pointer.
    fn places(value: &Value, at: &str, out: &mut Vec<String>) {
        out.push(at.to_owned());
        let inner: Vec<(String, &Value)> = match value {
            Value::Object(members) => {
                members.iter().map(|(name, v)| (name.replace('~', "~0").replace('/', "~1"), v)).collect()
            }
            Value::Array(elements) => elements.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect(),
            _ => Vec::new(),
        };
        inner.into_iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), out));
    }

    const SIGNER: [u8; 32] = [9; 32];

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(
            which in 0usize..35, from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
            with in prop::sample::select(vec!["copy", "drop", "null", "upper", "add", "zero"]), space in 0usize..8, at in 0usize..2000,
        ) {
            let signer = Did::from_key_bytes(SIGNER);
            let mut payload = encode(&directives()[which], signer).unwrap();
            prop_assert_eq!(&read::directive(&payload, &signer.to_string()).unwrap(), &directives()[which]);
            let mut json: Value = serde_json::from_slice(&payload).unwrap();
            let mut pointers = Vec::new();
            places(&json, "", &mut pointers);
            let (from, to) = (json.pointer(from.get::<String>(&pointers)).unwrap().clone(), to.get::<String>(&pointers));
            let place = json.pointer_mut(to).unwrap();
            match with {
                "copy" => *place = from,
                "null" => *place = Value::Null,
                "zero" => *place = json!(0),
                "upper" => *place = place.as_str().map_or(Value::Null, |text| text.to_uppercase().into()),
                "drop" => drop(place.as_object_mut().map(|members| members.clone().keys().next().and_then(|first| members.remove(first)))),
                _ => drop(place.as_object_mut().map(|members| members.insert("more".into(), from))),
            }
            payload = marque_json::to_canonical(&json).unwrap();
            if space == 0 {
                payload.insert(at % payload.len(), b' ');
            }
            if let Ok(directive) = read::directive(&payload, &signer.to_string()) {
                prop_assert_eq!(encode(&directive, signer).unwrap(), payload);
            }
        }
    }
}
