//! The schemas of tokens: the type's own, and what AAT says of the place in the chain.

use marque_credential::aat::wire::Payload;
use marque_credential::proof::ProofPayload;
use serde_json::{Value, json};

use super::of;

fn payload(title: &str, depth: Value) -> Value {
    let mut schema = of::<Payload>();
    schema["title"] = title.into();
    schema["properties"]["del_depth"] = depth;
    // Read as RFC 7519 §4.1.3 has it; written as an array.
    schema["properties"]["aud"] = json!({
        "description": "Where it may be presented; absent: anywhere.",
        "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    });
    schema
}

fn require(schema: &mut Value, member: &str) {
    if let Some(required) = schema["required"].as_array_mut() {
        required.push(member.into());
        required.sort_by_key(ToString::to_string);
    }
}

/// `aat+jwt`, the first of a chain.
pub(super) fn root() -> Value {
    let mut schema = payload("Root token", json!({"const": 0}));
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove("par_hash");
    }
    schema["not"] = json!({"required": ["par_hash"]});
    schema
}

/// `aat+jwt`, derived from the one before.
pub(super) fn derived() -> Value {
    let mut schema = payload("Derived token", json!({"type": "integer", "minimum": 1, "maximum": 64}));
    schema["properties"]["par_hash"] = json!({
        "description": "SHA-256 of the parent's signing input, in base64url.", "type": "string", "pattern": "^[A-Za-z0-9_-]{43}$",
    });
    if let Some(properties) = schema["properties"].as_object_mut() {
        for of_root in ["task", "purpose", "agent"] {
            properties.remove(of_root);
        }
    }
    if let Some(definitions) = schema["$defs"].as_object_mut() {
        definitions.remove("AgentClaim");
    }
    require(&mut schema, "par_hash");
    schema
}

/// `aat-pop+jwt`.
pub(super) fn proof() -> Value {
    let mut schema = of::<ProofPayload>();
    schema["title"] = "Proof".into();
    schema
}

/// `secevent+jwt`, with our event spelt out.
pub(super) fn directive() -> Value {
    let mut schema = of::<marque_revocation::SecurityEvent>();
    let mut event = of::<marque_revocation::DirectiveEvent>();
    let definitions = event["$defs"].take();
    if let Some(event) = event.as_object_mut() {
        event.remove("$defs");
        event.remove("$schema");
    }
    schema["properties"]["events"] = json!({
        "description": "One CAEP event, and ours.", "type": "object", "minProperties": 2, "maxProperties": 2,
        "properties": {"urn:marque:event:directive": event}, "required": ["urn:marque:event:directive"],
        "additionalProperties": {"type": "object"},
    });
    schema["$defs"] = definitions;
    schema
}
