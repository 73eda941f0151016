//! Steps 3a, 3b, 4a, 4b: headers, signatures, and claims that must be read strictly.

use serde_json::{Value, json};

use super::super::case::Case;
use super::super::token::{
    Q3, Token, Who, aat_header, canonical, child_claims, derived, named, proof_header, raw, root, root_claims, with,
    without,
};
use super::{At, alone, bent_child, bent_root, calling, exact, q3, reading};
use marque_signing::{base64url, base64url_decode};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = headers();
    cases.extend(child_headers());
    cases.extend(signatures());
    cases.extend(claims());
    cases
}

fn headed(id: &str, title: &str, at: Option<At>, header: &Value) -> Case {
    alone(id, title, at, Token::seal(header, &root_claims(&named(id, "root"), reading()), Who::ControlPlane))
}

fn headed_text(id: &str, title: &str, at: Option<At>, header: &str) -> Case {
    let payload = canonical(&root_claims(&named(id, "root"), reading())).into_bytes();
    alone(id, title, at, Token::seal_bytes(header.as_bytes().to_vec(), payload, Who::ControlPlane))
}

fn headers() -> Vec<Case> {
    let alg = Some(("3a", "algorithm_not_allowed"));
    let typ = Some(("3a", "type_mismatch"));
    let crit = Some(("3a", "critical_unknown"));
    let with_alg = |alg: Value| with(aat_header(), "alg", alg);
    let with_typ = |typ: Value| with(aat_header(), "typ", typ);
    let with_crit = |names: Value| with(aat_header(), "crit", names);
    let ignored = json!({
        "alg": "Ed25519", "typ": "aat+jwt", "cty": "x", "jku": "https://evil.example.com/keys", "jwk": Who::Attacker.jwk(),
        "x5c": ["AAAA"], "x5u": "https://evil.example.com/cert", "urn:example:ignored": {"deep": [1, null]},
    });
    vec![
        headed("3a-alg-absent", "No `alg`", alg, &without(aat_header(), "alg")),
        headed("3a-alg-none-signed", "`alg: none` on a token that is signed", alg, &with_alg("none".into())),
        headed("3a-alg-hs256", "A symmetric `alg`", alg, &with_alg("HS256".into())),
        headed("3a-alg-es256", "An `alg` for another kind of key", alg, &with_alg("ES256".into())),
        headed("3a-alg-lower-case", "`alg` in other letters", alg, &with_alg("ed25519".into())),
        headed("3a-alg-list", "`alg` is an array", alg, &with_alg(json!(["Ed25519"]))),
        headed("3a-typ-jwt", "`typ` is merely JWT", typ, &with_typ("JWT".into())),
        headed("3a-typ-upper-case", "`typ` in other letters", typ, &with_typ("AAT+JWT".into())),
        headed(
            "3a-typ-media-type",
            "`typ` with the prefix that RFC 7515 §4.1.9 says to leave out",
            typ,
            &with_typ("application/aat+jwt".into()),
        ),
        headed("3a-typ-null", "`typ` is null", typ, &with_typ(Value::Null)),
        headed("3a-crit-empty", "`crit` names nothing, which RFC 7515 §4.1.11 forbids", crit, &with_crit(json!([]))),
        headed("3a-crit-standard-name", "`crit` names a standard header member", crit, &with_crit(json!(["alg"]))),
        headed("3a-crit-not-a-list", "`crit` is a string", crit, &with_crit("exp".into())),
        headed("3a-crit-null", "`crit` is null", crit, &with_crit(Value::Null)),
        headed_text("3a-header-array", "The header is an array", Some(("3a", "malformed")), "[]"),
        headed_text("3a-header-not-json", "The header is no JSON", Some(("3a", "malformed")), "alg"),
        headed_text(
            "3a-header-duplicate",
            "The header names `alg` twice",
            Some(("3a", "duplicate_member")),
            r#"{"alg":"none","alg":"Ed25519","typ":"aat+jwt"}"#,
        ),
        headed("3a-header-members-ignored", "Keys and unknown members in a header are ignored", None, &ignored),
        headed_text(
            "3a-header-spaced",
            "A header that is not canonical JSON",
            None,
            "{ \"typ\" : \"aat+jwt\",\n\"alg\": \"Ed25519\" }",
        ),
    ]
}

fn child_headers() -> Vec<Case> {
    let case = |id: &str, title, at, header: &Value| {
        let parent = root(&root_claims(&named(id, "root"), reading()));
        let claims = child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, reading());
        let leaf = Token::seal(header, &claims, Who::Orchestrator);
        calling(id, title, at, vec![parent, leaf], Who::Worker, "read_file", &q3())
    };
    let alg = Some(("4a", "algorithm_not_allowed"));
    let typ = Some(("4a", "type_mismatch"));
    vec![
        case("4a-alg-none-signed", "A child with `alg: none`", alg, &with(aat_header(), "alg", "none".into())),
        case(
            "4a-alg-eddsa",
            "A child under the deprecated name `EdDSA`",
            alg,
            &with(aat_header(), "alg", "EdDSA".into()),
        ),
        case("4a-typ-absent", "A child without `typ`", typ, &without(aat_header(), "typ")),
        case("4a-typ-of-proof", "A child typed as a proof", typ, &proof_header()),
        case(
            "4a-crit-unknown",
            "A child whose `crit` is not understood",
            Some(("4a", "critical_unknown")),
            &with(aat_header(), "crit", json!(["urn:example:unknown"])),
        ),
        case(
            "4a-header-members-ignored",
            "A child with other header members",
            None,
            &with(aat_header(), "jwk", Who::Attacker.jwk()),
        ),
    ]
}

/// The order of the Ed25519 group, little-endian (RFC 8032 §5.1).
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The same signature with S + L for S: a second one that a lax verifier takes.
fn second_signature(compact: &str) -> String {
    let (input, signature) = compact.rsplit_once('.').unwrap_or_default();
    let mut signature = base64url_decode(signature).unwrap_or_default();
    let mut carry = 0u16;
    for (byte, order) in signature.iter_mut().skip(32).zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    format!("{input}.{}", base64url(&signature))
}

/// The token with another payload under the same signature.
fn other_payload(token: Token, claims: &Value) -> Token {
    let payload = canonical(claims).into_bytes();
    let changed = token.altered("then its payload was replaced", |compact| {
        let mut parts: Vec<&str> = compact.split('.').collect();
        let text = base64url(&payload);
        parts[1] = &text;
        parts.join(".")
    });
    Token { payload, ..changed }
}

fn signatures() -> Vec<Case> {
    let invalid = Some(("3b", "signature_invalid"));
    let sealed = |id: &str| root(&root_claims(&named(id, "root"), reading()));
    let end = |id: &str, how: &str, change: fn(&str) -> String| sealed(id).altered(how, change);
    let swapped = {
        let id = "3b-payload-replaced";
        other_payload(sealed(id), &root_claims(&named(id, "root"), json!({"read_file": {}, "delete_file": {}})))
    };
    let child = {
        let id = "4b-payload-replaced";
        let parent = sealed(id);
        let claims = |tools| child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, tools);
        let leaf = derived(&claims(json!({"read_file": {"path": exact("/tmp/x")}})), Who::Orchestrator);
        let leaf = other_payload(leaf, &claims(reading()));
        vec![parent, leaf]
    };
    vec![
        alone(
            "3b-signature-absent",
            "An empty signature under an honest header",
            invalid,
            end("3b-signature-absent", "without its signature", |c| {
                format!("{}.", c.rsplit_once('.').unwrap_or_default().0)
            }),
        ),
        alone(
            "3b-signature-short",
            "A signature of 63 bytes",
            invalid,
            end("3b-signature-short", "signature cut by a byte", |c| {
                let (input, signature) = c.rsplit_once('.').unwrap_or_default();
                format!("{input}.{}", base64url(&base64url_decode(signature).unwrap_or_default()[..63]))
            }),
        ),
        alone(
            "3b-signature-padded",
            "A signature with base64 padding",
            invalid,
            end("3b-signature-padded", "`==` appended", |c| format!("{c}==")),
        ),
        alone(
            "3b-signature-second",
            "The second signature of the same message, S + L",
            invalid,
            end("3b-signature-second", "S replaced by S + L", second_signature),
        ),
        alone("3b-payload-replaced", "Another payload under the same signature", invalid, swapped),
        calling(
            "4b-payload-replaced",
            "Another payload under a child's signature",
            Some(("4b", "signature_invalid")),
            child,
            Who::Worker,
            "read_file",
            &q3(),
        ),
    ]
}

fn claims() -> Vec<Case> {
    let twice = |text: &str| raw(text);
    let root_twice = Some(("3b", "duplicate_member"));
    let child_twice = Some(("4b", "duplicate_member"));
    let malformed = Some(("3b", "claims_malformed"));
    let nested = || json!({"read_file": {"path": raw(r#"{"constraint_type":"exact","constraint_type":"wildcard"}"#)}});
    let tools = |text: &str| json!({"read_file": raw(text)});
    let set = |member: &'static str, value: Value| move |claims: Value| with(claims, member, value);
    vec![
        bent_root(
            "3b-claim-twice",
            "A claim stands twice",
            root_twice,
            set("exp", twice("1704067600,\"exp\":1704070800")),
        ),
        bent_root(
            "3b-unread-member-twice",
            "A member that nobody reads stands twice",
            root_twice,
            set("note", twice(r#"{"a":{"b":1,"b":2}}"#)),
        ),
        alone(
            "3b-constraint-member-twice",
            "A member of a constraint stands twice",
            root_twice,
            root(&root_claims(&named("3b-constraint-member-twice", "root"), nested())),
        ),
        alone(
            "3b-argument-twice-by-escape",
            "An argument stands twice, once written with an escape",
            root_twice,
            root(&root_claims(
                &named("3b-argument-twice-by-escape", "root"),
                tools(
                    r#"{"path":{"constraint_type":"exact","value":"/tmp"},"p\u0061th":{"constraint_type":"wildcard"}}"#,
                ),
            )),
        ),
        alone(
            "3b-tool-twice",
            "A tool stands twice",
            root_twice,
            root(&root_claims(
                &named("3b-tool-twice", "root"),
                raw(r#"{"read_file":{"path":{"constraint_type":"exact","value":"/tmp"}},"read_file":{}}"#),
            )),
        ),
        bent_root("3b-iat-absent", "No `iat`", malformed, |claims| without(claims, "iat")),
        bent_root("3b-exp-absent", "No `exp`", malformed, |claims| without(claims, "exp")),
        bent_root("3b-exp-string", "`exp` is a string", malformed, set("exp", "1704070800".into())),
        bent_root("3b-exp-fraction", "`exp` is written with a fraction", malformed, set("exp", raw("1704070800.0"))),
        bent_root("3b-exp-exponent", "`exp` is written with an exponent", malformed, set("exp", raw("17040708e2"))),
        bent_root(
            "3b-iat-beyond-64-bits",
            "`iat` is beyond 64 bits",
            malformed,
            set("iat", raw("-99999999999999999999")),
        ),
        bent_root(
            "3b-unknown-claims-ignored",
            "Claims that the draft does not know are ignored",
            None,
            set("sub", json!({"anyone": [1.5, null, Q3]})),
        ),
        bent_child(
            "4b-claim-twice",
            "A child's claim stands twice",
            child_twice,
            set("del_max_depth", twice("9,\"del_max_depth\":2")),
        ),
        bent_child(
            "4b-unread-member-twice",
            "A member of a child that nobody reads stands twice",
            child_twice,
            set("note", twice(r#"[{"a":1,"a":1}]"#)),
        ),
    ]
}
