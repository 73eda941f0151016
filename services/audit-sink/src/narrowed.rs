//! What a delegation took away: the difference of two grants, as signed.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::carried::grant;

/// What a child's grant has less than its parent's.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Narrowed {
    /// Tools that are not handed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Constraints that are new or others, by tool and argument, as the child's token has them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub constrained: Map<String, Value>,
    /// The child ends so many seconds earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sooner_seconds: Option<i64>,
}

impl Narrowed {
    /// Between the claims of a parent and of its child.
    pub fn between(parent: &Value, child: &Value) -> Self {
        let none = Map::new();
        let (before, after) = (grant(parent).unwrap_or(&none), grant(child).unwrap_or(&none));
        let dropped = before.keys().filter(|tool| !after.contains_key(*tool)).cloned().collect();
        let mut constrained = Map::new();
        for (tool, map) in after {
            let known = before.get(tool).and_then(Value::as_object);
            let new = map.as_object().into_iter().flatten();
            let new =
                new.filter(|(argument, constraint)| known.and_then(|known| known.get(*argument)) != Some(*constraint));
            let new: Map<String, Value> =
                new.map(|(argument, constraint)| (argument.clone(), constraint.clone())).collect();
            if !new.is_empty() {
                constrained.insert(tool.clone(), Value::Object(new));
            }
        }
        let exp = |claims: &Value| claims.get("exp").and_then(Value::as_i64);
        let sooner = exp(parent).zip(exp(child)).and_then(|(parent, child)| parent.checked_sub(child));
        Self { dropped, constrained, sooner_seconds: sooner.filter(|sooner| *sooner > 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(exp: i64, tools: Value) -> Value {
        json!({ "exp": exp, "authorization_details": [{ "type": "attenuating_agent_token", "tools": tools }] })
    }

    #[test]
    fn names_what_was_dropped_constrained_and_shortened() {
        let parent = claims(900, json!({ "a": { "x": 1 }, "b": {}, "c": {} }));
        let child = claims(600, json!({ "a": { "x": 1, "y": 2 }, "c": { "z": 3 } }));
        let narrowed = Narrowed::between(&parent, &child);
        assert_eq!(
            serde_json::to_value(narrowed).unwrap(),
            json!({ "dropped": ["b"], "constrained": { "a": { "y": 2 }, "c": { "z": 3 } }, "sooner_seconds": 300 })
        );
        assert_eq!(Narrowed::between(&parent, &parent), Narrowed::default());
        for odd in [json!(null), json!({"authorization_details": 3}), json!({"exp": i64::MIN})] {
            let _ = Narrowed::between(&odd, &parent);
            let _ = Narrowed::between(&parent, &odd);
        }
    }
}
