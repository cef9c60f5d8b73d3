//! Integers in JSON: `1095.0` is one too (JSON Schema draft 2020-12, validation, section 6.1.1).

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::Error;
use serde::de::Unexpected;
use serde::de::Visitor;

/// Deserializes an integer.
pub(crate) fn required<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_u64(IntegerVisitor(PhantomData))
}

/// Deserializes an integer or null.
pub(crate) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_option(OptionVisitor(PhantomData))
}

struct IntegerVisitor<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for IntegerVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer of 0 or more")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        // Beyond this, doubles skip integers.
        const MAX: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && (0.0..=MAX).contains(&number) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is whole and in range"
            )]
            return self.visit_u64(number as u64);
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

struct OptionVisitor<T>(PhantomData<T>);

impl<'de, T: TryFrom<u64>> Visitor<'de> for OptionVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer of 0 or more, or null")
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        required(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Example {
        #[serde(default, deserialize_with = "optional")]
        small: Option<u8>,
        #[serde(deserialize_with = "required")]
        large: u64,
    }

    #[test]
    fn whole_floats_are_integers() {
        for (text, expected) in [
            (r#"{"small":7.0,"large":18446744073709551615}"#, Some((Some(7), u64::MAX))),
            (r#"{"small":null,"large":1e3}"#, Some((None, 1000))),
            (r#"{"large":0}"#, Some((None, 0))),
            (r#"{"small":256,"large":0}"#, None),
            (r#"{"large":0.5}"#, None),
            (r#"{"large":-1}"#, None),
            (r#"{"large":1e300}"#, None),
            (r#"{"large":"7"}"#, None),
        ] {
            let example: Option<Example> = serde_json::from_str(text).ok();
            assert_eq!(example.map(|it| (it.small, it.large)), expected, "{text}");
        }
    }
}
