//! J.1, J.3, J.6, J.7: what is presented, to whom, under which type.

use serde_json::{Value, json};

use super::super::case::{Case, Policy};
use super::super::token::{
    AUDIENCE, Token, Who, aat_header, numbered, proof, proof_claims, proof_header, root, root_claims, with, without,
};
use super::{Line, child, child_tools, deny, permit, q3, reads, root_tools, wildcard};

const NONCE: &str = "e1c8a7f4-3b2d-4c5e-9f6a-7b8c9d0e1f2a";
const NONCE_OF_ANOTHER: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
const READ: &str = "read_file";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = valid();
    cases.extend(audiences());
    cases.extend(types());
    cases
}

fn valid() -> Vec<Case> {
    let alone = root(&root_claims(&numbered(1), json!({"read_file": {"path": wildcard()}})));
    let line = Line::new();
    let proof = reads(0xa01, &alone, Who::Orchestrator);
    vec![
        permit("J.1", "root-alone", "A root presented alone by its holder", &[&alone], proof, READ, &q3()),
        permit(
            "J.3",
            "three-levels",
            "Three tokens, each narrower than the one before",
            &line.chain(),
            reads(0xa03, &line.leaf, Who::Worker2),
            READ,
            &q3(),
        ),
    ]
}

/// A proof of the three-token line with `aat_aud` and `nonce` as given.
fn addressed(line: &Line, n: u64, audience: Option<&str>, nonce: Option<&str>) -> Token {
    let mut claims = proof_claims(&numbered(n), &line.leaf, READ, &q3());
    claims = match audience {
        Some(audience) => with(claims, "aat_aud", audience.into()),
        None => without(claims, "aat_aud"),
    };
    if let Some(nonce) = nonce {
        claims = with(claims, "nonce", nonce.into());
    }
    proof(&claims, Who::Worker2)
}

fn audiences() -> Vec<Case> {
    let line = Line::new();
    let evil = Some("https://evil.example.com");
    let us = Some(AUDIENCE);
    let mismatch = ("7d", "audience_mismatch");
    let no_nonce = ("7h", "nonce_mismatch");
    let call = (READ, &q3());
    let denied = |id, slug, title, proof, at| deny(id, slug, title, &line.chain(), proof, call, at);
    let permitted = |id, slug, title, proof| permit(id, slug, title, &line.chain(), proof, READ, &q3());
    let with_aud = |n: u64, aud: &str| {
        let parent = root(&with(root_claims(&numbered(n), root_tools()), "aud", aud.into()));
        let leaf = child(n + 1, &parent, child_tools());
        (parent, leaf)
    };
    let (named_root, named_leaf) = with_aud(0x20, AUDIENCE);
    let (other_root, other_leaf) = with_aud(0x22, "https://other.example.com");
    vec![
        denied(
            "J.6.1",
            "aat-aud-demanded-absent",
            "`aat_aud` is demanded and absent",
            addressed(&line, 0xa04, None, None),
            mismatch,
        )
        .under(Policy::proof_audience()),
        denied(
            "J.6.2",
            "aat-aud-of-another",
            "`aat_aud` names another enforcement point",
            addressed(&line, 0xa05, evil, None),
            mismatch,
        )
        .under(Policy::proof_audience()),
        permitted(
            "J.6.3",
            "aat-aud-not-demanded",
            "`aat_aud` is absent where nobody demands it",
            addressed(&line, 0xa06, None, None),
        ),
        denied(
            "J.6.4",
            "aat-aud-of-another-undemanded",
            "`aat_aud` names another, though none is demanded",
            addressed(&line, 0xa07, evil, None),
            mismatch,
        ),
        denied("J.6.5", "nonce-absent", "A nonce is demanded and absent", addressed(&line, 0xa08, us, None), no_nonce)
            .under(Policy::nonce(NONCE)),
        permitted("J.6.6", "nonce-ours", "The nonce that was issued", addressed(&line, 0xa09, us, Some(NONCE)))
            .under(Policy::nonce(NONCE)),
        denied(
            "J.6.7",
            "nonce-of-another",
            "A nonce that was never issued here",
            addressed(&line, 0xa0a, us, Some(NONCE_OF_ANOTHER)),
            no_nonce,
        )
        .under(Policy::nonce(NONCE)),
        permit(
            "J.6.8",
            "aud-ours",
            "The root's `aud` names this place",
            &[&named_root, &named_leaf],
            reads(0xa0b, &named_leaf, Who::Worker),
            READ,
            &q3(),
        ),
        deny(
            "J.6.9",
            "aud-of-another",
            "The root's `aud` names another place; the proof's `aat_aud` does not override it",
            &[&other_root, &other_leaf],
            reads(0xa0c, &other_leaf, Who::Worker),
            call,
            ("6c", "audience_mismatch"),
        ),
        denied(
            "J.6.10",
            "aud-demanded-absent",
            "`aud` is demanded and no token has it",
            reads(0xa03, &line.leaf, Who::Worker2),
            ("6c", "audience_mismatch"),
        )
        .under(Policy::chain_audience()),
    ]
}

/// A single-root case whose root has this header.
fn typed_root(id: &str, slug: &str, title: &str, n: (u64, u64), header: &Value, code: &'static str) -> Case {
    let root = Token::seal(header, &root_claims(&numbered(n.0), root_tools()), Who::ControlPlane);
    let proof = reads(n.1, &root, Who::Orchestrator);
    deny(id, slug, title, &[&root], proof, (READ, &q3()), ("3a", code))
}

fn types() -> Vec<Case> {
    let line = Line::new();
    let untyped = json!({"alg": "Ed25519"});
    let typed_proof = |n: u64, header: &Value| {
        Token::seal(header, &proof_claims(&numbered(n), &line.leaf, READ, &q3()), Who::Worker2)
    };
    let wrong_type = ("7a", "type_mismatch");
    let critical = json!({
        "alg": "Ed25519", "typ": "aat+jwt", "crit": ["urn:example:unknown"], "urn:example:unknown": true,
    });
    vec![
        deny(
            "J.7.1",
            "proof-untyped",
            "A proof without `typ`",
            &line.chain(),
            typed_proof(0xae1, &untyped),
            (READ, &q3()),
            wrong_type,
        ),
        deny(
            "J.7.2",
            "token-as-proof",
            "A token typed `aat+jwt` in the proof's place",
            &line.chain(),
            typed_proof(0xae2, &aat_header()),
            (READ, &q3()),
            wrong_type,
        ),
        typed_root(
            "J.7.3",
            "proof-as-token",
            "A root typed as a proof",
            (0x7e, 0xae3),
            &proof_header(),
            "type_mismatch",
        ),
        typed_root("J.7.4", "root-untyped", "A root without `typ`", (0x7f, 0xae4), &untyped, "type_mismatch"),
        typed_root(
            "J.7.5",
            "root-eddsa",
            "A root under the deprecated name `EdDSA`",
            (0x80, 0xae5),
            &json!({"alg": "EdDSA", "typ": "aat+jwt"}),
            "algorithm_not_allowed",
        ),
        typed_root(
            "J.7.6",
            "root-critical-unknown",
            "A root whose `crit` names an unknown extension",
            (0x82, 0xae6),
            &critical,
            "critical_unknown",
        ),
    ]
}
