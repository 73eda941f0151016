//! J.22: optional and unnamed arguments.

use serde_json::{Value, json};

use super::super::case::{Case, Expected, Group};
use super::super::token::{Token, Who, numbered, root, root_claims, with, without};
use super::{all, child, exact, proves, range, wildcard};

const TOOL: &str = "read_text_file";
const PATH: &str = "/srv/api/README.md";
const KEYS: Expected = Expected::Deny("4p2", "authority_widened");
const REFUSED: Expected = Expected::Deny("6b", "argument_refused");
const MALFORMED: Expected = Expected::Deny("3n", "constraint_malformed");

pub(super) fn cases() -> Vec<Case> {
    let mut cases = at_the_leaf();
    cases.extend(derivations());
    cases.extend(malformed());
    cases
}

fn pinned() -> Value {
    exact(PATH)
}

fn lines(max: i64) -> Value {
    range(json!({"max": max, "optional": true}))
}

/// A required path, two optional bounds, anything else.
fn open() -> Value {
    json!({"path": pinned(), "head": lines(200), "tail": lines(200), "*": wildcard()})
}

/// A required path, an optional bound, nothing else.
fn closed() -> Value {
    json!({"path": pinned(), "head": lines(200)})
}

fn grant(n: u64, map: Value) -> Token {
    root(&root_claims(&numbered(n), json!({TOOL: map})))
}

/// Case `J.22.<n>` on a root alone.
fn leaf(n: u64, slug: &str, title: &str, root: Token, args: Value, expected: Expected) -> Case {
    let proof = proves(0x2280 + n, &root, TOOL, &args, Who::Orchestrator);
    Case::new(Group::Draft, &format!("J.22.{n}"), title, vec![root], proof, expected).named(slug).call(TOOL, &args)
}

/// Case `J.22.<n>` on a root and a child.
fn derive(n: u64, slug: &str, title: &str, root: Token, map: Value, args: Value, expected: Expected) -> Case {
    let leaf = child(0x2240 + n, &root, json!({TOOL: map}));
    let proof = proves(0x22c0 + n, &leaf, TOOL, &args, Who::Worker);
    Case::new(Group::Draft, &format!("J.22.{n}"), title, vec![root, leaf], proof, expected)
        .named(slug)
        .call(TOOL, &args)
}

fn path() -> Value {
    json!({"path": PATH})
}

fn at_the_leaf() -> Vec<Case> {
    let wide = || grant(0x2200, open());
    let narrow = || grant(0x2201, closed());
    let missing = Expected::Deny("6b", "argument_missing");
    vec![
        leaf(1, "optional-omitted", "Optional arguments may be left out", wide(), path(), Expected::Permit),
        leaf(
            2,
            "optional-present",
            "A present optional argument within its bound",
            wide(),
            with(path(), "head", 100.into()),
            Expected::Permit,
        ),
        leaf(
            3,
            "optional-violated",
            "A present optional argument beyond its bound",
            wide(),
            with(path(), "head", 500.into()),
            REFUSED,
        ),
        leaf(
            4,
            "unnamed-admitted",
            "`*` admits an unnamed argument",
            wide(),
            with(path(), "encoding", "utf-8".into()),
            Expected::Permit,
        ),
        leaf(
            5,
            "required-absent",
            "A required argument stays required beside `*`",
            wide(),
            json!({"head": 10}),
            missing,
        ),
        leaf(
            6,
            "unnamed-refused",
            "Without `*` an unnamed argument is refused",
            narrow(),
            with(path(), "encoding", "utf-8".into()),
            REFUSED,
        ),
    ]
}

fn derivations() -> Vec<Case> {
    let wide = || grant(0x2200, open());
    let narrow = || grant(0x2201, closed());
    let utf8 = || exact("utf-8");
    let encoding = |name: &str| with(path(), "encoding", name.into());
    let only_path = || json!({"path": pinned()});
    let only_head = || without(closed(), "path");
    let starless = || without(open(), "*");
    let optional_path = with(closed(), "path", with(pinned(), "optional", true.into()));
    let required_head = with(closed(), "head", range(json!({"max": 100})));
    let utf8_optional = with(utf8(), "optional", true.into());
    let permit = Expected::Permit;
    vec![
        derive(
            7,
            "optional-made-required",
            "An optional argument becomes required",
            narrow(),
            required_head,
            with(path(), "head", 50.into()),
            permit,
        ),
        derive(
            8,
            "required-made-optional",
            "A required argument becomes optional",
            narrow(),
            optional_path,
            path(),
            Expected::Deny("4p3", "authority_widened"),
        ),
        derive(
            9,
            "optional-forbidden",
            "An omitted optional argument is forbidden",
            narrow(),
            only_path(),
            with(path(), "head", 10.into()),
            REFUSED,
        ),
        derive(10, "optional-dropped", "An optional argument may be dropped", narrow(), only_path(), path(), permit),
        derive(
            11,
            "required-dropped",
            "A required argument may not be dropped",
            narrow(),
            only_head(),
            json!({"head": 10}),
            KEYS,
        ),
        derive(
            12,
            "unnamed-constrained",
            "A constraint on what `*` admitted, not met",
            wide(),
            with(open(), "encoding", utf8()),
            encoding("latin-1"),
            REFUSED,
        ),
        derive(
            13,
            "unnamed-constrained-met",
            "The same, met",
            wide(),
            with(open(), "encoding", utf8()),
            encoding("utf-8"),
            permit,
        ),
        derive(14, "star-added", "`*` is added", narrow(), with(closed(), "*", wildcard()), path(), KEYS),
        derive(
            15,
            "key-added",
            "An argument is added where there is no `*`",
            narrow(),
            with(closed(), "encoding", wildcard()),
            path(),
            KEYS,
        ),
        derive(
            16,
            "optional-dropped-under-star",
            "An optional argument is dropped, but `*` would readmit it",
            wide(),
            without(open(), "head"),
            path(),
            KEYS,
        ),
        derive(
            17,
            "empty-map-is-star",
            "An empty map is the same as `*`",
            grant(0x2202, json!({})),
            json!({"path": pinned(), "*": wildcard()}),
            with(path(), "head", 5.into()),
            permit,
        ),
        derive(
            20,
            "new-optional-under-star",
            "A new optional argument under `*`",
            wide(),
            with(open(), "encoding", utf8_optional),
            path(),
            permit,
        ),
        derive(21, "star-dropped", "`*` is dropped", wide(), starless(), with(path(), "tail", 20.into()), permit),
        derive(
            22,
            "star-dropped-unnamed",
            "`*` is dropped, and an unnamed argument comes",
            wide(),
            starless(),
            encoding("utf-8"),
            REFUSED,
        ),
    ]
}

fn malformed() -> Vec<Case> {
    let nested = json!({"path": all(&[with(pinned(), "optional", true.into())])});
    let star = |value: Value| json!({"path": pinned(), "*": value});
    let optional_star = star(with(wildcard(), "optional", true.into()));
    vec![
        leaf(18, "optional-nested", "`optional` inside `all`", grant(0x2203, nested), path(), MALFORMED),
        leaf(
            19,
            "star-not-wildcard",
            "A `*` entry that is no wildcard",
            grant(0x2204, star(range(json!({"max": 5})))),
            path(),
            MALFORMED,
        ),
        leaf(23, "star-optional", "A `*` entry with `optional`", grant(0x2205, optional_star), path(), MALFORMED),
    ]
}
