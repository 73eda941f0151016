//! JSON laid out for reading: what fits on a line stands on one.

use serde_json::Value;

const LINE_CHARS_MAX: usize = 116;

/// Members in this order, each value laid out; ends in a newline.
pub(super) fn document(members: &[(&str, Value)]) -> String {
    let mut out = String::from("{\n");
    for (index, (name, value)) in members.iter().enumerate() {
        let comma = if index + 1 < members.len() { "," } else { "" };
        out.push_str(&format!("  {}: {}{comma}\n", Value::from(*name), laid_out(value, 2, name.len() + 4)));
    }
    out.push_str("}\n");
    out
}

/// `lead`: how many characters stand before the value on its line.
fn laid_out(value: &Value, indent: usize, lead: usize) -> String {
    let flat = flat(value);
    if flat.chars().count() + indent + lead <= LINE_CHARS_MAX {
        return flat;
    }
    let inner = indent + 2;
    let (open, close, lines): (_, _, Vec<String>) = match value {
        Value::Array(elements) => ('[', ']', elements.iter().map(|element| laid_out(element, inner, 0)).collect()),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let name = Value::from(name.as_str()).to_string();
                format!("{name}: {}", laid_out(value, inner, name.len() + 2))
            };
            ('{', '}', members.iter().map(member).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return flat,
    };
    let pad = " ".repeat(inner);
    let lines: Vec<String> = lines.iter().map(|line| format!("{pad}{line}")).collect();
    format!("{open}\n{}\n{}{close}", lines.join(",\n"), " ".repeat(indent))
}

fn flat(value: &Value) -> String {
    match value {
        Value::Array(elements) => format!("[{}]", elements.iter().map(flat).collect::<Vec<_>>().join(", ")),
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{}: {}", Value::from(name.as_str()), flat(value));
            format!("{{ {} }}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
