//! Steps 4b1 to 4q and 6a: the claims of a derived token, against its parent's.

use serde_json::{Value, json};

use super::super::case::Case;
use super::super::token::{
    ISSUER, NOW, ROOT_EXP, ROOT_IAT, Token, Who, child_claims, derived, details, named, raw, root, root_claims, with,
    without,
};
use super::{At, bent_child, calling, exact, q3, reading};
use marque_signing::{base64url, base64url_decode, sha256};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = claims();
    cases.extend(depths());
    cases.extend(times());
    cases.extend(grants());
    cases.extend(keys());
    cases.extend(links());
    cases.extend(leaves());
    cases
}

fn set(id: &str, title: &str, at: Option<At>, member: &str, value: Value) -> Case {
    bent_child(id, title, at, |claims| with(claims, member, value))
}

fn drop(id: &str, title: &str, at: Option<At>, member: &str) -> Case {
    bent_child(id, title, at, |claims| without(claims, member))
}

fn claims() -> Vec<Case> {
    let holder = Some(("4b2", "holder_key_invalid"));
    let depth = Some(("4b4", "claims_malformed"));
    let rest = Some(("4b5", "claims_malformed"));
    let private = json!({"jwk": with(Who::Worker.jwk(), "d", base64url(&Who::Worker.seed()).into())});
    vec![
        set("4b1-jti-empty", "A child's `jti` is empty", Some(("4b1", "claims_malformed")), "jti", "".into()),
        drop("4b2-cnf-absent", "A child without `cnf`", holder, "cnf"),
        set("4b2-key-private", "A child's key has its private member", holder, "cnf", private),
        set(
            "4b2-key-x25519",
            "A child's key is for agreement",
            holder,
            "cnf",
            json!({"jwk": with(Who::Worker.jwk(), "crv", "X25519".into())}),
        ),
        drop(
            "4b3-details-absent",
            "A child without `authorization_details`",
            Some(("4b3", "claims_malformed")),
            "authorization_details",
        ),
        set(
            "4b3-details-object",
            "A child's details are an object",
            Some(("4b3", "claims_malformed")),
            "authorization_details",
            details(reading())[0].clone(),
        ),
        drop("4b4-depth-absent", "A child without `del_depth`", depth, "del_depth"),
        set("4b4-depth-fraction", "A child's `del_depth` is written 1.0", depth, "del_depth", raw("1.0")),
        set("4b4-depth-true", "A child's `del_depth` is `true`", depth, "del_depth", true.into()),
        drop("4b4-max-depth-absent", "A child without `del_max_depth`", depth, "del_max_depth"),
        set("4b4-max-depth-negative", "A child's maximal depth is negative", depth, "del_max_depth", (-1).into()),
        drop("4b5-iss-absent", "A child without `iss`", rest, "iss"),
        drop("4b5-par-hash-absent", "A child without `par_hash`", rest, "par_hash"),
        set("4b5-par-hash-number", "A child's `par_hash` is a number", rest, "par_hash", 1.into()),
        drop("4b5-iat-absent", "A child without `iat`", rest, "iat"),
        set("4b5-exp-fraction", "A child's `exp` is written with a fraction", rest, "exp", raw("1704069000.5")),
        set("4b5-exp-exponent", "A child's `exp` is written with an exponent", rest, "exp", raw("1704069e3")),
    ]
}

fn depths() -> Vec<Case> {
    let under = |id: &str, title: &str, at: Option<At>, parent_max: i64, own_max: i64| {
        let parent = root(&with(root_claims(&named(id, "root"), reading()), "del_max_depth", parent_max.into()));
        let claims = child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, reading());
        let leaf = derived(&with(claims, "del_max_depth", own_max.into()), Who::Orchestrator);
        calling(id, title, at, vec![parent, leaf], Who::Worker, "read_file", &q3())
    };
    vec![
        set(
            "4c-iss-of-root",
            "A child names the root's issuer as its own",
            Some(("4c", "link_issuer_mismatch")),
            "iss",
            ISSUER.into(),
        ),
        set(
            "4c-iss-bare-thumbprint",
            "A child names the thumbprint without its URN",
            Some(("4c", "link_issuer_mismatch")),
            "iss",
            Who::Orchestrator.key().public().thumbprint().into(),
        ),
        set(
            "4d-depth-of-parent",
            "A child of its parent's depth",
            Some(("4d", "depth_skipped")),
            "del_depth",
            0.into(),
        ),
        under("4e-root-terminal", "A child of a root that may not be delegated", Some(("4e", "depth_exhausted")), 0, 1),
        under("4e-last-depth", "A child at the last depth", None, 1, 1),
        under("4g-max-depth-kept", "A child with its parent's maximal depth", None, 3, 3),
        under(
            "4m-max-depth-below-own",
            "A child whose maximal depth is below its own",
            Some(("4m", "depth_invalid")),
            3,
            0,
        ),
        eight_levels(),
    ]
}

/// Nine tokens: the depth that every implementation must take (AAT §4.3).
fn eight_levels() -> Case {
    let id = "4e-eight-levels";
    let holders = [Who::Orchestrator, Who::Worker, Who::Worker2];
    let mut chain = vec![root(&with(root_claims(&named(id, "0"), reading()), "del_max_depth", 8.into()))];
    for depth in 1..=8 {
        let (signer, holder) = (holders[(depth - 1) % 3], holders[depth % 3]);
        let claims = child_claims(&named(id, &depth.to_string()), &chain[depth - 1], signer, holder, reading());
        let claims = with(with(claims, "iat", (ROOT_IAT + 1).into()), "del_max_depth", 8.into());
        chain.push(derived(&claims, signer));
    }
    calling(id, "A chain of nine tokens, some holders more than once", None, chain, holders[8 % 3], "read_file", &q3())
}

fn times() -> Vec<Case> {
    let life = |id, title, at, iat: i64, exp: i64| {
        bent_child(id, title, at, |claims| with(with(claims, "iat", iat.into()), "exp", exp.into()))
    };
    vec![
        life("4h-exp-of-parent", "A child that lives as long as its parent", None, ROOT_IAT, ROOT_EXP),
        life(
            "4h-exp-one-second-more",
            "A child that lives a second longer",
            Some(("4h", "link_outlives_parent")),
            ROOT_IAT,
            ROOT_EXP + 1,
        ),
        life(
            "4i-expires-now",
            "A child that expires now under a living parent",
            Some(("4i", "token_expired")),
            ROOT_IAT,
            NOW,
        ),
        life("4i-expires-next-second", "A child that expires in a second", None, ROOT_IAT, NOW + 1),
        life(
            "4k-iat-beyond-skew",
            "A child from 31 seconds ahead",
            Some(("4k", "token_from_future")),
            NOW + 31,
            NOW + 60,
        ),
        life("4k-iat-at-skew", "A child from 30 seconds ahead", None, NOW + 30, NOW + 60),
        life("4l-life-empty", "A child whose life is empty", Some(("4l", "lifetime_invalid")), NOW + 20, NOW + 20),
        life(
            "4l-life-negative",
            "A child that ends before it begins",
            Some(("4l", "lifetime_invalid")),
            NOW + 20,
            NOW + 10,
        ),
    ]
}

fn grants() -> Vec<Case> {
    let grant = Some(("4n", "grant_malformed"));
    let entries = |id, title, at, entries: Value| set(id, title, at, "authorization_details", entries);
    let ours = || details(reading())[0].clone();
    vec![
        entries("4n-two-entries", "A child with two entries of our type", grant, json!([ours(), ours()])),
        entries(
            "4n-tools-absent",
            "A child's entry without `tools`",
            grant,
            json!([{"type": "attenuating_agent_token"}]),
        ),
        entries("4n-tools-array", "A child's `tools` are an array", grant, details(json!([]))),
        entries("4n-map-array", "A child's map is an array", grant, details(json!({"read_file": []}))),
        entries(
            "4n-other-entries-ignored",
            "A child's entries of other types are ignored",
            None,
            json!([{"type": "urn:example:other", "all": true}, ours()]),
        ),
        widened("4p1-tool-added", "A child adds a tool", "4p1", reading(), with(reading(), "delete_file", json!({}))),
        widened(
            "4p1-tool-upper-case",
            "A child's tool differs by a letter's case",
            "4p1",
            reading(),
            json!({"Read_file": {"path": super::wildcard()}}),
        ),
        widened(
            "4p1-tool-composed",
            "A child's tool differs by Unicode composition alone",
            "4p1",
            json!({"caf\u{e9}": {}}),
            json!({"cafe\u{301}": {}}),
        ),
    ]
}

/// A root of some tools, a child of others.
fn two(id: &str, title: &str, at: Option<At>, parent: Value, child: Value, args: &Value) -> Case {
    let tool = child.as_object().and_then(|tools| tools.keys().next().cloned()).unwrap_or_default();
    let parent = root(&root_claims(&named(id, "root"), parent));
    let leaf =
        derived(&child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, child), Who::Orchestrator);
    calling(id, title, at, vec![parent, leaf], Who::Worker, &tool, args)
}

fn widened(id: &str, title: &str, step: &'static str, parent: Value, child: Value) -> Case {
    two(id, title, Some((step, "authority_widened")), parent, child, &q3())
}

fn keys() -> Vec<Case> {
    let map = |map: Value| json!({"read_file": map});
    let optional = |constraint: Value| with(constraint, "optional", true.into());
    let path = || json!({"path": super::wildcard()});
    let case = |id, title, step, parent, child| widened(id, title, step, map(parent), map(child));
    vec![
        case("4p2-map-emptied", "A child empties a closed map, which opens it", "4p2", path(), json!({})),
        case("4p2-star-added", "A child adds `*`", "4p2", path(), with(path(), "*", super::wildcard())),
        case(
            "4p2-key-added-optional",
            "A child adds an optional argument to a closed map",
            "4p2",
            path(),
            with(path(), "mode", optional(exact("r"))),
        ),
        two("4p2-map-kept-empty", "An empty map under an empty map", None, map(json!({})), map(json!({})), &q3()),
        two(
            "4p2-tool-dropped",
            "A child drops a tool",
            None,
            with(reading(), "delete_file", json!({})),
            reading(),
            &q3(),
        ),
        case(
            "4p3-required-made-optional",
            "A child makes a required argument optional",
            "4p3",
            path(),
            json!({"path": optional(super::wildcard())}),
        ),
        two(
            "4p3-optional-kept",
            "An optional argument stays optional",
            None,
            map(json!({"path": optional(super::wildcard())})),
            map(json!({"path": optional(exact("/x"))})),
            &json!({}),
        ),
        case(
            "4p4-exact-changed",
            "A child changes a fixed value",
            "4p4",
            json!({"path": exact("/a")}),
            json!({"path": exact("/b")}),
        ),
        case(
            "4p4-exact-other-kind",
            "The number 1 is not the string",
            "4p4",
            json!({"path": exact(1)}),
            json!({"path": exact("1")}),
        ),
        two(
            "4p4-exact-same-number",
            "1.0 is 1",
            None,
            map(json!({"path": exact(1)})),
            map(json!({"path": exact(raw("1.0"))})),
            &json!({"path": 1}),
        ),
    ]
}

fn links() -> Vec<Case> {
    let unbound = Some(("4q", "parent_hash_mismatch"));
    let hashed = |id: &str, title, hash: fn(&Token) -> String| {
        let parent = root(&root_claims(&named(id, "root"), reading()));
        let claims = child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, reading());
        let leaf = derived(&with(claims, "par_hash", hash(&parent).into()), Who::Orchestrator);
        calling(id, title, unbound, vec![parent, leaf], Who::Worker, "read_file", &q3())
    };
    vec![
        hashed("4q-par-hash-hex", "`par_hash` in hexadecimal", |parent| {
            sha256(parent.signing_input().as_bytes()).to_string()
        }),
        hashed("4q-par-hash-padded", "`par_hash` with base64 padding", |parent| format!("{}=", parent.hash())),
        hashed("4q-par-hash-with-signature", "`par_hash` of the token with its signature", |parent| {
            base64url(&sha256(parent.compact.as_bytes()).0)
        }),
        hashed("4q-par-hash-trailing-bits", "`par_hash` whose last character has other trailing bits", trailing_bits),
        middle_replaced(),
    ]
}

/// The same 32 bytes to a lax decoder: the last of 43 characters carries two bits that decode to nothing.
fn trailing_bits(parent: &Token) -> String {
    let hash = parent.hash();
    let bytes = base64url_decode(&hash).unwrap_or_default();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = usize::from(bytes.last().copied().unwrap_or_default() & 0x0f) << 2;
    format!("{}{}", &hash[..42], char::from(alphabet[last | 1]))
}

/// A chain whose middle link is replaced by a wider sibling of the same holder.
fn middle_replaced() -> Case {
    let id = "4q-middle-replaced";
    let parent = root(&root_claims(&named(id, "root"), reading()));
    let link = |part: &str, tools: Value| {
        derived(&child_claims(&named(id, part), &parent, Who::Orchestrator, Who::Worker, tools), Who::Orchestrator)
    };
    let (narrow, wide) =
        (link("narrow", json!({"read_file": {"path": exact("/data/q3-report.pdf")}})), link("wide", reading()));
    let claims = child_claims(
        &named(id, "leaf"),
        &narrow,
        Who::Worker,
        Who::Worker2,
        json!({"read_file": {"path": exact("/data/q3-report.pdf")}}),
    );
    let leaf = derived(&claims, Who::Worker);
    let at = Some(("4q", "parent_hash_mismatch"));
    calling(
        id,
        "The middle link is swapped for a wider one of the same holder",
        at,
        vec![parent, wide, leaf],
        Who::Worker2,
        "read_file",
        &q3(),
    )
}

fn leaves() -> Vec<Case> {
    let id = "4p1-tool-regained";
    let parent = root(&root_claims(&named(id, "root"), reading()));
    let middle = child_claims(&named(id, "middle"), &parent, Who::Orchestrator, Who::Worker, json!({}));
    let middle = derived(&with(middle, "authorization_details", json!([])), Who::Orchestrator);
    let leaf = derived(&child_claims(&named(id, "leaf"), &middle, Who::Worker, Who::Worker2, reading()), Who::Worker);
    let regained = calling(
        id,
        "A tool comes back below a link that has none",
        Some(("4p1", "authority_widened")),
        vec![parent, middle, leaf],
        Who::Worker2,
        "read_file",
        &q3(),
    );
    let id = "6b-empty-below-empty";
    let parent = root(&root_claims(&named(id, "root"), reading()));
    let middle = child_claims(&named(id, "middle"), &parent, Who::Orchestrator, Who::Worker, json!({}));
    let middle = derived(&with(middle, "authorization_details", json!([])), Who::Orchestrator);
    let leaf = derived(&child_claims(&named(id, "leaf"), &middle, Who::Worker, Who::Worker2, json!({})), Who::Worker);
    let empty = calling(
        id,
        "A leaf whose entry grants nothing, below a link that has none",
        Some(("6b", "tool_not_granted")),
        vec![parent, middle, leaf],
        Who::Worker2,
        "read_file",
        &q3(),
    );
    vec![
        regained,
        empty,
        set(
            "6a-leaf-without-entry",
            "A leaf without an entry of our type",
            Some(("6a", "grant_malformed")),
            "authorization_details",
            json!([{"type": "urn:example:other"}]),
        ),
        set(
            "6a-leaf-empty-details",
            "A leaf with empty details",
            Some(("6a", "grant_malformed")),
            "authorization_details",
            json!([]),
        ),
    ]
}
