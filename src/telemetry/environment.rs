//! [`Environment`]: the `OTEL_*` variables that the SDK does not read itself (OpenTelemetry
//! specification, "Environment Variable Specification" and "OTLP Exporter Configuration").

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
    fn upper(self) -> &'static str {
        self.of("TRACES", "METRICS", "LOGS")
    }

    /// Selects this signal's value.
    fn of<T>(self, traces: T, metrics: T, logs: T) -> T {
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

/// The parsed variables.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The protocol of each signal; `None` if it is not exported.
    exported: [Option<Protocol>; 3],
    propagators: Vec<Propagator>,
    /// The sampler that `OTEL_TRACES_SAMPLER` selects.
    pub(super) sampler: Sampler,
    /// The temporality of pushed metrics.
    pub(super) temporality: Temporality,
    /// The time limit of an export, by signal.
    timeouts: [Duration; 3],
    /// `OTEL_SERVICE_NAME`
    pub service_name: Option<String>,
    /// PEM certificates of the collector's certificate authority.
    pub certificate: Option<String>,
    /// The PEM client certificate.
    pub client_certificate: Option<String>,
    /// The PEM key of the client certificate.
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
    /// A variable has an invalid value, or names a file that cannot be read.
    pub fn read(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let verbatim = env;
        // By the specification, an empty value means unset.
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let disabled = is_disabled(&env)?;
        let sampler = sampler(&env)?;
        check_numbers(&env)?;
        check_lists(&env)?;
        let mut exported = [None; 3];
        for (slot, signal) in exported.iter_mut().zip(Signal::ALL) {
            if !disabled && is_exported(signal, &env)? {
                *slot = Some(protocol(signal, &env)?);
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
                Err(error) => bail!("{name}: cannot read {path:?}: {error}"),
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

    /// Returns the protocol of a signal; `None` if it is not exported.
    pub fn protocol(&self, signal: Signal) -> Option<Protocol> {
        let [traces, metrics, logs] = self.exported;
        signal.of(traces, metrics, logs)
    }

    /// Returns the time limit of an export of a signal.
    pub(super) fn timeout(&self, signal: Signal) -> Duration {
        let [traces, metrics, logs] = self.timeouts;
        signal.of(traces, metrics, logs)
    }

    /// Returns whether a signal is exported.
    pub fn exports_signal(&self, signal: Signal) -> bool {
        self.protocol(signal).is_some()
    }

    /// Returns whether any signal is exported.
    pub fn exports(&self) -> bool {
        self.exported.iter().any(Option::is_some)
    }

    /// Returns the propagator of trace context.
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
        Some(other) => bail!("OTEL_SDK_DISABLED: expected true or false, got {other:?}"),
    }
}

/// Returns whether a signal is exported: an endpoint is set, or its exporter is explicitly `otlp`
/// (then the SDK's default endpoint on localhost applies).
fn is_exported(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<bool> {
    let name = format!("OTEL_{}_EXPORTER", signal.upper());
    let explicit = match env(&name).as_deref() {
        None => false,
        Some("otlp") => true,
        Some("none") => return Ok(false),
        // Always available at `GET /metrics`.
        Some("prometheus") if signal == Signal::Metrics => return Ok(false),
        Some(other) => bail!("{name}: expected otlp or none, got {other:?}"),
    };
    if let Some((name, endpoint)) = of_signal(signal, "ENDPOINT", env) {
        let uri: Option<Uri> = endpoint.trim().parse().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
            bail!("{name}: expected a URL such as http://localhost:4318, got {endpoint:?}");
        }
        return Ok(true);
    }
    Ok(explicit)
}

/// Returns the name and the value of a variable: the signal's own, or else the general one.
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
        _ => bail!("{name}: expected http/protobuf, http/json or grpc, got {protocol:?}"),
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
                bail!("OTEL_PROPAGATORS: expected tracecontext, baggage or none, got {other:?}")
            }
        }
    }
    Ok(propagators)
}

/// Checks the compression, which the exporters read themselves. They reject `none` and the empty
/// value with an error that does not name the variable.
fn check_compression(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    match of_signal(signal, "COMPRESSION", env) {
        Some((name, algorithm)) if algorithm != "gzip" => {
            bail!("{name}: expected gzip, got {algorithm:?}; leave it unset for none")
        }
        _ => Ok(()),
    }
}

/// Reads the sampler. On an invalid value the SDK would warn before the log exists, and sample all.
fn sampler(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Sampler> {
    let Some(name) = env("OTEL_TRACES_SAMPLER") else {
        return Ok(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    };
    let root = match name.strip_prefix("parentbased_").unwrap_or(&name) {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio(&name, env)?),
        _ => bail!(
            "OTEL_TRACES_SAMPLER: expected always_on, always_off, traceidratio, \
             parentbased_always_on, parentbased_always_off or parentbased_traceidratio, got {name:?}"
        ),
    };
    let parent_based = name.starts_with("parentbased_");
    Ok(if parent_based { Sampler::ParentBased(Box::new(root)) } else { root })
}

fn ratio(sampler: &str, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<f64> {
    let value = env("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
    match value.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => bail!("OTEL_TRACES_SAMPLER_ARG: expected 0.0 to 1.0 for {sampler}, got {value:?}"),
    }
}

fn temporality(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Temporality> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    match env(NAME).map(|preference| preference.to_ascii_lowercase()).as_deref() {
        None | Some("cumulative") => Ok(Temporality::Cumulative),
        Some("delta") => Ok(Temporality::Delta),
        Some("lowmemory") => Ok(Temporality::LowMemory),
        Some(other) => bail!("{NAME}: expected cumulative, delta or lowmemory, got {other:?}"),
    }
}

/// Reads a time limit in milliseconds. [`check_numbers`] has checked that it is a number.
fn timeout(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> Duration {
    let millis = of_signal(signal, "TIMEOUT", env);
    let millis = millis.and_then(|(_, millis)| millis.parse().ok());
    millis.map_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
}

/// Checks numbers, which the SDK reads itself and ignores silently if they are invalid.
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
            bail!("{name}: expected a whole number, got {value:?}");
        }
    }
    Ok(())
}

/// Checks lists, which the SDK reads likewise. Headers may be secret, so errors omit the value.
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
            bail!("{name}: expected percent-encoded key=value pairs, separated by commas");
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
    fn endpoint_or_explicit_otlp_enables_a_signal() {
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
    fn invalid_value_is_named_with_the_valid_ones() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        for (name, value, takes) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER", "traceidratio", "0.0 to 1.0"),
            ("OTEL_PROPAGATORS", "b3", "tracecontext"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "not a url", "http://"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "cannot read"),
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
