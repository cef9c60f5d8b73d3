//! [`VariableName`]: the name of a variable of a command.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;

use crate::error::Error;
use crate::text::excerpt;

/// The name of a variable that a shell could export. Those of the gateway itself are reserved.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct VariableName(pub(super) String);

impl TryFrom<String> for VariableName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        if is_variable(&name) {
            return Ok(Self(name));
        }
        Err(Error::invalid(format!(
            "expected names of letters, digits and _ that begin with neither a digit nor \
             CODEX_GATEWAY_, got {}",
            excerpt(&name)
        )))
    }
}

impl JsonSchema for VariableName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "VariableName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^(?!CODEX_GATEWAY_)[A-Za-z_][A-Za-z0-9_]*$",
        })
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with("CODEX_GATEWAY_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_names_are_those_a_shell_exports() {
        for (name, expected) in [
            ("A", true),
            ("_a1", true),
            ("LD_PRELOAD", true),
            ("", false),
            ("1A", false),
            ("A B", false),
            ("A=B", false),
            ("Ä", false),
            ("CODEX_GATEWAY_ENV_1", false),
        ] {
            assert_eq!(is_variable(name), expected, "{name}");
        }
    }
}
