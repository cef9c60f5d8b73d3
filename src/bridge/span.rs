//! The span of a model call (`chat` in OpenTelemetry's semantic conventions for generative AI) and
//! its metrics.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::Status as SpanStatus;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::call_log::CallRecord;
use super::call_log::Status;
use crate::telemetry;
use crate::telemetry::metrics::metrics;
use crate::telemetry::names;
use crate::telemetry::names::attribute;
use crate::telemetry::trace;

/// The span of a model call.
#[derive(Debug, Clone)]
pub(crate) struct CallSpan(Span);

impl CallSpan {
    /// Begins the span, below that of the turn.
    pub(crate) fn begin(parent: &Context, provider: &str, model: &str, conversation: &str) -> Self {
        let span = tracing::info_span!(
            parent: None,
            "model call",
            otel.name = format!("chat {model}"),
            otel.kind = "client",
            gen_ai.provider.name = provider,
            gen_ai.request.model = model,
        );
        // Only a disabled span rejects a parent.
        drop(span.set_parent(parent.clone()));
        for (key, value) in [
            (names::OPERATION, "chat"),
            (attribute::CONVERSATION, conversation),
            (attribute::SESSION, conversation),
            (attribute::OPENINFERENCE, "LLM"),
        ] {
            span.set_attribute(key, value.to_owned());
        }
        // Starts the span now rather than at its first use.
        let _ = span.context();
        Self(span)
    }

    /// The span, for log lines.
    pub(crate) fn span(&self) -> &Span {
        &self.0
    }

    /// Writes the trace context into the headers of a request. The caller's baggage is not for the
    /// provider, unless the operator says so: it may hold names of users.
    pub(crate) fn write_into(&self, headers: &mut HeaderMap) {
        trace::into_headers(&self.0.context(), headers);
        if !telemetry::forwards_baggage() {
            headers.remove("baggage");
        }
    }

    /// Ends the span and records the metrics.
    pub(crate) fn end(&self, record: &CallRecord) {
        let span = &self.0;
        let seconds = |millis: u64| millis as f64 / 1000.0;
        span.set_attribute(attribute::ATTEMPTS, i64::from(record.attempts));
        span.set_attribute(attribute::QUEUED, seconds(record.queued_ms));
        if let Some(millis) = record.first_token_ms {
            span.set_attribute(attribute::FIRST_TOKEN, seconds(millis));
        }
        if let Some(status) = record.http_status {
            span.set_attribute(names::STATUS_CODE, i64::from(status));
        }
        for (key, tokens) in [
            (attribute::INPUT_TOKENS, record.input_tokens),
            (attribute::CACHED_TOKENS, record.cached_input_tokens),
            (attribute::OUTPUT_TOKENS, record.output_tokens),
            (attribute::REASONING_TOKENS, record.reasoning_tokens),
        ] {
            if let Some(tokens) = tokens {
                span.set_attribute(key, i64::try_from(tokens).unwrap_or(i64::MAX));
            }
        }
        let error = match record.status {
            Status::Completed => None,
            Status::Dropped => Some("dropped"),
            Status::Failed => Some(record.error_code.as_deref().unwrap_or(names::OTHER)),
        };
        if let Some(error) = error {
            span.set_attribute(names::ERROR_TYPE, error.to_owned());
        }
        if record.status == Status::Failed {
            span.set_status(SpanStatus::error(error.unwrap_or_default().to_owned()));
        }
        trace::end(span);
        count(record, error);
    }
}

fn count(record: &CallRecord, error: Option<&str>) {
    let metrics = metrics();
    let seconds = |millis: u64| millis as f64 / 1000.0;
    let provider = KeyValue::new(names::PROVIDER, record.provider.clone());
    let model = metrics.model(&record.model);
    let operation = KeyValue::new(names::OPERATION, "chat");
    let mut labels = vec![operation.clone(), provider.clone(), model.clone()];
    labels.extend(error.map(|error| metrics.error(error)));
    metrics.model_duration.record(seconds(record.last_byte_ms), &labels);
    metrics.model_queued.record(seconds(record.queued_ms), std::slice::from_ref(&provider));
    let retries = u64::from(record.attempts.saturating_sub(1));
    if retries > 0 {
        metrics.model_retries.add(retries, std::slice::from_ref(&provider));
    }
    if let Some(millis) = record.first_token_ms {
        metrics.model_first_token.record(seconds(millis), &[provider.clone(), model.clone()]);
    }
    for (kind, tokens) in [("input", record.input_tokens), ("output", record.output_tokens)] {
        if let Some(tokens) = tokens {
            let kind = KeyValue::new(names::TOKEN_TYPE, kind);
            let labels = [operation.clone(), provider.clone(), model.clone(), kind];
            metrics.tokens.record(tokens, &labels);
        }
    }
}
