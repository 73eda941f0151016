//! The members of one constraint: a closed list.

use marque_identity::refusal::quoted;
use marque_json::{Json, Object};

use super::ConstraintError;

/// A constraint's object whose every member is known to its type.
pub(super) struct Members<'o, 'a>(&'o Object<'a>);

impl<'o, 'a> Members<'o, 'a> {
    /// SPEC: AAT §3.4, no members other than `constraint_type`, `optional` and the type's own.
    pub(super) fn of(object: &'o Object<'a>, known: &'static [&'static str]) -> Result<Self, ConstraintError> {
        let stranger = object
            .iter()
            .map(|(name, _)| name)
            .find(|name| *name != "constraint_type" && *name != "optional" && !known.contains(name));
        match stranger {
            Some(name) => Err(ConstraintError::UnknownMember { name: quoted(name) }),
            None => Ok(Self(object)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'o Json<'a>> {
        self.0.get(name)
    }

    pub(super) fn required(&self, name: &'static str) -> Result<&'o Json<'a>, ConstraintError> {
        self.get(name).ok_or(ConstraintError::MemberKind { name, expected: "a value" })
    }

    pub(super) fn array(&self, name: &'static str) -> Result<&'o [Json<'a>], ConstraintError> {
        self.get(name).and_then(Json::as_array).ok_or(ConstraintError::MemberKind { name, expected: "an array" })
    }

    pub(super) fn text(&self, name: &'static str) -> Result<&'o str, ConstraintError> {
        let text =
            self.get(name).and_then(Json::as_str).ok_or(ConstraintError::MemberKind { name, expected: "a string" })?;
        bounded(text)
    }
}

/// The text, if it is no longer than a literal may be.
pub(super) fn bounded(text: &str) -> Result<&str, ConstraintError> {
    use crate::limits::CONSTRAINT_VALUE_BYTES_MAX as MAX;
    if text.len() > MAX {
        return Err(ConstraintError::Oversize { what: "a constraint's value", max: MAX });
    }
    Ok(text)
}
