//! Why a constraint is not well-formed.

use marque_identity::refusal::{Code, quoted};

/// Why a constraint, or a constraint map, was refused. Source: AAT §3.3, §3.4.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// A constraint is no object.
    #[error("a constraint is not an object")]
    NotAnObject,
    /// No `constraint_type`, or not a string.
    #[error("a constraint has no `constraint_type`")]
    TypeMissing,
    /// A type that is not known here.
    #[error("constraint type {name} is not known")]
    UnknownType {
        /// The type's name, quoted.
        name: String,
    },
    /// A member that the type does not define.
    #[error("member {name} is not one of a constraint of its type")]
    UnknownMember {
        /// The member's name, quoted.
        name: String,
    },
    /// A member is missing or of another kind.
    #[error("`{name}` is missing or not {expected}")]
    MemberKind {
        /// The member.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A rule of the type is broken.
    #[error("{reason}")]
    Malformed {
        /// Which.
        reason: &'static str,
    },
    /// A number whose double is another number.
    #[error("number {text} does not survive its canonical form")]
    Inadmissible {
        /// The number as written, quoted.
        text: String,
    },
    /// `optional` below the top of a constraint map.
    #[error("`optional` stands inside `all` or `any`")]
    OptionalNested,
    /// The `*` entry is something else than a bare `wildcard`.
    #[error("the `*` entry is not a `wildcard` without `optional`")]
    StarNotWildcard,
    /// Nested too deeply.
    #[error("constraints are nested deeper than {}", crate::limits::CONSTRAINT_DEPTH_MAX)]
    TooDeep,
    /// A literal, a list or a map is larger than its limit.
    #[error("{what} is larger than {max}")]
    Oversize {
        /// What.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

impl ConstraintError {
    pub(crate) fn unknown(name: &str) -> Self {
        Self::UnknownType { name: quoted(name) }
    }

    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::UnknownType { .. } => Code::ConstraintUnknown,
            Self::Inadmissible { .. } => Code::NumberInadmissible,
            Self::TooDeep => Code::TooDeep,
            Self::Oversize { .. } => Code::Oversize,
            Self::NotAnObject
            | Self::TypeMissing
            | Self::UnknownMember { .. }
            | Self::MemberKind { .. }
            | Self::Malformed { .. }
            | Self::OptionalNested
            | Self::StarNotWildcard => Code::ConstraintMalformed,
        }
    }
}
