//! [`RpcCall`]: the span of a JSON-RPC call. Its parent is the trace in `params._meta`, or else the
//! request that carries the call.

use std::sync::Arc;

use http::HeaderMap;
use opentelemetry::trace::Status;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::value::RawValue;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::metrics::metrics;
use super::names;
use super::trace;
use super::trace::CauseAlive;
use crate::error::Error;

/// The span of a call in progress.
#[derive(Debug)]
pub(crate) struct RpcCall {
    span: Span,
    _alive: Arc<()>,
}

/// The part of a call's params that tracing reads.
#[derive(Deserialize)]
struct WithMeta {
    #[serde(rename = "_meta")]
    meta: Option<Map<String, Value>>,
}

impl RpcCall {
    /// Starts the span.
    ///
    /// `request_id` is that of the request that carries the call, or that opened its WebSocket.
    /// `opened_by` is the head of the request that opened the WebSocket: its span has ended.
    pub(crate) fn begin(
        method: &'static str,
        params: Option<&RawValue>,
        request_id: &str,
        opened_by: Option<&HeaderMap>,
    ) -> Self {
        let span = tracing::info_span!(
            "call",
            otel.name = method,
            otel.kind = "server",
            rpc.system = "jsonrpc",
            rpc.method = method,
            request_id = request_id,
        );
        let alive = Arc::new(());
        let parent = params.and_then(meta).and_then(|meta| trace::of_meta(&meta));
        let parent = parent.or_else(|| trace::of_headers(opened_by?));
        let parent = parent.unwrap_or_else(opentelemetry::Context::current);
        // This fails only for a disabled span.
        drop(span.set_parent(CauseAlive::put(&parent, &alive)));
        Self { span, _alive: alive }
    }

    /// Returns the parent span of everything that the call causes.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Records that the response is an error.
    pub(crate) fn fail(&self, error: &Error) {
        metrics().refuse(error);
        self.span.set_attribute(names::ERROR_TYPE, error.code());
        if error.status().is_server_error() {
            self.span.set_status(Status::error(error.code()));
        }
    }
}

/// Reads `_meta` of the params, if present. The method parses the params itself.
fn meta(params: &RawValue) -> Option<Map<String, Value>> {
    // Most calls have none, and params may be large.
    if !params.get().contains("\"_meta\"") {
        return None;
    }
    serde_json::from_str::<WithMeta>(params.get()).ok()?.meta
}

impl Drop for RpcCall {
    fn drop(&mut self) {
        trace::end(&self.span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_is_found_only_as_a_member() {
        for (params, expected) in [
            (r#"{"prompt":"hi"}"#, false),
            (r#"{"prompt":"\"_meta\""}"#, false),
            (r#"{"_meta":7}"#, false),
            (r#"{"_meta":{"traceparent":"00-1-2-01"},"prompt":"hi"}"#, true),
        ] {
            let params: &RawValue = serde_json::from_str(params).unwrap();
            assert_eq!(meta(params).is_some(), expected, "{params}");
        }
    }
}
