//! Holding instances against a schema, and their mutants.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// A schema by its name.
pub(crate) struct Checker {
    name: &'static str,
    required: Vec<String>,
    validator: jsonschema::Validator,
}

impl Checker {
    pub(crate) fn of(name: &'static str) -> Self {
        let path = format!("{}/../schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let schema: Value = serde_json::from_str(&text).unwrap();
        let required = schema["required"].as_array().into_iter().flatten();
        let required = required.map(|member| member.as_str().unwrap().to_owned()).collect();
        Self { name, required, validator: jsonschema::validator_for(&schema).unwrap() }
    }

    pub(crate) fn is_valid(&self, instance: &Value) -> bool {
        self.validator.is_valid(instance)
    }

    /// The instance is what the schema says.
    pub(crate) fn accepts(&self, instance: &Value) {
        if let Err(error) = self.validator.validate(instance) {
            panic!("{}: {error} at {}: {instance}", self.name, error.instance_path());
        }
    }

    /// Its mutants are not: without each member that it must have, and with a thing of another kind in each place.
    /// Gives the places where the schema lets everything stand, each with the schema's name before it.
    pub(crate) fn open_places(&self, instance: &Value) -> BTreeSet<Vec<String>> {
        let name = self.name;
        assert!(
            !self.validator.is_valid(&json!([])) && !self.validator.is_valid(&Value::Null),
            "{name} takes anything"
        );
        for member in &self.required {
            let mut without = instance.as_object().unwrap().clone();
            assert!(without.remove(member).is_some(), "{name}: {member} is not there");
            assert!(!self.validator.is_valid(&without.into()), "{name} does without {member}");
        }
        let mut open = BTreeSet::new();
        self.mutate(instance, instance, &mut Vec::new(), &mut open);
        open
    }

    fn mutate(&self, whole: &Value, part: &Value, at: &mut Vec<String>, open: &mut BTreeSet<Vec<String>>) {
        if !at.is_empty() {
            let wrong = [json!([[]]), json!(-7.5), json!({ "": [] }), json!(true), json!("\u{0}")];
            let refused = wrong.into_iter().any(|wrong| {
                let mut mutant = whole.clone();
                *mutant.pointer_mut(&pointer(at)).unwrap() = wrong;
                !self.validator.is_valid(&mutant)
            });
            if !refused {
                open.insert([&[self.name.to_owned()], at.as_slice()].concat());
                return;
            }
        }
        let mut step = |name: String, part: &Value| {
            at.push(name);
            self.mutate(whole, part, at, open);
            at.pop();
        };
        match part {
            Value::Object(members) => members.iter().for_each(|(name, part)| step(name.clone(), part)),
            Value::Array(elements) => elements.iter().enumerate().for_each(|(at, part)| step(at.to_string(), part)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn pointer(at: &[String]) -> String {
    at.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
}
