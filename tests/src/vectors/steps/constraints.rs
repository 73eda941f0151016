//! Steps 3n and 4o: which constraints are well-formed.

use serde_json::{Value, json};

use super::super::case::Case;
use super::super::token::{Q3, Who, child_claims, derived, named, raw, root, root_claims, with};
use super::{At, calling, exact, granting, q3, reading, wildcard};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = members();
    cases.extend(sets());
    cases.extend(composites());
    cases.extend(numbers());
    cases.extend(in_children());
    cases
}

const MALFORMED: Option<At> = Some(("3n", "constraint_malformed"));

/// The constraint on an optional argument of a tool that is not called; the call reads a file.
fn on_another(id: &str, title: &str, at: Option<At>, constraint: Value) -> Case {
    let constraint = match at {
        Some(_) => constraint,
        None => with(constraint, "optional", true.into()),
    };
    granting(id, title, at, with(reading(), "export", json!({"limit": constraint})))
}

fn refused(id: &str, title: &str, constraint: Value) -> Case {
    on_another(id, title, MALFORMED, constraint)
}

fn permitted(id: &str, title: &str, constraint: Value) -> Case {
    on_another(id, title, None, constraint)
}

fn range(members: Value) -> Value {
    with(members, "constraint_type", "range".into())
}

fn members() -> Vec<Case> {
    vec![
        refused("3n-not-an-object", "A constraint that is a string", "wildcard".into()),
        refused("3n-type-absent", "A constraint without a type", json!({"value": 1})),
        refused("3n-type-number", "A type that is a number", json!({"constraint_type": 1})),
        on_another(
            "3n-type-upper-case",
            "A type in other letters",
            Some(("3n", "constraint_unknown")),
            json!({"constraint_type": "Wildcard"}),
        ),
        refused("3n-wildcard-with-member", "`wildcard` with a member", with(wildcard(), "value", 1.into())),
        refused("3n-exact-array", "`exact` of an array", exact(json!([1]))),
        refused("3n-exact-object", "`exact` of an object", exact(json!({}))),
        refused("3n-exact-without-value", "`exact` without a value", json!({"constraint_type": "exact"})),
        refused("3n-exact-other-member", "`exact` with another type's member", with(exact(1), "values", json!([1]))),
        permitted("3n-exact-null", "`exact` of null", exact(Value::Null)),
        refused("3n-range-min-string", "A bound that is a string", range(json!({"min": "1"}))),
        refused("3n-range-min-null", "A bound that is null", range(json!({"min": null}))),
        refused(
            "3n-range-inclusive-without-bound",
            "`min_inclusive` without `min`",
            range(json!({"max": 1, "min_inclusive": true})),
        ),
        refused(
            "3n-range-inclusive-number",
            "`max_inclusive` is a number",
            range(json!({"max": 1, "max_inclusive": 0})),
        ),
        permitted("3n-range-unbounded", "`range` without bounds", range(json!({}))),
        permitted("3n-range-point", "`range` of one point", range(json!({"min": 5, "max": 5}))),
        refused("3n-optional-string", "`optional` is a string", with(wildcard(), "optional", "true".into())),
        refused("3n-optional-null", "`optional` is null", with(wildcard(), "optional", Value::Null)),
        granting(
            "3n-optional-false",
            "`optional: false` is the default",
            None,
            json!({"read_file": {"path": with(wildcard(), "optional", false.into())}}),
        ),
    ]
}

fn sets() -> Vec<Case> {
    let of = |kind: &str, member: &str, value: Value| with(json!({"constraint_type": kind}), member, value);
    vec![
        refused("3n-one-of-empty", "`one_of` of nothing", of("one_of", "values", json!([]))),
        refused("3n-one-of-string", "`one_of` of a string", of("one_of", "values", "abc".into())),
        refused("3n-one-of-absent", "`one_of` without values", json!({"constraint_type": "one_of"})),
        permitted(
            "3n-one-of-arrays",
            "`one_of` of arrays and objects",
            of("one_of", "values", json!([[1, 2], {"a": null}])),
        ),
        refused("3n-not-one-of-object", "`not_one_of` of an object", of("not_one_of", "excluded", json!({}))),
        permitted("3n-not-one-of-empty", "`not_one_of` of nothing", of("not_one_of", "excluded", json!([]))),
        refused("3n-contains-absent", "`contains` without elements", json!({"constraint_type": "contains"})),
        permitted("3n-contains-empty", "`contains` of nothing", of("contains", "required", json!([]))),
        refused("3n-subset-null", "`subset` of null", of("subset", "allowed", Value::Null)),
        permitted("3n-subset-empty", "`subset` of nothing", of("subset", "allowed", json!([]))),
    ]
}

/// A tree of `all` of this depth; a leaf type has depth 1.
fn nested(depth: usize) -> Value {
    (1..depth).fold(wildcard(), |inner, _| json!({"constraint_type": "all", "constraints": [inner]}))
}

fn composites() -> Vec<Case> {
    let any = |clauses: Value| json!({"constraint_type": "any", "constraints": clauses});
    vec![
        refused("3n-any-empty", "`any` without clauses", any(json!([]))),
        refused("3n-any-absent", "`any` without the member", json!({"constraint_type": "any"})),
        refused("3n-clause-string", "A clause that is a string", any(json!(["wildcard"]))),
        on_another(
            "3n-clause-unknown",
            "A clause of an unknown type",
            Some(("3n", "constraint_unknown")),
            any(json!([wildcard(), {"constraint_type": "regex", "pattern": ".*"}])),
        ),
        refused(
            "3n-clause-malformed",
            "A malformed clause beside one that would do",
            any(json!([wildcard(), {"constraint_type": "one_of", "values": []}])),
        ),
        permitted("3n-depth-32", "A constraint of depth 32", nested(32)),
        on_another("3n-depth-33", "A constraint of depth 33", Some(("3n", "too_deep")), nested(33)),
    ]
}

fn numbers() -> Vec<Case> {
    let refused = |id, title, constraint| on_another(id, title, Some(("3n", "number_inadmissible")), constraint);
    let exactly = |text: &str| exact(raw(text));
    vec![
        refused(
            "3n-number-extra-digits",
            "1.00000000000000001: digits that a double loses",
            exactly("1.00000000000000001"),
        ),
        refused("3n-number-overflow", "1e400: beyond a double", exactly("1e400")),
        refused(
            "3n-number-in-array",
            "An inadmissible number inside a value",
            json!({"constraint_type": "one_of", "values": [[1, {"a": raw("9007199254740993")}]]}),
        ),
        permitted("3n-number-decimal", "0.1 is admissible", exactly("0.1")),
        permitted("3n-number-exponent", "1e20 is admissible", exactly("1e20")),
        permitted("3n-number-trailing-zeros", "1.500 denotes 1.5", exactly("1.500")),
        permitted("3n-number-negative-zero", "-0 denotes 0", exactly("-0")),
    ]
}

fn in_children() -> Vec<Case> {
    let case = |id: &str, title: &str, at: Option<At>, constraint: Value| {
        let parent = root(&root_claims(&named(id, "root"), reading()));
        let tools = json!({"read_file": {"path": constraint}});
        let leaf = derived(
            &child_claims(&named(id, "child"), &parent, Who::Orchestrator, Who::Worker, tools),
            Who::Orchestrator,
        );
        calling(id, title, at, vec![parent, leaf], Who::Worker, "read_file", &q3())
    };
    let malformed = Some(("4o", "constraint_malformed"));
    vec![
        case(
            "4o-type-unknown",
            "A child brings an unknown type under `wildcard`",
            Some(("4o", "constraint_unknown")),
            json!({"constraint_type": "glob", "pattern": "/data/*"}),
        ),
        case(
            "4o-member-undefined",
            "A child's constraint has a member too many",
            malformed,
            with(exact(Q3), "case", "ignore".into()),
        ),
        case(
            "4o-optional-nested",
            "A child has `optional` inside `any`",
            malformed,
            json!({"constraint_type": "any", "constraints": [with(exact(Q3), "optional", true.into())]}),
        ),
        case(
            "4o-one-of-empty",
            "A child's `one_of` of nothing",
            malformed,
            json!({"constraint_type": "one_of", "values": []}),
        ),
        case(
            "4o-number-inadmissible",
            "A child's constraint has an inadmissible number",
            Some(("4o", "number_inadmissible")),
            exact(raw("0.10000000000000000001")),
        ),
        case("4o-depth-33", "A child's constraint of depth 33", Some(("4o", "too_deep")), nested(33)),
        case("4o-well-formed", "A child's constraint under `wildcard`", None, exact(Q3)),
    ]
}
