//! `GET /metrics`: every metric in Prometheus's text format.

use std::sync::Arc;

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use serde_json::json;

use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::describe::Operation;
use crate::web::reply;
use crate::web::respond::Respond;

/// Version 0.0.4 of the format.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The metrics as text.
#[derive(Debug)]
pub(crate) struct Exposition(String);

impl Respond for Exposition {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({ "type": "string" });
        let description = "The metrics, as docs/telemetry.md lists them.";
        operation.responds(StatusCode::OK, description, &[("text/plain", schema)]);
    }

    fn into_response(self) -> Response<Body> {
        let mut response = reply::text(StatusCode::OK, self.0);
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response
    }
}

/// `GET /metrics`
pub(crate) async fn show(_app: &Arc<App>, _context: &RequestContext) -> Result<Exposition, Error> {
    let text =
        telemetry::scrape().map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    Ok(Exposition(text))
}
