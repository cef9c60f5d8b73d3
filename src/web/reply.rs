//! Builds responses.

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body::Body as _;
use serde::Serialize;

use super::body::Body;
use crate::error::Error;
use crate::error::Kind;

/// Builds a response with a JSON document.
pub fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(bytes) => with_type(status, "application/json", Body::whole(bytes)),
        Err(error) => {
            tracing::error!(%error, "cannot encode a response");
            with_type(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Body::whole("Error"))
        }
    }
}

/// Builds a response with JSON that is already encoded.
pub fn encoded_json(status: StatusCode, json: impl Into<Bytes>) -> Response<Body> {
    with_type(status, "application/json", Body::whole(json))
}

/// Builds a response with plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", Body::whole(text))
}

/// Builds a response without content.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::whole(""));
    *response.status_mut() = status;
    response
}

/// Builds a streaming response. Its headers tell proxies not to buffer or transform it.
pub fn stream(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = with_type(StatusCode::OK, content_type, body);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Turns the response to GET into that to HEAD: the same headers without the body (RFC 9110, section
/// 9.3.2). A stream ends.
pub fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let is_upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(length) = body.size_hint().exact().filter(|_| !is_upgrade) {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, Body::whole(""))
}

/// Builds a response with the problem document of an error (RFC 9457).
pub fn problem(error: &Error, request_id: &str, instance: &str) -> Response<Body> {
    let mut response = json(error.status(), &error.problem(request_id, instance));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    match error.kind() {
        Kind::Unauthorized => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"codex-gateway\""),
            );
        }
        Kind::UpgradeRequired => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        Kind::MethodNotAllowed { allow } => {
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(header::ALLOW, allow);
            }
        }
        Kind::Unavailable | Kind::Overloaded | Kind::InsufficientStorage => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Kind::TooLarge | Kind::BodyTimeout => {
            // The remaining body is not read, so the connection cannot be reused.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
