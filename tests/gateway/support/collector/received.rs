//! Decoded telemetry: spans, log records and metric points in a form that is easy to assert on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::metric;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use serde_json::Value;
use serde_json::json;

/// Attributes by key.
pub type Attributes = BTreeMap<String, Value>;

/// Everything a collector received. Of metrics, the newest value of each series.
#[derive(Debug, Clone, Default)]
pub struct Received {
    pub spans: Vec<Span>,
    pub logs: Vec<Log>,
    pub points: Vec<Point>,
    /// The last resource of each signal.
    pub resources: BTreeMap<&'static str, Attributes>,
}

/// A finished span. Ids are hexadecimal.
#[derive(Debug, Clone)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    pub state: String,
    pub name: String,
    /// `internal`, `server`, `client`, `producer`, `consumer`.
    pub kind: &'static str,
    pub attributes: Attributes,
    /// Trace and span ids of each link.
    pub links: Vec<(String, String)>,
    /// Whether the status is an error.
    pub failed: bool,
    pub start: u64,
    pub end: u64,
}

/// A log record.
#[derive(Debug, Clone)]
pub struct Log {
    pub severity: String,
    pub body: Value,
    pub event: String,
    pub trace: String,
    pub span: String,
    pub attributes: Attributes,
    pub scope: String,
}

/// One value of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub name: String,
    pub unit: String,
    /// `counter`, `gauge` (also a non-monotonic sum) or `histogram`.
    pub kind: &'static str,
    pub attributes: Attributes,
    /// The sum, if a histogram.
    pub value: f64,
    /// Zero unless a histogram.
    pub count: u64,
    /// Empty unless a histogram.
    pub bounds: Vec<f64>,
}

impl Span {
    /// Returns an attribute, null if absent.
    pub fn get(&self, key: &str) -> &Value {
        self.attributes.get(key).unwrap_or(&Value::Null)
    }

    /// Asserts that these attributes exist with these values.
    pub fn has(&self, expected: &Value) {
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(self.get(key), value, "{key} of {}: {:#?}", self.name, self.attributes);
        }
    }
}

impl Point {
    fn is(&self, name: &str, labels: &Value) -> bool {
        let matches = |(key, value): (&String, &Value)| self.attributes.get(key) == Some(value);
        self.name == name && labels.as_object().unwrap().iter().all(matches)
    }
}

impl Received {
    /// Returns the first span of this name.
    pub fn span(&self, name: &str) -> &Span {
        let found = self.spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no span {name:?} in\n{}", self.tree()))
    }

    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    pub fn trace(&self, id: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.trace == id).collect()
    }

    pub fn children(&self, parent: &Span) -> Vec<&Span> {
        let mut found: Vec<&Span> =
            self.spans.iter().filter(|span| span.parent == parent.id).collect();
        found.sort_by_key(|span| span.start);
        found
    }

    /// Returns the names of the exported ancestors, nearest first.
    pub fn above(&self, span: &Span) -> Vec<&str> {
        let mut names = Vec::new();
        let mut parent = &span.parent;
        while let Some(span) = self.spans.iter().find(|span| span.id == *parent) {
            names.push(span.name.as_str());
            parent = &span.parent;
        }
        names
    }

    /// Returns the series of a metric with at least these labels.
    pub fn series(&self, name: &str, labels: &Value) -> Vec<&Point> {
        self.points.iter().filter(|point| point.is(name, labels)).collect()
    }

    /// Returns the sum of their values; of histograms, of their counts.
    pub fn total(&self, name: &str, labels: &Value) -> f64 {
        let value = |point: &Point| match point.kind {
            "histogram" => point.count as f64,
            _ => point.value,
        };
        self.series(name, labels).into_iter().map(value).sum()
    }

    /// Renders every trace as a tree, for failure messages.
    pub fn tree(&self) -> String {
        let mut text = String::new();
        let top = |span: &&Span| !self.spans.iter().any(|other| other.id == span.parent);
        for span in self.spans.iter().filter(top) {
            self.branch(span, 0, &mut text);
        }
        text
    }

    fn branch(&self, span: &Span, depth: usize, text: &mut String) {
        let Span { name, kind, trace, .. } = span;
        let _ = writeln!(text, "{:depth$}{name} ({kind}, {}…)", "", &trace[..8], depth = 2 * depth);
        for child in self.children(span) {
            self.branch(child, depth + 1, text);
        }
    }

    pub(super) fn traces(&mut self, request: ExportTraceServiceRequest) {
        for of_resource in request.resource_spans {
            self.resource("traces", of_resource.resource);
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.spans.push(span.into());
            }
        }
    }

    pub(super) fn logs(&mut self, request: ExportLogsServiceRequest) {
        for of_resource in request.resource_logs {
            self.resource("logs", of_resource.resource);
            for of_scope in of_resource.scope_logs {
                let scope = of_scope.scope.map(|scope| scope.name).unwrap_or_default();
                self.logs.extend(of_scope.log_records.into_iter().map(|log| Log {
                    severity: log.severity_text,
                    body: log.body.map_or(Value::Null, value),
                    event: log.event_name,
                    trace: hex(&log.trace_id),
                    span: hex(&log.span_id),
                    attributes: attributes(log.attributes),
                    scope: scope.clone(),
                }));
            }
        }
    }

    pub(super) fn metrics(&mut self, request: ExportMetricsServiceRequest) {
        for of_resource in request.resource_metrics {
            self.resource("metrics", of_resource.resource);
            for metric in of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let point = |kind, attributes: Vec<KeyValue>, value, count, bounds| Point {
                    name: metric.name.clone(),
                    unit: metric.unit.clone(),
                    kind,
                    attributes: self::attributes(attributes),
                    value,
                    count,
                    bounds,
                };
                let number = |value| match value {
                    Some(number_data_point::Value::AsDouble(value)) => value,
                    Some(number_data_point::Value::AsInt(value)) => value as f64,
                    None => f64::NAN,
                };
                let points: Vec<Point> = match metric.data {
                    Some(metric::Data::Gauge(gauge)) => {
                        let points = gauge.data_points.into_iter();
                        points
                            .map(|one| point("gauge", one.attributes, number(one.value), 0, vec![]))
                            .collect()
                    }
                    Some(metric::Data::Sum(sum)) => {
                        let kind = if sum.is_monotonic { "counter" } else { "gauge" };
                        let points = sum.data_points.into_iter();
                        points
                            .map(|one| point(kind, one.attributes, number(one.value), 0, vec![]))
                            .collect()
                    }
                    Some(metric::Data::Histogram(histogram)) => {
                        let points = histogram.data_points.into_iter();
                        points
                            .map(|one| {
                                let sum = one.sum.unwrap_or_default();
                                point(
                                    "histogram",
                                    one.attributes,
                                    sum,
                                    one.count,
                                    one.explicit_bounds,
                                )
                            })
                            .collect()
                    }
                    other => panic!("unsupported metric: {other:?}"),
                };
                for new in points {
                    self.points
                        .retain(|old| old.name != new.name || old.attributes != new.attributes);
                    self.points.push(new);
                }
            }
        }
    }

    fn resource(&mut self, signal: &'static str, resource: Option<Resource>) {
        let resource = attributes(resource.map(|one| one.attributes).unwrap_or_default());
        self.resources.insert(signal, resource);
    }
}

impl From<trace::Span> for Span {
    fn from(span: trace::Span) -> Self {
        use trace::span::SpanKind;
        use trace::status::StatusCode;
        Self {
            kind: match span.kind() {
                SpanKind::Unspecified => "unspecified",
                SpanKind::Internal => "internal",
                SpanKind::Server => "server",
                SpanKind::Client => "client",
                SpanKind::Producer => "producer",
                SpanKind::Consumer => "consumer",
            },
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            state: span.trace_state,
            name: span.name,
            attributes: attributes(span.attributes),
            links: span
                .links
                .iter()
                .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
                .collect(),
            failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(all: Vec<KeyValue>) -> Attributes {
    all.into_iter().map(|one| (one.key, one.value.map_or(Value::Null, value))).collect()
}

fn value(any: AnyValue) -> Value {
    match any.value {
        None => Value::Null,
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::BoolValue(yes)) => json!(yes),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::DoubleValue(number)) => json!(number),
        Some(any_value::Value::BytesValue(bytes)) => json!(hex(&bytes)),
        Some(any_value::Value::ArrayValue(list)) => list.values.into_iter().map(value).collect(),
        Some(any_value::Value::KvlistValue(list)) => json!(attributes(list.values)),
    }
}
