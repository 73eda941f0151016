//! Argument constraints: what one argument may be, and when one constraint is as strict as another.
//!
//! The nine core types of AAT §3.4 and ours, each in its own file with its registration's words. A pair of types
//! that [`Constraint::subsumes`] does not list is refused.

mod cidr;
mod error;
mod literal;
mod members;
mod nats_subject;
mod range;
mod subpath;
mod url;

use marque_json::{Json, Object};
use serde_json::{Value, json};

pub use cidr::Cidr;
pub use error::ConstraintError;
pub use literal::{LiteralSet, Scalar};
pub use nats_subject::NatsSubject;
pub use range::Range;
pub use subpath::Subpath;
pub use url::UrlScope;

use crate::limits::CONSTRAINT_DEPTH_MAX;
use members::Members;

/// A well-formed constraint. Source: AAT §3.4, §4.5, §5; ours under `schemas/constraints/`.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// Equal to a scalar.
    Exact(Scalar),
    /// A number within bounds.
    Range(Range),
    /// A member of a set.
    OneOf(LiteralSet),
    /// Not a member of a set.
    NotOneOf(LiteralSet),
    /// An array that holds all of a set.
    Contains(LiteralSet),
    /// An array within a set.
    Subset(LiteralSet),
    /// Anything.
    Wildcard,
    /// Every clause accepts. INVARIANT: not empty.
    All(Vec<Constraint>),
    /// Some clause accepts. INVARIANT: not empty.
    Any(Vec<Constraint>),
    /// A bus subject within a pattern.
    NatsSubject(NatsSubject),
    /// A path at or below a root.
    Subpath(Subpath),
    /// A URL of some schemes, at some hosts, below a path.
    Url(UrlScope),
    /// An address of a network.
    Cidr(Cidr),
}

impl Constraint {
    /// Reads a constraint that stands at `depth` (1 outside `all` and `any`), where `optional` may not stand.
    ///
    /// Refuses what AAT §3.4 calls not well-formed, unknown types, and nesting beyond
    /// [`CONSTRAINT_DEPTH_MAX`].
    pub fn parse(json: &Json<'_>, depth: usize) -> Result<Self, ConstraintError> {
        let object = json.as_object().ok_or(ConstraintError::NotAnObject)?;
        if object.get("optional").is_some() {
            return Err(ConstraintError::OptionalNested);
        }
        Self::parse_object(object, depth)
    }

    /// As [`parse`](Self::parse), for an entry of a constraint map: `optional` may stand there.
    pub(crate) fn parse_object(object: &Object<'_>, depth: usize) -> Result<Self, ConstraintError> {
        if depth > CONSTRAINT_DEPTH_MAX {
            return Err(ConstraintError::TooDeep);
        }
        let name = object.get("constraint_type").and_then(Json::as_str).ok_or(ConstraintError::TypeMissing)?;
        let members = |known: &'static [&'static str]| Members::of(object, known);
        Ok(match name {
            "exact" => Self::Exact(Scalar::parse(members(&["value"])?.required("value")?)?),
            "range" => Self::Range(Range::parse(&members(&["min", "max", "min_inclusive", "max_inclusive"])?)?),
            "one_of" => {
                let values = LiteralSet::parse(members(&["values"])?.array("values")?)?;
                if values.is_empty() {
                    return Err(ConstraintError::Malformed { reason: "`values` is empty" });
                }
                Self::OneOf(values)
            }
            "not_one_of" => Self::NotOneOf(LiteralSet::parse(members(&["excluded"])?.array("excluded")?)?),
            "contains" => Self::Contains(LiteralSet::parse(members(&["required"])?.array("required")?)?),
            "subset" => Self::Subset(LiteralSet::parse(members(&["allowed"])?.array("allowed")?)?),
            "wildcard" => members(&[]).map(|_| Self::Wildcard)?,
            "all" => Self::All(clauses(&members(&["constraints"])?, depth)?),
            "any" => Self::Any(clauses(&members(&["constraints"])?, depth)?),
            "nats_subject" => Self::NatsSubject(NatsSubject::parse(members(&["pattern"])?.text("pattern")?)?),
            "subpath" => Self::Subpath(Subpath::parse(members(&["root"])?.text("root")?)?),
            "url" => Self::Url(UrlScope::parse(&members(&["schemes", "hosts", "path_prefix"])?)?),
            "cidr" => Self::Cidr(Cidr::parse(members(&["network"])?.text("network")?)?),
            unknown => return Err(ConstraintError::unknown(unknown)),
        })
    }

    /// Whether an argument's value satisfies the constraint.
    pub fn check(&self, value: &Json<'_>) -> bool {
        match self {
            Self::Exact(scalar) => scalar.equals(value),
            Self::Range(range) => range.check(value),
            Self::OneOf(set) => set.holds(value),
            Self::NotOneOf(set) => !set.holds(value),
            Self::Contains(set) => value.as_array().is_some_and(|elements| set.is_within(elements)),
            Self::Subset(set) => value.as_array().is_some_and(|elements| elements.iter().all(|e| set.holds(e))),
            Self::Wildcard => true,
            Self::All(clauses) => clauses.iter().all(|clause| clause.check(value)),
            Self::Any(clauses) => clauses.iter().any(|clause| clause.check(value)),
            Self::NatsSubject(pattern) => value.as_str().is_some_and(|text| pattern.admits(text)),
            Self::Subpath(root) => value.as_str().is_some_and(|text| root.admits(text)),
            Self::Url(scope) => value.as_str().is_some_and(|text| scope.admits(text)),
            Self::Cidr(network) => value.as_str().is_some_and(|text| network.admits(text)),
        }
    }

    /// Whether `child` attenuates this constraint: sound (what `child` accepts, this accepts) and conservative.
    ///
    /// SPEC: AAT §4.5's table; §5.1 for ours. Every pair not listed here is refused.
    pub fn subsumes(&self, child: &Self) -> bool {
        use Constraint as C;
        match (self, child) {
            (C::Wildcard, _) => true,
            (C::Exact(parent), C::Exact(child)) => parent == child,
            (C::Range(parent), C::Range(child)) => parent.subsumes(child),
            (C::Range(parent), C::Exact(child)) => child.number().is_some_and(|number| parent.admits(number)),
            (C::OneOf(parent), C::OneOf(child)) => parent.is_superset(child),
            (C::OneOf(parent), C::Exact(child)) => parent.holds_scalar(child),
            (C::NotOneOf(parent), C::NotOneOf(child)) => child.is_superset(parent),
            (C::Contains(parent), C::Contains(child)) => child.is_superset(parent),
            (C::Subset(parent), C::Subset(child)) => parent.is_superset(child),
            (C::All(parent), C::All(child)) => parent.iter().all(|p| child.iter().any(|c| p.subsumes(c))),
            (C::Any(parent), C::Any(child)) => child.iter().all(|c| parent.iter().any(|p| p.subsumes(c))),
            (C::NatsSubject(parent), C::NatsSubject(child)) => parent.subsumes(child),
            (C::NatsSubject(parent), C::Exact(child)) => child.text().is_some_and(|text| parent.admits(text)),
            (C::Subpath(parent), C::Subpath(child)) => parent.subsumes(child),
            (C::Subpath(parent), C::Exact(child)) => child.text().is_some_and(|text| parent.admits(text)),
            (C::Url(parent), C::Url(child)) => parent.subsumes(child),
            (C::Url(parent), C::Exact(child)) => child.text().is_some_and(|text| parent.admits(text)),
            (C::Cidr(parent), C::Cidr(child)) => parent.subsumes(child),
            (C::Cidr(parent), C::Exact(child)) => child.text().is_some_and(|text| parent.admits(text)),
            (
                C::Exact(_)
                | C::Range(_)
                | C::OneOf(_)
                | C::NotOneOf(_)
                | C::Contains(_)
                | C::Subset(_)
                | C::All(_)
                | C::Any(_)
                | C::NatsSubject(_)
                | C::Subpath(_)
                | C::Url(_)
                | C::Cidr(_),
                _,
            ) => false,
        }
    }

    /// The name on the wire, `constraint_type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::Range(_) => "range",
            Self::OneOf(_) => "one_of",
            Self::NotOneOf(_) => "not_one_of",
            Self::Contains(_) => "contains",
            Self::Subset(_) => "subset",
            Self::Wildcard => "wildcard",
            Self::All(_) => "all",
            Self::Any(_) => "any",
            Self::NatsSubject(_) => "nats_subject",
            Self::Subpath(_) => "subpath",
            Self::Url(_) => "url",
            Self::Cidr(_) => "cidr",
        }
    }

    /// Every `constraint_type` known here: the core ones in the draft's order, then ours.
    pub const TYPE_NAMES: &'static [&'static str] = &[
        "exact",
        "range",
        "one_of",
        "not_one_of",
        "contains",
        "subset",
        "wildcard",
        "all",
        "any",
        "nats_subject",
        "subpath",
        "url",
        "cidr",
    ];

    /// The wire form.
    pub fn to_json(&self) -> Value {
        let mut value = match self {
            Self::Exact(scalar) => json!({ "value": scalar.to_json() }),
            Self::Range(range) => range.to_json(),
            Self::OneOf(set) => json!({ "values": set.to_json() }),
            Self::NotOneOf(set) => json!({ "excluded": set.to_json() }),
            Self::Contains(set) => json!({ "required": set.to_json() }),
            Self::Subset(set) => json!({ "allowed": set.to_json() }),
            Self::Wildcard => json!({}),
            Self::All(clauses) | Self::Any(clauses) => {
                json!({ "constraints": clauses.iter().map(Self::to_json).collect::<Vec<_>>() })
            }
            Self::NatsSubject(pattern) => json!({ "pattern": pattern.as_str() }),
            Self::Subpath(root) => json!({ "root": root.as_str() }),
            Self::Url(scope) => scope.to_json(),
            Self::Cidr(network) => json!({ "network": network.to_string() }),
        };
        value["constraint_type"] = self.type_name().into();
        value
    }
}

fn clauses(members: &Members<'_, '_>, depth: usize) -> Result<Vec<Constraint>, ConstraintError> {
    let clauses = members.array("constraints")?;
    if clauses.is_empty() {
        return Err(ConstraintError::Malformed { reason: "`constraints` is empty" });
    }
    clauses.iter().map(|clause| Constraint::parse(clause, depth + 1)).collect()
}
