//! Every ordered pair of constraint types, parent over child: 13 × 13.
//!
//! A legal pair has a case that passes and, except under `wildcard`, one in which the child is wider. Every other
//! pair is refused at 4p4 with a call that the child alone would admit, so that a rule too few shows.

use serde_json::{Value, json};

use super::case::{Case, Expected, Group};
use super::token::{Who, child_claims, derived, named, proof, proof_claims, root, root_claims};

/// A type, a constraint of it, and a value that it admits.
struct Sample {
    name: &'static str,
    constraint: Value,
    admits: Value,
}

fn sample(name: &'static str, members: Value, admits: Value) -> Sample {
    Sample { name, constraint: typed(name, members), admits }
}

fn typed(name: &str, mut members: Value) -> Value {
    members["constraint_type"] = name.into();
    members
}

/// The thirteen types.
fn samples() -> Vec<Sample> {
    vec![
        sample("exact", json!({"value": 5}), 5.into()),
        sample("range", json!({"min": 0, "max": 10}), 5.into()),
        sample("one_of", json!({"values": [5, 6]}), 5.into()),
        sample("not_one_of", json!({"excluded": [7]}), 5.into()),
        sample("contains", json!({"required": ["a"]}), json!(["a"])),
        sample("subset", json!({"allowed": ["a"]}), json!(["a"])),
        sample("wildcard", json!({}), 5.into()),
        sample("all", json!({"constraints": [typed("exact", json!({"value": 5}))]}), 5.into()),
        sample("any", json!({"constraints": [typed("exact", json!({"value": 5}))]}), 5.into()),
        sample("nats_subject", json!({"pattern": "tools.crm.*"}), "tools.crm.query".into()),
        sample("subpath", json!({"root": "/data"}), "/data/q3".into()),
        sample(
            "url",
            json!({"schemes": ["https"], "hosts": ["api.example.com"], "path_prefix": "/"}),
            "https://api.example.com/v1".into(),
        ),
        sample("cidr", json!({"network": "10.0.0.0/8"}), "10.1.2.3".into()),
    ]
}

/// Parent, child and a call for one legal pair: `inside` passes, `wider` is refused.
struct Legal {
    parent: &'static str,
    child: &'static str,
    over: Value,
    inside: Value,
    wider: Value,
    call: Value,
}

fn legal(pair: (&'static str, &'static str), over: Value, inside: Value, wider: Value, call: Value) -> Legal {
    Legal { parent: pair.0, child: pair.1, over, inside, wider, call }
}

/// The pairs of AAT §4.5's table, and those that our registrations declare.
fn legal_pairs() -> Vec<Legal> {
    let exact = |value: Value| json!({"value": value});
    let clause = |value: Value| typed("exact", json!({"value": value}));
    let clauses = |clauses: &[Value]| json!({"constraints": clauses});
    let url = |host: &str, path: &str| json!({"schemes": ["https"], "hosts": [host], "path_prefix": path});
    vec![
        legal(("exact", "exact"), exact(5.into()), exact(5.into()), exact(6.into()), 5.into()),
        legal(
            ("range", "range"),
            json!({"min": 0, "max": 10}),
            json!({"min": 1, "max": 9}),
            json!({"min": 1}),
            5.into(),
        ),
        legal(
            ("range", "exact"),
            json!({"min": 0, "max": 10, "min_inclusive": false}),
            exact(5.into()),
            exact(0.into()),
            5.into(),
        ),
        legal(
            ("one_of", "one_of"),
            json!({"values": [5, 6]}),
            json!({"values": [5]}),
            json!({"values": [5, 7]}),
            5.into(),
        ),
        legal(("one_of", "exact"), json!({"values": [5, 6]}), exact(5.into()), exact("5".into()), 5.into()),
        legal(
            ("not_one_of", "not_one_of"),
            json!({"excluded": [7]}),
            json!({"excluded": [7, 8]}),
            json!({"excluded": [8]}),
            5.into(),
        ),
        legal(
            ("contains", "contains"),
            json!({"required": ["a"]}),
            json!({"required": ["a", "b"]}),
            json!({"required": ["b"]}),
            json!(["a", "b"]),
        ),
        legal(
            ("subset", "subset"),
            json!({"allowed": ["a", "b"]}),
            json!({"allowed": ["a"]}),
            json!({"allowed": ["a", "c"]}),
            json!(["a"]),
        ),
        legal(
            ("all", "all"),
            clauses(&[clause(5.into())]),
            clauses(&[clause(5.into()), typed("wildcard", json!({}))]),
            clauses(&[typed("wildcard", json!({}))]),
            5.into(),
        ),
        legal(
            ("any", "any"),
            clauses(&[clause(5.into()), clause(6.into())]),
            clauses(&[clause(5.into())]),
            clauses(&[clause(5.into()), clause(7.into())]),
            5.into(),
        ),
        legal(
            ("nats_subject", "nats_subject"),
            json!({"pattern": "tools.>"}),
            json!({"pattern": "tools.crm.*"}),
            json!({"pattern": "*.crm.*"}),
            "tools.crm.query".into(),
        ),
        legal(
            ("nats_subject", "exact"),
            json!({"pattern": "tools.*"}),
            exact("tools.crm".into()),
            exact("tools.crm.query".into()),
            "tools.crm".into(),
        ),
        legal(
            ("subpath", "subpath"),
            json!({"root": "/data"}),
            json!({"root": "/data/reports"}),
            json!({"root": "/database"}),
            "/data/reports/q3".into(),
        ),
        legal(
            ("subpath", "exact"),
            json!({"root": "/data"}),
            exact("/data/q3".into()),
            exact("/data/../etc/passwd".into()),
            "/data/q3".into(),
        ),
        legal(
            ("url", "url"),
            url("*.example.com", "/v1"),
            url("api.example.com", "/v1/users"),
            url("example.com", "/v1"),
            "https://api.example.com/v1/users/7".into(),
        ),
        legal(
            ("url", "exact"),
            url("api.example.com", "/v1"),
            exact("https://api.example.com/v1/users".into()),
            exact("https://api.example.com@evil.example/v1/users".into()),
            "https://api.example.com/v1/users".into(),
        ),
        legal(
            ("cidr", "cidr"),
            json!({"network": "10.0.0.0/8"}),
            json!({"network": "10.1.0.0/16"}),
            json!({"network": "10.0.0.0/7"}),
            "10.1.2.3".into(),
        ),
        legal(
            ("cidr", "exact"),
            json!({"network": "10.0.0.0/8"}),
            exact("10.1.2.3".into()),
            exact("11.1.2.3".into()),
            "10.1.2.3".into(),
        ),
    ]
}

const WIDENED: Expected = Expected::Deny("4p4", "authority_widened");

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let legal = legal_pairs();
    let mut cases = Vec::new();
    for pair in &legal {
        let name = |rest: &str| format!("pair-{}-{}-{rest}", dashed(pair.parent), dashed(pair.child));
        let (over, inside, wider) = (
            typed(pair.parent, pair.over.clone()),
            typed(pair.child, pair.inside.clone()),
            typed(pair.child, pair.wider.clone()),
        );
        let title = |rest: &str| format!("`{}` under `{}`, {rest}", pair.child, pair.parent);
        cases.push(case(&name("inside"), &title("inside it"), &over, &inside, &pair.call, Expected::Permit));
        cases.push(case(&name("wider"), &title("wider than it"), &over, &wider, &widest_call(pair), WIDENED));
    }
    let samples = samples();
    for parent in &samples {
        for child in &samples {
            let (over, under) = (&parent.constraint, &child.constraint);
            if parent.name == "wildcard" {
                let id = format!("pair-wildcard-{}", dashed(child.name));
                let title = format!("`{}` under `wildcard`", child.name);
                cases.push(case(&id, &title, over, under, &child.admits, Expected::Permit));
            } else if !legal.iter().any(|pair| pair.parent == parent.name && pair.child == child.name) {
                let id = format!("pair-{}-{}", dashed(parent.name), dashed(child.name));
                let title = format!("`{}` under `{}` is no legal pair", child.name, parent.name);
                cases.push(case(&id, &title, over, under, &child.admits, WIDENED));
            }
        }
    }
    cases
}

fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

/// A call that the wider child would admit.
fn widest_call(pair: &Legal) -> Value {
    pair.wider.get("value").cloned().unwrap_or_else(|| match pair.child {
        "contains" => json!(["b"]),
        "subpath" => "/database/x".into(),
        "url" => "https://example.com/v1".into(),
        "cidr" => "11.0.0.1".into(),
        "nats_subject" => "other.crm.query".into(),
        _ => pair.call.clone(),
    })
}

fn case(id: &str, title: &str, parent: &Value, child: &Value, value: &Value, expected: Expected) -> Case {
    let tools = |constraint: &Value| json!({"act": {"a": constraint}});
    let args = json!({"a": value});
    let parent = root(&root_claims(&named(id, "root"), tools(parent)));
    let leaf = derived(
        &child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, tools(child)),
        Who::Orchestrator,
    );
    let token = proof(&proof_claims(&named(id, "proof"), &leaf, "act", &args), Who::Worker);
    Case::new(Group::Pair, id, title, vec![parent, leaf], token, expected).call("act", &args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn covers_every_ordered_pair() {
        let cases = cases();
        let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(ids.len(), cases.len());
        for parent in samples() {
            for child in samples() {
                let prefix = format!("pair-{}-{}", dashed(parent.name), dashed(child.name));
                let covered = |suffix: &str| ids.contains(format!("{prefix}{suffix}").as_str());
                assert!(covered("") || (covered("-inside") && covered("-wider")), "{prefix}");
            }
        }
    }
}
