//! Reads JSON bodies within limits of size and time, which hyper does not enforce.

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::header;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;
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
        let got = content_type.map_or_else(|| "none".to_owned(), excerpt);
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            format!("expected `Content-Type: application/json`, in UTF-8, got {got}"),
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

/// Whether a content type is JSON: `application/json` or `application/…+json`. JSON between systems
/// is UTF-8 (RFC 8259, section 8.1); another `charset` is not.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let suffixed = essence.strip_prefix("application/").and_then(|it| it.strip_suffix("+json"));
    let is_utf8 = parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        !name.eq_ignore_ascii_case("charset")
            || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    is_utf8 && (essence == "application/json" || suffixed.is_some_and(|kind| !kind.is_empty()))
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
            ("application/json; charset=\"UTF-8\"", true),
            ("application/json;", true),
            ("application/json; charset=latin1", false),
            ("application/+json", false),
            ("text/json", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            assert_eq!(is_json(content_type), expected, "{content_type}");
        }
    }
}
