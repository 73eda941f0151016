//! A blueprint's TOML.

mod attest;

use marque_credential::Tools;
use marque_credential::limits::{ARGUMENTS_MAX, DELEGATION_DEPTH_MAX};
use marque_json::Json;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{
    Blueprint, LIFE_SECONDS_MAX, MODEL_BYTES_MAX, MODELS_MAX, TOKEN_LIFE_SECONDS_DEFAULT, TOKEN_LIFE_SECONDS_MAX,
};

/// The dotted key at fault, and why.
type Fault = (String, String);

/// Every key that a file may have.
const KEYS: &[&str] = &[
    "name",
    "description",
    "sponsor",
    "models",
    "max_life_seconds",
    "token_life_seconds",
    "token_life_max_seconds",
    "max_depth",
    "attest",
    "tools",
];
/// One sentence.
const DESCRIPTION_BYTES_MAX: usize = 1024;

pub(super) fn parse(text: &str) -> Result<Blueprint, Fault> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| syntax(text, &error))?;
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err((unknown.clone(), format!("unknown key{}", did_you_mean(unknown, KEYS))));
    }
    let token_life_max =
        seconds(&mut table, "token_life_max_seconds", TOKEN_LIFE_SECONDS_MAX, Some(TOKEN_LIFE_SECONDS_MAX))?;
    let token_life = seconds(
        &mut table,
        "token_life_seconds",
        token_life_max,
        Some(TOKEN_LIFE_SECONDS_DEFAULT.min(token_life_max)),
    )?;
    Ok(Blueprint {
        name: required(&mut table, "name")?,
        description: description(&mut table)?,
        sponsor: required(&mut table, "sponsor")?,
        models: models(&mut table)?,
        max_life_seconds: seconds(&mut table, "max_life_seconds", LIFE_SECONDS_MAX, None)?,
        token_life_seconds: token_life,
        token_life_max_seconds: token_life_max,
        max_depth: depth(&mut table)?,
        attest: attest::demands(&mut table)?,
        tools: tools(&mut table)?,
    })
}

fn syntax(text: &str, error: &toml::de::Error) -> Fault {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    (format!("line {}", before.matches('\n').count() + 1), error.message().to_owned())
}

fn required<T: DeserializeOwned>(table: &mut Table, key: &str) -> Result<T, Fault> {
    let value = table.remove(key).ok_or_else(|| (key.to_owned(), "is not set".to_owned()))?;
    value.try_into().map_err(|error: toml::de::Error| (key.to_owned(), error.message().to_owned()))
}

fn description(table: &mut Table) -> Result<String, Fault> {
    let description: String = required(table, "description")?;
    if description.len() > DESCRIPTION_BYTES_MAX || description.chars().any(char::is_control) {
        let reason = format!("at most {DESCRIPTION_BYTES_MAX} bytes on one line");
        return Err(("description".into(), reason));
    }
    Ok(description)
}

fn models(table: &mut Table) -> Result<Vec<String>, Fault> {
    let models: Vec<String> = required(table, "models")?;
    let fits =
        |model: &String| !model.is_empty() && model.len() <= MODEL_BYTES_MAX && !model.chars().any(char::is_control);
    if models.is_empty() || models.len() > MODELS_MAX || !models.iter().all(fits) {
        let reason = format!("lists 1 to {MODELS_MAX} models, each 1 to {MODEL_BYTES_MAX} bytes");
        return Err(("models".into(), reason));
    }
    Ok(models)
}

fn seconds(table: &mut Table, key: &str, max: i64, default: Option<i64>) -> Result<i64, Fault> {
    let seconds = match default {
        Some(default) if !table.contains_key(key) => default,
        Some(_) | None => required(table, key)?,
    };
    if (1..=max).contains(&seconds) {
        Ok(seconds)
    } else {
        Err((key.to_owned(), format!("{seconds} is not within 1 to {max}")))
    }
}

fn depth(table: &mut Table) -> Result<u64, Fault> {
    let depth: u64 = required(table, "max_depth")?;
    if depth <= DELEGATION_DEPTH_MAX {
        return Ok(depth);
    }
    Err(("max_depth".into(), format!("{depth} is not within 0 to {DELEGATION_DEPTH_MAX}")))
}

/// The ceiling goes through the reader of every token's tools, so that both know the same constraints.
fn tools(table: &mut Table) -> Result<Tools, Fault> {
    let tools = match table.remove("tools") {
        Some(Value::Table(tools)) => tools,
        Some(_) => return Err(("tools".into(), "is not a table of tools".into())),
        None => return Err(("tools".into(), "is not set".into())),
    };
    if tools.is_empty() {
        return Err(("tools".into(), "grants no tool".into()));
    }
    for (tool, map) in &tools {
        let Value::Table(arguments) = map else {
            return Err((dotted("tools", tool), "is not a table of arguments".into()));
        };
        if arguments.len() > ARGUMENTS_MAX + 1 {
            return Err((dotted("tools", tool), format!("names more than {ARGUMENTS_MAX} arguments")));
        }
    }
    let json = json(&Value::Table(tools), "tools")?;
    let json = Json::from_serde(&json).map_err(|error| ("tools".to_owned(), error.to_string()))?;
    Tools::parse(&json).map_err(|error| ("tools".to_owned(), error.to_string()))
}

fn json(value: &Value, key: &str) -> Result<serde_json::Value, Fault> {
    let fault = |reason: &str| Err((key.to_owned(), reason.to_owned()));
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(value) => (*value).into(),
        Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => serde_json::Value::Number(number),
            None => return fault("is no number that JSON has"),
        },
        Value::Datetime(_) => return fault("is a date; JSON has none: put it in quotes"),
        Value::Array(elements) => {
            let element = |(at, element): (usize, &Value)| json(element, &format!("{key}[{at}]"));
            elements.iter().enumerate().map(element).collect::<Result<_, _>>()?
        }
        Value::Table(table) => {
            let member = |(name, value): (&String, &Value)| Ok((name.clone(), json(value, &dotted(key, name))?));
            table.iter().map(member).collect::<Result<_, Fault>>()?
        }
    })
}

fn dotted(key: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
    if bare { format!("{key}.{name}") } else { format!("{key}.\"{name}\"") }
}

/// The nearest key, where one is near.
fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    /// Two slips of the finger.
    const EDITS_MAX: usize = 3;
    let nearest = known.iter().map(|key| (edits(unknown, key), key)).min();
    match nearest {
        Some((edits, key)) if edits <= EDITS_MAX => format!(": did you mean `{key}`?"),
        Some(_) | None => format!("; known are {}", known.join(", ")),
    }
}

/// Levenshtein distance.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, c) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (to_at, to_c) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(c != *to_c);
            diagonal = row[to_at + 1];
            row[to_at + 1] = substituted.min(diagonal + 1).min(row[to_at] + 1);
        }
    }
    row[to.len()]
}
