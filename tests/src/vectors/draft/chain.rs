//! J.2, J.4, J.5, J.10 to J.14: the links of a chain, their signatures and their lives.

use serde_json::{Value, json};

use super::super::case::Case;
use super::super::token::{
    NOW, Q3, Q4, ROOT_EXP, ROOT_IAT, Token, Who, child_claims, derived, numbered, root, root_claims, with,
};
use super::{Line, child, child_tools, deny, exact, grandchild_tools, one_of, q3, reads, root_tools, wildcard};
use marque_signing::{base64url, base64url_decode, sha256};

const READ: &str = "read_file";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = links();
    cases.extend(widened());
    cases.extend(bindings());
    cases.extend(signatures());
    cases
}

/// A refusal of root and child, the worker proving.
fn refused(
    id: &str,
    slug: &str,
    title: &str,
    line: &Line,
    child: Token,
    proof: u64,
    at: (&'static str, &'static str),
) -> Case {
    let proof = reads(proof, &child, Who::Worker);
    deny(id, slug, title, &[&line.root, &child], proof, (READ, &q3()), at)
}

fn links() -> Vec<Case> {
    let line = Line::new();
    let claims = |n, signer| child_claims(&numbered(n), &line.root, signer, Who::Worker, child_tools());
    let stranger = derived(&claims(0x41, Who::Attacker), Who::Attacker);
    let forger = derived(&claims(0x42, Who::Orchestrator), Who::Attacker);
    let misnamed = line.child_with(0x43, "iss", Who::Attacker.thumbprint_uri().into());
    let twin = derived(&claims(0x10, Who::Orchestrator), Who::Orchestrator);
    let skipping = line.child_with(0x61, "del_depth", 2.into());
    let deeper = line.child_with(0x62, "del_max_depth", 4.into());
    let beyond = {
        let claims = child_claims(&numbered(0x63), &line.leaf, Who::Worker2, Who::Attacker, grandchild_tools());
        derived(&with(claims, "exp", 1_704_068_400.into()), Who::Worker2)
    };
    let expired = root(&with(root_claims(&numbered(0x50), root_tools()), "exp", (NOW - 100).into()));
    let expired_proof = reads(0xa50, &expired, Who::Orchestrator);
    let beyond_proof = reads(0xa63, &beyond, Who::Attacker);
    vec![
        refused(
            "J.2",
            "jti-repeated",
            "The child has the root's `jti`",
            &line,
            twin,
            0xad1,
            ("2c", "token_id_repeated"),
        ),
        refused(
            "J.4",
            "stranger",
            "A child signed by a key that does not hold the parent",
            &line,
            stranger,
            0xa41,
            ("4b", "signature_invalid"),
        ),
        refused(
            "J.4.b",
            "iss-forged",
            "The same, with the holder's name as `iss`",
            &line,
            forger,
            0xa42,
            ("4b", "signature_invalid"),
        ),
        refused(
            "J.4.c",
            "iss-of-another",
            "The holder signs, but names another as `iss`",
            &line,
            misnamed,
            0xa43,
            ("4c", "link_issuer_mismatch"),
        ),
        deny(
            "J.5",
            "root-expired",
            "The root has expired",
            &[&expired],
            expired_proof,
            (READ, &q3()),
            ("3e", "token_expired"),
        ),
        refused("J.10", "depth-skipped", "The child skips a depth", &line, skipping, 0xa61, ("4d", "depth_skipped")),
        refused(
            "J.10.b",
            "max-depth-raised",
            "The child raises the maximal depth",
            &line,
            deeper,
            0xa62,
            ("4g", "depth_widened"),
        ),
        deny(
            "J.10.c",
            "terminal-delegated",
            "A child of a token that may not be delegated",
            &[&line.root, &line.child, &line.leaf, &beyond],
            beyond_proof,
            (READ, &q3()),
            ("4e", "depth_exhausted"),
        ),
    ]
}

fn widened() -> Vec<Case> {
    let line = Line::new();
    let tools = |tool: &str, map: Value| with(child_tools(), tool, map);
    let case = |id, slug, title, n: u64, tools: Value, step| {
        refused(id, slug, title, &line, child(n, &line.root, tools), n + 0xa00, (step, "authority_widened"))
    };
    let more = tools(READ, json!({"path": one_of(&[Q3, Q4, "/data/secret.pdf"])}));
    let unlimited = tools("search_index", json!({"query": exact("public filings")}));
    vec![
        case("J.11", "one-of-widened", "A value is added to `one_of`", 0x71, more, "4p4"),
        case("J.11.b", "tool-added", "A tool is added", 0x72, tools("delete_file", json!({})), "4p1"),
        case("J.11.c", "key-dropped", "A required argument is dropped from a closed map", 0x73, unlimited, "4p2"),
        case(
            "J.11.d",
            "wildcard",
            "`one_of` becomes `wildcard`",
            0x74,
            tools(READ, json!({"path": wildcard()})),
            "4p4",
        ),
    ]
}

fn bindings() -> Vec<Case> {
    let line = Line::new();
    let alone = root(&root_claims(&numbered(1), json!({"read_file": {"path": wildcard()}})));
    let payload_only = {
        let payload = line.root.compact.split('.').nth(1).unwrap_or_default();
        base64url(&sha256(payload.as_bytes()).0)
    };
    let case = |id, slug, title, n: u64, member: &str, value: Value, at| {
        refused(id, slug, title, &line, line.child_with(n, member, value), n + 0xa00, at)
    };
    let unbound = ("4q", "parent_hash_mismatch");
    let life = |step| (step, "link_outlives_parent");
    vec![
        case(
            "J.12",
            "other-parent",
            "`par_hash` of another token with the same holder",
            0x81,
            "par_hash",
            alone.hash().into(),
            unbound,
        ),
        case(
            "J.12.b",
            "payload-hash",
            "`par_hash` of the payload alone",
            0x82,
            "par_hash",
            payload_only.into(),
            unbound,
        ),
        case("J.13", "outlives", "The child outlives its parent", 0x91, "exp", (ROOT_EXP + 3600).into(), life("4h")),
        case("J.13.b", "earlier", "The child is older than its parent", 0x92, "iat", (ROOT_IAT - 1).into(), life("4j")),
    ]
}

/// A compact token with one bit of its signature flipped.
fn flip_first_bit(compact: &str) -> String {
    let (input, signature) = compact.rsplit_once('.').unwrap_or_default();
    let mut signature = base64url_decode(signature).unwrap_or_default();
    if let Some(first) = signature.first_mut() {
        *first ^= 1;
    }
    format!("{input}.{}", base64url(&signature))
}

fn signatures() -> Vec<Case> {
    let line = Line::new();
    let flipped = line.root.clone().altered("signature byte 0 XOR 0x01", flip_first_bit);
    let unsigned = Token {
        signer: "(unsigned)".to_owned(),
        ..Token::seal_bytes(br#"{"alg":"none"}"#.to_vec(), line.root.payload.clone(), Who::ControlPlane)
    };
    let unsigned = Token { compact: format!("{}.", unsigned.signing_input()), ..unsigned };
    let carried = json!({"alg": "Ed25519", "typ": "aat+jwt", "jwk": Who::Attacker.jwk()});
    let carried = Token::seal(&carried, &root_claims(&numbered(0x81), root_tools()), Who::Attacker);
    let case = |id, slug, title, root: &Token, n, at| {
        deny(id, slug, title, &[root], reads(n, root, Who::Orchestrator), (READ, &q3()), at)
    };
    vec![
        case(
            "J.14",
            "bit-flipped",
            "One bit of the root's signature is flipped",
            &flipped,
            0xaa1,
            ("3b", "signature_invalid"),
        ),
        case("J.14.b", "alg-none", "`alg: none` and no signature", &unsigned, 0xaa2, ("3a", "algorithm_not_allowed")),
        case(
            "J.14.c",
            "key-in-header",
            "Signed by a stranger whose key rides in the header",
            &carried,
            0xaa3,
            ("3b", "signature_invalid"),
        ),
    ]
}
