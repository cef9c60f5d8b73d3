//! A JSON-RPC call as it is seen from outside: a span of its own, below the request that brought it, or
//! below the trace that its `params._meta` names.

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

/// A call under way.
#[derive(Debug)]
pub(crate) struct RpcCall {
    span: Span,
    _alive: Arc<()>,
}

/// What is read of a call's params.
#[derive(Deserialize)]
struct WithMeta {
    #[serde(rename = "_meta")]
    meta: Option<Map<String, Value>>,
}

impl RpcCall {
    /// A call begins. `method` is one of the table's; `request_id` the id of the request that brought
    /// it, or that opened its socket; `opened_by` the head of the latter, whose span is over.
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
        // Only a span that is not made refuses a parent.
        drop(span.set_parent(CauseAlive::put(&parent, &alive)));
        Self { span, _alive: alive }
    }

    /// What the call causes is traced below this.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// It is answered with an error.
    pub(crate) fn fail(&self, error: &Error) {
        metrics().refuse(error);
        self.span.set_attribute(names::ERROR_TYPE, error.code());
        if error.status().is_server_error() {
            self.span.set_status(Status::error(error.code()));
        }
    }
}

/// `_meta` of the params, where there is one; params are read for good by their method.
fn meta(params: &RawValue) -> Option<Map<String, Value>> {
    // Most calls have none, and params may be a megabyte.
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
    fn meta_is_read_where_there_is_one() {
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
