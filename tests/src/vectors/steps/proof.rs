//! Step 7: the proof.

use serde_json::{Value, json};

use super::super::case::{Case, Expected, Group, Policy};
use super::super::token::{
    AUDIENCE, NOW, Q3, Token, Who, named, proof, proof_claims, proof_header, raw, root, root_claims, with, without,
};
use super::{At, expected, q3, wildcard};

const NONCE: &str = "n-0S6_WzA2Mj";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = envelopes();
    cases.extend(claims());
    cases.extend(bindings());
    cases
}

/// A root that its holder presents with a proof made from its claims.
fn proved(id: &str, title: &str, at: Option<At>, make: impl FnOnce(&Token, Value) -> Token) -> Case {
    let leaf = root(&root_claims(&named(id, "root"), json!({"read_file": {"path": wildcard()}, "act": {}})));
    let token = make(&leaf, proof_claims(&named(id, "proof"), &leaf, "read_file", &q3()));
    Case::new(Group::Step, id, title, vec![leaf], token, expected(at)).call("read_file", &q3())
}

fn bent(id: &str, title: &str, at: Option<At>, bend: impl FnOnce(Value) -> Value) -> Case {
    proved(id, title, at, |_, claims| proof(&bend(claims), Who::Orchestrator))
}

fn set(id: &str, title: &str, at: Option<At>, member: &str, value: Value) -> Case {
    bent(id, title, at, |claims| with(claims, member, value))
}

fn headed(id: &str, title: &str, at: Option<At>, header: &Value) -> Case {
    proved(id, title, at, |_, claims| Token::seal(header, &claims, Who::Orchestrator))
}

fn envelopes() -> Vec<Case> {
    let header = |member: &str, value: Value| with(proof_header(), member, value);
    let twice = Some(("7b", "duplicate_member"));
    let cut = |id: &str, title, how, change: fn(&str) -> String| {
        proved(id, title, Some(("7a", "malformed")), |_, claims| proof(&claims, Who::Orchestrator).altered(how, change))
    };
    vec![
        headed(
            "7a-alg-none-signed",
            "A proof with `alg: none`",
            Some(("7a", "algorithm_not_allowed")),
            &header("alg", "none".into()),
        ),
        headed(
            "7a-alg-eddsa",
            "A proof under the deprecated name `EdDSA`",
            Some(("7a", "algorithm_not_allowed")),
            &header("alg", "EdDSA".into()),
        ),
        headed(
            "7a-typ-dpop",
            "A proof typed as another protocol's",
            Some(("7a", "type_mismatch")),
            &header("typ", "dpop+jwt".into()),
        ),
        headed(
            "7a-crit-unknown",
            "A proof whose `crit` is not understood",
            Some(("7a", "critical_unknown")),
            &header("crit", json!(["b64"])),
        ),
        headed(
            "7a-header-members-ignored",
            "A proof with a key in its header, which is ignored",
            None,
            &header("jwk", Who::Attacker.jwk()),
        ),
        cut("7a-proof-empty", "No proof at all", "emptied", |_| String::new()),
        cut("7a-proof-two-parts", "A proof without its signature part", "cut", |c| {
            c.rsplit_once('.').unwrap_or_default().0.to_owned()
        }),
        proved(
            "7b-signed-by-header-key",
            "A stranger signs, with the key in the header",
            Some(("7b", "signature_invalid")),
            |_, claims| Token::seal(&header("jwk", Who::Attacker.jwk()), &claims, Who::Attacker),
        ),
        proved(
            "7b-signed-by-issuer",
            "The root's issuer signs instead of its holder",
            Some(("7b", "signature_invalid")),
            |_, claims| proof(&claims, Who::ControlPlane),
        ),
        set(
            "7b-claim-twice",
            "A claim of the proof stands twice",
            twice,
            "aat_tool",
            raw(r#""act","aat_tool":"read_file""#),
        ),
        set(
            "7b-argument-twice",
            "An argument in `hta` stands twice",
            twice,
            "hta",
            raw(&format!(r#"{{"path":"/etc/passwd","path":"{Q3}"}}"#)),
        ),
        proved("7b-payload-not-json", "A signed proof that is no JSON", Some(("7b", "malformed")), |_, _| {
            Token::seal_bytes(proof_header().to_string().into_bytes(), b"hello".to_vec(), Who::Orchestrator)
        }),
    ]
}

fn claims() -> Vec<Case> {
    let malformed = Some(("7c", "proof_malformed"));
    let absent = |id, title, member: &'static str| bent(id, title, malformed, move |claims| without(claims, member));
    vec![
        absent("7c-jti-absent", "A proof without `jti`", "jti"),
        set("7c-jti-empty", "A proof whose `jti` is empty", malformed, "jti", "".into()),
        absent("7c-iat-absent", "A proof without `iat`", "iat"),
        set("7c-iat-fraction", "A proof whose `iat` is written with a fraction", malformed, "iat", raw("1704067500.0")),
        absent("7c-token-id-absent", "A proof without `aat_id`", "aat_id"),
        absent("7c-token-hash-absent", "A proof without `aat_hash`", "aat_hash"),
        absent("7c-tool-absent", "A proof without `aat_tool`", "aat_tool"),
        set("7c-arguments-array", "A proof whose `hta` is an array", malformed, "hta", json!([Q3])),
        set("7c-arguments-null", "A proof whose `hta` is null", malformed, "hta", Value::Null),
        proved(
            "7c-token-hash-with-signature",
            "`aat_hash` of the leaf with its signature",
            Some(("7c", "proof_token_mismatch")),
            |leaf, claims| {
                let whole = marque_signing::base64url(&marque_signing::sha256(leaf.compact.as_bytes()).0);
                proof(&with(claims, "aat_hash", whole.into()), Who::Orchestrator)
            },
        ),
        proved(
            "7c-token-hash-padded",
            "`aat_hash` with base64 padding",
            Some(("7c", "proof_token_mismatch")),
            |leaf, claims| proof(&with(claims, "aat_hash", format!("{}=", leaf.hash()).into()), Who::Orchestrator),
        ),
        bent(
            "7c-unknown-claims-ignored",
            "Claims of the proof that the draft does not know are ignored",
            None,
            |claims| with(claims, "why", "to read".into()),
        ),
    ]
}

fn bindings() -> Vec<Case> {
    let elsewhere = Some(("7d", "audience_mismatch"));
    let window = Some(("7g", "proof_out_of_window"));
    let nonce = Some(("7h", "nonce_mismatch"));
    let arguments = Some(("7f", "proof_arguments_mismatch"));
    vec![
        set("7d-audience-slash", "`aat_aud` differs by a slash", elsewhere, "aat_aud", format!("{AUDIENCE}/").into()),
        set("7d-audience-null", "`aat_aud` is there, though null", elsewhere, "aat_aud", Value::Null),
        set(
            "7d-audience-list",
            "`aat_aud` is a list, which only `aud` may be",
            elsewhere,
            "aat_aud",
            json!([AUDIENCE]),
        ),
        set(
            "7e-tool-upper-case",
            "`aat_tool` differs by a letter's case",
            Some(("7e", "proof_tool_mismatch")),
            "aat_tool",
            "Read_file".into(),
        ),
        set("7f-arguments-more", "The proof has an argument more", arguments, "hta", json!({"path": Q3, "mode": "r"})),
        set("7f-arguments-fewer", "The proof has an argument fewer", arguments, "hta", json!({})),
        reordered(),
        set("7g-from-future", "A proof from 31 seconds ahead", window, "iat", (NOW + 31).into()),
        set("7g-at-past-edge", "A proof of 30 seconds ago", None, "iat", (NOW - 30).into()),
        set("7g-at-future-edge", "A proof from 30 seconds ahead", None, "iat", (NOW + 30).into()),
        set("7g-iat-huge", "A proof from the end of time", window, "iat", raw("9223372036854775807")),
        set("7g-iat-hugely-negative", "A proof from the beginning of time", window, "iat", raw("-9223372036854775808")),
        set("7h-nonce-number", "The nonce is a number", nonce, "nonce", 1.into()).under(Policy::nonce(NONCE)),
        set("7h-nonce-upper-case", "The nonce differs by a letter's case", nonce, "nonce", NONCE.to_uppercase().into())
            .under(Policy::nonce(NONCE)),
        set("7h-nonce-undemanded", "A nonce that nobody demands", None, "nonce", NONCE.into()),
        bent("7i-replayed", "The same proof a second time", Some(("7i", "proof_replayed")), |claims| claims)
            .under(Policy { accepted_before: true, ..Policy::none() })
            .ours("a memory of proofs: this one was accepted a moment ago"),
    ]
}

/// The proof's arguments and the call's are equal in JCS though their texts differ.
fn reordered() -> Case {
    let id = "7f-arguments-written-otherwise";
    let leaf = root(&root_claims(&named(id, "root"), json!({"act": {}})));
    let claims = proof_claims(&named(id, "proof"), &leaf, "act", &raw(r#"{"n":1.0,"a":"\u00e9"}"#));
    let token = proof(&claims, Who::Orchestrator);
    let args = json!({"a": "\u{e9}", "n": 1});
    Case::new(Group::Step, id, "Arguments in another order and spelling", vec![leaf], token, Expected::Permit)
        .call("act", &args)
}
