//! Reads a directive's claims out of the strict tree, in one pass.
//!
//! INVARIANT: what is read here, written again, gives the bytes that were signed (a test holds it). So there is
//! one encoding of a directive, unknown members are refused, and what the token says twice says one thing.

use marque_identity::UnixSeconds;
use marque_json::{Json, Limits, Object};
use marque_signing::JwsError;

use super::{CAEP, DIRECTIVE_BYTES_MAX, MARQUE_EVENT, NARROW_CLAIM, caep_type};
use crate::error::RevocationError;
use crate::{Directive, Op, Target, TargetKind};

const TOKEN: RevocationError = RevocationError::Shape { rule: "a claim is missing, unknown or malformed" };
const EVENT: RevocationError =
    RevocationError::Shape { rule: "the event `urn:marque:event:directive` is missing or malformed" };

/// The directive of a payload whose signature by `signer`, a DID's text, was verified.
pub(super) fn directive(payload: &[u8], signer: &str) -> Result<Directive, RevocationError> {
    let json = marque_json::parse(payload, Limits::bytes(DIRECTIVE_BYTES_MAX))
        .map_err(|error| RevocationError::Token(JwsError::Payload(error)))?;
    if json.canonical() != payload {
        return Err(RevocationError::NotCanonical);
    }
    // The members, each known and of its kind.
    let token = closed(Some(&json), &["aud", "events", "iat", "iss", "jti", "sub_id"]).ok_or(TOKEN)?;
    let events = token.get("events").and_then(Json::as_object).ok_or(TOKEN)?;
    let known = ["id", "lifts", "narrow", "op", "reason", "requested_by", "target", "until"];
    let event = closed(events.get(MARQUE_EVENT), &known).ok_or(EVENT)?;
    let target = closed(event.get("target"), &["kind", "value"]).ok_or(EVENT)?;
    let (kind, value) = text(target, "kind").zip(text(target, "value")).ok_or(EVENT)?;
    let kind = TargetKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(EVENT)?;
    let (id, reason) = text(event, "id").zip(text(event, "reason")).ok_or(EVENT)?;
    let directive = Directive {
        id: id.parse().map_err(|_| EVENT)?,
        op: text(event, "op").and_then(|op| Op::ALL.into_iter().find(|known| known.as_str() == op)).ok_or(EVENT)?,
        target: Target::parse(kind, value).map_err(|_| EVENT)?,
        until: optional(event, "until", |until| until.as_integer().map(UnixSeconds))?,
        narrow: event.get("narrow").map(serde_json::Value::from),
        lifts: optional(event, "lifts", |lifts| lifts.as_str()?.parse().ok())?,
        reason: reason.to_owned(),
        requested_by: text(event, "requested_by").and_then(|did| did.parse().ok()).ok_or(EVENT)?,
        iat: token.get("iat").and_then(Json::as_integer).map(UnixSeconds).ok_or(TOKEN)?,
        domain: text(token, "aud").and_then(|domain| domain.parse().ok()).ok_or(TOKEN)?,
    };
    // What is said a second time, in the words of the standards.
    let mut others = events.iter().filter(|(name, _)| *name != MARQUE_EVENT);
    let caep = others.next().is_some_and(|(name, event)| {
        name.strip_prefix(CAEP) == Some(caep_type(directive.op)) && is_caep_event(event, &directive, id)
    });
    let one_thing = text(token, "iss") == Some(signer)
        && text(token, "jti") == Some(id)
        && token.get("sub_id").is_some_and(|subject| is_subject(subject, &directive.target, value))
        && caep
        && others.next().is_none();
    if one_thing { Ok(directive) } else { Err(RevocationError::NotCanonical) }
}

/// The object, if every member of it is known.
fn closed<'j, 'a>(json: Option<&'j Json<'a>>, known: &[&str]) -> Option<&'j Object<'a>> {
    json?.as_object().filter(|object| object.iter().all(|(name, _)| known.contains(&name)))
}

fn text<'j>(object: &'j Object<'_>, name: &str) -> Option<&'j str> {
    object.get(name).and_then(Json::as_str)
}

fn optional<T>(
    event: &Object<'_>,
    name: &str,
    read: impl FnOnce(&Json<'_>) -> Option<T>,
) -> Result<Option<T>, RevocationError> {
    event.get(name).map(|member| read(member).ok_or(EVENT)).transpose()
}

/// The mirror of [`caep_event`](super::caep_event).
fn is_caep_event(event: &Json<'_>, directive: &Directive, id: &str) -> bool {
    let Some(event) = closed(Some(event), &["claims", "event_timestamp", "reason_admin"]) else { return false };
    let reason = closed(event.get("reason_admin"), &["en"]).and_then(|reason| text(reason, "en"));
    let claim = closed(event.get("claims"), &[NARROW_CLAIM]).and_then(|claims| claims.get(NARROW_CLAIM));
    let claims = match directive.op {
        Op::Revoke | Op::Suspend | Op::Resume => event.get("claims").is_none(),
        Op::Narrow => claim.and_then(Json::as_str) == Some(id),
        Op::Lift => claim == Some(&Json::Null),
    };
    let timestamp = event.get("event_timestamp").and_then(Json::as_integer);
    timestamp == Some(directive.iat.0) && reason == Some(&directive.reason) && claims
}

/// The mirror of [`subject_identifier`](super::subject_identifier), by the text of the target's value.
fn is_subject(subject: &Json<'_>, target: &Target, value: &str) -> bool {
    let (format, member) = match target {
        Target::Key(_) => ("did", "url"),
        Target::Task(_) | Target::Issuer(_) => ("uri", "uri"),
        Target::Token(_) | Target::Manifest(_) | Target::Blueprint(_) | Target::Domain(_) => ("opaque", "id"),
    };
    let Some(subject) = closed(Some(subject), &["format", member]) else { return false };
    let named = text(subject, member).and_then(|named| match member {
        "id" => named.strip_prefix(target.kind().as_str())?.strip_prefix(':'),
        _ => Some(named),
    });
    text(subject, "format") == Some(format) && named == Some(value)
}
