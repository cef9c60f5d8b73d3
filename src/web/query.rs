//! Decoding of a query string (`a=1&b=true`) into a typed struct, whose fields name the parameters.

use std::borrow::Cow;
use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use serde::de::Visitor;
use serde::de::value::MapDeserializer;
use serde::forward_to_deserialize_any;

use crate::error::Error;
use crate::text::excerpt;

/// Decodes the parameters of a query. Of a parameter that is given twice, the last counts.
///
/// # Errors
/// `InvalidRequest` names the parameter and what it takes.
pub(crate) fn decode<'a, T: DeserializeOwned>(
    pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Result<T, Error> {
    let mut parameters: Vec<Parameter<'a>> = Vec::new();
    for (name, value) in pairs {
        parameters.retain(|earlier| earlier.name != name);
        parameters.push(Parameter { name, value });
    }
    T::deserialize(Parameters(parameters)).map_err(|QueryError(detail)| Error::invalid(detail))
}

/// All parameters of a query.
struct Parameters<'a>(Vec<Parameter<'a>>);

impl<'de> serde::Deserializer<'de> for Parameters<'de> {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        let pairs = self.0.into_iter().map(|parameter| (parameter.name.clone(), parameter));
        visitor.visit_map(MapDeserializer::new(pairs))
    }

    /// Refuses parameters that the struct does not have.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        match self.0.iter().find(|parameter| !fields.contains(&&*parameter.name)) {
            Some(unknown) => Err(QueryError(format!(
                "expected the query parameters {}, got {}",
                listed(fields, "and"),
                excerpt(&unknown.name)
            ))),
            None => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A parameter, decoded from its percent-encoding.
struct Parameter<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl Parameter<'_> {
    fn expected(&self, expected: &str) -> QueryError {
        QueryError(format!("{}: expected {expected}, got {}", self.name, excerpt(&self.value)))
    }
}

impl<'de> IntoDeserializer<'de, QueryError> for Parameter<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> serde::Deserializer<'de> for Parameter<'de> {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_str(&self.value)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_some(self)
    }

    /// A parameter without a value (`?follow`) is true.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        match &*self.value {
            "true" | "1" | "" => visitor.visit_bool(true),
            "false" | "0" => visitor.visit_bool(false),
            _ => Err(self.expected("true or false")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        match self.value.parse() {
            Ok(number) => visitor.visit_u64(number),
            Err(_) => Err(self.expected("a whole number")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        if !variants.contains(&&*self.value) {
            return Err(self.expected(&listed(variants, "or")));
        }
        visitor.visit_enum(self.value.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// `a, b or c`
fn listed(words: &[&str], conjunction: &str) -> String {
    match words {
        [] => "nothing".to_owned(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}

/// The detail of the error that a client gets.
#[derive(Debug)]
struct QueryError(String);

impl Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QueryError {}

impl serde::de::Error for QueryError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        DarkBlue,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Example {
        name: Option<String>,
        limit: Option<u64>,
        follow: bool,
        colour: Option<Colour>,
    }

    fn parse(query: &str) -> Result<Example, String> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        decode(pairs.map(|(name, value)| (name.into(), value.into())))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn parameters_are_decoded_by_type() {
        let parsed = parse("name=7&limit=7&follow&colour=dark_blue&limit=8").unwrap();
        let expected = Example {
            name: Some("7".to_owned()),
            limit: Some(8),
            follow: true,
            colour: Some(Colour::DarkBlue),
        };
        assert_eq!(parsed, expected);
        assert_eq!(parse("").unwrap(), Example::default());
        assert!(!parse("follow=0").unwrap().follow);
    }

    #[test]
    fn error_names_parameter_and_expectation() {
        for (query, expected) in [
            ("limit=-1", "limit: expected a whole number, got \"-1\""),
            ("follow=perhaps", "follow: expected true or false, got \"perhaps\""),
            ("colour=green", "colour: expected red or dark_blue, got \"green\""),
            (
                "since=1",
                "expected the query parameters name, limit, follow and colour, got \"since\"",
            ),
        ] {
            assert_eq!(parse(query).unwrap_err(), expected);
        }
    }
}
