//! [`Node`]: the deserializer of what clients send.
//!
//! Serde alone would take a list for a struct and an object for an enum, round no number, keep the
//! last of two members, and name Rust types in its errors. Values without a type of their own
//! (`serde_json::Value`) are decoded by serde_json.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IntoDeserializer;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::de::value::StrDeserializer;
use serde::de::value::StringDeserializer;
use serde_json::value::RawValue;

use super::error::DecodeError;
use crate::text::excerpt;

/// The longest number or word that errors quote.
const MAX_QUOTED: usize = 40;

/// A value of a document.
#[derive(Debug)]
pub(super) enum Node<'de> {
    /// JSON text that is well-formed, without whitespace around it.
    Json(&'de str),
    /// The value of a parameter of a query.
    Text(Cow<'de, str>),
    /// The members of an object. Errors suggest the names in `also` beside those of the struct.
    Members { members: Vec<(String, Node<'de>)>, also: &'static [&'static str] },
}

impl<'de> Node<'de> {
    /// The value, for an error.
    fn got(&self) -> String {
        match self {
            Self::Json(text) => match text.as_bytes().first() {
                Some(b'{') => "an object".to_owned(),
                Some(b'[') => "a list".to_owned(),
                Some(b'"') => excerpt(&serde_json::from_str::<String>(text).unwrap_or_default()),
                _ if text.len() <= MAX_QUOTED => (*text).to_owned(),
                _ => "a long number".to_owned(),
            },
            Self::Text(text) => excerpt(text),
            Self::Members { .. } => "an object".to_owned(),
        }
    }

    fn expected(&self, expected: &str) -> DecodeError {
        DecodeError::expected(expected, self.got())
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Json("null"))
    }

    /// The text of a string.
    fn string(self) -> Result<Cow<'de, str>, DecodeError> {
        match self {
            Self::Text(text) => Ok(text),
            // What is well-formed and yet no text is half of a pair that stands for one character.
            Self::Json(text) if text.starts_with('"') => serde_json::from_str::<String>(text)
                .map(Cow::Owned)
                .map_err(|_| DecodeError::expected("Unicode text", "half a surrogate pair")),
            other => Err(other.expected("a string")),
        }
    }

    /// The number, if it is whole: `1e3` and `1000.0` are (JSON Schema 2020-12, validation, section
    /// 6.1.1).
    fn whole(&self) -> Option<i128> {
        // Beyond this, doubles skip integers.
        const MAX: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            Self::Text(_) | Self::Members { .. } => None,
            Self::Json(text) => text.parse().ok().or_else(|| {
                let number: f64 = text.parse().ok()?;
                #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
                (number.fract() == 0.0 && number.abs() <= MAX).then_some(number as i128)
            }),
        }
    }

    /// The members of an object, each once.
    pub(super) fn members(self) -> Result<Vec<(String, Self)>, DecodeError> {
        let members = match self {
            Self::Members { members, .. } => members,
            Self::Json(text) if text.starts_with('{') => {
                let Entries(entries) = serde_json::from_str(text)
                    .map_err(|_| DecodeError::expected("names of Unicode text", "others"))?;
                let nodes = entries.into_iter().map(|(name, raw)| (name, Self::Json(raw.get())));
                nodes.collect()
            }
            other => return Err(other.expected("an object")),
        };
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => Err(DecodeError::repeated(pair.first().copied().unwrap_or_default())),
            None => Ok(members),
        }
    }

    fn visit_whole<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        use serde::de::Error as _;
        use serde::de::Unexpected;

        let number = self.whole();
        if let Some(number) = number.and_then(|number| u64::try_from(number).ok()) {
            return visitor.visit_u64(number);
        }
        match number.and_then(|number| i64::try_from(number).ok()) {
            Some(number) => visitor.visit_i64(number),
            None => {
                let got = self.got();
                Err(DecodeError::invalid_type(Unexpected::Other(&got), &visitor))
            }
        }
    }
}

/// The members of an object, in their order.
struct Entries<'de>(Vec<(String, &'de RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// Methods that read a whole number.
macro_rules! whole_numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.visit_whole(visitor)
        })+
    };
}

/// Methods that read a string.
macro_rules! strings {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.visit_string(self.string()?.into_owned())
        })+
    };
}

/// Methods that read any value, by serde_json.
macro_rules! anything {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.deserialize_any(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = DecodeError;

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    strings! { deserialize_char deserialize_str deserialize_string deserialize_identifier }

    anything! { deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            Self::Json(text) => {
                let mut reader = serde_json::Deserializer::from_str(text);
                reader.deserialize_any(visitor).map_err(|error| {
                    // The position would be that within this value.
                    let error = error.to_string();
                    let cause = error.split(" at line ").next().unwrap_or_default();
                    DecodeError::new(format!("expected JSON that can be read: {cause}"))
                })
            }
            Self::Text(text) => visitor.visit_string(text.into_owned()),
            Self::Members { .. } => self.deserialize_map(visitor),
        }
    }

    /// A parameter of a query without a value (`?follow`) is true.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let value = match &self {
            Self::Json("true") => Some(true),
            Self::Json("false") => Some(false),
            Self::Text(text) => match &**text {
                "true" | "1" | "" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Self::Json(_) | Self::Members { .. } => None,
        };
        visitor.visit_bool(value.ok_or_else(|| self.expected("true or false"))?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.is_null() { visitor.visit_unit() } else { Err(self.expected("null")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    /// [`RawValue`] asks for itself under a name of its own.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self {
            Self::Json(text) if name.contains("RawValue") => {
                let mut reader = serde_json::Deserializer::from_str(text);
                reader
                    .deserialize_newtype_struct(name, visitor)
                    .map_err(|error| DecodeError::new(error.to_string()))
            }
            other => visitor.visit_newtype_struct(other),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            Self::Json(text) if text.starts_with('[') => {
                let items: Vec<&'de RawValue> = serde_json::from_str(text)
                    .map_err(|error| DecodeError::new(error.to_string()))?;
                visitor.visit_seq(Items { items: items.into_iter(), index: 0 })
            }
            other => Err(other.expected("a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_map(Members { members: self.members()?.into_iter(), value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let also: &'static [&'static str] = match &self {
            Self::Members { also, .. } => also,
            Self::Json(_) | Self::Text(_) => &[],
        };
        let members = self.members()?;
        if let Some((name, _)) = members.iter().find(|(name, _)| !fields.contains(&name.as_str())) {
            return Err(DecodeError::unknown(name, also.iter().chain(fields).copied()));
        }
        visitor.visit_map(Members { members: members.into_iter(), value: None })
    }

    /// Enums of names alone: no request holds others.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let listed = match variants {
            [] => "nothing".to_owned(),
            [variant] => (*variant).to_owned(),
            [first @ .., last] => format!("{} or {last}", first.join(", ")),
        };
        let unknown = self.expected(&listed);
        let Ok(name) = self.string() else { return Err(unknown) };
        if !variants.contains(&&*name) {
            return Err(unknown);
        }
        let name: StrDeserializer<'_, DecodeError> = (&*name).into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

/// The members of an object, one after the other.
struct Members<'de> {
    members: std::vec::IntoIter<(String, Node<'de>)>,
    /// The member whose name was read.
    value: Option<(String, Node<'de>)>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        let key: StringDeserializer<DecodeError> = name.clone().into_deserializer();
        self.value = Some((name, value));
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        let (name, value) = self.value.take().expect("serde reads a name before its value");
        seed.deserialize(value).map_err(|error| error.in_member(&name))
    }
}

/// The items of a list, one after the other.
struct Items<'de> {
    items: std::vec::IntoIter<&'de RawValue>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Node::Json(item.get())).map(Some).map_err(|error| error.in_item(index))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::super::from_json;
    use super::super::from_query;
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        #[default]
        Red,
        DarkBlue,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Example {
        name: Option<String>,
        #[serde(alias = "maxItems")]
        limit: Option<u64>,
        small: u8,
        follow: bool,
        colour: Colour,
        inner: Option<Inner>,
        list: Vec<Inner>,
        map: BTreeMap<String, i32>,
        free: Option<Value>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        one: String,
    }

    fn query(query: &str) -> Result<Example, String> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        from_query(pairs.map(|(name, value)| (name.into(), value.into())))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn members_are_decoded_by_type() {
        let text = r#" {"name":"ü","limit":1e3,"small":7.0,"follow":true,"colour":"dark_blue",
            "inner":{"one":"x"},"list":[{"one":"y"}],"map":{"a":-1},"free":[1.50,{"b":null}]} "#;
        let expected = Example {
            name: Some("ü".to_owned()),
            limit: Some(1000),
            small: 7,
            follow: true,
            colour: Colour::DarkBlue,
            inner: Some(Inner { one: "x".to_owned() }),
            list: vec![Inner { one: "y".to_owned() }],
            map: [("a".to_owned(), -1)].into(),
            free: Some(serde_json::from_str(r#"[1.50,{"b":null}]"#).unwrap()),
        };
        assert_eq!(from_json::<Example>(text.as_bytes()).unwrap(), expected);
        let large: Example = from_json(br#"{"maxItems":18446744073709551615}"#).unwrap();
        assert_eq!(large.limit, Some(u64::MAX));
        let expected = Example { name: Some("7".to_owned()), follow: true, ..Example::default() };
        assert_eq!(query("name=6&name=7&follow").unwrap(), expected);
        let expected = Example { limit: Some(7), colour: Colour::Red, ..Example::default() };
        assert_eq!(query("limit=7&follow=0&colour=red").unwrap(), expected);
    }

    #[test]
    fn errors_name_member_expectation_and_value() {
        for (text, says) in [
            ("[]", "expected an object, got a list"),
            ("null", "expected an object, got null"),
            (r#"["ü",7]"#, "expected an object, got a list"),
            (r#"{"name":5}"#, "name: expected a string, got 5"),
            (r#"{"name":"\ud800"}"#, "name: expected Unicode text, got half a surrogate pair"),
            (r#"{"limit":-1}"#, "limit: expected a whole number of 0 or more, got -1"),
            (r#"{"limit":0.5}"#, "limit: expected a whole number of 0 or more, got 0.5"),
            (r#"{"limit":1e999}"#, "limit: expected a whole number of 0 or more, got 1e999"),
            (r#"{"limit":"7"}"#, "limit: expected a whole number of 0 or more, got \"7\""),
            (r#"{"small":256}"#, "small: expected a whole number of 0 or more, got 256"),
            (r#"{"follow":null}"#, "follow: expected true or false, got null"),
            (r#"{"colour":null}"#, "colour: expected red or dark_blue, got null"),
            (r#"{"colour":{"red":null}}"#, "colour: expected red or dark_blue, got an object"),
            (r#"{"colour":"Red"}"#, "colour: expected red or dark_blue, got \"Red\""),
            (r#"{"inner":["x"]}"#, "inner: expected an object, got a list"),
            (r#"{"inner":{}}"#, "inner.one: expected a value, got nothing"),
            (r#"{"inner":{"one":"x","two":2}}"#, "inner.two: expected a known field, got an"),
            (r#"{"list":[{"one":"x"},{"one":[]}]}"#, "list[1].one: expected a string, got a list"),
            (r#"{"list":{}}"#, "list: expected a list, got an object"),
            (r#"{"map":{"a":"b"}}"#, "map.a: expected a whole number, got \"b\""),
            (r#"{"limit":1,"limit":2}"#, "limit: expected it once, got it twice"),
            (r#"{"limit":1,"maxItems":2}"#, "limit: expected it once, got it twice"),
            (r#"{"limits":1}"#, "limits: expected a known field, got an unknown one; did you"),
        ] {
            let error = from_json::<Example>(text.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(says), "{text}: {error}");
            assert_eq!(error.code(), "invalid_request", "{text}");
        }
        for (text, says) in [
            ("limit=-1", "limit: expected a whole number of 0 or more, got \"-1\""),
            ("limit=%2B5", "limit: expected a whole number"),
            ("limit=", "limit: expected a whole number"),
            ("follow=perhaps", "follow: expected true or false, got \"perhaps\""),
            ("colour=green", "colour: expected red or dark_blue, got \"green\""),
            ("since=1", "since: expected a known field, got an unknown one; known are"),
        ] {
            let error = query(text).unwrap_err();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }

    #[test]
    fn only_broken_json_is_not_json() {
        let deep = format!(r#"{{"free":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        for (text, code) in [
            ("", "invalid_json"),
            (" ", "invalid_json"),
            ("{", "invalid_json"),
            ("{} {}", "invalid_json"),
            ("\u{feff}{}", "invalid_json"),
            (r#"{"limit":NaN}"#, "invalid_json"),
            (deep.as_str(), "invalid_request"),
        ] {
            assert_eq!(from_json::<Example>(text.as_bytes()).unwrap_err().code(), code, "{text}");
        }
    }
}
