//! A reading of events as it is seen from outside: its metrics, and how many events it carried on the span
//! of its request.

use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::conversation::log::Entry;
use crate::telemetry::metrics::metrics;
use crate::telemetry::names::attribute;

/// A reading under way.
#[derive(Debug)]
pub(crate) struct StreamSpan {
    /// The request's.
    span: Span,
    events: i64,
}

impl Default for StreamSpan {
    fn default() -> Self {
        Self { span: Span::none(), events: 0 }
    }
}

impl StreamSpan {
    /// A reading begins, caused by whatever is current.
    pub(crate) fn begin() -> Self {
        Self { span: Span::current(), events: 0 }
    }

    /// The reader gets these; so many more are behind them.
    pub(crate) fn events(&mut self, entries: &[Entry], behind: u64) {
        self.events += entries.len() as i64;
        let metrics = metrics();
        metrics.stream_events.add(entries.len() as u64, &[]);
        let bytes: usize = entries.iter().map(|entry| entry.line.len()).sum();
        metrics.stream_bytes.add(bytes as u64, &[]);
        metrics.stream_lag.record(behind, &[]);
    }

    /// The reader came too late for these, and is told so.
    pub(crate) fn lost(&self, missed: u64) {
        metrics().stream_lost.add(missed, &[]);
    }
}

impl Drop for StreamSpan {
    fn drop(&mut self) {
        self.span.set_attribute(attribute::EVENTS, self.events);
    }
}
