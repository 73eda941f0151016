//! Steps 3c to 3m: the root's claims.

use serde_json::{Value, json};

use super::super::case::Case;
use super::super::token::{NOW, ROOT_IAT, Who, details, raw, with, without};
use super::{At, bent_root, reading};
use marque_signing::base64url;

const DAY_SECONDS: i64 = 24 * 3600;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = depths();
    cases.extend(times());
    cases.extend(names());
    cases.extend(holders());
    cases.extend(grants());
    cases
}

fn set(id: &str, title: &str, at: Option<At>, member: &str, value: Value) -> Case {
    bent_root(id, title, at, |claims| with(claims, member, value))
}

fn depths() -> Vec<Case> {
    let depth = Some(("3c", "root_depth_not_zero"));
    let max = Some(("3i", "depth_invalid"));
    vec![
        bent_root("3c-depth-absent", "No `del_depth`", depth, |claims| without(claims, "del_depth")),
        set("3c-depth-fraction", "`del_depth` is written 0.0", depth, "del_depth", raw("0.0")),
        set("3c-depth-exponent", "`del_depth` is written 0e0", depth, "del_depth", raw("0e0")),
        set("3c-depth-string", "`del_depth` is a string", depth, "del_depth", "0".into()),
        set("3c-depth-null", "`del_depth` is null", depth, "del_depth", Value::Null),
        set(
            "3d-parent-null",
            "`par_hash` is there, though null",
            Some(("3d", "root_has_parent")),
            "par_hash",
            Value::Null,
        ),
        bent_root("3i-max-depth-absent", "No `del_max_depth`", max, |claims| without(claims, "del_max_depth")),
        set("3i-max-depth-negative", "A negative maximal depth", max, "del_max_depth", (-1).into()),
        set("3i-max-depth-fraction", "`del_max_depth` is written 3.0", max, "del_max_depth", raw("3.0")),
        set("3i-max-depth-beyond-limit", "A maximal depth beyond ours", max, "del_max_depth", 65.into()),
        set("3i-max-depth-string", "`del_max_depth` is a string", max, "del_max_depth", "3".into()),
        set("3i-max-depth-huge", "`del_max_depth` beyond 64 bits", max, "del_max_depth", raw("18446744073709551616")),
        set("3i-max-depth-at-limit", "A maximal depth of 64", None, "del_max_depth", 64.into())
            .ours("DELEGATION_DEPTH_MAX"),
        set(
            "3i-max-depth-zero",
            "A root that may not be delegated is presented by its holder",
            None,
            "del_max_depth",
            0.into(),
        ),
    ]
}

fn times() -> Vec<Case> {
    let life = |id, title, at, iat: i64, exp: i64| {
        bent_root(id, title, at, |claims| with(with(claims, "iat", iat.into()), "exp", exp.into()))
    };
    vec![
        life("3e-expires-now", "`exp` is now", Some(("3e", "token_expired")), ROOT_IAT, NOW),
        life("3e-expires-next-second", "`exp` is a second from now", None, ROOT_IAT, NOW + 1),
        life("3f-iat-at-skew", "`iat` 30 seconds ahead", None, NOW + 30, NOW + 60),
        life("3g-life-empty", "`exp` equals `iat`, both ahead", Some(("3g", "lifetime_invalid")), NOW + 20, NOW + 20),
        life(
            "3g-life-negative",
            "`exp` before `iat`, both ahead",
            Some(("3g", "lifetime_invalid")),
            NOW + 20,
            NOW + 10,
        ),
        life("3g-life-one-second", "A life of one second", None, NOW + 20, NOW + 21),
        life("3h-life-at-limit", "A life of 90 days", None, ROOT_IAT, ROOT_IAT + 90 * DAY_SECONDS),
        life(
            "3h-life-overflowing",
            "A life beyond 64 bits",
            Some(("3h", "lifetime_invalid")),
            -9_223_372_036_854_775_000,
            9_223_372_036_854_775_000,
        ),
    ]
}

fn names() -> Vec<Case> {
    let issuer = Some(("3k", "issuer_unknown"));
    let malformed = Some(("3k", "claims_malformed"));
    vec![
        set("3j-jti-empty", "`jti` is empty", Some(("3j", "claims_malformed")), "jti", "".into()),
        bent_root("3k-iss-absent", "No `iss`", malformed, |claims| without(claims, "iss")),
        set("3k-iss-no-uri", "`iss` is no URI", malformed, "iss", "auth.example.com".into()),
        set("3k-iss-slash", "`iss` differs by a slash", issuer, "iss", "https://auth.example.com/".into()),
        set("3k-iss-upper-case", "`iss` differs by a letter's case", issuer, "iss", "https://Auth.example.com".into()),
        set("3k-iss-number", "`iss` is a number", malformed, "iss", 1.into()),
    ]
}

fn holders() -> Vec<Case> {
    let holder = Some(("3l", "holder_key_invalid"));
    let jwk = |id, title, jwk: Value| set(id, title, holder, "cnf", json!({"jwk": jwk}));
    let good = || Who::Orchestrator.jwk();
    let identity_point = {
        let mut point = [0u8; 32];
        point[0] = 1;
        base64url(&point)
    };
    let off_curve = base64url(&[2; 32]);
    vec![
        bent_root("3l-cnf-absent", "No `cnf`", holder, |claims| without(claims, "cnf")),
        set("3l-cnf-string", "`cnf` is a string", holder, "cnf", "key".into()),
        set("3l-cnf-without-jwk", "`cnf` names a key id alone", holder, "cnf", json!({"kid": "1"})),
        jwk("3l-key-symmetric", "A symmetric key", json!({"kty": "oct", "k": "AAAA"})),
        jwk("3l-key-ec", "A key of another kind", json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"})),
        jwk("3l-key-x25519", "A key for agreement, not for signatures", with(good(), "crv", "X25519".into())),
        jwk("3l-key-short", "A key of 31 bytes", with(good(), "x", base64url(&[7; 31]).into())),
        jwk(
            "3l-key-padded",
            "A key with base64 padding",
            with(good(), "x", format!("{}=", base64url(Who::Orchestrator.key().public().bytes())).into()),
        ),
        jwk("3l-key-off-curve", "Bytes that are no point of the curve", with(good(), "x", off_curve.into())),
        jwk(
            "3l-key-small-order",
            "A point of small order, under which anyone can sign",
            with(good(), "x", identity_point.into()),
        )
        .ours("a key of small order being none"),
        jwk("3l-key-private-null", "A private member that is null", with(good(), "d", Value::Null)),
        set(
            "3l-key-other-members",
            "A key with an id and a use",
            None,
            "cnf",
            json!({"jwk": with(with(good(), "kid", "1".into()), "use", "sig".into())}),
        ),
    ]
}

fn grants() -> Vec<Case> {
    let grant = Some(("3m", "grant_malformed"));
    let entries = |id, title, at, entries: Value| set(id, title, at, "authorization_details", entries);
    let ours = || details(reading())[0].clone();
    let other = || json!({"type": "urn:example:other", "tools": "ignored"});
    vec![
        bent_root("3m-details-absent", "No `authorization_details`", grant, |claims| {
            without(claims, "authorization_details")
        }),
        entries("3m-details-object", "The details are an object", grant, ours()),
        entries("3m-details-empty", "The details are empty", grant, json!([])),
        entries("3m-entry-of-other-type-alone", "Only an entry of another type", grant, json!([other()])),
        entries("3m-two-entries", "Two entries of our type", grant, json!([ours(), ours()])),
        entries("3m-tools-array", "`tools` is an array", grant, details(json!(["read_file"]))),
        entries("3m-map-null", "A tool's map is null", grant, details(json!({"read_file": null}))),
        entries(
            "3m-other-entries-ignored",
            "Entries of other types are ignored",
            None,
            json!([other(), ours(), 7, null, {"tools": 1}]),
        ),
    ]
}
