//! What `schemas/` holds beside the vectors: JSON Schema of everything that travels, and the bus as AsyncAPI, both
//! generated from the Rust types and the table of subjects. A test compares; `generate-schemas` writes.

mod asyncapi;
mod tokens;
mod wire;

use std::collections::BTreeMap;

use marque_identity::Code;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

pub use asyncapi::payloads;

/// Every generated file below `schemas/`, by its name.
pub fn files() -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> =
        schemas().into_iter().map(|(name, schema)| (format!("{name}.schema.json"), format!("{schema:#}\n"))).collect();
    files.insert("asyncapi.yaml".to_owned(), asyncapi::document());
    files
}

/// Name and schema of each thing that travels.
fn schemas() -> BTreeMap<&'static str, Value> {
    use marque_judgement::record::Record;
    use marque_revocation as revocation;
    BTreeMap::from([
        ("ack", of::<revocation::Ack>()),
        ("attest-answer", of::<wire::AttestAnswer>()),
        ("attest-line", of::<wire::AttestLine>()),
        ("attest-request", of::<wire::AttestRequest>()),
        ("audit-agents-reply", of::<wire::AgentsReply>()),
        ("audit-agents-request", of::<wire::AgentsRequest>()),
        ("audit-checkpoint-reply", of::<wire::CheckpointReply>()),
        ("audit-completeness-reply", of::<wire::CompletenessReply>()),
        ("audit-completeness-request", of::<wire::CompletenessRequest>()),
        ("audit-explain-reply", of::<wire::ExplainReply>()),
        ("audit-explain-request", of::<wire::ExplainRequest>()),
        ("audit-proof-reply", of::<wire::ProofReply>()),
        ("audit-proof-request", of::<wire::ProofRequest>()),
        ("audit-query-reply", of::<wire::QueryReply>()),
        ("audit-query-request", of::<wire::QueryRequest>()),
        ("audit-tile-reply", of::<wire::TileReply>()),
        ("audit-tile-request", of::<wire::TileRequest>()),
        ("constraint", constraint()),
        ("decide-reply", of::<wire::DecideReply>()),
        ("decide-request", of::<wire::DecideRequest>()),
        ("derived-token", tokens::derived()),
        ("directive", tokens::directive()),
        ("directive-reply", of::<revocation::DirectiveReply>()),
        ("directive-request", of::<revocation::DirectiveRequest>()),
        ("enrol-reply", of::<wire::EnrolReply>()),
        ("enrol-request", of::<wire::EnrolRequest>()),
        ("epoch", wire::Genesis::schema()),
        ("heartbeat", of::<revocation::Heartbeat>()),
        ("identity-credential", of::<marque_credential::identity_credential::CredentialPayload>()),
        ("issue-reply", of::<wire::IssueReply>()),
        ("issue-request", of::<wire::IssueRequest>()),
        ("join-token", of::<wire::JoinToken>()),
        ("manifest", of::<marque_credential::Manifest>()),
        ("process-evidence", of::<marque_credential::ProcessEvidence>()),
        ("proof", tokens::proof()),
        ("receipt", of::<revocation::Receipt>()),
        ("record", of::<Record>()),
        ("refusal", refusal()),
        ("renew-request", of::<wire::RenewRequest>()),
        ("root-token", tokens::root()),
        ("status-reply", of::<revocation::StatusReply>()),
        ("status-request", of::<revocation::StatusRequest>()),
        ("trust-bundle", of::<wire::TrustBundle>()),
        ("verify-answer", of::<wire::VerifyAnswer>()),
        ("verify-question", of::<wire::VerifyQuestion>()),
    ])
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

fn of<T: JsonSchema>() -> Value {
    finish(generator().into_root_schema_for::<T>())
}

fn finish(schema: Schema) -> Value {
    schema.to_value()
}

/// A refusal, its codes spelt out.
fn refusal() -> Value {
    let mut schema = of::<wire::Refusal>();
    let codes: Vec<Value> =
        Code::ALL.iter().map(|code| json!({"const": code.as_str(), "description": code.why()})).collect();
    schema["properties"]["code"] = json!({"description": "Stable reason.", "oneOf": codes});
    schema
}

/// A constraint of any type. Core members: AAT §3.4; ours: `constraints/`.
fn constraint() -> Value {
    let array = json!({"type": "array"});
    let clauses = json!({"type": "array", "minItems": 1, "items": {"$ref": "#"}});
    let number = json!({"type": "number"});
    let flag = json!({"type": "boolean"});
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "minItems": 1, "items": {"type": "string"}});
    let typed = |name: &str, members: Value, required: Value| {
        let mut properties = members;
        properties["constraint_type"] = json!({"const": name});
        properties["optional"] = json!({"type": "boolean", "description": "only on an entry of a constraint map"});
        let mut required = required;
        if let Some(required) = required.as_array_mut() {
            required.insert(0, "constraint_type".into());
        }
        json!({"title": name, "type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    let scalar = json!({"type": ["string", "number", "boolean", "null"]});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Constraint",
        "description": "Numbers must survive RFC 8785's round trip as they are written (AAT \u{a7}3.4).",
        "oneOf": [
            typed("exact", json!({"value": scalar}), json!(["value"])),
            typed("range", json!({"min": number, "max": number, "min_inclusive": flag, "max_inclusive": flag}), json!([])),
            typed("one_of", json!({"values": {"type": "array", "minItems": 1}}), json!(["values"])),
            typed("not_one_of", json!({"excluded": array}), json!(["excluded"])),
            typed("contains", json!({"required": array}), json!(["required"])),
            typed("subset", json!({"allowed": array}), json!(["allowed"])),
            typed("wildcard", json!({}), json!([])),
            typed("all", json!({"constraints": clauses}), json!(["constraints"])),
            typed("any", json!({"constraints": clauses}), json!(["constraints"])),
            typed("nats_subject", json!({"pattern": text}), json!(["pattern"])),
            typed("subpath", json!({"root": text}), json!(["root"])),
            typed("url", json!({"schemes": texts, "hosts": texts, "path_prefix": text}), json!(["schemes", "hosts"])),
            typed("cidr", json!({"network": text}), json!(["network"])),
        ],
    })
}

/// Writes every file below `root`. Gives how many there are.
pub fn write(root: &std::path::Path) -> std::io::Result<usize> {
    let files = files();
    for (name, text) in &files {
        std::fs::write(root.join(name), text)?;
    }
    Ok(files.len())
}
