//! Every case of the draft's own index (J.1 to J.22.23), rebuilt from what each says; the ids are the draft's.

mod chain;
mod composite;
mod constraints;
mod optional;
mod presented;
mod proof;
mod structure;

use serde_json::{Value, json};

use super::case::{Case, Expected, Group};
use super::token::{
    CHILD_EXP, Q3, Q4, Token, Who, child_claims, derived, numbered, proof as sealed_proof, proof_claims, root,
    root_claims, with,
};

/// All of them, in the index's order of groups.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = presented::cases();
    cases.extend(chain::cases());
    cases.extend(proof::cases());
    cases.extend(composite::cases());
    cases.extend(constraints::cases());
    cases.extend(structure::cases());
    cases.extend(optional::cases());
    cases
}

fn permit(id: &str, slug: &str, title: &str, chain: &[&Token], proof: Token, tool: &str, args: &Value) -> Case {
    let chain = chain.iter().map(|token| (*token).clone()).collect();
    Case::new(Group::Draft, id, title, chain, proof, Expected::Permit).named(slug).call(tool, args)
}

/// A refusal; `at` is step and code.
fn deny(
    id: &str,
    slug: &str,
    title: &str,
    chain: &[&Token],
    proof: Token,
    call: (&str, &Value),
    at: (&'static str, &'static str),
) -> Case {
    let chain = chain.iter().map(|token| (*token).clone()).collect();
    Case::new(Group::Draft, id, title, chain, proof, Expected::Deny(at.0, at.1)).named(slug).call(call.0, call.1)
}

fn wildcard() -> Value {
    json!({"constraint_type": "wildcard"})
}

fn exact(value: impl Into<Value>) -> Value {
    json!({"constraint_type": "exact", "value": value.into()})
}

fn one_of(values: &[&str]) -> Value {
    json!({"constraint_type": "one_of", "values": values})
}

fn range(members: Value) -> Value {
    with(members, "constraint_type", "range".into())
}

fn all(clauses: &[Value]) -> Value {
    json!({"constraint_type": "all", "constraints": clauses})
}

fn any(clauses: &[Value]) -> Value {
    json!({"constraint_type": "any", "constraints": clauses})
}

/// What the first root grants.
fn root_tools() -> Value {
    json!({
        "read_file": {"path": one_of(&[Q3, Q4])},
        "search_index": {"query": wildcard(), "limit": range(json!({"max": 100}))},
    })
}

/// What the orchestrator passes on.
fn child_tools() -> Value {
    json!({
        "read_file": {"path": one_of(&[Q3])},
        "search_index": {"query": exact("public filings"), "limit": range(json!({"max": 20}))},
    })
}

/// What the worker passes on.
fn grandchild_tools() -> Value {
    json!({"read_file": {"path": exact(Q3)}})
}

/// The chain that most cases bend: three tokens, each narrower.
struct Line {
    root: Token,
    child: Token,
    leaf: Token,
}

impl Line {
    fn new() -> Self {
        let root = root(&root_claims(&numbered(0x10), root_tools()));
        let child = derived(
            &child_claims(&numbered(0x11), &root, Who::Orchestrator, Who::Worker, child_tools()),
            Who::Orchestrator,
        );
        let leaf = derived(&leaf_claims(&child), Who::Worker);
        Self { root, child, leaf }
    }

    fn chain(&self) -> [&Token; 3] {
        [&self.root, &self.child, &self.leaf]
    }

    /// A child of the root, differing in one claim.
    fn child_with(&self, n: u64, member: &str, value: Value) -> Token {
        let claims = child_claims(&numbered(n), &self.root, Who::Orchestrator, Who::Worker, child_tools());
        derived(&with(claims, member, value), Who::Orchestrator)
    }
}

/// Claims of the third token of [`Line`].
fn leaf_claims(child: &Token) -> Value {
    let claims = child_claims(&numbered(0x12), child, Who::Worker, Who::Worker2, grandchild_tools());
    with(claims, "exp", (CHILD_EXP - 600).into())
}

/// The arguments of most calls.
fn q3() -> Value {
    json!({"path": Q3})
}

/// A proof for reading the first file.
fn reads(n: u64, leaf: &Token, signer: Who) -> Token {
    proves(n, leaf, "read_file", &q3(), signer)
}

/// A proof for any call.
fn proves(n: u64, leaf: &Token, tool: &str, args: &Value, signer: Who) -> Token {
    sealed_proof(&proof_claims(&numbered(n), leaf, tool, args), signer)
}

/// A child that the orchestrator derives for the worker with other tools.
fn child(n: u64, parent: &Token, tools: Value) -> Token {
    derived(&child_claims(&numbered(n), parent, Who::Orchestrator, Who::Worker, tools), Who::Orchestrator)
}
