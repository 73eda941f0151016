//! Reading our own types out of a tree that has been read already, so that a text is not parsed twice.

use std::borrow::Cow;

use serde::de::value::{Error, MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::{Json, Number};

/// A value of a tree, as serde sees it: what `serde_json` would show of the same text.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'de>(pub(crate) &'de Json<'de>);

impl<'de> IntoDeserializer<'de, Error> for Tree<'de> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

fn members<'de>(value: &'de Json<'de>) -> Option<impl Iterator<Item = (&'de str, Tree<'de>)>> {
    Some(value.as_object()?.iter().map(|(name, value)| (name, Tree(value))))
}

fn visit_number<'de, V: Visitor<'de>>(number: &Number<'_>, visitor: V) -> Result<V::Value, Error> {
    let text = number.text();
    if let Ok(natural) = text.parse::<u64>() {
        return visitor.visit_u64(natural);
    }
    match number.as_integer() {
        Some(integer) => visitor.visit_i64(integer),
        None => visitor.visit_f64(number.value()),
    }
}

impl<'de> Deserializer<'de> for Tree<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Json::Null => visitor.visit_unit(),
            Json::Bool(value) => visitor.visit_bool(*value),
            Json::Number(number) => visit_number(number, visitor),
            Json::String(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Json::String(Cow::Owned(text)) => visitor.visit_borrowed_str(text),
            Json::Array(elements) => {
                let mut sequence = SeqDeserializer::new(elements.iter().map(Tree));
                let value = visitor.visit_seq(&mut sequence)?;
                sequence.end()?;
                Ok(value)
            }
            Json::Object(_) => {
                let members = members(self.0).ok_or_else(|| Error::custom("not an object"))?;
                let mut map = MapDeserializer::new(members);
                let value = visitor.visit_map(&mut map)?;
                map.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.0, Json::Null) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// A unit variant is a string; any other an object with one member.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Some(text) = self.0.as_str() {
            return visitor.visit_enum(StrDeserializer::new(text));
        }
        let mut members = members(self.0).ok_or_else(|| Error::custom("neither a string nor an object"))?;
        match (members.next(), members.next()) {
            (Some((name, value)), None) => visitor.visit_enum(Variant { name, value }),
            _ => Err(Error::custom("a variant is an object with one member")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'de> {
    name: &'de str,
    value: Tree<'de>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Tree<'de>;
    fn variant_seed<S: serde::de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Tree<'de>), Error> {
        Ok((seed.deserialize(StrDeserializer::<Error>::new(self.name))?, self.value))
    }
}

impl<'de> VariantAccess<'de> for Tree<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        serde::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<S: serde::de::DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::{Limits, from_slice, from_tree, parse};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        Boxed(u8),
        Shaped { a: i64 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        kind: Kind,
        maybe: Option<String>,
        #[serde(default)]
        list: Vec<f64>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "is", rename_all = "snake_case")]
    enum Tagged {
        One(Inner),
        Two { n: u64, any: serde_json::Value },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        id: String,
        #[serde(flatten)]
        tagged: Tagged,
    }

    #[test]
    fn reads_what_serde_json_reads_and_refuses_what_it_refuses() {
        for text in [
            r#"{"id":"a","is":"one","kind":"plain","maybe":null,"list":[1,2.5,-3e2]}"#,
            r#"{"id":"a\n","is":"one","kind":{"boxed":7}}"#,
            r#"{"id":"a","is":"one","kind":{"shaped":{"a":-9}},"maybe":"x"}"#,
            r#"{"id":"a","is":"two","n":18446744073709551615,"any":{"b":[null,true,1e3,{"c":"d"}]}}"#,
            r#"{"id":"a","is":"two","n":-1,"any":0}"#,
            r#"{"id":"a","is":"two","n":1.0,"any":0}"#,
            r#"{"id":"a","is":"three"}"#,
            r#"{"id":1,"is":"one","kind":"plain"}"#,
            r#"{"is":"one","kind":"plain"}"#,
            r#"{"id":"a","is":"one","kind":{"boxed":7,"plain":null}}"#,
            r#"{"id":"a","is":"one","kind":{"boxed":256}}"#,
            r#"{"id":"a","is":"one","kind":7}"#,
            r#"{"id":"a","is":"one","kind":"plain","other":1}"#,
            "[]",
            "null",
        ] {
            let theirs = from_slice::<Outer>(text.as_bytes(), Limits::DEFAULT).ok();
            let ours = from_tree::<Outer>(&parse(text.as_bytes(), Limits::DEFAULT).unwrap()).ok();
            assert_eq!(ours, theirs, "{text}");
        }
    }
}
