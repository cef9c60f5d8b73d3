//! The instruments that the code records to. Observed values are gauges of [`crate::app`].

use std::collections::HashSet;
use std::sync::LazyLock;

use opentelemetry::KeyValue;
use opentelemetry::Value;
use opentelemetry::global;
use opentelemetry::metrics::Counter;
use opentelemetry::metrics::Histogram;
use opentelemetry::metrics::Meter;
use opentelemetry::metrics::UpDownCounter;

use super::names;
use super::names::Metric;
use super::names::SCOPE;
use crate::error::Error;
use crate::sync::Mutex;

/// The instruments of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) http_duration: Histogram<f64>,
    pub(crate) http_active: UpDownCounter<i64>,
    pub(crate) refused: Counter<u64>,
    pub(crate) stream_events: Counter<u64>,
    pub(crate) stream_bytes: Counter<u64>,
    pub(crate) stream_lag: Histogram<u64>,
    pub(crate) stream_lost: Counter<u64>,
    pub(crate) events: Counter<u64>,
    pub(crate) turns_started: Counter<u64>,
    pub(crate) turns_ended: Counter<u64>,
    pub(crate) turns_refused: Counter<u64>,
    pub(crate) turn_duration: Histogram<f64>,
    pub(crate) turn_first_event: Histogram<f64>,
    pub(crate) turn_first_token: Histogram<f64>,
    pub(crate) tokens: Histogram<u64>,
    pub(crate) model_duration: Histogram<f64>,
    pub(crate) model_first_token: Histogram<f64>,
    pub(crate) model_queued: Histogram<f64>,
    pub(crate) model_retries: Counter<u64>,
    pub(crate) tool_calls: Counter<u64>,
    pub(crate) tool_duration: Histogram<f64>,
    pub(crate) approval_wait: Histogram<f64>,
    pub(crate) abandoned: Counter<u64>,
    pub(crate) export_failures: Counter<u64>,
    models: Bounded,
    errors: Bounded,
}

/// Returns the instruments. Values recorded before `telemetry::start` are lost.
pub(crate) fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new(&global::meter(SCOPE)));
    &METRICS
}

/// Registers a gauge for the life of the process. `read` runs at each collection; `None` reports no
/// value.
pub(crate) fn gauge(metric: Metric, read: impl Fn() -> Option<u64> + Send + Sync + 'static) {
    let meter = global::meter(SCOPE);
    let builder = meter.u64_observable_gauge(metric.name);
    let builder = builder.with_unit(metric.unit).with_description(metric.about);
    let gauge = builder.with_callback(move |observer| {
        if let Some(value) = read() {
            observer.observe(value, &[]);
        }
    });
    gauge.build();
}

/// Registers a counter for the life of the process. `read` runs at each collection and returns the
/// values by label; `None` reports nothing.
pub(crate) fn observed_counter(
    metric: Metric,
    read: impl Fn() -> Option<Vec<(u64, Option<KeyValue>)>> + Send + Sync + 'static,
) {
    let meter = global::meter(SCOPE);
    let builder = meter.u64_observable_counter(metric.name);
    let builder = builder.with_unit(metric.unit).with_description(metric.about);
    let counter = builder.with_callback(move |observer| {
        for (value, label) in read().into_iter().flatten() {
            observer.observe(value, label.as_slice());
        }
    });
    counter.build();
}

impl Metrics {
    fn new(meter: &Meter) -> Self {
        let counter = |metric: Metric| {
            let builder = meter.u64_counter(metric.name);
            builder.with_unit(metric.unit).with_description(metric.about).build()
        };
        let seconds = |metric: Metric| {
            let builder = meter.f64_histogram(metric.name).with_boundaries(names::SECONDS.to_vec());
            builder.with_unit(metric.unit).with_description(metric.about).build()
        };
        let sizes = |metric: Metric, boundaries: &[f64]| {
            let builder = meter.u64_histogram(metric.name).with_boundaries(boundaries.to_vec());
            builder.with_unit(metric.unit).with_description(metric.about).build()
        };
        let active = meter.i64_up_down_counter(names::HTTP_ACTIVE.name);
        Self {
            http_duration: seconds(names::HTTP_DURATION),
            http_active: active
                .with_unit(names::HTTP_ACTIVE.unit)
                .with_description(names::HTTP_ACTIVE.about)
                .build(),
            refused: counter(names::REFUSED),
            stream_events: counter(names::STREAM_EVENTS),
            stream_bytes: counter(names::STREAM_BYTES),
            stream_lag: sizes(names::STREAM_LAG, names::LAG_BUCKETS),
            stream_lost: counter(names::STREAM_LOST),
            events: counter(names::EVENTS),
            turns_started: counter(names::TURNS_STARTED),
            turns_ended: counter(names::TURNS_ENDED),
            turns_refused: counter(names::TURNS_REFUSED),
            turn_duration: seconds(names::TURN_DURATION),
            turn_first_event: seconds(names::TURN_FIRST_EVENT),
            turn_first_token: seconds(names::TURN_FIRST_TOKEN),
            tokens: sizes(names::TOKENS, names::TOKEN_BUCKETS),
            model_duration: seconds(names::MODEL_DURATION),
            model_first_token: seconds(names::MODEL_FIRST_TOKEN),
            model_queued: seconds(names::MODEL_QUEUED),
            model_retries: counter(names::MODEL_RETRIES),
            tool_calls: counter(names::TOOL_CALLS),
            tool_duration: seconds(names::TOOL_DURATION),
            approval_wait: seconds(names::APPROVAL_WAIT),
            abandoned: counter(names::CONVERSATIONS_ABANDONED),
            export_failures: counter(names::EXPORT_FAILURES),
            models: Bounded::default(),
            errors: Bounded::default(),
        }
    }

    /// Sets counters whose labels are known in advance to zero. Otherwise Prometheus would not see
    /// the first increment as an increase.
    pub(crate) fn begin(&self, provider: &str, statuses: &[&'static str]) {
        for counter in [
            &self.stream_events,
            &self.stream_bytes,
            &self.stream_lost,
            &self.events,
            &self.abandoned,
        ] {
            counter.add(0, &[]);
        }
        self.turns_refused.add(0, &[]);
        let provider = KeyValue::new(names::PROVIDER, provider.to_owned());
        self.turns_started.add(0, std::slice::from_ref(&provider));
        self.model_retries.add(0, std::slice::from_ref(&provider));
        for status in statuses {
            let status = KeyValue::new(names::STATUS, *status);
            self.turns_ended.add(0, &[provider.clone(), status]);
        }
    }

    /// Counts a request or call that is answered with an error.
    pub(crate) fn refuse(&self, error: &Error) {
        self.refused.add(1, &[KeyValue::new(names::ERROR_TYPE, error.code())]);
    }

    /// Returns a model's name as a label. Clients choose these names, so distinct values are
    /// bounded.
    pub(crate) fn model(&self, name: &str) -> KeyValue {
        KeyValue::new(names::MODEL, self.models.value(name))
    }

    /// Returns a provider's error code as a label, bounded likewise.
    pub(crate) fn error(&self, code: &str) -> KeyValue {
        KeyValue::new(names::ERROR_TYPE, self.errors.value(code))
    }
}

/// The first [`names::MAX_VALUES`] values of a label. Further ones map to [`names::OTHER`].
#[derive(Debug, Default)]
struct Bounded(Mutex<HashSet<String>>);

impl Bounded {
    fn value(&self, name: &str) -> Value {
        let mut known = self.0.lock();
        if !known.contains(name) {
            if known.len() >= names::MAX_VALUES {
                return names::OTHER.into();
            }
            known.insert(name.to_owned());
        }
        name.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_labels_are_bounded() {
        let metrics = Metrics::new(&global::meter("test"));
        for n in 0..names::MAX_VALUES {
            assert_eq!(metrics.model(&format!("m{n}")).value.as_str(), format!("m{n}"));
        }
        assert_eq!(metrics.model("one too many").value.as_str(), names::OTHER);
        assert_eq!(metrics.model("m0").value.as_str(), "m0");
    }
}
