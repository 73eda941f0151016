//! J.21: the root's own claims.

use serde_json::{Value, json};

use super::super::case::{Case, Expected, Group};
use super::super::token::{NOW, Q3, ROOT_IAT, Who, numbered, root, root_claims, with};
use super::{all, proves, q3, range, wildcard};
use marque_signing::base64url;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = claims();
    cases.extend(grants());
    cases
}

fn case(
    id: &str,
    slug: &str,
    title: &str,
    claims: Value,
    n: u64,
    args: Value,
    at: (&'static str, &'static str),
) -> Case {
    let root = root(&claims);
    let proof = proves(n, &root, "read_file", &args, Who::Orchestrator);
    Case::new(Group::Draft, id, title, vec![root], proof, Expected::Deny(at.0, at.1))
        .named(slug)
        .call("read_file", &args)
}

fn plain(n: u64) -> Value {
    root_claims(&numbered(n), json!({"read_file": {"path": wildcard()}}))
}

fn claims() -> Vec<Case> {
    const LIFE_SECONDS_MAX: i64 = 90 * 24 * 3600;
    let one = |id, slug, title, n: (u64, u64), member: &str, value: Value, at| {
        case(id, slug, title, with(plain(n.0), member, value), n.1, q3(), at)
    };
    let private = json!({"jwk": with(Who::Orchestrator.jwk(), "d", base64url(&Who::Orchestrator.seed()).into())});
    let parent = "A".repeat(43);
    vec![
        one(
            "J.21.1",
            "root-with-parent",
            "A root with `par_hash`",
            (0xe1, 0xe81),
            "par_hash",
            parent.into(),
            ("3d", "root_has_parent"),
        ),
        one(
            "J.21.2",
            "root-depth-one",
            "A root of depth 1",
            (0xe2, 0xe82),
            "del_depth",
            1.into(),
            ("3c", "root_depth_not_zero"),
        ),
        one(
            "J.21.3",
            "holder-key-private",
            "`cnf.jwk` with the private member",
            (0xe3, 0xe83),
            "cnf",
            private,
            ("3l", "holder_key_invalid"),
        ),
        one(
            "J.21.4",
            "root-from-future",
            "`iat` 31 seconds ahead",
            (0xe4, 0xe84),
            "iat",
            (NOW + 31).into(),
            ("3f", "token_from_future"),
        ),
        one(
            "J.21.5",
            "root-lives-too-long",
            "A life of 90 days and a second",
            (0xe5, 0xe85),
            "exp",
            (ROOT_IAT + LIFE_SECONDS_MAX + 1).into(),
            ("3h", "lifetime_invalid"),
        ),
        one(
            "J.21.6",
            "root-iss-of-another",
            "`iss` of another issuer under our anchor's key",
            (0xe6, 0xe86),
            "iss",
            "https://other-issuer.example.com".into(),
            ("3k", "issuer_unknown"),
        ),
        one(
            "J.21.9",
            "root-depth-false",
            "`del_depth` is `false`",
            (0xe7e, 0xe8e),
            "del_depth",
            false.into(),
            ("3c", "root_depth_not_zero"),
        ),
    ]
}

fn grants() -> Vec<Case> {
    let granted = |id, slug, title, n: (u64, u64), map: Value, args, at| {
        case(id, slug, title, root_claims(&numbered(n.0), json!({"read_file": map})), n.1, args, at)
    };
    let malformed = ("3n", "constraint_malformed");
    let toolless = with(plain(0xe7f), "authorization_details", json!([{"type": "attenuating_agent_token"}]));
    let not_array = json!({"constraint_type": "all", "constraints": wildcard()});
    let misspelt = json!({"path": wildcard(), "limit": range(json!({"maximum": 10}))});
    vec![
        granted(
            "J.21.7",
            "all-empty",
            "`all` without clauses",
            (0xe7, 0xe87),
            json!({"path": all(&[])}),
            q3(),
            malformed,
        ),
        case(
            "J.21.8",
            "entry-without-tools",
            "The entry has no `tools`",
            toolless,
            0xe8f,
            q3(),
            ("3m", "grant_malformed"),
        ),
        granted(
            "J.21.10",
            "map-not-an-object",
            "A tool's map is an array",
            (0xe7d, 0xe8d),
            json!(["path"]),
            q3(),
            ("3m", "grant_malformed"),
        ),
        granted(
            "J.21.11",
            "all-not-an-array",
            "The clauses of `all` are no array",
            (0xe7c, 0xe8c),
            json!({"path": not_array}),
            q3(),
            malformed,
        ),
        granted(
            "J.21.12",
            "member-misspelt",
            "`maximum` where `max` is meant",
            (0xe7b, 0xe8b),
            misspelt,
            json!({"path": Q3, "limit": 1000}),
            malformed,
        ),
    ]
}
