//! Reads JSON bodies within limits of size and time, which hyper does not enforce.

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::header;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::error::Error;
use crate::error::Kind;
use crate::web::Limits;

/// Reads a body whose content type is JSON.
///
/// # Errors
/// `UnsupportedMediaType`, `TooLarge`, `BodyTimeout`; `InvalidRequest` if the body is incomplete.
pub async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    limits: &Limits,
) -> Result<Bytes, Error> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            format!("expected `Content-Type: application/json`, got {content_type:?}"),
        ));
    }
    let too_large = || {
        let limit = limits.body_limit;
        Error::new(Kind::TooLarge, format!("expected a body of at most {limit} bytes"))
    };
    let declared = http_body::Body::size_hint(&body).lower();
    if declared > limits.body_limit as u64 {
        return Err(too_large());
    }
    let collect = async {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| Error::invalid(format!("expected a complete body: {error}")))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > limits.body_limit {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    };
    tokio::time::timeout(limits.body_timeout, collect).await.map_err(|_| {
        let limit = limits.body_timeout.as_millis();
        Error::new(Kind::BodyTimeout, format!("expected the whole body within {limit} ms"))
    })?
}

/// Decodes JSON. Errors name the invalid member.
///
/// # Errors
/// `InvalidJson` if it is not JSON, `InvalidRequest` if it does not have the shape of `T`.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let error = explain(error.inner(), bytes.is_empty());
        // Serde names missing and duplicate members itself.
        if path == "." || *error.kind() == Kind::InvalidJson {
            error
        } else {
            error.at_field(&path)
        }
    })?;
    reader.end().map_err(|error| explain(&error, false))?;
    Ok(value)
}

/// Converts an error of serde. `empty` tells whether the input was empty.
pub fn explain(error: &serde_json::Error, empty: bool) -> Error {
    use serde_json::error::Category;

    match error.classify() {
        _ if empty => Error::new(Kind::InvalidJson, "expected a JSON object, got an empty body"),
        Category::Syntax | Category::Eof | Category::Io => {
            Error::new(Kind::InvalidJson, format!("expected JSON: {error}"))
        }
        Category::Data => Error::invalid(error.to_string()),
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 17
            && essence.to_ascii_lowercase().starts_with("application/")
            && essence.to_ascii_lowercase().ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_type_identifies_json() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("text/json", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            assert_eq!(is_json(content_type), expected, "{content_type}");
        }
    }
}
