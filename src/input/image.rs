//! [`ImageUri`]: an image as data. The gateway fetches no addresses.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;

use crate::error::Error;
use crate::text::excerpt;

/// A data URI (RFC 2397) with an image in base64. Not empty.
const PATTERN: &str = "^data:image/[A-Za-z0-9.+-]+;base64,(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|\
    [A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)$";

/// An image as `data:image/…;base64,…`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ImageUri(String);

impl ImageUri {
    /// The URIs as strings.
    pub(crate) fn strings(images: Vec<Self>) -> Vec<String> {
        images.into_iter().map(|Self(uri)| uri).collect()
    }
}

impl TryFrom<String> for ImageUri {
    type Error = Error;

    fn try_from(uri: String) -> Result<Self, Error> {
        let parts = uri.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
        let is_image = parts.is_some_and(|(subtype, data)| {
            !subtype.is_empty()
                && subtype
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte))
                && STANDARD.decode(data).is_ok_and(|bytes| !bytes.is_empty())
        });
        if is_image {
            return Ok(Self(uri));
        }
        let got = excerpt(&uri);
        Err(Error::invalid(format!("expected `data:image/TYPE;base64,DATA`, got {got}")))
    }
}

impl JsonSchema for ImageUri {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ImageUri".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_is_base64_of_an_image() {
        for (uri, valid) in [
            ("data:image/png;base64,AAAA", true),
            ("data:image/svg+xml;base64,AA==", true),
            ("data:image/", false),
            ("data:image/png", false),
            ("data:image/png,xx", false),
            ("data:image/png;base64,", false),
            ("data:image/png;base64,AAA", false),
            ("data:image/png;base64,AB==", false),
            ("data:image/;base64,AAAA", false),
            ("data:text/plain;base64,AAAA", false),
            ("http://example.com/a.png", false),
        ] {
            assert_eq!(ImageUri::try_from(uri.to_owned()).is_ok(), valid, "{uri}");
        }
    }
}
