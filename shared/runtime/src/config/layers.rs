//! Laying the layers over each other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ConfigError;
use super::tree::{Tree, is_secret, read_text};

/// A configuration file larger than this is not one of ours.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const PREFIX: &str = "MARQUE_";
/// Sections that other programs of ours read from the same environment.
const OTHER_SERVICES: [&str; 9] = [
    "issuer",
    "verifier",
    "broadcaster",
    "revocation_broadcaster",
    "audit_sink",
    "gatekeeper",
    "attestor",
    "agent",
    "marque",
];

/// The layers, from the strongest down. The defaults are those of the configuration's `Default`.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The service's name, such as `issuer`.
    pub service: String,
    /// `key=value` of the command line.
    pub flags: Vec<(String, String)>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// The file, if one was named.
    pub file: Option<PathBuf>,
}

/// What kind of place a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginKind {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The configuration file.
    File,
    /// Built in.
    Default,
}

/// One key, its value (secrets redacted) and where it came from.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    /// The dotted key.
    pub key: String,
    /// The value as JSON.
    pub value: Value,
    /// The kind of place.
    pub kind: OriginKind,
    /// The place itself: a flag, a variable's name, a file's path.
    pub place: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.key, self.value, self.place)
    }
}

/// A configuration and where each of its keys came from.
#[derive(Debug, Clone)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    /// Every key, sorted.
    pub origins: Vec<Origin>,
}

/// Where each key that is not at its default came from.
type Places = BTreeMap<String, (OriginKind, String)>;

impl Layers {
    /// Lays the layers over `C`'s default. Keys unknown to the default's tree are errors.
    pub fn load<C: Default + Serialize + DeserializeOwned>(&self) -> Result<Loaded<C>, ConfigError> {
        let default = serde_json::to_value(C::default()).map_err(|error| ConfigError::Value(error.to_string()))?;
        let mut tree = Tree::new(default);
        let mut places = Places::new();

        // From the weakest up, so that the strongest is written last.
        if let Some(path) = &self.file {
            self.lay_file(&mut tree, &mut places, path)?;
        }
        self.lay_environment(&mut tree, &mut places)?;
        for (key, text) in &self.flags {
            let place = format!("--set {key}");
            let path: Vec<&str> = key.split('.').collect();
            if !tree.knows(&path) {
                return Err(tree.unknown(&path, &place));
            }
            tree.set_text(&path, text, &place)?;
            places.insert(key.clone(), (OriginKind::Flag, place));
        }

        let value = tree.into_value();
        let config = C::deserialize(&value).map_err(|error| ConfigError::Value(error.to_string()))?;
        Ok(Loaded { config, origins: origins(&value, &places) })
    }

    fn lay_file(&self, tree: &mut Tree, places: &mut Places, path: &Path) -> Result<(), ConfigError> {
        let text = read_text(path, FILE_BYTES_MAX)?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let table = serde_json::to_value(table).map_err(|error| ConfigError::Value(error.to_string()))?;
        let place = path.display().to_string();
        for (key, value) in leaves(&table) {
            let keys: Vec<&str> = key.iter().map(String::as_str).collect();
            if !tree.knows(&keys) {
                return Err(tree.unknown(&keys, &place));
            }
            tree.set(&keys, value.clone());
            places.insert(key.join("."), (OriginKind::File, place.clone()));
        }
        Ok(())
    }

    /// First what speaks to every service, then what speaks to this one alone.
    fn lay_environment(&self, tree: &mut Tree, places: &mut Places) -> Result<(), ConfigError> {
        let own = self.service.replace('-', "_");
        for own_turn in [false, true] {
            for (name, text) in &self.environment {
                let Some(path) = environment_path(name) else { continue };
                let mut keys: Vec<&str> = path.iter().map(String::as_str).collect();
                // MARQUE_ISSUER__NATS__URL: the issuer's nats.url; but MARQUE_ISSUER__X is issuer.x, if there is one.
                let for_own = keys.len() > 1
                    && keys.first() == Some(&own.as_str())
                    && self.resolve(tree, &keys).is_none()
                    && self.resolve(tree, keys.get(1..).unwrap_or_default()).is_some();
                if for_own {
                    keys.remove(0);
                }
                if for_own != own_turn {
                    continue;
                }
                match self.resolve(tree, &keys) {
                    Some((keys, false)) => {
                        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                        tree.set_text(&keys, text, name)?;
                        places.insert(keys.join("."), (OriginKind::Environment, name.clone()));
                    }
                    Some((keys, true)) => {
                        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                        let text = read_text(Path::new(text), FILE_BYTES_MAX)?;
                        tree.set_text(&keys, text.trim_end_matches(['\n', '\r']), name)?;
                        places.insert(keys.join("."), (OriginKind::Environment, name.clone()));
                    }
                    None if keys.first().is_some_and(|first| *first != own && OTHER_SERVICES.contains(first)) => {}
                    None => return Err(tree.unknown(&keys, name)),
                }
            }
        }
        Ok(())
    }

    /// The key that an environment path means, and whether its value stands in a file (`<KEY>_FILE`).
    fn resolve(&self, tree: &Tree, keys: &[&str]) -> Option<(Vec<String>, bool)> {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        if tree.knows(keys) {
            return Some((owned(keys), false));
        }
        let (last, front) = keys.split_last()?;
        let value_key = last.strip_suffix("_file")?;
        let mut keys = front.to_vec();
        keys.push(value_key);
        tree.knows(&keys).then(|| (owned(&keys), true))
    }
}

/// `MARQUE_NATS__URL` is `nats.url`, `MARQUE__KEY_FILE` is `key_file`. Without `__` it is no key of a configuration.
fn environment_path(name: &str) -> Option<Vec<String>> {
    let path = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let path = path.strip_prefix('_').map(str::to_owned).map_or_else(
        || path.contains("__").then(|| path.clone()),
        |top_level| (!top_level.is_empty()).then_some(top_level),
    )?;
    let keys: Vec<String> = path.split("__").map(str::to_owned).collect();
    keys.iter().all(|key| !key.is_empty()).then_some(keys)
}

/// Every value that is not a table, with its path; an empty table is one as well.
fn leaves(value: &Value) -> Vec<(Vec<String>, &Value)> {
    let Value::Object(members) = value else { return vec![(Vec::new(), value)] };
    let mut out = Vec::new();
    for (name, value) in members {
        for (mut path, leaf) in leaves(value) {
            path.insert(0, name.clone());
            out.push((path, leaf));
        }
    }
    out
}

fn origins(value: &Value, places: &Places) -> Vec<Origin> {
    let mut out: Vec<Origin> = leaves(value)
        .into_iter()
        .map(|(path, leaf)| {
            let key = path.join(".");
            let (kind, place) = places.get(&key).cloned().unwrap_or((OriginKind::Default, "default".into()));
            let value = if is_secret(&key) && !leaf.is_null() { Value::from("***") } else { leaf.clone() };
            Origin { key, value, kind, place }
        })
        .collect();
    out.sort_by(|a, b| a.key.cmp(&b.key));
    out
}

/// An empty table, for a tree that has none.
pub(super) fn empty() -> Value {
    Value::Object(Map::new())
}
