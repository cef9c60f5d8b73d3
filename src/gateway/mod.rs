//! The hyper service: one request in, one response out.
//!
//! [`call`] makes the request id, parses the [`Route`], admits the caller, runs the
//! handler, and is the one place where an [`Error`] becomes a response. [`route`] is the table of
//! endpoints; [`openapi`] is the same table as a document.

mod openapi;
mod path;
pub mod route;
mod spec;

use std::sync::Arc;

use http::Extensions;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use hyper::body::Incoming;
use tracing::Instrument;

use self::route::Route;
pub use self::spec::Spec;
use crate::access;
use crate::access::Access;
use crate::access::Caller;
use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry::http::RequestSpan;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::connections::Full;
use crate::web::connections::InProgress;
use crate::web::extract::AdmittedRequest;
use crate::web::reply;

/// Answers a request.
pub async fn call(app: &Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let request_id = request_id(request.headers());
    let path = request.uri().path().to_owned();
    let route = Route::parse(request.method(), &path);
    let template = route.as_ref().ok().map(Route::template);
    let is_head = request.method() == Method::HEAD;
    let mut request_span = RequestSpan::begin(&request, template, &request_id);
    let span = request_span.span().clone();
    async {
        let response = match dispatch(app, route, request, &request_id).await {
            Ok(response) => response,
            Err(error) => {
                request_span.fail(&error);
                if error.status().is_server_error() {
                    tracing::error!(%error, code = error.code(), "request failed");
                } else {
                    tracing::debug!(%error, code = error.code(), "request refused");
                }
                reply::problem(&error, &request_id, &path)
            }
        };
        tracing::debug!(status = response.status().as_u16(), "answered");
        request_span.answer(response.status());
        let response = if is_head { reply::without_body(response) } else { response };
        let mut response = response.map(|body| body.owning(request_span));
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert("x-request-id", value);
        }
        response
    }
    .instrument(span)
    .await
}

/// Admits the caller and runs the handler.
async fn dispatch(
    app: &Arc<App>,
    route: Result<Route, Error>,
    request: Request<Incoming>,
    request_id: &str,
) -> Result<Response<Body>, Error> {
    let route = route?;
    let access = match route {
        Route::Metrics if app.config().telemetry.metrics_open => Access::Open,
        _ => route.access(),
    };
    let caller = access::admit(&app.config().keys, access, &request)?;
    if let Some(Caller { name }) = &caller {
        RequestSpan::called_by(name);
        keep_connection(app, request.extensions(), name)?;
    }
    let (mut head, body) = request.into_parts();
    let context = RequestContext {
        request_id: request_id.to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: std::mem::take(&mut head.headers),
        caller,
    };
    route.run(app, &mut AdmittedRequest::new(context, head, body)).await
}

/// Keeps the connection of an authenticated request from being closed to make room for others.
///
/// # Errors
/// `Overloaded` if as many connections as the limits allow are kept and in use.
fn keep_connection(app: &App, extensions: &Extensions, key: &Arc<str>) -> Result<(), Error> {
    let Some(request) = InProgress::of(extensions) else { return Ok(()) };
    let limits = &app.config().server;
    request.authenticate(key).map_err(|full| {
        let detail = match full {
            Full::All => format!(
                "expected at most {} connections with requests in progress; try again later, or \
                 raise gateway.max_connections",
                limits.max_connections
            ),
            Full::Key => format!(
                "expected at most {} connections with requests of the key {key:?} in progress; end \
                 one of them, or raise gateway.max_connections_per_key",
                limits.max_connections_per_key
            ),
        };
        Error::new(Kind::Overloaded, detail)
    })
}

/// The client's `X-Request-Id` if it is 1 to 128 characters of `A-Za-z0-9._:-`, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|value| (1..=128).contains(&value.len()))
        .filter(|value| {
            value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
        })
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}
