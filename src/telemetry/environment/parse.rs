//! Parses and checks single variables. Errors read `NAME: expected X, got Y`.

use std::time::Duration;

use anyhow::bail;
use http::Uri;
use opentelemetry_otlp::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::trace::Sampler;

use super::signal::Protocol;
use super::signal::Signal;

/// An environment: the value of a variable by its name.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Propagator {
    TraceContext,
    Baggage,
}

pub(super) fn is_disabled(env: Env<'_>) -> anyhow::Result<bool> {
    match env("OTEL_SDK_DISABLED").map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => bail!("OTEL_SDK_DISABLED: expected true or false, got {other:?}"),
    }
}

/// Returns whether a signal is exported: an endpoint is set, or its exporter is explicitly `otlp`
/// (then the SDK's default endpoint on localhost applies).
pub(super) fn is_exported(signal: Signal, env: Env<'_>) -> anyhow::Result<bool> {
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
fn of_signal(signal: Signal, member: &str, env: Env<'_>) -> Option<(String, String)> {
    let own = format!("OTEL_EXPORTER_OTLP_{}_{member}", signal.upper());
    let all = format!("OTEL_EXPORTER_OTLP_{member}");
    [own, all].into_iter().find_map(|name| env(&name).map(|value| (name, value)))
}

pub(super) fn protocol(signal: Signal, env: Env<'_>) -> anyhow::Result<Protocol> {
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

pub(super) fn propagators(names: &str) -> anyhow::Result<Vec<Propagator>> {
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
pub(super) fn check_compression(signal: Signal, env: Env<'_>) -> anyhow::Result<()> {
    match of_signal(signal, "COMPRESSION", env) {
        Some((name, algorithm)) if algorithm != "gzip" => {
            bail!("{name}: expected gzip, got {algorithm:?}; leave it unset for none")
        }
        _ => Ok(()),
    }
}

/// Reads the sampler. On an invalid value the SDK would warn before the log exists, and sample all.
pub(super) fn sampler(env: Env<'_>) -> anyhow::Result<Sampler> {
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

fn ratio(sampler: &str, env: Env<'_>) -> anyhow::Result<f64> {
    let value = env("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
    match value.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => bail!("OTEL_TRACES_SAMPLER_ARG: expected 0.0 to 1.0 for {sampler}, got {value:?}"),
    }
}

pub(super) fn temporality(env: Env<'_>) -> anyhow::Result<Temporality> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    match env(NAME).map(|preference| preference.to_ascii_lowercase()).as_deref() {
        None | Some("cumulative") => Ok(Temporality::Cumulative),
        Some("delta") => Ok(Temporality::Delta),
        Some("lowmemory") => Ok(Temporality::LowMemory),
        Some(other) => bail!("{NAME}: expected cumulative, delta or lowmemory, got {other:?}"),
    }
}

/// Reads a time limit in milliseconds. [`check_numbers`] has checked that it is a number.
pub(super) fn timeout(signal: Signal, env: Env<'_>) -> Duration {
    let millis = of_signal(signal, "TIMEOUT", env);
    let millis = millis.and_then(|(_, millis)| millis.parse().ok());
    millis.map_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
}

/// Checks numbers, which the SDK reads itself and ignores silently if they are invalid.
pub(super) fn check_numbers(env: Env<'_>) -> anyhow::Result<()> {
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
pub(super) fn check_lists(env: Env<'_>) -> anyhow::Result<()> {
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
