//! `range`: a number within bounds. Source: AAT §3.4, §4.5.

use marque_json::Json;
use serde_json::{Value, json};

use super::ConstraintError;
use super::literal::{admissible, number_to_json};
use super::members::Members;

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    at: f64,
    inclusive: bool,
}

/// Both bounds are optional; a missing one is unbounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    min: Option<Bound>,
    max: Option<Bound>,
}

impl Range {
    pub(super) fn parse(members: &Members<'_, '_>) -> Result<Self, ConstraintError> {
        let range = Self { min: bound(members, "min", "min_inclusive")?, max: bound(members, "max", "max_inclusive")? };
        if let (Some(min), Some(max)) = (range.min, range.max)
            && min.at > max.at
        {
            return Err(ConstraintError::Malformed { reason: "`min` is greater than `max`" });
        }
        Ok(range)
    }

    pub(super) fn check(&self, value: &Json<'_>) -> bool {
        value.as_number().is_some_and(|number| self.admits(number.value()))
    }

    pub(super) fn admits(&self, number: f64) -> bool {
        self.min.is_none_or(|min| number > min.at || min.inclusive && number == min.at)
            && self.max.is_none_or(|max| number < max.at || max.inclusive && number == max.at)
    }

    pub(super) fn subsumes(&self, child: &Self) -> bool {
        let tighter = |parent: Option<Bound>, child: Option<Bound>, inside: fn(f64, f64) -> bool| match (parent, child)
        {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(parent), Some(child)) => {
                inside(child.at, parent.at) || child.at == parent.at && (parent.inclusive || !child.inclusive)
            }
        };
        tighter(self.min, child.min, |child, parent| child > parent)
            && tighter(self.max, child.max, |child, parent| child < parent)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({});
        for (bound, name, inclusive) in [(self.min, "min", "min_inclusive"), (self.max, "max", "max_inclusive")] {
            if let Some(bound) = bound {
                value[name] = number_to_json(bound.at);
                if !bound.inclusive {
                    value[inclusive] = false.into();
                }
            }
        }
        value
    }
}

fn bound(
    members: &Members<'_, '_>,
    name: &'static str,
    inclusive: &'static str,
) -> Result<Option<Bound>, ConstraintError> {
    let flag = match members.get(inclusive) {
        None => None,
        Some(Json::Bool(flag)) => Some(*flag),
        Some(Json::Null | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_)) => {
            return Err(ConstraintError::MemberKind { name: inclusive, expected: "a boolean" });
        }
    };
    match members.get(name) {
        None if flag.is_some() => Err(ConstraintError::Malformed { reason: "an inclusivity stands without its bound" }),
        None => Ok(None),
        Some(number @ Json::Number(_)) => Ok(Some(Bound { at: admissible(number)?, inclusive: flag.unwrap_or(true) })),
        Some(Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_)) => {
            Err(ConstraintError::MemberKind { name, expected: "a number" })
        }
    }
}
