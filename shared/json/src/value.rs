//! A JSON value as it was written.

use std::borrow::Cow;

use crate::Number;

/// A JSON value (RFC 8259) that borrows from the bytes it was read from where it can.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(Number<'a>),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object without duplicate members.
    Object(Object<'a>),
}

/// Members in document order.
///
/// INVARIANT: no two have one name. Only the parser and [`Object::from_members`] make one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Json<'a>)>,
}

/// Up to this many members, looking at each pair beats sorting.
const PAIRWISE_MEMBERS_MAX: usize = 16;

impl<'a> Object<'a> {
    /// The object of these members, or the name that stands twice.
    pub fn from_members(members: Vec<(Cow<'a, str>, Json<'a>)>) -> Result<Self, String> {
        match repeated(members.iter().map(|(name, _)| name.as_ref()), members.len()) {
            Some(name) => Err(name.to_owned()),
            None => Ok(Self { members }),
        }
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.members.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// Members in document order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Json<'a>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Object<'static> {
        let owned = |(name, value): (Cow<'a, str>, Json<'a>)| (Cow::Owned(name.into_owned()), value.into_owned());
        Object { members: self.members.into_iter().map(owned).collect() }
    }
}

/// A name that stands twice among `names`, of which there are `count`.
pub(crate) fn repeated<'n>(names: impl Iterator<Item = &'n str> + Clone, count: usize) -> Option<&'n str> {
    // In ascending order, as canonical text is, none stands twice.
    if names.clone().zip(names.clone().skip(1)).all(|(name, next)| name < next) {
        return None;
    }
    if count <= PAIRWISE_MEMBERS_MAX {
        let pairs =
            names.clone().enumerate().find(|(index, name)| names.clone().take(*index).any(|other| other == *name));
        return pairs.map(|(_, name)| name);
    }
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

impl<'a> Json<'a> {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Json::String(text) = self { Some(text) } else { None }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object<'a>> {
        if let Json::Object(object) = self { Some(object) } else { None }
    }

    /// The array's elements, if it is one.
    pub fn as_array(&self) -> Option<&[Json<'a>]> {
        if let Json::Array(elements) = self { Some(elements) } else { None }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Json::Bool(value) = self { Some(*value) } else { None }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number<'a>> {
        if let Json::Number(number) = self { Some(number) } else { None }
    }

    /// The integer, if it is a number written as one (no fraction, no exponent) that fits.
    pub fn as_integer(&self) -> Option<i64> {
        self.as_number().and_then(Number::as_integer)
    }

    /// Whether every number in it survives RFC 8785's round trip (AAT §3.4).
    pub fn is_admissible(&self) -> bool {
        match self {
            Json::Null | Json::Bool(_) | Json::String(_) => true,
            Json::Number(number) => number.is_admissible(),
            Json::Array(elements) => elements.iter().all(Json::is_admissible),
            Json::Object(object) => object.iter().all(|(_, value)| value.is_admissible()),
        }
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Json<'static> {
        match self {
            Json::Null => Json::Null,
            Json::Bool(value) => Json::Bool(value),
            Json::Number(number) => Json::Number(number.into_owned()),
            Json::String(text) => Json::String(Cow::Owned(text.into_owned())),
            Json::Array(elements) => Json::Array(elements.into_iter().map(Json::into_owned).collect()),
            Json::Object(object) => Json::Object(object.into_owned()),
        }
    }
}
