//! The tree of known keys, drawn from a configuration's default.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::ConfigError;
use super::layers::empty;

/// The values so far, and which keys there are.
///
/// A table that is empty by default is open: any key may stand in it (a map of the operator's own names).
pub(super) struct Tree {
    known: Value,
    value: Value,
}

impl Tree {
    pub(super) fn new(default: Value) -> Self {
        Self { known: default.clone(), value: default }
    }

    pub(super) fn into_value(self) -> Value {
        self.value
    }

    /// Whether a key exists: the end of a branch, or inside an open table.
    pub(super) fn knows(&self, path: &[&str]) -> bool {
        let mut at = &self.known;
        for key in path {
            match at {
                Value::Object(members) if members.is_empty() => return true,
                // What is absent by default may be anything, a table too.
                Value::Null => return true,
                Value::Object(members) => match members.get(*key) {
                    Some(next) => at = next,
                    None => return false,
                },
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => return false,
            }
        }
        !path.is_empty() && at.as_object().is_none_or(|members| members.is_empty())
    }

    pub(super) fn set(&mut self, path: &[&str], value: Value) {
        let mut at = &mut self.value;
        for key in path {
            if !at.is_object() {
                *at = empty();
            }
            let Value::Object(members) = at else { return };
            at = members.entry((*key).to_owned()).or_insert(Value::Null);
        }
        *at = value;
    }

    /// A text from the environment or a flag, read as the kind of value that stands there by default.
    pub(super) fn set_text(&mut self, path: &[&str], text: &str, place: &str) -> Result<(), ConfigError> {
        let not = |kind: &str| ConfigError::Value(format!("{place}: `{}` must be {kind}", path.join(".")));
        let value = match path.iter().try_fold(&self.known, |at, key| at.get(*key)) {
            Some(Value::Bool(_)) => Value::Bool(text.parse().map_err(|_| not("true or false"))?),
            Some(Value::Number(_)) => {
                let number: serde_json::Number = text.parse().map_err(|_| not("a number"))?;
                Value::Number(number)
            }
            Some(Value::Array(_)) if !text.trim_start().starts_with('[') => {
                Value::Array(text.split(',').map(|item| Value::from(item.trim())).filter(|v| v != "").collect())
            }
            Some(Value::Array(_) | Value::Object(_)) => json(text).map_err(|_| not("JSON"))?,
            // Unset by default: a number or a table where it reads as one, else a text.
            Some(Value::Null) | None => match json(text) {
                Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Object(_) | Value::Array(_)))
                    if !is_secret(&path.join(".")) =>
                {
                    value
                }
                Ok(_) | Err(_) => Value::from(text),
            },
            Some(Value::String(_)) => Value::from(text),
        };
        self.set(path, value);
        Ok(())
    }

    /// The error for a key that nothing reads, with the nearest that exists.
    pub(super) fn unknown(&self, path: &[&str], place: &str) -> ConfigError {
        let key = path.join(".");
        let mut known = Vec::new();
        collect(&self.known, &mut String::new(), &mut known);
        let nearest = known
            .into_iter()
            .map(|candidate| (distance(&key, &candidate), candidate))
            .min()
            .filter(|(distance, _)| *distance <= key.len().div_ceil(2))
            .map(|(_, candidate)| candidate);
        ConfigError::UnknownKey { key, place: place.to_owned(), nearest }
    }
}

/// A value as JSON, read strictly: a member that stands twice is a mistake, not a choice.
fn json(text: &str) -> Result<Value, marque_json::JsonError> {
    marque_json::from_slice(text.as_bytes(), marque_json::Limits::DEFAULT)
}

/// Whether a key's value is not to be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    !last.ends_with("_file") && ["password", "secret", "seed", "token"].iter().any(|word| last.contains(word))
}

/// A file's text, at most `bytes_max` of it.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::File { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    let read = file.take(bytes_max + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > bytes_max {
        return Err(ConfigError::Syntax { path: path.to_owned(), reason: format!("larger than {bytes_max} bytes") });
    }
    Ok(text)
}

fn collect(value: &Value, prefix: &mut String, out: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let length = prefix.len();
                if !prefix.is_empty() {
                    prefix.push('.');
                }
                prefix.push_str(name);
                collect(value, prefix, out);
                prefix.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            out.push(prefix.clone());
        }
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(&b) {
            let cost = (diagonal + usize::from(left != *right)).min(*cell + 1).min(previous + 1);
            diagonal = *cell;
            *cell = cost;
            previous = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_levenshtein() {
        for (a, b, want) in
            [("", "", 0), ("abc", "abc", 0), ("kitten", "sitting", 3), ("", "ab", 2), ("flaw", "lawn", 2)]
        {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }
}
