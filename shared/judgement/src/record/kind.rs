//! The kinds of records.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a record states; one token of its bus subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A credential or root token was issued.
    Issued,
    /// A request was refused by a service.
    Refused,
    /// A token was derived.
    Delegated,
    /// An agent asks for an action.
    Requested,
    /// An enforcement point permitted or denied an action.
    Decided,
    /// An action ran, or failed.
    Completed,
    /// A directive was published.
    Directive,
    /// A directive's reach.
    Receipt,
    /// An agent connected.
    Connected,
    /// An agent's connection was closed.
    Kicked,
    /// An agent's connection has ended.
    Disconnected,
    /// A sign of risk.
    Risk,
    /// Where keys' chains of actions ended.
    Heads,
    /// What is held about a data subject is erased.
    Erased,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Issued,
        Self::Refused,
        Self::Delegated,
        Self::Requested,
        Self::Decided,
        Self::Completed,
        Self::Directive,
        Self::Receipt,
        Self::Connected,
        Self::Kicked,
        Self::Disconnected,
        Self::Risk,
        Self::Heads,
        Self::Erased,
    ];

    /// The text on the wire and in bus subjects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Refused => "refused",
            Self::Delegated => "delegated",
            Self::Requested => "requested",
            Self::Decided => "decided",
            Self::Completed => "completed",
            Self::Directive => "directive",
            Self::Receipt => "receipt",
            Self::Connected => "connected",
            Self::Kicked => "kicked",
            Self::Disconnected => "disconnected",
            Self::Risk => "risk",
            Self::Heads => "heads",
            Self::Erased => "erased",
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no kind of record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of record")]
pub struct RecordKindError;

impl FromStr for RecordKind {
    type Err = RecordKindError;
    fn from_str(text: &str) -> Result<Self, RecordKindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(RecordKindError)
    }
}
