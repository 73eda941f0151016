//! What is wrong with a configuration.

use std::path::PathBuf;

use marque_identity::{Code, Refusal};

use crate::keys::KeyFileError;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// A key that nothing reads.
    #[error("unknown key `{key}` in {place}{}", nearest.as_ref().map(|n| format!(": did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// The dotted key.
        key: String,
        /// Where it stands.
        place: String,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// A value that is not of its key's kind.
    #[error("{0}")]
    Value(String),
    /// A key that must be set is not.
    #[error("`{key}` is not set: {how}")]
    Missing {
        /// The dotted key.
        key: &'static str,
        /// How to set it.
        how: &'static str,
    },
    /// The trust bundle does not open.
    #[error("{}: {source}", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: marque_signing::BundleError,
    },
    /// A key or secret in a file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

impl ConfigError {
    /// The stable reason.
    pub fn code(&self) -> Code {
        Code::ConfigInvalid
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}
