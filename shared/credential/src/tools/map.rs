//! The constraint map of one tool. Source: AAT §3.3.

use marque_identity::refusal::quoted;
use marque_json::{Json, Object};
use serde_json::{Map, Value};

use super::{CallRefused, ToolsError, Widening};
use crate::constraint::{Constraint, ConstraintError};
use crate::limits::ARGUMENTS_MAX;

/// The reserved key for arguments that a map does not name.
const STAR: &str = "*";

/// One named argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What the argument may be.
    pub constraint: Constraint,
    /// Whether it may be absent.
    pub optional: bool,
}

/// What a tool's arguments may be, normalized: the empty map has become `*` (AAT §3.3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConstraintMap {
    /// Sorted by name. INVARIANT: no name twice, none is `*`.
    named: Vec<(Box<str>, Entry)>,
    /// Whether unnamed arguments are admitted, with any value.
    star: bool,
    /// How many of `named` are not optional.
    required: usize,
}

impl ConstraintMap {
    /// The map that admits any argument: the empty one.
    pub fn any() -> Self {
        Self { named: Vec::new(), star: true, required: 0 }
    }

    /// A closed map of these arguments. Without any it is [`any`](Self::any), as on the wire.
    pub fn of(arguments: impl IntoIterator<Item = (String, Entry)>) -> Self {
        let named = arguments.into_iter().map(|(name, entry)| (name.into(), entry)).collect::<Vec<_>>();
        let star = named.is_empty();
        Self::normalized(named, star)
    }

    fn normalized(mut named: Vec<(Box<str>, Entry)>, star: bool) -> Self {
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        named.dedup_by(|(a, _), (b, _)| a == b);
        named.retain(|(name, _)| &**name != STAR);
        let required = named.iter().filter(|(_, entry)| !entry.optional).count();
        Self { named, star, required }
    }

    /// Reads a tool's map: every constraint well-formed, known and not too deep (AAT §8 steps 3n, 4o).
    pub(super) fn parse(tool: &str, object: &Object<'_>) -> Result<Self, ToolsError> {
        let fault =
            |argument: &str, source| ToolsError::Constraint { tool: quoted(tool), argument: quoted(argument), source };
        if object.len() > ARGUMENTS_MAX + 1 {
            let source = ConstraintError::Oversize { what: "the number of arguments", max: ARGUMENTS_MAX };
            return Err(fault(STAR, source));
        }
        let mut named = Vec::with_capacity(object.len());
        let mut star = object.is_empty();
        for (name, json) in object.iter() {
            let constraint = json.as_object().ok_or_else(|| fault(name, ConstraintError::NotAnObject))?;
            let optional = match constraint.get("optional") {
                None => None,
                Some(Json::Bool(optional)) => Some(*optional),
                Some(Json::Null | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_)) => {
                    let source = ConstraintError::MemberKind { name: "optional", expected: "a boolean" };
                    return Err(fault(name, source));
                }
            };
            let constraint = Constraint::parse_object(constraint, 1).map_err(|source| fault(name, source))?;
            if name != STAR {
                named.push((name.into(), Entry { constraint, optional: optional.unwrap_or(false) }));
            } else if constraint == Constraint::Wildcard && optional.is_none() {
                star = true;
            } else {
                return Err(fault(name, ConstraintError::StarNotWildcard));
            }
        }
        if named.len() > ARGUMENTS_MAX {
            let source = ConstraintError::Oversize { what: "the number of arguments", max: ARGUMENTS_MAX };
            return Err(fault(STAR, source));
        }
        Ok(Self::normalized(named, star))
    }

    /// The entry of a named argument.
    pub fn get(&self, argument: &str) -> Option<&Entry> {
        let at = self.named.binary_search_by(|(name, _)| (**name).cmp(argument)).ok()?;
        Some(&self.named[at].1)
    }

    /// Named arguments in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Entry)> {
        self.named.iter().map(|(name, entry)| (name.as_ref(), entry))
    }

    /// Whether unnamed arguments are admitted.
    pub fn admits_unnamed(&self) -> bool {
        self.star
    }

    /// AAT §8 step 6b, for a tool that is granted.
    pub fn check(&self, args: &Object<'_>) -> Result<(), CallRefused> {
        let mut required = 0;
        for (argument, value) in args.iter() {
            if !value.is_admissible() {
                return Err(CallRefused::Number { argument: quoted(argument) });
            }
            match self.get(argument) {
                Some(entry) if entry.constraint.check(value) => required += usize::from(!entry.optional),
                Some(entry) => {
                    return Err(CallRefused::Refused {
                        argument: quoted(argument),
                        type_name: entry.constraint.type_name(),
                        constraint: entry.constraint.to_json().to_string(),
                    });
                }
                None if self.star => {}
                None => return Err(CallRefused::Unnamed { argument: quoted(argument) }),
            }
        }
        // No argument stands twice, so equal counts mean that every required one is there.
        if required == self.required {
            return Ok(());
        }
        let missing = self.named.iter().find(|(name, entry)| !entry.optional && args.get(name).is_none());
        Err(CallRefused::Missing { argument: missing.map(|(name, _)| quoted(name)).unwrap_or_default() })
    }

    /// p2: which arguments the child may name, omit, or leave open.
    pub(super) fn covers_keys_of(&self, child: &Self, tool: &str) -> Result<(), Widening> {
        let widening = |argument: &str, reason| Err(Widening::at("4p2", tool, Some(argument), reason));
        for (name, _) in child.iter() {
            if self.get(name).is_none() && !self.star {
                return widening(name, "the parent does not name the argument");
            }
        }
        for (name, entry) in self.iter() {
            if child.get(name).is_none() {
                if !entry.optional {
                    return widening(name, "the parent requires the argument and the child drops it");
                }
                if child.star {
                    return widening(name, "the child drops the argument and re-admits it by `*`");
                }
            }
        }
        if child.star && !self.star {
            return widening(STAR, "the parent does not admit unnamed arguments");
        }
        Ok(())
    }

    /// p3: what the parent requires stays required.
    pub(super) fn keeps_required_in(&self, child: &Self, tool: &str) -> Result<(), Widening> {
        for (name, entry) in child.iter() {
            if entry.optional && self.get(name).is_some_and(|own| !own.optional) {
                let reason = "the parent requires the argument and the child makes it optional";
                return Err(Widening::at("4p3", tool, Some(name), reason));
            }
        }
        Ok(())
    }

    /// p4: each constraint against the parent's, or against the parent's `*`, which subsumes any.
    pub(super) fn subsumes_values_of(&self, child: &Self, tool: &str) -> Result<(), Widening> {
        for (name, entry) in child.iter() {
            if self.get(name).is_some_and(|own| !own.constraint.subsumes(&entry.constraint)) {
                let reason = "the parent's constraint does not subsume the child's";
                return Err(Widening::at("4p4", tool, Some(name), reason));
            }
        }
        Ok(())
    }

    /// The wire form; the map that admits anything is `{}`.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (name, entry) in self.iter() {
            let mut constraint = entry.constraint.to_json();
            if entry.optional {
                constraint["optional"] = true.into();
            }
            map.insert(name.to_owned(), constraint);
        }
        if self.star && !map.is_empty() {
            map.insert(STAR.to_owned(), Constraint::Wildcard.to_json());
        }
        Value::Object(map)
    }
}
