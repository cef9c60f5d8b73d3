//! Calls an upstream that the operator configured (`bff.proxy`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::app::App;
use crate::error::Error;
use crate::input::bytes::Base64;
use crate::input::text::SomeText;
use crate::proxy;

/// The characters that are not encoded in a query (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call of an upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamRequest {
    /// `NAME/PATH` with the name of a configured upstream, or an absolute URL under one.
    endpoint: SomeText,
    /// `GET`, `POST`, ….
    #[schemars(regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    method: String,
    /// Each a string, or a list of strings.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, OneOrMore<String>>")]
    headers: BTreeMap<String, Value>,
    /// Each a string, a number, a boolean or a list of these; or all of it as an encoded string.
    #[schemars(with = "Option<Query>")]
    query: Option<Value>,
    /// A string is sent as it is (see `body_encoding`), anything else as JSON.
    body: Option<Value>,
    /// The encoding of a string in `body`.
    #[serde(default)]
    body_encoding: Encoding,
}

/// A value, or a list of values.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
#[expect(dead_code, reason = "the schema of what `one_or_more` takes")]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

/// A value of a query.
#[derive(JsonSchema)]
#[schemars(inline, extend("type" = ["string", "number", "boolean"]))]
#[expect(dead_code, reason = "the schema of what `query` takes")]
struct QueryValue(Value);

/// A query: encoded, or by its members.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
#[expect(dead_code, reason = "the schema of what `query` takes")]
enum Query {
    Encoded(#[schemars(regex(pattern = "^[!\"$-~]*$"))] String),
    Members(BTreeMap<String, OneOrMore<QueryValue>>),
}

/// The encoding of a body in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// The string is the body.
    #[default]
    Text,
    /// The string is the body in base64.
    Base64,
}

/// The response of an upstream.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UpstreamResponse {
    status: u16,
    /// In lower case. Each a string, or a list of strings if it is repeated.
    headers: Map<String, Value>,
    /// As a string; in base64 if it is not UTF-8.
    body: String,
    body_encoding: Encoding,
}

/// Calls an upstream.
///
/// # Errors
/// `InvalidRequest` names the field; the errors of [`proxy::Proxies::call`].
pub(crate) async fn call(
    app: &App,
    caller: &str,
    request: UpstreamRequest,
) -> Result<UpstreamResponse, Error> {
    let mut headers = headers(request.headers)?;
    let (body, content_type) = body(request.body, request.body_encoding)?;
    if let Some(content_type) = content_type {
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    }
    let call = proxy::ProxyRequest {
        endpoint: request.endpoint.into_string(),
        method: request.method,
        headers,
        query: request.query.map(query).transpose()?,
        body,
    };
    let response = app.proxies().call(call, &app.config().keys, caller).await?;
    let (body, body_encoding) = match String::from_utf8(response.body.into()) {
        Ok(text) => (text, Encoding::Text),
        Err(bytes) => (STANDARD.encode(bytes.as_bytes()), Encoding::Base64),
    };
    Ok(UpstreamResponse {
        status: response.status,
        headers: headers_to_json(&response.headers),
        body,
        body_encoding,
    })
}

fn headers(values: BTreeMap<String, Value>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, values) in values {
        let invalid =
            |expected: &str| Error::invalid(expected).at_field(&format!("headers.{name}"));
        let header: HeaderName =
            name.parse().map_err(|_| invalid("expected the name of a header"))?;
        for value in one_or_more(values) {
            let Value::String(value) = value else {
                return Err(invalid("expected a string or a list of strings"));
            };
            let value = value.parse().map_err(|_| invalid("expected the value of a header"))?;
            headers.append(&header, value);
        }
    }
    Ok(headers)
}

fn query(query: Value) -> Result<String, Error> {
    let members = match query {
        Value::String(query) => {
            if query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
                return Ok(query);
            }
            return Err(Error::invalid("query: expected a percent-encoded string"));
        }
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            return Err(Error::invalid("query: expected an object or an encoded string"));
        }
    };
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let mut pairs = Vec::new();
    for (name, values) in members {
        for value in one_or_more(values) {
            let value = match value {
                Value::String(value) => value,
                Value::Number(value) => value.to_string(),
                Value::Bool(value) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(Error::invalid(format!(
                        "query.{name}: expected a string, a number, a boolean, or a list of these"
                    )));
                }
            };
            pairs.push(format!("{}={}", encode(&name), encode(&value)));
        }
    }
    Ok(pairs.join("&"))
}

/// Encodes the body. Returns its bytes and the default content type.
fn body(body: Option<Value>, encoding: Encoding) -> Result<(Bytes, Option<&'static str>), Error> {
    match (body, encoding) {
        (None, _) => Ok((Bytes::new(), None)),
        (Some(Value::String(text)), Encoding::Text) => {
            Ok((text.into(), Some("text/plain; charset=utf-8")))
        }
        (Some(Value::String(text)), Encoding::Base64) => {
            let Base64(bytes) = text.try_into().map_err(|error: Error| error.at_field("body"))?;
            Ok((bytes.into(), Some("application/octet-stream")))
        }
        (Some(value), Encoding::Text) => Ok((value.to_string().into(), Some("application/json"))),
        (Some(_), Encoding::Base64) => Err(Error::invalid("body: expected a string of base64")),
    }
}

/// The values of a member: a list is more than one.
fn one_or_more(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            vec![value]
        }
    }
}

fn headers_to_json(headers: &HeaderMap) -> Map<String, Value> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let one = |name: &HeaderName| {
        let mut values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        match values.pop() {
            Some(only) if values.is_empty() => only.into(),
            last => values.into_iter().chain(last).collect::<Vec<_>>().into(),
        }
    };
    headers.keys().map(|name| (name.to_string(), one(name))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn query_is_encoded() {
        for (written, expected) in [
            (json!({ "a": "b c&d", "n": 1 }), Some("a=b%20c%26d&n=1")),
            (json!({ "a": ["x", true] }), Some("a=x&a=true")),
            (json!({ "ä": "" }), Some("%C3%A4=")),
            (json!("a=%20b"), Some("a=%20b")),
            (json!("a b"), None),
            (json!("a#b"), None),
            (json!({ "a": {} }), None),
            (json!({ "a": null }), None),
            (json!(7), None),
        ] {
            assert_eq!(query(written.clone()).ok().as_deref(), expected, "{written}");
        }
    }

    #[test]
    fn repeated_header_is_a_list() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_static("b=2"));
        headers.append("x-one", HeaderValue::from_static("1"));
        assert_eq!(
            Value::Object(headers_to_json(&headers)),
            json!({ "set-cookie": ["a=1", "b=2"], "x-one": "1" })
        );
    }
}
