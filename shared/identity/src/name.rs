//! Names that an operator gives: a blueprint (a kind of agent) and a sponsor (who answers for it).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Long enough for an e-mail address (RFC 5321: 254) with room; short enough for a record.
const NAME_BYTES_MAX: usize = 256;

/// A text that is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A blueprint's name.
    #[error("a blueprint name is 1 to 256 of a-z 0-9 - _")]
    Blueprint,
    /// A sponsor's name.
    #[error("a sponsor is 1 to 256 bytes without control characters")]
    Sponsor,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $error:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let allowed: fn(char) -> bool = $allowed;
                if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(allowed) {
                    return Err($error);
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a blueprint: the kind of agent that an instance is of.
    BlueprintName,
    NameError::Blueprint,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')
);
name!(
    /// The human or team that answers for an agent.
    Sponsor,
    NameError::Sponsor,
    |c| !c.is_control()
);
