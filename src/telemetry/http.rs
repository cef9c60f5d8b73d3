//! [`RequestSpan`]: the span and the metrics of a request, from its head to the last byte of the
//! response (OpenTelemetry's semantic conventions for HTTP servers). The response body owns it, so
//! it ends with the body however that ends.

use std::sync::Arc;

use http::HeaderMap;
use http::Method;
use http::Request;
use http::StatusCode;
use http::Version;
use opentelemetry::KeyValue;
use opentelemetry::trace::Status;
use tokio::time::Instant;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::metrics::metrics;
use super::names;
use super::names::attribute;
use super::trace;
use super::trace::CauseAlive;
use crate::error::Error;

/// The span of a request in progress.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    span: Span,
    begun: Instant,
    method: &'static str,
    route: &'static str,
    status: StatusCode,
    error: Option<&'static str>,
    /// The subject of [`CauseAlive`].
    _alive: Arc<()>,
}

impl RequestSpan {
    /// Starts the span. `route` is the template of the matched route.
    pub(crate) fn begin<B>(request: &Request<B>, route: Option<&'static str>, id: &str) -> Self {
        let method = method(request.method());
        let name = match route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        };
        let span = tracing::info_span!(
            "request",
            otel.name = name,
            otel.kind = "server",
            request_id = id,
            http.request.method = method,
            http.route = route,
        );
        let alive = Arc::new(());
        let parent = trace::of_headers(request.headers()).unwrap_or_default();
        // This fails only for a disabled span.
        drop(span.set_parent(CauseAlive::put(&parent, &alive)));
        span.set_attribute("url.path", request.uri().path().to_owned());
        span.set_attribute("url.scheme", "http");
        span.set_attribute("network.protocol.version", version(request.version()));
        if let Some(agent) = text(request.headers(), "user-agent") {
            span.set_attribute("user_agent.original", agent);
        }
        let route = route.unwrap_or(names::OTHER);
        metrics().http_active.add(1, &[KeyValue::new(names::METHOD, method)]);
        Self {
            span,
            begun: Instant::now(),
            method,
            route,
            status: StatusCode::OK,
            error: None,
            _alive: alive,
        }
    }

    /// Returns the parent span of everything that the request causes.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Records the name of the caller's key on the current span.
    pub(crate) fn called_by(name: &str) {
        Span::current().set_attribute(attribute::CALLER, name.to_owned());
    }

    /// Records that the response is an error.
    pub(crate) fn fail(&mut self, error: &Error) {
        metrics().refuse(error);
        self.span.set_attribute(names::ERROR_TYPE, error.code());
        if error.status().is_server_error() {
            self.error = Some(error.code());
            self.span.set_status(Status::error(error.code()));
        }
    }

    /// Records the status of the response.
    pub(crate) fn answer(&mut self, status: StatusCode) {
        self.status = status;
        self.span.set_attribute(names::STATUS_CODE, i64::from(status.as_u16()));
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        let method = KeyValue::new(names::METHOD, self.method);
        metrics().http_active.add(-1, std::slice::from_ref(&method));
        let mut labels = vec![
            method,
            KeyValue::new(names::ROUTE, self.route),
            KeyValue::new(names::STATUS_CODE, i64::from(self.status.as_u16())),
        ];
        labels.extend(self.error.map(|code| KeyValue::new(names::ERROR_TYPE, code)));
        trace::end(&self.span);
        metrics().http_duration.record(self.begun.elapsed().as_secs_f64(), &labels);
    }
}

/// Returns a method as a label. Clients may invent methods, so unknown ones share a value.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => names::OTHER,
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|text| text.chars().take(256).collect())
}
