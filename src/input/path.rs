//! [`FolderPath`]: a folder as a client names it, relative to the workspace root or inside it.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;

use crate::error::Error;
use crate::text::excerpt;

/// The longest path, in bytes. Linux takes 4096, of which the workspace root needs some.
const MAX_PATH: usize = 2048;
/// The longest name within a path, in bytes (Linux, `NAME_MAX`).
const MAX_NAME: usize = 255;

/// The path of a folder. Whether it may be used is for the workspaces to say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct FolderPath(String);

impl FolderPath {
    /// The path.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The path.
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl TryFrom<String> for FolderPath {
    type Error = Error;

    fn try_from(path: String) -> Result<Self, Error> {
        let fits = path.len() <= MAX_PATH && path.split('/').all(|name| name.len() <= MAX_NAME);
        if fits && !path.contains('\0') && path.bytes().any(|byte| byte != b'/') {
            return Ok(Self(path));
        }
        let got = excerpt(&path);
        Err(Error::invalid(format!(
            "expected a folder inside the workspace root: a path of at most {MAX_PATH} bytes, each \
             name of at most {MAX_NAME}, without NUL, got {got}"
        )))
    }
}

impl JsonSchema for FolderPath {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FolderPath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let name = format!("[^/\\u0000]{{1,{MAX_NAME}}}");
        let pattern = format!("^/*{name}(/+{name})*/*$");
        json_schema!({
            "type": "string", "minLength": 1, "maxLength": MAX_PATH, "pattern": pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_fits_the_file_system() {
        for (path, valid) in [
            ("a", true),
            ("/a//b/", true),
            (" ", true),
            (&"x".repeat(255), true),
            (&"x".repeat(256), false),
            (&"é".repeat(128), false),
            (&"x/".repeat(1024), true),
            (&"x/".repeat(1025), false),
            ("", false),
            ("/", false),
            ("a\0b", false),
        ] {
            assert_eq!(FolderPath::try_from(path.to_owned()).is_ok(), valid, "{path:?}");
        }
    }
}
