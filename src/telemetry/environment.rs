//! What `OTEL_*` says, as far as the SDK does not read it itself (the OpenTelemetry specification,
//! "Environment Variable Specification" and "OTLP Exporter Configuration").

use std::time::Duration;

use anyhow::bail;
use http::Uri;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_otlp::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::propagation::BaggagePropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::Sampler;

/// One of the three.
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
    /// All three.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The word for it in a label.
    pub fn as_str(self) -> &'static str {
        self.of("traces", "metrics", "logs")
    }

    /// The word for it in a variable.
    fn upper(self) -> &'static str {
        self.of("TRACES", "METRICS", "LOGS")
    }

    /// What is this one's of three.
    fn of<T>(self, traces: T, metrics: T, logs: T) -> T {
        match self {
            Self::Traces => traces,
            Self::Metrics => metrics,
            Self::Logs => logs,
        }
    }
}

/// How a signal travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`, the default.
    HttpProtobuf,
    /// `http/json`
    HttpJson,
    /// `grpc`
    Grpc,
}

/// What the environment says.
#[derive(Debug, Clone)]
pub struct Environment {
    /// How each signal is exported, where it is.
    exported: [Option<Protocol>; 3],
    propagators: Vec<Propagator>,
    /// What is traced.
    pub(super) sampler: Sampler,
    /// How pushed metrics add up.
    pub(super) temporality: Temporality,
    /// How long an export of each signal may take.
    timeouts: [Duration; 3],
    /// `OTEL_SERVICE_NAME`
    pub service_name: Option<String>,
    /// Certificates of the collector's authority, as PEM.
    pub certificate: Option<String>,
    /// The client's certificate, as PEM.
    pub client_certificate: Option<String>,
    /// Its key, as PEM.
    pub client_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Propagator {
    TraceContext,
    Baggage,
}

impl Environment {
    /// Reads the variables.
    ///
    /// # Errors
    /// One has a value that it does not take.
    pub fn read(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let verbatim = env;
        // An empty value is as good as none, says the specification.
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let disabled = is_disabled(&env)?;
        let sampler = sampler(&env)?;
        check_numbers(&env)?;
        check_lists(&env)?;
        let mut exported = [None; 3];
        for (place, signal) in exported.iter_mut().zip(Signal::ALL) {
            if !disabled && is_exported(signal, &env)? {
                *place = Some(protocol(signal, &env)?);
                check_compression(signal, verbatim)?;
            }
        }
        let propagators = match env("OTEL_PROPAGATORS").filter(|_| !disabled) {
            None => vec![Propagator::TraceContext, Propagator::Baggage],
            Some(names) => propagators(&names)?,
        };
        let file = |name: &str| -> anyhow::Result<Option<String>> {
            let Some(path) = env(name) else { return Ok(None) };
            match std::fs::read_to_string(&path) {
                Ok(pem) => Ok(Some(pem)),
                Err(error) => bail!("{name} is {path:?}, which cannot be read: {error}"),
            }
        };
        Ok(Self {
            exported,
            propagators,
            sampler,
            temporality: match exported {
                [_, Some(_), _] => temporality(&env)?,
                [_, None, _] => Temporality::Cumulative,
            },
            timeouts: Signal::ALL.map(|signal| timeout(signal, &env)),
            service_name: env("OTEL_SERVICE_NAME"),
            certificate: file("OTEL_EXPORTER_OTLP_CERTIFICATE")?,
            client_certificate: file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")?,
            client_key: file("OTEL_EXPORTER_OTLP_CLIENT_KEY")?,
        })
    }

    /// How a signal is exported; `None` where it is not.
    pub fn protocol(&self, signal: Signal) -> Option<Protocol> {
        let [traces, metrics, logs] = self.exported;
        signal.of(traces, metrics, logs)
    }

    /// How long an export of a signal may take.
    pub(super) fn timeout(&self, signal: Signal) -> Duration {
        let [traces, metrics, logs] = self.timeouts;
        signal.of(traces, metrics, logs)
    }

    /// Whether a signal is exported.
    pub fn endpoint(&self, signal: Signal) -> bool {
        self.protocol(signal).is_some()
    }

    /// Whether any signal is.
    pub fn exports(&self) -> bool {
        self.exported.iter().any(Option::is_some)
    }

    /// What carries trace context in and out.
    pub(super) fn propagator(&self) -> TextMapCompositePropagator {
        let propagators = self.propagators.iter().map(|propagator| match propagator {
            Propagator::TraceContext => {
                Box::new(TraceContextPropagator::new()) as Box<dyn TextMapPropagator + Send + Sync>
            }
            Propagator::Baggage => Box::new(BaggagePropagator::new()),
        });
        TextMapCompositePropagator::new(propagators.collect())
    }
}

fn is_disabled(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<bool> {
    match env("OTEL_SDK_DISABLED").map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => bail!("OTEL_SDK_DISABLED is {other:?}; it takes true or false"),
    }
}

/// A signal goes where an endpoint says; or to the usual port of this machine, where a variable asks
/// for OTLP by name.
fn is_exported(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<bool> {
    let name = format!("OTEL_{}_EXPORTER", signal.upper());
    let asked = match env(&name).as_deref() {
        None => false,
        Some("otlp") => true,
        Some("none") => return Ok(false),
        // Always there, at `GET /metrics`.
        Some("prometheus") if signal == Signal::Metrics => return Ok(false),
        Some(other) => bail!("{name} is {other:?}; it takes otlp or none"),
    };
    if let Some((name, endpoint)) = of_signal(signal, "ENDPOINT", env) {
        let uri: Option<Uri> = endpoint.trim().parse().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
            bail!("{name} is {endpoint:?}; it takes a URL such as http://localhost:4318");
        }
        return Ok(true);
    }
    Ok(asked)
}

/// What a variable says of a signal, and its name: the signal's own, or else that of all three.
fn of_signal(
    signal: Signal,
    member: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<(String, String)> {
    let own = format!("OTEL_EXPORTER_OTLP_{}_{member}", signal.upper());
    let all = format!("OTEL_EXPORTER_OTLP_{member}");
    [own, all].into_iter().find_map(|name| env(&name).map(|value| (name, value)))
}

fn protocol(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Protocol> {
    let Some((name, protocol)) = of_signal(signal, "PROTOCOL", env) else {
        return Ok(Protocol::HttpProtobuf);
    };
    match protocol.as_str() {
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        "http/json" => Ok(Protocol::HttpJson),
        "grpc" => Ok(Protocol::Grpc),
        _ => bail!("{name} is {protocol:?}; it takes http/protobuf, http/json or grpc"),
    }
}

fn propagators(names: &str) -> anyhow::Result<Vec<Propagator>> {
    let mut propagators = Vec::new();
    for name in names.split(',').map(str::trim) {
        match name {
            "tracecontext" => propagators.push(Propagator::TraceContext),
            "baggage" => propagators.push(Propagator::Baggage),
            "none" => {}
            other => {
                bail!("OTEL_PROPAGATORS names {other:?}; it takes tracecontext, baggage and none")
            }
        }
    }
    Ok(propagators)
}

/// The exporters read it themselves; they take neither `none` nor an empty value, and refuse them in words
/// that name no variable.
fn check_compression(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    match of_signal(signal, "COMPRESSION", env) {
        Some((name, algorithm)) if algorithm != "gzip" => {
            bail!("{name} is {algorithm:?}; it takes gzip, and is unset for none")
        }
        _ => Ok(()),
    }
}

/// Read here, as the SDK would warn before there is a log, and go on with everything sampled.
fn sampler(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Sampler> {
    let Some(name) = env("OTEL_TRACES_SAMPLER") else {
        return Ok(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    };
    let root = match name.strip_prefix("parentbased_").unwrap_or(&name) {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio(&name, env)?),
        _ => bail!(
            "OTEL_TRACES_SAMPLER is {name:?}; it takes always_on, always_off, traceidratio, \
             parentbased_always_on, parentbased_always_off, parentbased_traceidratio"
        ),
    };
    let parent_based = name.starts_with("parentbased_");
    Ok(if parent_based { Sampler::ParentBased(Box::new(root)) } else { root })
}

fn ratio(sampler: &str, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<f64> {
    let written = env("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
    match written.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => bail!("OTEL_TRACES_SAMPLER_ARG is {written:?}; with {sampler} it takes 0.0 to 1.0"),
    }
}

fn temporality(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Temporality> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    match env(NAME).map(|preference| preference.to_ascii_lowercase()).as_deref() {
        None | Some("cumulative") => Ok(Temporality::Cumulative),
        Some("delta") => Ok(Temporality::Delta),
        Some("lowmemory") => Ok(Temporality::LowMemory),
        Some(other) => bail!("{NAME} is {other:?}; it takes cumulative, delta or lowmemory"),
    }
}

/// [`check_numbers`] has seen that it is a number.
fn timeout(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> Duration {
    let millis = of_signal(signal, "TIMEOUT", env);
    let millis = millis.and_then(|(_, millis)| millis.parse().ok());
    millis.map_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
}

/// The SDK would ignore what is no number without a word.
fn check_numbers(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    const NUMBERS: [&str; 17] = [
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_BSP_EXPORT_TIMEOUT",
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "OTEL_BLRP_SCHEDULE_DELAY",
        "OTEL_BLRP_EXPORT_TIMEOUT",
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        "OTEL_SPAN_LINK_COUNT_LIMIT",
    ];
    for name in NUMBERS {
        if let Some(value) = env(name).filter(|value| value.parse::<u64>().is_err()) {
            bail!("{name} is {value:?}; it takes a whole number");
        }
    }
    Ok(())
}

/// So it would what is no pair. Headers may be secret, and are not repeated.
fn check_lists(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    const LISTS: [&str; 5] = [
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
        "OTEL_RESOURCE_ATTRIBUTES",
    ];
    for name in LISTS {
        let list = env(name).unwrap_or_default();
        let mut pairs = list.split(',').filter(|pair| !pair.trim().is_empty());
        if !pairs.all(|pair| pair.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty())) {
            bail!("{name}: expected key=value pairs with commas between them, percent-encoded");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> anyhow::Result<Environment> {
        Environment::read(&|name| {
            let pair = pairs.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_signal_is_exported_where_an_endpoint_or_a_name_says_so() {
        use Protocol::Grpc;
        use Protocol::HttpJson;
        use Protocol::HttpProtobuf;
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        for (pairs, expected) in [
            (&[][..], [None, None, None]),
            (&[endpoint], [Some(HttpProtobuf); 3]),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], [None, None, None]),
            (&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")], [None, None, None]),
            (
                &[endpoint, ("OTEL_LOGS_EXPORTER", "none")],
                [Some(HttpProtobuf), Some(HttpProtobuf), None],
            ),
            (
                &[endpoint, ("OTEL_METRICS_EXPORTER", "prometheus")],
                [Some(HttpProtobuf), None, Some(HttpProtobuf)],
            ),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], [Some(HttpProtobuf), None, None]),
            (
                &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://localhost:1/logs")],
                [None, None, Some(HttpProtobuf)],
            ),
            (
                &[
                    endpoint,
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
                ],
                [Some(Grpc), Some(HttpJson), Some(Grpc)],
            ),
        ] {
            assert_eq!(read(pairs).unwrap().exported, expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_value_that_is_not_taken_is_named_with_those_that_are() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        for (name, value, takes) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER", "traceidratio", "0.0 to 1.0"),
            ("OTEL_PROPAGATORS", "b3", "tracecontext"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "not a url", "http://"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "cannot be read"),
            ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "zstd", "gzip"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none", "unset for none"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "", "unset for none"),
            ("OTEL_SDK_DISABLED", "perhaps", "true or false"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "whole number"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "whole number"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "canary", "key=value"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,=c", "key=value"),
        ] {
            let error = read(&[endpoint, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(takes), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        for list in ["a=b", "a=b,", "a=b%20c, d=", "a=b=c"] {
            assert!(read(&[endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", list)]).is_ok(), "{list}");
        }
    }
}
