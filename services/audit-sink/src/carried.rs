//! What a token says that a record carries.

use marque_identity::Digest;
use marque_judgement::record::Carried;
use marque_signing::Compact;
use serde_json::{Map, Value};

const DETAILS_TYPE: &str = "attenuating_agent_token";

/// The claims of a carried token, if it is the token with this digest: the verifier checked that one.
pub(crate) fn claims(carried: &Carried, token: &Digest) -> Option<Value> {
    let compact = Compact::split(carried.compact()?).ok()?;
    if compact.signing_digest() != *token {
        return None;
    }
    marque_json::from_slice(&compact.payload().ok()?, marque_json::Limits::DEFAULT).ok()
}

/// What a token grants, by its claims: tools and their constraints.
pub(crate) fn grant(claims: &Value) -> Option<&Map<String, Value>> {
    let details = claims.get("authorization_details")?.as_array()?;
    let ours = details.iter().find(|entry| entry.get("type").and_then(Value::as_str) == Some(DETAILS_TYPE))?;
    ours.get("tools")?.as_object()
}
