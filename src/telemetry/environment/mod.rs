//! [`Environment`]: the `OTEL_*` variables that the SDK does not read itself (OpenTelemetry
//! specification, "Environment Variable Specification" and "OTLP Exporter Configuration").

mod parse;
mod signal;

use std::time::Duration;

use anyhow::bail;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::propagation::BaggagePropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::Sampler;

use self::parse::Env;
use self::parse::Propagator;
pub use self::signal::Protocol;
pub use self::signal::Signal;

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

impl Environment {
    /// Reads the variables.
    ///
    /// # Errors
    /// A variable has an invalid value, or names a file that cannot be read.
    pub fn read(env: Env<'_>) -> anyhow::Result<Self> {
        let verbatim = env;
        // By the specification, an empty value means unset.
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let disabled = parse::is_disabled(&env)?;
        let sampler = parse::sampler(&env)?;
        parse::check_numbers(&env)?;
        parse::check_lists(&env)?;
        let mut exported = [None; 3];
        for (slot, signal) in exported.iter_mut().zip(Signal::ALL) {
            if !disabled && parse::is_exported(signal, &env)? {
                *slot = Some(parse::protocol(signal, &env)?);
                parse::check_compression(signal, verbatim)?;
            }
        }
        let propagators = match env("OTEL_PROPAGATORS").filter(|_| !disabled) {
            None => vec![Propagator::TraceContext, Propagator::Baggage],
            Some(names) => parse::propagators(&names)?,
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
                [_, Some(_), _] => parse::temporality(&env)?,
                [_, None, _] => Temporality::Cumulative,
            },
            timeouts: Signal::ALL.map(|signal| parse::timeout(signal, &env)),
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
