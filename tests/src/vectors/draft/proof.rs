//! J.20 and J.9: proofs that do not fit, and calls outside the leaf's closed map.

use serde_json::{Value, json};

use super::super::case::Case;
use super::super::token::{NOW, Q3, Q4, Token, Who, derived, numbered, proof, proof_claims, with, without};
use super::{Line, deny, leaf_claims, permit, proves, q3, reads};

const READ: &str = "read_file";
const SEARCH: &str = "search_index";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = proofs();
    cases.extend(calls());
    cases
}

/// A proof of the line's leaf, differing in one claim.
fn bent(line: &Line, n: u64, bend: impl FnOnce(Value) -> Value) -> Token {
    proof(&bend(proof_claims(&numbered(n), &line.leaf, READ, &q3())), Who::Worker2)
}

fn filings() -> Value {
    json!({"query": "public filings", "limit": 5})
}

fn proofs() -> Vec<Case> {
    let line = Line::new();
    let case = |id, slug, title, proof, at| deny(id, slug, title, &line.chain(), proof, (READ, &q3()), at);
    let other_token = ("7c", "proof_token_mismatch");
    let child_id = line.child.claims().get("jti").cloned().unwrap_or_default();
    let sibling = derived(&with(leaf_claims(&line.child), "exp", 1_704_068_700.into()), Who::Worker);
    let q4 = json!({"path": Q4});
    vec![
        case(
            "J.20.1",
            "signed-by-stranger",
            "A stranger signs the proof",
            reads(0xab1, &line.leaf, Who::Attacker),
            ("7b", "signature_invalid"),
        ),
        case(
            "J.20.2",
            "other-token-id",
            "`aat_id` is another token's",
            bent(&line, 0xab2, |claims| with(claims, "aat_id", child_id.clone())),
            other_token,
        ),
        deny(
            "J.20.3",
            "arguments-outside-grant",
            "The call's argument fails the grant before the proof is compared",
            &line.chain(),
            reads(0xab3, &line.leaf, Who::Worker2),
            (READ, &q4),
            ("6b", "argument_refused"),
        ),
        case(
            "J.20.4",
            "too-old",
            "The proof is one second too old",
            bent(&line, 0xab4, |claims| with(claims, "iat", (NOW - 31).into())),
            ("7g", "proof_out_of_window"),
        ),
        deny(
            "J.20.5",
            "other-arguments",
            "The proof is for other arguments that are granted too",
            &[&line.root],
            proves(0xab5, &line.root, READ, &q4, Who::Orchestrator),
            (READ, &q3()),
            ("7f", "proof_arguments_mismatch"),
        ),
        deny(
            "J.20.6",
            "other-tool",
            "The proof is for another tool that is granted too",
            &[&line.root, &line.child],
            proves(0xab6, &line.child, READ, &filings(), Who::Worker),
            (SEARCH, &filings()),
            ("7e", "proof_tool_mismatch"),
        ),
        deny(
            "J.20.7",
            "sibling-same-jti",
            "The proof of a sibling with the same `jti` and holder",
            &[&line.root, &line.child, &sibling],
            reads(0xa03, &line.leaf, Who::Worker2),
            (READ, &q3()),
            other_token,
        ),
        case(
            "J.20.8",
            "without-arguments",
            "The proof lacks `hta`",
            bent(&line, 0xab8, |claims| without(claims, "hta")),
            ("7c", "proof_malformed"),
        ),
    ]
}

fn calls() -> Vec<Case> {
    let line = Line::new();
    let case = |id, slug, title, n, tool, args: Value, code| {
        let proof = proves(n, &line.leaf, tool, &args, Who::Worker2);
        deny(id, slug, title, &line.chain(), proof, (tool, &args), ("6b", code))
    };
    vec![
        case(
            "J.9.1",
            "argument-unnamed",
            "An argument that the closed map does not name",
            0xac1,
            READ,
            json!({"path": Q3, "mode": "r"}),
            "argument_refused",
        ),
        case("J.9.2", "argument-absent", "A required argument is absent", 0xac2, READ, json!({}), "argument_missing"),
        case(
            "J.9.3",
            "tool-dropped",
            "A tool that the leaf no longer has",
            0xac3,
            SEARCH,
            filings(),
            "tool_not_granted",
        ),
        permit(
            "J.9.4",
            "prefix",
            "The first two tokens alone are a chain of their own",
            &[&line.root, &line.child],
            proves(0xac4, &line.child, SEARCH, &filings(), Who::Worker),
            SEARCH,
            &filings(),
        ),
    ]
}
