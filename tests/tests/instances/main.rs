//! What really travels is what `schemas/` says, and what is not so is refused: each schema with a real instance, that
//! instance without each member it must have, and with one of a wrong kind.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod check;
mod live;
mod records;

use std::collections::BTreeSet;

use check::Checker;
use marque_identity::{Epoch, UnixMillis, UnixSeconds};
use marque_judgement::record::{Body, Heads, Record};
use marque_ledger::epoch::{Genesis, Lost};
use marque_ledger::{Checkpoint, Hash};
use marque_revocation::{Ack, Heartbeat, StatusRequest};
use marque_signing::{Anchor, Operator, Role, ServiceKey, SigningKey, TrustBundle};
use marque_tests::hostile::sample;
use marque_tests::vectors::token::{
    AUDIENCE, ISSUER, NOW, Who, child_claims, numbered, proof_claims, root, root_claims,
};
use serde_json::{Value, json};

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
    let last = Checkpoint { origin: "acme.example/audit".into(), size: 5, root: Hash::leaf(b"5") };
    let last = last.sign(&SigningKey::from_seed(&[3; 32])).unwrap();
    let genesis = Genesis::after(last, "purged".into(), NOW * 1000, 8, Some(Lost { from: 6, to: 7 })).unwrap();
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
        ("epoch", written(serde_json::to_value(&genesis))),
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

/// Where a schema lets everything stand, and why: an agent's own arguments; constraints, which have a schema of their
/// own; what others' standards define (CAEP, RFC 9493); claims and members of records that an answer shows as they are.
/// A `*` stands for one step.
const OPEN: &[&[&str]] = &[
    &["decide-request", "context", "args"],
    &["verify-question", "args"],
    &["proof", "hta"],
    &["constraint", "constraints", "*", "constraints", "*", "values", "*"],
    &["issue-request", "tools", "*", "*"],
    &["directive-request", "narrow"],
    &["directive", "events", "urn:marque:event:directive", "narrow"],
    &["directive", "events", "*", "event_timestamp"],
    &["directive", "events", "*", "reason_admin"],
    &["directive", "events", "*", "claims"],
    &["directive", "sub_id"],
    &["audit-explain-reply", "path", "*", "claims"],
    &["audit-explain-reply", "path", "*", "narrowed", "constrained"],
    &["audit-explain-reply", "arguments"],
    &["audit-explain-reply", "record", "record"],
    &["audit-explain-reply", "directive", "record"],
    &["audit-explain-reply", "completed", "*", "record"],
    &["audit-query-reply", "records", "*", "record"],
];

/// Whether everything may stand in this place.
fn may_be_open(place: &[String]) -> bool {
    let begins = |known: &&[&str]| {
        known.len() <= place.len() && known.iter().zip(place).all(|(known, step)| *known == "*" || known == step)
    };
    OPEN.iter().any(begins)
}

/// An instance is held against its schema, and its mutants.
fn hold(checker: &Checker, instance: &Value) {
    checker.accepts(instance);
    for place in checker.open_places(instance) {
        assert!(may_be_open(&place), "the schema lets everything stand at {place:?} of {instance}");
    }
}

#[test]
fn what_the_library_writes_is_valid_and_mutated_it_is_not() {
    for (name, instance) in instances() {
        hold(&Checker::of(name), &instance);
    }
}

#[test]
fn a_record_of_each_kind_is_valid_and_without_what_it_must_have_it_is_not() {
    let checker = Checker::of("record");
    for record in records::records() {
        hold(&checker, &record);
        let mut needed = 0;
        for member in record.as_object().unwrap().keys() {
            let mut without = record.clone();
            without.as_object_mut().unwrap().remove(member);
            let valid = checker.is_valid(&without);
            assert_eq!(valid, records::reads(&without), "without `{member}`: {record}");
            needed += u32::from(!valid);
        }
        // `id`, `iat_ms`, `by`, `kind`, and what makes it of its kind.
        assert!(needed > 4, "{record}");
    }
}

/// What travels in a real system while it lives a whole story; and no schema is left that nothing was held against.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_system_says_is_valid_and_mutated_it_is_not() {
    let heard = live::by_schema(live::instances().await);
    for (name, instances) in &heard {
        let checker = Checker::of(name);
        instances.iter().for_each(|instance| hold(&checker, instance));
    }
    let held: BTreeSet<&str> = heard.keys().copied().chain(instances().into_iter().map(|(name, _)| name)).collect();
    let all = marque_tests::schemas::files();
    let all: BTreeSet<&str> = all.keys().filter_map(|file| file.strip_suffix(".schema.json")).collect();
    assert_eq!(held, all);
    // What no system could be made to say here, the library said.
    let silent: Vec<&str> = all.iter().filter(|name| !heard.contains_key(*name)).copied().collect();
    assert_eq!(silent, ["constraint", "epoch", "manifest", "verify-answer", "verify-question"]);
}
