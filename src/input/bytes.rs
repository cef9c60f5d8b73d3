//! [`Base64`]: bytes in a string.

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

/// Base64 with padding (RFC 4648, section 4). The bits that the padding leaves over are 0.
pub(crate) const BASE64: &str =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// Bytes, in base64.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Base64(pub(crate) Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        STANDARD.decode(&text).map(Self).map_err(|_| {
            let got = excerpt(&text);
            Error::invalid(format!("expected base64 (RFC 4648, section 4), got {got}"))
        })
    }
}

impl JsonSchema for Base64 {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Base64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64", "pattern": BASE64 })
    }
}
