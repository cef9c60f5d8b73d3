//! Propagation of trace context (W3C Trace Context): from request headers or the `_meta` of a
//! JSON-RPC call to core and to providers.

use std::sync::Arc;
use std::sync::Weak;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use opentelemetry::Context;
use opentelemetry::global;
use opentelemetry::propagation::Extractor;
use opentelemetry::propagation::Injector;
use opentelemetry::trace::TraceContextExt;
use serde_json::Map;
use serde_json::Value;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use codex_gateway_engine::TraceContext;

/// Extracts the context of a request's headers, if it is valid.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<Context> {
    valid(&Headers(headers))
}

/// Extracts the context of the `_meta` of a call's params, if it is valid. As in MCP,
/// `traceparent`, `tracestate` and `baggage` are members of it.
pub(crate) fn of_meta(meta: &Map<String, Value>) -> Option<Context> {
    valid(&Meta(meta))
}

/// Parses a serialized context.
pub(crate) fn of(traceparent: &str, tracestate: Option<&str>) -> Option<Context> {
    let mut meta = Map::new();
    meta.insert("traceparent".to_owned(), traceparent.into());
    if let Some(tracestate) = tracestate {
        meta.insert("tracestate".to_owned(), tracestate.into());
    }
    of_meta(&meta)
}

fn valid(from: &dyn Extractor) -> Option<Context> {
    let root = Context::new();
    let context =
        global::get_text_map_propagator(|propagator| propagator.extract_with_context(&root, from));
    context.span().span_context().is_valid().then_some(context)
}

/// Injects a context into headers.
pub(crate) fn into_headers(context: &Context, headers: &mut HeaderMap) {
    if context.span().span_context().is_valid() {
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(context, &mut Injected(headers));
        });
    }
}

/// Ends a span now. Otherwise it would end with its last descendant, and core's spans may live as
/// long as their conversation.
pub(crate) fn end(span: &Span) {
    span.context().span().end();
}

/// Converts the context of a span for core.
pub(crate) fn for_core(span: &Span) -> Option<TraceContext> {
    let mut headers = HeaderMap::new();
    into_headers(&span.context(), &mut headers);
    let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
    Some(TraceContext { traceparent: text("traceparent")?, tracestate: text("tracestate") })
}

/// A marker in the context of everything that a request or call causes: whether the cause still
/// runs.
pub(crate) struct CauseAlive(Weak<()>);

impl CauseAlive {
    /// Returns whether the cause has ended. Work without a cause outlives nothing.
    pub(crate) fn is_over(context: &Context) -> bool {
        context.get::<Self>().is_some_and(|cause| cause.0.strong_count() == 0)
    }

    /// Returns a context for what `alive` causes.
    pub(crate) fn put(context: &Context, alive: &Arc<()>) -> Context {
        context.with_value(Self(Arc::downgrade(alive)))
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Meta<'a>(&'a Map<String, Value>);

impl Extractor for Meta<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

struct Injected<'a>(&'a mut HeaderMap);

impl Injector for Injected<'_> {
    fn set(&mut self, key: &str, value: String) {
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(key.as_bytes()), HeaderValue::from_str(&value))
        {
            self.0.insert(name, value);
        }
    }
}
