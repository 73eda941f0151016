//! The two ways to write a credential from a user task's own calls.

use std::collections::BTreeMap;

use marque_credential::limits::CONSTRAINT_VALUE_BYTES_MAX;
use serde_json::{Map, Value, json};

use crate::dojo::suite::{Call, Suite};

/// How narrow a task's credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Each tool that the task calls, no argument constraints.
    ToolsOnly,
    /// Each tool that the task calls, each argument held to the values that the task uses.
    Pinned,
}

impl Style {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ToolsOnly, Self::Pinned];

    /// Its name in task URNs.
    pub fn name(self) -> &'static str {
        match self {
            Self::ToolsOnly => "tools-only",
            Self::Pinned => "pinned",
        }
    }

    /// The AAT tools map (§3.3) that covers `calls`.
    pub fn tools(self, suite: &Suite, calls: &[Call]) -> Value {
        let mut by_tool: BTreeMap<&str, Vec<&Map<String, Value>>> = BTreeMap::new();
        for call in calls {
            by_tool.entry(&call.tool).or_default().push(&call.args);
        }
        let grant = |(tool, uses): (&str, Vec<&Map<String, Value>>)| {
            let constraints = match self {
                Self::ToolsOnly => json!({}),
                Self::Pinned => pinned(&uses),
            };
            (format!("nats:{}", suite.subject(tool)), constraints)
        };
        Value::Object(by_tool.into_iter().map(grant).collect())
    }
}

/// The whole suite's tools, unconstrained: the ceiling of the suite's blueprint.
pub fn ceiling(suite: &Suite) -> Value {
    let tool = |name: &str| (format!("nats:{}", suite.subject(name)), json!({}));
    Value::Object(suite.tool_names().into_iter().map(tool).collect())
}

/// One constraint an argument: any of the values it is used with; optional where a call does without it.
///
/// A tool that is used without any argument is pinned to that: the empty map would mean the opposite (AAT §3.3), so
/// an argument is named that none may send a value for but `null`.
fn pinned(uses: &[&Map<String, Value>]) -> Value {
    let mut values: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (name, value) in uses.iter().flat_map(|args| args.iter()) {
        let seen = values.entry(name).or_default();
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    if values.is_empty() {
        return json!({ "no_arguments": { "constraint_type": "exact", "value": null, "optional": true } });
    }
    let constraint = |(name, values): (&str, Vec<&Value>)| {
        let always = uses.iter().all(|args| args.contains_key(name));
        let mut constraint = any_of(&values);
        if !always {
            constraint["optional"] = Value::Bool(true);
        }
        (name.to_owned(), constraint)
    };
    Value::Object(values.into_iter().map(constraint).collect())
}

/// Admits these values. One longer than a constraint may name: an array is held to its elements, in any order and
/// number; anything else can't be held to anything.
fn any_of(values: &[&Value]) -> Value {
    let (large, small): (Vec<&Value>, Vec<&Value>) = values.iter().partition(|value| is_large(value));
    let mut clauses = Vec::new();
    if !small.is_empty() {
        clauses.push(json!({ "constraint_type": "one_of", "values": small }));
    }
    clauses.extend(large.into_iter().map(|value| match value.as_array() {
        Some(elements) if !elements.iter().any(is_large) => json!({ "constraint_type": "all", "constraints": [
            { "constraint_type": "contains", "required": elements },
            { "constraint_type": "subset", "allowed": elements },
        ] }),
        Some(_) | None => json!({ "constraint_type": "wildcard" }),
    }));
    match clauses.pop() {
        Some(only) if clauses.is_empty() => only,
        last => json!({ "constraint_type": "any", "constraints": clauses.into_iter().chain(last).collect::<Vec<_>>() }),
    }
}

/// Whether a constraint can't name this value.
fn is_large(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() > CONSTRAINT_VALUE_BYTES_MAX,
        Value::Array(_) | Value::Object(_) => value.to_string().len() > CONSTRAINT_VALUE_BYTES_MAX,
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(text: &str) -> Vec<Call> {
        serde_json::from_str(text).unwrap()
    }

    fn suite() -> Suite {
        Suite { name: "s".into(), tools: vec![], user_tasks: vec![], injection_tasks: vec![] }
    }

    #[test]
    fn pins_each_argument_to_the_values_used() {
        let calls =
            calls(r#"[{"tool":"t","args":{"a":1,"b":["x"]}},{"tool":"t","args":{"a":2}},{"tool":"u","args":{}}]"#);
        let expected = json!({
            "nats:tools.s.t": {
                "a": { "constraint_type": "one_of", "values": [1, 2] },
                "b": { "constraint_type": "one_of", "values": [["x"]], "optional": true },
            },
            "nats:tools.s.u": { "no_arguments": { "constraint_type": "exact", "value": null, "optional": true } },
        });
        assert_eq!(Style::Pinned.tools(&suite(), &calls), expected);
        assert_eq!(Style::ToolsOnly.tools(&suite(), &calls), json!({ "nats:tools.s.t": {}, "nats:tools.s.u": {} }));
    }

    #[test]
    fn pins_what_is_too_long_to_be_named_as_far_as_it_can_be() {
        let part = "x".repeat(CONSTRAINT_VALUE_BYTES_MAX);
        let (text, array) = (json!(format!("{part}x")), json!([part, "y"]));
        let (small, last) = (json!("z"), json!(part));
        let pinned = |values: &[&Value]| {
            let constraint = any_of(values);
            let tools: marque_credential::Tools = serde_json::from_value(json!({ "t": { "a": constraint } })).unwrap();
            assert!(!tools.is_empty());
            constraint
        };
        assert_eq!(pinned(&[&last])["constraint_type"], "one_of", "the longest that can be named");
        assert_eq!(pinned(&[&text])["constraint_type"], "wildcard");
        assert_eq!(pinned(&[&array])["constraint_type"], "all");
        let mixed = pinned(&[&small, &text, &array]);
        let kinds: Vec<_> = mixed["constraints"].as_array().unwrap().iter().map(|c| &c["constraint_type"]).collect();
        assert_eq!((mixed["constraint_type"].as_str(), kinds.len()), (Some("any"), 3), "{kinds:?}");
    }
}
