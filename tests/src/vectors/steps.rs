//! Every step of AAT §8, each with cases that must fail at it and, where it has a boundary, the twin that passes.
//!
//! Steps 4f and 5 have none: 4d and 4e bring each depth up by one to at most the root's maximum, which 3i bounds, so
//! nothing reaches them (the draft calls 5 defence in depth).

mod call;
mod children;
mod constraints;
mod envelope;
mod proof;
mod roots;
mod sizes;

use serde_json::{Value, json};

use super::case::{Case, Expected, Group};
use super::token::{
    Q3, Token, Who, child_claims, derived, named, proof as sealed_proof, proof_claims, root, root_claims,
};

/// Step and code of a refusal.
type At = (&'static str, &'static str);

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = sizes::cases();
    cases.extend(envelope::cases());
    cases.extend(roots::cases());
    cases.extend(constraints::cases());
    cases.extend(children::cases());
    cases.extend(call::cases());
    cases.extend(proof::cases());
    cases
}

fn expected(at: Option<At>) -> Expected {
    at.map_or(Expected::Permit, |(step, code)| Expected::Deny(step, code))
}

fn wildcard() -> Value {
    json!({"constraint_type": "wildcard"})
}

fn exact(value: impl Into<Value>) -> Value {
    json!({"constraint_type": "exact", "value": value.into()})
}

/// What most roots here grant: any path to read.
fn reading() -> Value {
    json!({"read_file": {"path": wildcard()}})
}

fn q3() -> Value {
    json!({"path": Q3})
}

/// A root alone, its holder reading a file.
fn alone(id: &str, title: &str, at: Option<At>, root: Token) -> Case {
    calling(id, title, at, vec![root], Who::Orchestrator, "read_file", &q3())
}

/// A chain whose leaf's holder calls a tool.
fn calling(id: &str, title: &str, at: Option<At>, chain: Vec<Token>, holder: Who, tool: &str, args: &Value) -> Case {
    let proof = chain.last().map_or_else(
        || sealed_proof(&json!({}), holder),
        |leaf| sealed_proof(&proof_claims(&named(id, "proof"), leaf, tool, args), holder),
    );
    Case::new(Group::Step, id, title, chain, proof, expected(at)).call(tool, args)
}

/// A root alone whose claims are bent.
fn bent_root(id: &str, title: &str, at: Option<At>, bend: impl FnOnce(Value) -> Value) -> Case {
    alone(id, title, at, root(&bend(root_claims(&named(id, "root"), reading()))))
}

/// A root and a child, the child's claims bent.
fn bent_child(id: &str, title: &str, at: Option<At>, bend: impl FnOnce(Value) -> Value) -> Case {
    let parent = root(&root_claims(&named(id, "root"), reading()));
    let claims = child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, reading());
    let leaf = derived(&bend(claims), Who::Orchestrator);
    calling(id, title, at, vec![parent, leaf], Who::Worker, "read_file", &q3())
}

/// A root alone that grants these tools.
fn granting(id: &str, title: &str, at: Option<At>, tools: Value) -> Case {
    alone(id, title, at, root(&root_claims(&named(id, "root"), tools)))
}
