//! Laying the layers over each other.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ConfigError;

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
    pub value: serde_json::Value,
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

impl Layers {
    /// Lays the layers over `C`'s default. Keys unknown to the default's tree are errors.
    pub fn load<C: Default + Serialize + DeserializeOwned>(&self) -> Result<Loaded<C>, ConfigError> {
        todo!()
    }
}
