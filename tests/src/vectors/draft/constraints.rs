//! J.8 and J.17: maps, types and numbers.

use serde_json::{Value, json};

use super::super::case::{Case, Expected, Group};
use super::super::token::{Q3, Token, Who, numbered, raw, root, root_claims, with};
use super::{all, child, exact, proves, q3, range, wildcard};

const MALFORMED: Expected = Expected::Deny("3n", "constraint_malformed");
const UNKNOWN: Expected = Expected::Deny("3n", "constraint_unknown");
const WIDENED: Expected = Expected::Deny("4p4", "authority_widened");

pub(super) fn cases() -> Vec<Case> {
    let mut cases = maps();
    cases.extend(numbers());
    cases.extend(narrowing());
    cases
}

/// A root presented alone.
fn alone(
    id: &str,
    slug: &str,
    title: &str,
    n: (u64, u64),
    tools: Value,
    call: (&str, Value),
    expected: Expected,
) -> Case {
    let root = root(&root_claims(&numbered(n.0), tools));
    let proof = proves(n.1, &root, call.0, &call.1, Who::Orchestrator);
    Case::new(Group::Draft, id, title, vec![root], proof, expected).named(slug).call(call.0, &call.1)
}

/// A root and a child.
fn pair(id: &str, slug: &str, title: &str, chain: [Token; 2], n: u64, call: (&str, Value), expected: Expected) -> Case {
    let proof = proves(n, &chain[1], call.0, &call.1, Who::Worker);
    Case::new(Group::Draft, id, title, chain.to_vec(), proof, expected).named(slug).call(call.0, &call.1)
}

fn maps() -> Vec<Case> {
    let read = |args| ("read_file", args);
    let unknown = || json!({"constraint_type": "no_such_type"});
    let beside = |map: Value| json!({"read_file": {"path": wildcard()}, "export": map});
    let open = {
        let parent = root(&root_claims(&numbered(0xb10), json!({"read_file": {}})));
        let leaf = child(0xb11, &parent, json!({"read_file": {"path": exact(Q3)}}));
        [parent, leaf]
    };
    let flat = {
        let both = all(&[range(json!({"min": 0})), range(json!({"max": 100}))]);
        let parent = root(&root_claims(&numbered(0xb14), json!({"export": {"limit": both}})));
        let leaf = child(0xb15, &parent, json!({"export": {"limit": range(json!({"min": 10, "max": 50}))}}));
        [parent, leaf]
    };
    vec![
        pair(
            "J.8.1",
            "key-under-empty-map",
            "A child names an argument under an empty map",
            open,
            0xb01,
            read(q3()),
            Expected::Permit,
        ),
        alone(
            "J.8.2",
            "empty-map-open",
            "An empty map admits any argument",
            (0xb10, 0xb02),
            json!({"read_file": {}}),
            read(json!({"path": Q3, "mode": "r"})),
            Expected::Permit,
        ),
        alone(
            "J.8.3",
            "type-unknown",
            "A type that nobody registered",
            (0xb13, 0xb03),
            json!({"read_file": {"path": unknown()}}),
            read(q3()),
            UNKNOWN,
        ),
        pair(
            "J.8.4",
            "all-flattened",
            "A bare `range` under `all` is no legal pair",
            flat,
            0xb04,
            ("export", json!({"limit": 20})),
            WIDENED,
        ),
        alone(
            "J.8.5",
            "type-unknown-elsewhere",
            "An unknown type on a tool that is not called",
            (0xb16, 0xb05),
            beside(json!({"format": unknown()})),
            read(q3()),
            UNKNOWN,
        ),
        alone(
            "J.8.6",
            "range-inverted",
            "`min` above `max`, on a tool that is not called",
            (0xb17, 0xb06),
            beside(json!({"limit": range(json!({"min": 10, "max": 5}))})),
            read(q3()),
            MALFORMED,
        ),
    ]
}

fn numbers() -> Vec<Case> {
    let account = || json!({"get_account": {"id": wildcard()}});
    let call = |id: Value| ("get_account", json!({"id": id}));
    let literal = json!({"read_file": {"path": wildcard()}, "get_account": {"id": range(json!({"max": raw("9007199254740993")}))}});
    let inadmissible = Expected::Deny("6b", "number_inadmissible");
    let in_constraint = Expected::Deny("3n", "number_inadmissible");
    vec![
        alone(
            "J.8.7",
            "argument-inadmissible",
            "2^53 + 1 as an argument",
            (0xb18, 0xb07),
            account(),
            call(raw("9007199254740993")),
            inadmissible,
        ),
        alone(
            "J.8.8",
            "argument-admissible",
            "2^53 + 2 as an argument",
            (0xb18, 0xb08),
            account(),
            call(raw("9007199254740994")),
            Expected::Permit,
        ),
        alone(
            "J.8.9",
            "constraint-inadmissible",
            "2^53 + 1 in a constraint on a tool that is not called",
            (0xb19, 0xb09),
            literal,
            ("read_file", q3()),
            in_constraint,
        ),
    ]
}

fn map_of(label: &[&str], tags: &[&str], roles: &[&str], limit: Value) -> Value {
    json!({
        "label": {"constraint_type": "not_one_of", "excluded": label},
        "tags": {"constraint_type": "contains", "required": tags},
        "roles": {"constraint_type": "subset", "allowed": roles},
        "limit": range(limit),
    })
}

fn narrowing() -> Vec<Case> {
    const LABEL: &[&str] = &["secret", "internal"];
    const TAGS: &[&str] = &["public"];
    const ROLES: &[&str] = &["reader", "editor", "admin"];
    let limit = || json!({"min": 0, "max": 100});
    let exclusive = || with(limit(), "min_inclusive", false.into());
    let call = || json!({"label": "public", "tags": ["public"], "roles": ["reader"], "limit": 10});
    let publish = |map: Value| json!({"publish": map});
    let case = |id, slug, title, n: u64, map: Value, args: Value, expected| {
        let parent = root(&root_claims(&numbered(0xc0), publish(map_of(LABEL, TAGS, ROLES, limit()))));
        let leaf = child(0xc10 + n, &parent, publish(map));
        pair(id, slug, title, [parent, leaf], 0xc80 + n, ("publish", args), expected)
    };
    let opened = {
        let parent = root(&root_claims(&numbered(0xc1), publish(map_of(LABEL, TAGS, ROLES, exclusive()))));
        let leaf = child(0xc18, &parent, publish(map_of(LABEL, TAGS, ROLES, limit())));
        [parent, leaf]
    };
    let reviewed = with(call(), "tags", json!(["public", "reviewed"]));
    let more_labels = map_of(&["secret", "internal", "embargoed"], TAGS, ROLES, limit());
    let more_roles = map_of(LABEL, TAGS, &["reader", "editor", "admin", "owner"], limit());
    vec![
        case("J.17.1", "exclusion-added", "`not_one_of` excludes more", 1, more_labels, call(), Expected::Permit),
        case(
            "J.17.2",
            "exclusion-dropped",
            "`not_one_of` excludes less",
            2,
            map_of(&["secret"], TAGS, ROLES, limit()),
            call(),
            WIDENED,
        ),
        case(
            "J.17.3",
            "requirement-added",
            "`contains` requires more",
            3,
            map_of(LABEL, &["public", "reviewed"], ROLES, limit()),
            reviewed,
            Expected::Permit,
        ),
        case(
            "J.17.4",
            "requirement-dropped",
            "`contains` requires less",
            4,
            map_of(LABEL, &[], ROLES, limit()),
            call(),
            WIDENED,
        ),
        case(
            "J.17.5",
            "allowance-shrunk",
            "`subset` allows less",
            5,
            map_of(LABEL, TAGS, &["reader", "editor"], limit()),
            call(),
            Expected::Permit,
        ),
        case("J.17.6", "allowance-grown", "`subset` allows more", 6, more_roles, call(), WIDENED),
        case(
            "J.17.7",
            "bound-excluded",
            "An inclusive bound becomes exclusive",
            7,
            map_of(LABEL, TAGS, ROLES, exclusive()),
            call(),
            Expected::Permit,
        ),
        pair(
            "J.17.8",
            "bound-included",
            "An exclusive bound becomes inclusive",
            opened,
            0xc88,
            ("publish", call()),
            WIDENED,
        ),
    ]
}
