//! [`Argument`]: a string that a program can be given.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;

use super::text::is_blank;
use crate::error::Error;
use crate::text::excerpt;

/// The longest string that Linux passes to a program, in bytes.
const MAX_BYTES: usize = 128 * 1024 - 64;

/// A string without NUL, which would end it, of a length that Linux takes. Blank only if
/// `MAY_BE_BLANK`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Argument<const MAY_BE_BLANK: bool = true>(String);

/// The name or the path of a program; or a line for a shell.
pub(crate) type Program = Argument<false>;

impl<const MAY_BE_BLANK: bool> Argument<MAY_BE_BLANK> {
    /// The string.
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl<const MAY_BE_BLANK: bool> TryFrom<String> for Argument<MAY_BE_BLANK> {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            let got = text.len();
            return Err(Error::invalid(format!("expected at most {MAX_BYTES} bytes, got {got}")));
        }
        if !MAY_BE_BLANK && text.chars().all(is_blank) {
            let got = excerpt(&text);
            return Err(Error::invalid(format!("expected text that is not blank, got {got}")));
        }
        if text.contains('\0') {
            // Not quoted: the strings of an environment may be secrets.
            return Err(Error::invalid("expected a string without NUL, got one with NUL"));
        }
        Ok(Self(text))
    }
}

impl<const MAY_BE_BLANK: bool> JsonSchema for Argument<MAY_BE_BLANK> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        if MAY_BE_BLANK { "Argument" } else { "Program" }.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        if MAY_BE_BLANK {
            return json_schema!({
                "type": "string", "maxLength": MAX_BYTES, "pattern": r"^[^\u0000]*$",
            });
        }
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_BYTES,
            "pattern": r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085\ufeff][^\u0000]*$",
        })
    }
}
