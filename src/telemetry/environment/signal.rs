//! [`Signal`] and [`Protocol`]: what is exported, and how.

/// A kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All signals, in the order of arrays by signal.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Returns its label value.
    pub fn as_str(self) -> &'static str {
        self.of("traces", "metrics", "logs")
    }

    /// Returns its part of a variable name.
    pub(super) fn upper(self) -> &'static str {
        self.of("TRACES", "METRICS", "LOGS")
    }

    /// Selects this signal's value.
    pub(super) fn of<T>(self, traces: T, metrics: T, logs: T) -> T {
        match self {
            Self::Traces => traces,
            Self::Metrics => metrics,
            Self::Logs => logs,
        }
    }
}

/// The protocol of an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`, the default.
    HttpProtobuf,
    /// `http/json`
    HttpJson,
    /// `grpc`
    Grpc,
}
