//! Between JSON text and our own types, through serde.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tree::Tree;
use crate::{Json, JsonError, Limits, parse};

/// Reads a type from JSON text: the strict scan of [`parse`] first, then serde.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, JsonError> {
    parse(bytes, limits)?;
    serde_json::from_slice(bytes).map_err(|error| JsonError::Shape { reason: error.to_string() })
}

/// Reads a type out of a tree that [`parse`] gave. The same as [`from_slice`] of its text, without reading it twice.
pub fn from_tree<T: DeserializeOwned>(json: &Json<'_>) -> Result<T, JsonError> {
    T::deserialize(Tree(json)).map_err(|error| JsonError::Shape { reason: error.to_string() })
}

/// Writes a type as canonical JSON (RFC 8785).
pub fn to_canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    let text = serde_json::to_vec(value).map_err(|error| JsonError::Shape { reason: error.to_string() })?;
    Ok(parse(&text, Limits { bytes_max: usize::MAX, ..Limits::DEFAULT })?.canonical())
}

impl From<&Json<'_>> for serde_json::Value {
    /// For printing and serde; numbers go through a 64-bit integer or a double.
    fn from(json: &Json<'_>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_integer(), number.text().parse::<u64>()) {
                (Some(integer), _) => Self::from(integer),
                (None, Ok(integer)) => Self::from(integer),
                (None, Err(_)) => Self::from(number.value()),
            },
            Json::String(text) => Self::String(text.to_string()),
            Json::Array(elements) => Self::Array(elements.iter().map(Self::from).collect()),
            Json::Object(object) => {
                Self::Object(object.iter().map(|(name, value)| (name.to_owned(), Self::from(value))).collect())
            }
        }
    }
}

impl Json<'static> {
    /// The value of a serde value.
    pub fn from_serde<T: Serialize>(value: &T) -> Result<Self, JsonError> {
        let text = serde_json::to_vec(value).map_err(|error| JsonError::Shape { reason: error.to_string() })?;
        Ok(parse(&text, Limits { bytes_max: usize::MAX, ..Limits::DEFAULT })?.into_owned())
    }
}
