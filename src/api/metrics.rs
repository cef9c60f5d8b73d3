//! - `GET /metrics`: every metric in Prometheus's text format

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;

use crate::error::Error;
use crate::error::Kind;
use crate::telemetry;
use crate::web::Body;
use crate::web::reply;

/// Version 0.0.4 of the format.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// `GET /metrics`
///
/// # Errors
/// The metrics cannot be gathered.
pub fn show() -> Result<Response<Body>, Error> {
    let text =
        telemetry::scrape().map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    let mut response = reply::text(StatusCode::OK, text);
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    Ok(response)
}
