//! Values that a constraint names: compared by their JCS forms (AAT §3.4).

use marque_identity::refusal::quoted;
use marque_json::Json;
use serde_json::Value;

use super::ConstraintError;
use super::members::bounded;
use crate::limits::CONSTRAINT_VALUE_BYTES_MAX;

/// A string, number, boolean or null.
///
/// An admissible number is its double: the double's JCS form denotes the number as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `null`
    Null,
    /// A boolean.
    Bool(bool),
    /// An admissible number, never `-0`.
    Number(f64),
    /// A string.
    String(Box<str>),
}

impl Scalar {
    /// Reads a scalar; refuses arrays, objects, inadmissible numbers and overlong strings.
    pub(super) fn parse(json: &Json<'_>) -> Result<Self, ConstraintError> {
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(_) => Self::Number(admissible(json)?),
            Json::String(text) => Self::String(bounded(text)?.into()),
            Json::Array(_) | Json::Object(_) => {
                return Err(ConstraintError::MemberKind { name: "value", expected: "a scalar" });
            }
        })
    }

    pub(super) fn equals(&self, value: &Json<'_>) -> bool {
        match (self, value) {
            (Self::Null, Json::Null) => true,
            (Self::Bool(own), Json::Bool(other)) => own == other,
            (Self::Number(own), Json::Number(other)) => *own == other.value(),
            (Self::String(own), Json::String(other)) => **own == **other,
            (Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_), _) => false,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(number) => number_to_json(*number),
            Self::String(text) => (**text).into(),
        }
    }
}

/// The double of an admissible number, `-0` as `0`.
pub(super) fn admissible(json: &Json<'_>) -> Result<f64, ConstraintError> {
    let Json::Number(number) = json else {
        return Err(ConstraintError::MemberKind { name: "value", expected: "a number" });
    };
    if !number.is_admissible() {
        return Err(ConstraintError::Inadmissible { text: quoted(number.text()) });
    }
    Ok(number.value() + 0.0)
}

/// An integer where the double is one that prints without an exponent, for readers of plain JSON.
pub(super) fn number_to_json(number: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most 2^53 in size")]
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX { Value::from(number as i64) } else { Value::from(number) }
}

/// A set of JSON values under JCS equality, sorted, so that any comparison of two is linear.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LiteralSet {
    null: bool,
    truth: bool,
    falsity: bool,
    numbers: Vec<f64>,
    strings: Vec<Box<str>>,
    /// JCS forms of arrays and objects.
    composites: Vec<Box<[u8]>>,
}

impl LiteralSet {
    /// Reads an array's elements; refuses inadmissible numbers and overlong elements. Repetitions fall together.
    pub(super) fn parse(elements: &[Json<'_>]) -> Result<Self, ConstraintError> {
        for element in elements {
            if let Json::String(text) = element {
                bounded(text)?;
            } else if let Json::Array(_) | Json::Object(_) = element {
                if !element.is_admissible() {
                    return Err(ConstraintError::Inadmissible { text: "inside a value".to_owned() });
                }
                if element.canonical().len() > CONSTRAINT_VALUE_BYTES_MAX {
                    let what = "a constraint's value";
                    return Err(ConstraintError::Oversize { what, max: CONSTRAINT_VALUE_BYTES_MAX });
                }
            } else if let Json::Number(_) = element {
                admissible(element)?;
            }
        }
        Ok(Self::of(elements))
    }

    fn of(elements: &[Json<'_>]) -> Self {
        let mut set = Self::default();
        for element in elements {
            match element {
                Json::Null => set.null = true,
                Json::Bool(true) => set.truth = true,
                Json::Bool(false) => set.falsity = true,
                Json::Number(number) => set.numbers.push(number.value() + 0.0),
                Json::String(text) => set.strings.push(text.as_ref().into()),
                Json::Array(_) | Json::Object(_) => set.composites.push(element.canonical().into()),
            }
        }
        set.numbers.sort_unstable_by(f64::total_cmp);
        set.numbers.dedup();
        set.strings.sort_unstable();
        set.strings.dedup();
        set.composites.sort_unstable();
        set.composites.dedup();
        set
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its members that are strings, sorted.
    pub fn strings(&self) -> impl Iterator<Item = &str> {
        self.strings.iter().map(|text| &**text)
    }

    /// Whether the value is a member.
    pub(super) fn holds(&self, value: &Json<'_>) -> bool {
        match value {
            Json::Null => self.null,
            Json::Bool(true) => self.truth,
            Json::Bool(false) => self.falsity,
            Json::Number(number) => self.holds_number(number.value()),
            Json::String(text) => self.holds_text(text),
            Json::Array(_) | Json::Object(_) => {
                !self.composites.is_empty()
                    && self.composites.binary_search_by(|own| (**own).cmp(&value.canonical()[..])).is_ok()
            }
        }
    }

    pub(super) fn holds_scalar(&self, scalar: &Scalar) -> bool {
        match scalar {
            Scalar::Null => self.null,
            Scalar::Bool(true) => self.truth,
            Scalar::Bool(false) => self.falsity,
            Scalar::Number(number) => self.holds_number(*number),
            Scalar::String(text) => self.holds_text(text),
        }
    }

    fn holds_number(&self, number: f64) -> bool {
        self.numbers.binary_search_by(|own| own.total_cmp(&(number + 0.0))).is_ok()
    }

    fn holds_text(&self, text: &str) -> bool {
        self.strings.binary_search_by(|own| (**own).cmp(text)).is_ok()
    }

    /// Whether every member of the set is among the elements.
    pub(super) fn is_within(&self, elements: &[Json<'_>]) -> bool {
        self.is_empty() || Self::of(elements).is_superset(self)
    }

    /// Whether every member of `other` is a member.
    pub(super) fn is_superset(&self, other: &Self) -> bool {
        (self.null || !other.null)
            && (self.truth || !other.truth)
            && (self.falsity || !other.falsity)
            && sorted_superset(&self.numbers, &other.numbers)
            && sorted_superset(&self.strings, &other.strings)
            && sorted_superset(&self.composites, &other.composites)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut values = Vec::new();
        values.extend(self.null.then_some(Value::Null));
        values.extend(self.falsity.then_some(Value::from(false)));
        values.extend(self.truth.then_some(Value::from(true)));
        values.extend(self.numbers.iter().map(|number| number_to_json(*number)));
        values.extend(self.strings.iter().map(|text| Value::from(&**text)));
        // A canonical form is JSON, so nothing is lost here.
        values.extend(self.composites.iter().filter_map(|form| serde_json::from_slice(form).ok()));
        Value::Array(values)
    }
}

/// Whether a sorted list without repetitions holds all of another.
fn sorted_superset<T: PartialOrd>(larger: &[T], smaller: &[T]) -> bool {
    if smaller.len() > larger.len() {
        return false;
    }
    let mut larger = larger.iter();
    smaller.iter().all(|wanted| larger.by_ref().find(|own| *own >= wanted).is_some_and(|own| own == wanted))
}
