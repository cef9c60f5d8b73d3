//! [`Text`]: text that is not blank, of a limited length.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;

use crate::error::Error;
use crate::text::excerpt;

/// A character that is not blank, in the dialects of ECMA-262, Python and Rust: each counts other
/// characters as whitespace.
pub(crate) const NOT_BLANK: &str = r"[^\s\u001c-\u001f\u0085\ufeff]";

/// Text of at most `MAX` characters that is not blank.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Text<const MAX: usize>(String);

/// Text of any length that is not blank.
pub(crate) type SomeText = Text<{ usize::MAX }>;

/// The name of a model or of its provider.
pub(crate) type ModelName = Text<256>;

impl<const MAX: usize> Text<MAX> {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let fits = text.len() <= MAX || text.chars().count() <= MAX;
        if fits && !text.chars().all(is_blank) {
            return Ok(Self(text));
        }
        let got = excerpt(&text);
        Err(Error::invalid(match MAX {
            usize::MAX => format!("expected text that is not blank, got {got}"),
            _ => format!("expected 1 to {MAX} characters that are not all blank, got {got}"),
        }))
    }
}

pub(super) fn is_blank(one: char) -> bool {
    one.is_whitespace() || matches!(one, '\u{1c}'..='\u{1f}' | '\u{feff}')
}

impl<const MAX: usize> JsonSchema for Text<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Text{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "minLength": 1, "pattern": NOT_BLANK });
        if MAX < usize::MAX {
            schema.insert("maxLength".to_owned(), MAX.into());
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_is_what_the_pattern_says() {
        // The classes of the three dialects: ECMA-262's `\s`, Python's, and Unicode's White_Space.
        let blank = "\t\n\u{b}\u{c}\r\u{1c}\u{1d}\u{1e}\u{1f} \u{85}\u{a0}\u{1680}\u{2000}\u{200a}\
            \u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";
        for one in blank.chars() {
            assert!(SomeText::try_from(one.to_string()).is_err(), "{one:?}");
        }
        for text in ["x", " x", "\u{200b}", "\u{0}", "é"] {
            assert!(SomeText::try_from(text.to_owned()).is_ok(), "{text:?}");
        }
        assert!(ModelName::try_from("é".repeat(256)).is_ok());
        assert!(ModelName::try_from("é".repeat(257)).is_err());
    }
}
