//! What `OTEL_*` says, as far as the SDK does not read it itself (the OpenTelemetry specification,
//! "Environment Variable Specification" and "OTLP Exporter Configuration").

use anyhow::bail;
use http::Uri;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::BaggagePropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;

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
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    fn upper(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// How each signal is exported, where it is.
    exported: [Option<Protocol>; 3],
    propagators: Vec<Propagator>,
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
        // An empty value is as good as none, says the specification.
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let disabled = is_disabled(&env)?;
        check_sampler(&env)?;
        check_numbers(&env)?;
        check_lists(&env)?;
        let mut exported = [None; 3];
        for (place, signal) in exported.iter_mut().zip(Signal::ALL) {
            if !disabled && is_exported(signal, &env)? {
                *place = Some(protocol(signal, &env)?);
            }
        }
        if exported.iter().any(Option::is_some) {
            check_compression(&env)?;
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
            service_name: env("OTEL_SERVICE_NAME"),
            certificate: file("OTEL_EXPORTER_OTLP_CERTIFICATE")?,
            client_certificate: file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")?,
            client_key: file("OTEL_EXPORTER_OTLP_CLIENT_KEY")?,
        })
    }

    /// How a signal is exported; `None` where it is not.
    pub fn protocol(&self, signal: Signal) -> Option<Protocol> {
        match signal {
            Signal::Traces => self.exported[0],
            Signal::Metrics => self.exported[1],
            Signal::Logs => self.exported[2],
        }
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
    let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.upper());
    for name in [own.as_str(), "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        let Some(endpoint) = env(name) else { continue };
        let uri: Option<Uri> = endpoint.trim().parse().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
            bail!("{name} is {endpoint:?}; it takes a URL such as http://localhost:4318");
        }
        return Ok(true);
    }
    Ok(asked)
}

fn protocol(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Protocol> {
    let own = format!("OTEL_EXPORTER_OTLP_{}_PROTOCOL", signal.upper());
    for name in [own.as_str(), "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        return match env(name).as_deref() {
            None => continue,
            Some("http/protobuf") => Ok(Protocol::HttpProtobuf),
            Some("http/json") => Ok(Protocol::HttpJson),
            Some("grpc") => Ok(Protocol::Grpc),
            Some(other) => bail!("{name} is {other:?}; it takes http/protobuf, http/json or grpc"),
        };
    }
    Ok(Protocol::HttpProtobuf)
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

/// The exporters would refuse it in words that name no variable.
fn check_compression(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    let names = ["", "TRACES_", "METRICS_", "LOGS_"];
    for name in names.map(|signal| format!("OTEL_EXPORTER_OTLP_{signal}COMPRESSION")) {
        if let Some(algorithm) = env(&name) {
            bail!("{name} is {algorithm:?}; compression is not built in: expected it to be unset");
        }
    }
    Ok(())
}

/// The SDK would warn about these before there is a log, and go on with everything sampled.
fn check_sampler(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    const SAMPLERS: [&str; 6] = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];
    let Some(sampler) = env("OTEL_TRACES_SAMPLER") else { return Ok(()) };
    if !SAMPLERS.contains(&sampler.as_str()) {
        bail!("OTEL_TRACES_SAMPLER is {sampler:?}; it takes {}", SAMPLERS.join(", "));
    }
    if sampler.ends_with("traceidratio") {
        let ratio = env("OTEL_TRACES_SAMPLER_ARG");
        let fits = ratio.as_deref().and_then(|ratio| ratio.parse().ok());
        if !fits.is_some_and(|ratio: f64| (0.0..=1.0).contains(&ratio)) {
            let ratio = ratio.unwrap_or_default();
            bail!("OTEL_TRACES_SAMPLER_ARG is {ratio:?}; with {sampler} it takes 0.0 to 1.0");
        }
    }
    Ok(())
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
            ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip", "unset"),
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
