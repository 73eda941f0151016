//! Constraints: well-formedness, `check`, and that `subsumes` is exactly the table of AAT §4.5 and sound.

use marque_credential::{Constraint, Tools};
use marque_identity::Code;
use marque_json::{Json, Limits};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse(text: &str) -> Json<'_> {
    marque_json::parse(text.as_bytes(), Limits::DEFAULT).expect("JSON")
}

fn read(value: &Value) -> Option<Constraint> {
    Constraint::parse(&parse(&value.to_string()), 1).ok()
}

fn constraint(value: Value) -> Constraint {
    read(&value).unwrap_or_else(|| panic!("{value} is well-formed"))
}

fn c(kind: &str, members: Value) -> Value {
    let mut value = members;
    value["constraint_type"] = kind.into();
    value
}

/// One instance of each type, all of which accept the same value where they can.
fn one_of_each() -> Vec<Value> {
    vec![
        c("exact", json!({"value": "/a"})),
        c("range", json!({"min": 1, "max": 9})),
        c("one_of", json!({"values": ["/a"]})),
        c("not_one_of", json!({"excluded": ["/b"]})),
        c("contains", json!({"required": ["/a"]})),
        c("subset", json!({"allowed": ["/a"]})),
        c("wildcard", json!({})),
        c("all", json!({"constraints": [c("exact", json!({"value": "/a"}))]})),
        c("any", json!({"constraints": [c("exact", json!({"value": "/a"}))]})),
        c("nats_subject", json!({"pattern": ">"})),
        c("subpath", json!({"root": "/a"})),
        c("url", json!({"schemes": ["https"], "hosts": ["a.example"]})),
        c("cidr", json!({"network": "10.0.0.0/8"})),
    ]
}

#[test]
fn only_listed_pairs_of_types_subsume() {
    // Beside a type under itself and anything under `wildcard`: `exact` under these, where its value fits.
    let listed = [("one_of", "exact"), ("nats_subject", "exact"), ("subpath", "exact")];
    for parent in one_of_each() {
        for child in one_of_each() {
            let (p, d) = (parent["constraint_type"].as_str().unwrap(), child["constraint_type"].as_str().unwrap());
            let legal = p == d || p == "wildcard" || listed.contains(&(p, d));
            assert_eq!(constraint(parent.clone()).subsumes(&constraint(child.clone())), legal, "{p} <- {d}");
        }
    }
    let exact = |value: Value| constraint(c("exact", json!({ "value": value })));
    assert!(constraint(c("range", json!({"min": 1}))).subsumes(&exact(json!(1))));
    assert!(!constraint(c("range", json!({"min": 1, "min_inclusive": false}))).subsumes(&exact(json!(1))));
    assert!(!constraint(c("range", json!({}))).subsumes(&exact(json!("1"))));
    assert!(
        constraint(c("url", json!({"schemes": ["https"], "hosts": ["a.example"]})))
            .subsumes(&exact(json!("https://a.example/x")))
    );
    assert!(constraint(c("cidr", json!({"network": "::/0"}))).subsumes(&exact(json!("::1"))));
    assert!(!constraint(c("subpath", json!({"root": "/"}))).subsumes(&exact(json!(7))));
    assert!(!constraint(c("nats_subject", json!({"pattern": ">"}))).subsumes(&exact(json!("a b"))));
}

#[test]
fn rejects_what_is_not_well_formed() {
    let leaf = c("wildcard", json!({}));
    for value in [
        json!(null),
        json!([]),
        json!({}),
        json!({"constraint_type": 1}),
        c("Exact", json!({"value": 1})),
        c("exact", json!({})),
        c("exact", json!({"value": []})),
        c("exact", json!({"value": {}})),
        c("exact", json!({"value": 1, "values": [1]})),
        c("exact", json!({"value": 9007199254740993u64})),
        c("exact", json!({"value": "x".repeat(4097)})),
        c("range", json!({"min": "1"})),
        c("range", json!({"min": null})),
        c("range", json!({"min": 2, "max": 1})),
        c("range", json!({"min_inclusive": true})),
        c("range", json!({"max": 1, "min_inclusive": true})),
        c("range", json!({"min": 1, "min_inclusive": 1})),
        c("range", json!({"min": 1, "step": 1})),
        c("one_of", json!({"values": []})),
        c("one_of", json!({"values": "a"})),
        c("one_of", json!({"values": [{"a": [9007199254740993u64]}]})),
        c("not_one_of", json!({})),
        c("contains", json!({"required": {}})),
        c("subset", json!({"allowed": null})),
        c("wildcard", json!({"value": 1})),
        c("all", json!({"constraints": []})),
        c("any", json!({"constraints": []})),
        c("any", json!({"constraints": leaf})),
        c("any", json!({"constraints": [c("wildcard", json!({"optional": true}))]})),
        c("any", json!({"constraints": [c("wildcard", json!({"optional": false}))]})),
        c("any", json!({"constraints": ["wildcard"]})),
        c("nats_subject", json!({"pattern": "a..b"})),
        c("subpath", json!({"root": "a"})),
        c("cidr", json!({"network": "10.0.0.1/8"})),
        c("wildcard", json!({"optional": true})),
    ] {
        assert_eq!(read(&value), None, "{value}");
    }
    for value in [
        c("exact", json!({"value": null})),
        c("exact", json!({"value": 9007199254740994u64})),
        c("exact", json!({"value": "x".repeat(4096)})),
        c("range", json!({})),
        c("range", json!({"min": 1, "max": 1, "max_inclusive": false})),
        c("not_one_of", json!({"excluded": []})),
        c("contains", json!({"required": []})),
        c("subset", json!({"allowed": []})),
    ] {
        assert!(read(&value).is_some(), "{value}");
    }
    assert!(Constraint::parse(&parse(r#"{"constraint_type":"exact","value":1.00000000000000001}"#), 1).is_err());
}

#[test]
fn checks_by_canonical_equality() {
    let accepts = |value: Value, arg: &str| constraint(value).check(&parse(arg));
    assert!(accepts(c("exact", json!({"value": 1})), "1.0") && !accepts(c("exact", json!({"value": 1})), "true"));
    assert!(accepts(c("exact", json!({"value": 0})), "-0") && !accepts(c("exact", json!({"value": null})), "false"));
    let set = json!([{"a": 1, "b": [2]}, [1], "x", 0, null, true]);
    for arg in [r#"{"b":[2.0],"a":1}"#, "[1]", "\"x\"", "-0.0", "null", "true"] {
        assert!(accepts(c("one_of", json!({"values": set})), arg), "{arg}");
        assert!(!accepts(c("not_one_of", json!({"excluded": set})), arg), "{arg}");
    }
    for arg in ["{}", "[]", "\"y\"", "1", "false", "[1,1]"] {
        assert!(!accepts(c("one_of", json!({"values": set})), arg), "{arg}");
        assert!(accepts(c("not_one_of", json!({"excluded": set})), arg), "{arg}");
    }
    let contains = c("contains", json!({"required": [1, "x", 1]}));
    assert!(accepts(contains.clone(), r#"["y","x",1.0]"#) && !accepts(contains.clone(), r#"["x"]"#));
    assert!(!accepts(contains, "\"x\"") && accepts(c("contains", json!({"required": []})), "[]"));
    let subset = c("subset", json!({"allowed": [1, "x"]}));
    assert!(accepts(subset.clone(), "[]") && accepts(subset.clone(), "[1,1,\"x\"]"));
    assert!(!accepts(subset.clone(), "[2]") && !accepts(subset, "1"));
    let range = c("range", json!({"min": 1, "max": 2, "max_inclusive": false}));
    assert!(accepts(range.clone(), "1") && accepts(range.clone(), "1.5") && !accepts(range.clone(), "2"));
    assert!(!accepts(range.clone(), "0.999") && !accepts(range, "\"1\""));
}

#[test]
fn maps_follow_the_rules_of_keys() {
    let tools = |map: Value| Tools::parse(&parse(&json!({"t": map}).to_string()).into_owned()).unwrap();
    let wide = json!({"constraint_type": "wildcard"});
    let optional = json!({"constraint_type": "wildcard", "optional": true});
    let step = |parent: Value, child: Value| tools(parent).subsumes(&tools(child)).map_err(|w| w.step);
    assert_eq!(step(json!({}), json!({"a": wide})), Ok(()));
    assert_eq!(step(json!({}), json!({})), Ok(()));
    assert_eq!(step(json!({"*": wide}), json!({})), Ok(()));
    assert_eq!(step(json!({"a": wide}), json!({})), Err("4p2"));
    assert_eq!(step(json!({"a": optional}), json!({"a": wide})), Ok(()));
    assert_eq!(step(json!({"a": wide}), json!({"a": optional})), Err("4p3"));
    assert_eq!(step(json!({"a": optional, "b": wide}), json!({"b": wide})), Ok(()));
    assert_eq!(step(json!({"a": optional, "*": wide}), json!({"*": wide})), Err("4p2"));
    assert_eq!(step(json!({"a": optional, "*": wide}), json!({"b": optional})), Ok(()));
    assert_eq!(step(json!({"b": wide}), json!({"b": wide, "*": wide})), Err("4p2"));
    for map in [
        json!({"*": optional}),
        json!({"*": {"constraint_type": "exact", "value": 1}}),
        json!({"a": {"constraint_type": "wildcard", "optional": 1}}),
    ] {
        let text = json!({ "t": map }).to_string();
        assert_eq!(Tools::parse(&parse(&text)).unwrap_err().code(), Code::ConstraintMalformed, "{text}");
    }
    // An argument literally named `*` is an unnamed one.
    assert!(tools(json!({"a": optional})).check_call("t", &parse(r#"{"*":1}"#)).is_err());
    assert!(tools(json!({"a": optional, "*": wide})).check_call("t", &parse(r#"{"*":1}"#)).is_ok());
    // What is written reads back.
    for map in [json!({}), json!({"a": optional, "*": wide}), json!({"a": wide})] {
        assert_eq!(tools(map.clone()).to_json(), json!({ "t": map }));
    }
}

#[test]
fn limits_hold_at_the_limit_and_one_beyond() {
    let wide = json!({"constraint_type": "wildcard"});
    let code = |value: Value| {
        let text = value.to_string();
        Tools::parse(&parse(&text)).err().map(|error| error.code())
    };
    let tools = |n: usize| Value::Object((0..n).map(|n| (format!("t{n}"), json!({}))).collect());
    let map = |n: usize| json!({"t": Value::Object((0..n).map(|n| (format!("a{n}"), wide.clone())).collect())});
    assert_eq!((code(tools(256)), code(tools(257))), (None, Some(Code::Oversize)));
    assert_eq!((code(map(64)), code(map(65)), code(map(66))), (None, Some(Code::Oversize), Some(Code::Oversize)));
    assert_eq!((code(json!({"t".repeat(256): {}})), code(json!({"t".repeat(257): {}}))), (None, Some(Code::Oversize)));
}

/// Scalars that meet each other often.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i32..4).prop_map(Value::from),
        prop::sample::select(vec![
            "a",
            "a.b",
            "a.*",
            ">",
            "/a",
            "/a/b",
            "/a//b/.",
            "/a/../b",
            "10.0.0.1",
            "10.1.0.1",
            "::1",
            "https://a.x/p",
            "https://b.a.x/p/q",
            "http://a.x",
            "https://a.x/p/../q",
        ])
        .prop_map(Value::from),
    ]
}

fn argument() -> impl Strategy<Value = Value> {
    prop_oneof![3 => scalar(), 1 => prop::collection::vec(scalar(), 0..4).prop_map(Value::from)]
}

fn any_constraint() -> impl Strategy<Value = Value> {
    let set = || prop::collection::vec(scalar(), 1..4);
    let network =
        prop::sample::select(vec!["10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "0.0.0.0/0", "::/0", "::1/128"]);
    let schemes = prop::sample::select(vec![vec!["https"], vec!["http", "https"]]);
    let hosts = prop::sample::select(vec![vec!["a.x"], vec!["*.a.x"], vec!["*.x"], vec!["a.x", "b.a.x"]]);
    let leaf = prop_oneof![
        scalar().prop_map(|value| c("exact", json!({ "value": value }))),
        (prop::option::of(-2i32..3), prop::option::of(0i32..3), any::<bool>(), any::<bool>()).prop_map(
            |(min, width, low, high)| {
                let mut range = json!({});
                if let Some(min) = min {
                    range["min"] = min.into();
                    range["min_inclusive"] = low.into();
                }
                if let Some(width) = width {
                    range["max"] = (min.unwrap_or(0) + width).into();
                    range["max_inclusive"] = high.into();
                }
                c("range", range)
            }
        ),
        set().prop_map(|values| c("one_of", json!({ "values": values }))),
        set().prop_map(|values| c("not_one_of", json!({ "excluded": values }))),
        set().prop_map(|values| c("contains", json!({ "required": values }))),
        set().prop_map(|values| c("subset", json!({ "allowed": values }))),
        Just(c("wildcard", json!({}))),
        prop::sample::select(vec![">", "a", "a.>", "a.*", "*", "*.b", "a.b"])
            .prop_map(|p| c("nats_subject", json!({ "pattern": p }))),
        prop::sample::select(vec!["/", "/a", "/a/b", "/b"]).prop_map(|root| c("subpath", json!({ "root": root }))),
        (schemes, hosts, prop::sample::select(vec!["/", "/p", "/p/q"])).prop_map(|(schemes, hosts, path)| c(
            "url",
            json!({"schemes": schemes, "hosts": hosts, "path_prefix": path})
        )),
        network.prop_map(|network| c("cidr", json!({ "network": network }))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        (any::<bool>(), prop::collection::vec(inner, 1..4))
            .prop_map(|(all, clauses)| c(if all { "all" } else { "any" }, json!({ "constraints": clauses })))
    })
}

/// A map over few names, so that parent and child meet.
fn any_map() -> impl Strategy<Value = Value> {
    let entry = (any_constraint(), prop::option::of(any::<bool>())).prop_map(|(mut constraint, optional)| {
        if let Some(optional) = optional {
            constraint["optional"] = optional.into();
        }
        constraint
    });
    (prop::collection::btree_map("[ab]", entry, 0..3), any::<bool>()).prop_map(|(map, star)| {
        let mut map = Value::Object(map.into_iter().collect());
        if star {
            map["*"] = c("wildcard", json!({}));
        }
        map
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn subsumption_is_sound(parent in any_constraint(), child in any_constraint(), values in prop::collection::vec(argument(), 8)) {
        let (parent, child) = (constraint(parent), constraint(child));
        prop_assert!(Constraint::Wildcard.subsumes(&child), "a wildcard subsumes {child:?}");
        prop_assert!(child.subsumes(&child), "{child:?} subsumes itself");
        if parent.subsumes(&child) {
            for value in values {
                let text = value.to_string();
                let value = parse(&text);
                prop_assert!(!child.check(&value) || parent.check(&value), "{parent:?} <- {child:?} at {text}");
            }
        }
    }

    #[test]
    fn a_child_map_admits_no_call_that_its_parent_refuses(parent in any_map(), child in any_map(), args in prop::collection::vec(prop::collection::btree_map("[abc*]", argument(), 0..4), 6)) {
        let tools = |map: &Value| Tools::parse(&parse(&json!({"t": map}).to_string()).into_owned()).expect("well-formed");
        let (parent, child) = (tools(&parent), tools(&child));
        if parent.subsumes(&child).is_ok() {
            for args in args {
                let text = serde_json::to_string(&args).expect("JSON");
                let args = parse(&text);
                let admitted = child.check_call("t", &args).is_ok();
                prop_assert!(!admitted || parent.check_call("t", &args).is_ok(), "{parent:?} <- {child:?} at {text}");
            }
        }
    }

    #[test]
    fn what_is_written_reads_back(value in any_constraint()) {
        let first = constraint(value);
        prop_assert_eq!(constraint(first.to_json()), first);
    }

    #[test]
    fn noise_never_panics(text in "[ -~]{0,60}", kind in prop::sample::select(Constraint::TYPE_NAMES), member in "pattern|root|hosts|network|value|values") {
        let json = c(kind, json!({ member: text.clone() }));
        if let Some(constraint) = read(&json) { let _ = constraint.check(&Json::String(text.clone().into())); }
        for constraint in one_of_each() { let _ = constraint_of(&constraint).check(&Json::String(text.clone().into())); }
    }
}

fn constraint_of(value: &Value) -> Constraint {
    constraint(value.clone())
}
