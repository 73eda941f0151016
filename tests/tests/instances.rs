//! What really travels is what `schemas/` says, and what is not so is refused: each schema with a real instance, that
//! instance without each member it must have, and with one of a wrong kind.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use marque_identity::{Epoch, UnixMillis, UnixSeconds};
use marque_judgement::record::{Body, Heads, Record};
use marque_revocation::{Ack, Heartbeat, StatusRequest};
use marque_signing::{Anchor, Operator, Role, ServiceKey, TrustBundle};
use marque_tests::hostile::sample;
use marque_tests::vectors::token::{
    AUDIENCE, ISSUER, NOW, Who, child_claims, numbered, proof_claims, root, root_claims,
};
use serde_json::{Value, json};

fn schema(name: &str) -> Value {
    let path = format!("{}/../schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

fn sampled(target: &str) -> Value {
    serde_json::from_slice(&sample(target)).unwrap()
}

/// Name of the schema, and an instance as the library writes or reads it.
fn instances() -> Vec<(&'static str, Value)> {
    let key = Who::ControlPlane.key();
    let parent = root(&root_claims(&numbered(1), json!({"read_file": {}})));
    let child = child_claims(&numbered(2), &parent, Who::Orchestrator, Who::Worker, json!({"read_file": {}}));
    let args = json!({"path": "/data/x"});
    let proof = proof_claims(&numbered(3), &parent, "read_file", &args);
    let service = |role, name: &str| ServiceKey { role, name: name.into(), did: key.did() };
    let roles = [
        Role::Issuer,
        Role::Broadcaster,
        Role::Verifier,
        Role::Sink,
        Role::Host,
        Role::Risk,
        Role::Gatekeeper,
        Role::Attestor,
    ];
    let bundle = TrustBundle {
        trust_domain: "acme.example".parse().unwrap(),
        version: 1,
        issued_at: UnixSeconds(NOW),
        issuers: vec![Anchor { iss: ISSUER.into(), did: key.did() }],
        services: roles.into_iter().map(|role| service(role, "x")).collect(),
        operators: vec![Operator { name: "ada".into(), did: key.did() }],
    };
    let heartbeat: Heartbeat = serde_json::from_value(json!({
        "iss": key.did(), "t": NOW * 1000, "boot": NOW * 1000, "n": 1, "epoch": 7, "active": 0, "set_digest": "00".repeat(32),
    }))
    .unwrap();
    let ack: Ack = serde_json::from_value(json!({
        "verifier": key.did(), "kind": "presence", "epoch": 7, "set_digest": "00".repeat(32), "iat": NOW * 1000,
    }))
    .unwrap();
    let heads: Heads = serde_json::from_value(json!({"tree_size": 7, "heads": []})).unwrap();
    let record = Record::new(UnixMillis(NOW * 1000), key.did(), Body::Heads(heads));
    let written = |value: Result<Value, serde_json::Error>| value.unwrap();
    let verify = json!({
        "chain": [parent.compact], "trust_anchors": [{"iss": ISSUER, "jwk": Who::ControlPlane.jwk()}],
        "tool": "read_file", "args": args, "pop": "a.b.c", "now": NOW, "audience": AUDIENCE,
    });
    let answer = marque_judgement::plumbing::answer(verify.to_string().as_bytes());
    vec![
        ("root-token", serde_json::from_slice(&parent.payload).unwrap()),
        ("derived-token", child),
        ("proof", proof),
        ("trust-bundle", written(serde_json::to_value(&bundle))),
        ("heartbeat", written(serde_json::to_value(&heartbeat))),
        ("ack", written(serde_json::to_value(&ack))),
        ("record", written(serde_json::to_value(&record))),
        ("status-request", written(serde_json::to_value(StatusRequest { after: Some(Epoch(7)) }))),
        ("join-token", sampled("join_token")),
        ("enrol-request", sampled("enrol_request")),
        ("issue-request", sampled("issue_request")),
        ("renew-request", sampled("renew_request")),
        ("process-evidence", sampled("process_evidence")),
        ("manifest", sampled("manifest")),
        ("decide-request", sampled("decide_question")),
        ("audit-query-request", sampled("audit_question")),
        ("constraint", sampled("constraint")),
        ("verify-question", verify),
        ("verify-answer", serde_json::from_str(&answer).unwrap()),
    ]
}

#[test]
fn real_instances_are_valid_and_mutated_ones_are_not() {
    for (name, instance) in instances() {
        let schema = schema(name);
        let validator = jsonschema::validator_for(&schema).unwrap();
        if let Err(error) = validator.validate(&instance) {
            panic!("{name}: {error} at {}: {instance}", error.instance_path());
        }
        assert!(!validator.is_valid(&json!([])) && !validator.is_valid(&Value::Null), "{name} takes anything");
        let members = instance.as_object().unwrap();
        for member in schema["required"].as_array().into_iter().flatten() {
            let mut without = members.clone();
            assert!(without.remove(member.as_str().unwrap()).is_some(), "{name}: {member} is not there");
            assert!(!validator.is_valid(&without.into()), "{name} does without {member}");
        }
        // No member of ours is a list of lists.
        let wrong = members.keys().filter(|member| {
            let mut wrong = instance.clone();
            wrong[member.as_str()] = json!([[]]);
            !validator.is_valid(&wrong)
        });
        assert!(wrong.count() > 0, "{name} takes a wrong kind everywhere");
    }
}
