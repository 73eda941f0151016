//! Steps 6b and 6c: the call against the leaf's grant, and whom the chain is meant for.

use serde_json::{Value, json};

use super::super::case::{Case, Policy};
use super::super::token::{AUDIENCE, Token, Who, child_claims, derived, named, raw, root, root_claims, with};
use super::{At, calling, exact, q3, reading, wildcard};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = tools();
    cases.extend(values());
    cases.extend(numbers());
    cases.extend(audiences());
    cases
}

const REFUSED: Option<At> = Some(("6b", "argument_refused"));

/// A root of one tool `act`, called with these arguments.
fn act(id: &str, title: &str, at: Option<At>, map: Value, args: Value) -> Case {
    let root = root(&root_claims(&named(id, "root"), json!({"act": map})));
    calling(id, title, at, vec![root], Who::Orchestrator, "act", &args)
}

/// One argument `a` under a constraint.
fn one(id: &str, title: &str, at: Option<At>, constraint: Value, value: Value) -> Case {
    act(id, title, at, json!({"a": constraint}), json!({"a": value}))
}

fn tools() -> Vec<Case> {
    let called = |id: &str, title, tool: &str| {
        let root = root(&root_claims(&named(id, "root"), reading()));
        calling(id, title, Some(("6b", "tool_not_granted")), vec![root], Who::Orchestrator, tool, &q3())
    };
    let unnamed = || json!({"a": wildcard()});
    vec![
        called("6b-tool-upper-case", "The tool differs by a letter's case", "Read_file"),
        called("6b-tool-prefix", "The tool's name begins like a granted one", "read_file.v2"),
        called("6b-tool-star", "A tool named `*` is a name like any other", "*"),
        called("6b-tool-empty", "A tool without a name", ""),
        act("6b-argument-named-star", "An argument named `*` is unnamed", REFUSED, unnamed(), json!({"a": 1, "*": 2})),
        act(
            "6b-argument-named-star-admitted",
            "An argument named `*` where `*` admits the unnamed",
            None,
            with(unnamed(), "*", wildcard()),
            json!({"a": 1, "*": 2}),
        ),
        act(
            "6b-argument-upper-case",
            "An argument differs by a letter's case",
            REFUSED,
            json!({"a": with(wildcard(), "optional", true.into())}),
            json!({"A": 1}),
        ),
        act("6b-argument-null-is-present", "An argument that is null is present", None, unnamed(), json!({"a": null})),
        act(
            "6b-argument-null-is-a-value",
            "An optional argument that is null still meets its constraint",
            REFUSED,
            json!({"a": with(exact(1), "optional", true.into())}),
            json!({"a": null}),
        ),
        act("6b-no-arguments", "No arguments under an empty map", None, json!({}), json!({})),
    ]
}

fn values() -> Vec<Case> {
    let range = json!({"constraint_type": "range", "min": 1, "max": 10, "max_inclusive": false});
    let contains = json!({"constraint_type": "contains", "required": ["x", {"k": [1]}]});
    let subset = json!({"constraint_type": "subset", "allowed": ["x", "y"]});
    let none_of = json!({"constraint_type": "not_one_of", "excluded": [1, "x", null]});
    vec![
        one("6b-exact-number-for-string", "The number for the string", REFUSED, exact("1"), 1.into()),
        one("6b-exact-true-for-string", "`true` for the string", REFUSED, exact("true"), true.into()),
        one("6b-exact-false-is-not-zero", "`false` for 0", REFUSED, exact(0), false.into()),
        one("6b-exact-one-written-otherwise", "1.0 for 1", None, exact(1), raw("1.0")),
        one("6b-exact-exponent", "100 for 1e2", None, exact(raw("1e2")), 100.into()),
        one(
            "6b-exact-composed",
            "Strings differ by Unicode composition",
            REFUSED,
            exact("caf\u{e9}"),
            "cafe\u{301}".into(),
        ),
        one(
            "6b-exact-escaped",
            "The same string, written with an escape",
            None,
            exact("/data"),
            raw(r#""\/d\u0061ta""#),
        ),
        one("6b-range-at-min", "At an inclusive bound", None, range.clone(), 1.into()),
        one("6b-range-at-excluded-max", "At an exclusive bound", REFUSED, range.clone(), 10.into()),
        one("6b-range-string", "A string for a number", REFUSED, range.clone(), "5".into()),
        one("6b-range-true", "`true` for a number", REFUSED, range.clone(), true.into()),
        one("6b-range-fraction", "A fraction within", None, range, raw("9.5")),
        one(
            "6b-contains-in-any-order",
            "All that is required, and more",
            None,
            contains.clone(),
            json!([{"k": [raw("1.0")]}, "z", "x"]),
        ),
        one("6b-contains-lacking", "Something required is missing", REFUSED, contains.clone(), json!(["x"])),
        one("6b-contains-object", "An object for an array", REFUSED, contains, json!({"x": 1})),
        one("6b-subset-empty", "Nothing is within anything", None, subset.clone(), json!([])),
        one("6b-subset-beyond", "An element beyond the set", REFUSED, subset.clone(), json!(["x", "z"])),
        one("6b-subset-string", "A string for an array", REFUSED, subset, "x".into()),
        one("6b-not-one-of-hit", "An excluded value", REFUSED, none_of.clone(), Value::Null),
        one("6b-not-one-of-other-kind", "The string of an excluded number", None, none_of, "1".into()),
        one(
            "6b-any-none",
            "No clause of `any` holds",
            REFUSED,
            json!({"constraint_type": "any", "constraints": [exact(1), exact(2)]}),
            3.into(),
        ),
    ]
}

fn numbers() -> Vec<Case> {
    let inadmissible = Some(("6b", "number_inadmissible"));
    let open = |id, title, at, value| act(id, title, at, json!({}), json!({"a": value}));
    vec![
        open(
            "6b-number-nested",
            "An inadmissible number deep in an argument",
            inadmissible,
            json!([{"b": [raw("9007199254740993")]}]),
        ),
        open("6b-number-overflow", "1e400", inadmissible, raw("1e400")),
        open("6b-number-underflow", "1e-400 is not 0", inadmissible, raw("1e-400")),
        open(
            "6b-number-third",
            "0.3333333333333333333 has digits that a double loses",
            inadmissible,
            raw("0.3333333333333333333"),
        ),
        open("6b-number-zero-with-exponent", "0e99 is 0", None, raw("0e99")),
        open("6b-number-largest", "The largest double", None, raw("1.7976931348623157e308")),
        open("6b-number-as-string", "A number of many digits as a string", None, "9007199254740993".into()),
    ]
}

fn audiences() -> Vec<Case> {
    let mismatch = Some(("6c", "audience_mismatch"));
    let rooted = |id: &str, title, at, aud: Value| {
        let root = root(&with(root_claims(&named(id, "root"), reading()), "aud", aud));
        calling(id, title, at, vec![root], Who::Orchestrator, "read_file", &q3())
    };
    let chain = |id: &str, root_aud: Option<&str>, child_aud: Value| -> Vec<Token> {
        let claims = root_claims(&named(id, "root"), reading());
        let parent = root(&root_aud.map_or(claims.clone(), |aud| with(claims, "aud", aud.into())));
        let claims = child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, reading());
        let leaf = derived(&with(claims, "aud", child_aud), Who::Orchestrator);
        vec![parent, leaf]
    };
    let pair = |id: &str, title, at, root_aud, child_aud| {
        calling(id, title, at, chain(id, root_aud, child_aud), Who::Worker, "read_file", &q3())
    };
    vec![
        rooted("6c-aud-list", "`aud` is a list that has us", None, json!(["https://other.example.com", AUDIENCE])),
        rooted("6c-aud-list-without-us", "`aud` is a list without us", mismatch, json!(["https://other.example.com"])),
        rooted("6c-aud-empty-list", "`aud` is an empty list", mismatch, json!([])),
        rooted("6c-aud-slash", "`aud` differs by a slash", mismatch, format!("{AUDIENCE}/").into()),
        rooted("6c-aud-prefix", "`aud` only begins like us", mismatch, format!("{AUDIENCE}.evil.example").into()),
        pair(
            "6c-child-names-another",
            "The child names another place than the root",
            mismatch,
            Some(AUDIENCE),
            "https://other.example.com".into(),
        ),
        pair("6c-child-alone-names-us", "The child alone names a place", None, None, AUDIENCE.into()),
        pair(
            "6c-child-regains-us",
            "The child names us where the root does not",
            mismatch,
            Some("https://other.example.com"),
            AUDIENCE.into(),
        ),
        pair(
            "6c-demanded-and-named-by-child",
            "`aud` is demanded, and the child has it",
            None,
            None,
            json!([AUDIENCE]),
        )
        .under(Policy::chain_audience()),
    ]
}
