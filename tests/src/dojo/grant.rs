//! The two ways to write a credential from a user task's own calls.

use std::collections::BTreeMap;

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
        let mut constraint = json!({ "constraint_type": "one_of", "values": values });
        if !always {
            constraint["optional"] = Value::Bool(true);
        }
        (name.to_owned(), constraint)
    };
    Value::Object(values.into_iter().map(constraint).collect())
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
}
