//! The metrics of a stream, and the number of its events as an attribute of the request's span.

use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::conversation::log::Entry;
use crate::telemetry::metrics::metrics;
use crate::telemetry::names::attribute;

/// The metrics of an open stream.
#[derive(Debug)]
pub(crate) struct StreamSpan {
    /// The request's span.
    span: Span,
    events: i64,
}

impl Default for StreamSpan {
    fn default() -> Self {
        Self { span: Span::none(), events: 0 }
    }
}

impl StreamSpan {
    /// Begins a stream of the current span's request.
    pub(crate) fn begin() -> Self {
        Self { span: Span::current(), events: 0 }
    }

    /// Records events on their way to the client, and the number of those behind them.
    pub(crate) fn events(&mut self, entries: &[Entry], behind: u64) {
        self.events += entries.len() as i64;
        let metrics = metrics();
        metrics.stream_events.add(entries.len() as u64, &[]);
        let bytes: usize = entries.iter().map(|entry| entry.line.len()).sum();
        metrics.stream_bytes.add(bytes as u64, &[]);
        metrics.stream_lag.record(behind, &[]);
    }

    /// Records events that the client missed.
    pub(crate) fn lost(&self, missed: u64) {
        metrics().stream_lost.add(missed, &[]);
    }
}

impl Drop for StreamSpan {
    fn drop(&mut self) {
        self.span.set_attribute(attribute::EVENTS, self.events);
    }
}
