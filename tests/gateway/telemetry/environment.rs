//! The standard `OTEL_*` variables.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;

use super::DIALECT;
use super::TRACE;
use super::TRACEPARENT;
use super::wait_for_exit;
use super::warnings;
use crate::support::Gateway;
use crate::support::collector::Collector;
use crate::support::eventually;
use crate::support::gateway::Setup;
use crate::support::gateway::new_home;
use crate::support::provider::Provider;
use crate::support::provider::Transport;

/// Runs a turn in the caller's trace and one without, then ends the process.
async fn run_turns(setup: Setup) -> Gateway {
    let provider = Provider::start([DIALECT.text("Done.")]).await;
    let mut with_provider = DIALECT.setup(&provider);
    with_provider.env.extend(setup.env);
    let mut gateway = with_provider.config(&setup.config).start();
    let headers = [("traceparent", TRACEPARENT)];
    let body = json!({ "prompt": "go", "session_id": "s" });
    let answer = gateway.post_with("/api/v1/exec", &headers, body).await.json();
    assert_eq!(answer["status"], "completed", "{answer}");
    assert_eq!(gateway.ask("plain", "go").await["status"], "completed");
    gateway.terminate();
    wait_for_exit(&mut gateway).await;
    gateway
}

/// Whether traces, metrics and logs were exported.
fn exported(collector: &Collector) -> [bool; 3] {
    ["traces", "metrics", "logs"].map(|signal| !collector.exports_of(signal).is_empty())
}

#[tokio::test]
async fn without_endpoint_nothing_is_sent_or_logged() {
    // The default ports of exporters, which the developer's collector may already use.
    let mut default = Vec::new();
    for port in [4317, 4318] {
        default.extend(TcpListener::bind(("127.0.0.1", port)).await.ok());
    }
    let gateway = run_turns(Setup::default()).await;
    for listener in default {
        let exported = tokio::time::timeout(Duration::from_millis(10), listener.accept()).await;
        assert!(exported.is_err(), "{exported:?}");
    }
    assert_eq!(warnings(&gateway), Vec::<String>::new());
    let log = gateway.log.lock().unwrap().clone();
    assert!(!log.contains("OTEL_") && !log.contains("otlp"), "{log}");
}

#[tokio::test]
async fn each_signal_can_be_disabled() {
    for (name, value, expected) in [
        ("OTEL_SDK_DISABLED", "true", [false, false, false]),
        ("OTEL_SDK_DISABLED", "false", [true, true, true]),
        ("OTEL_TRACES_EXPORTER", "none", [false, true, true]),
        ("OTEL_METRICS_EXPORTER", "none", [true, false, true]),
        ("OTEL_LOGS_EXPORTER", "none", [true, true, false]),
        ("OTEL_LOGS_EXPORTER", "otlp", [true, true, true]),
    ] {
        let collector = Collector::start().await;
        let gateway = run_turns(collector.exporting(Setup::default()).env(name, value)).await;
        assert_eq!(exported(&collector), expected, "{name}={value}");
        assert_eq!(collector.connections() > 0, expected.contains(&true), "{name}={value}");
        assert_eq!(warnings(&gateway), Vec::<String>::new(), "{name}={value}");
    }
}

#[tokio::test]
async fn samplers_affect_only_traces() {
    // In the caller's trace, and in one of the gateway.
    for (sampler, argument, expected) in [
        ("always_on", "", [true, true]),
        ("always_off", "", [false, false]),
        ("traceidratio", "0", [false, false]),
        ("traceidratio", "1", [true, true]),
        ("parentbased_always_on", "", [true, true]),
        ("parentbased_always_off", "", [true, false]),
        ("parentbased_traceidratio", "0.0", [true, false]),
    ] {
        let collector = Collector::start().await;
        let mut setup = collector.exporting(Setup::default()).env("OTEL_TRACES_SAMPLER", sampler);
        if !argument.is_empty() {
            setup = setup.env("OTEL_TRACES_SAMPLER_ARG", argument);
        }
        let gateway = run_turns(setup).await;
        let received = collector.received();
        let turns = received.named("invoke_agent codex");
        let callers = turns.iter().any(|turn| turn.trace == TRACE);
        let own = turns.iter().any(|turn| turn.trace != TRACE);
        assert_eq!([callers, own], expected, "{sampler} {argument}");
        assert_eq!(
            received.total("codex_gateway.turns.ended", &json!({})),
            2.0,
            "{sampler} {argument}"
        );
        assert_eq!(warnings(&gateway), Vec::<String>::new(), "{sampler}");
    }
}

#[tokio::test]
async fn exports_use_configured_protocol_and_headers() {
    for (protocol, kind) in [
        ("http/protobuf", "application/x-protobuf"),
        ("http/json", "application/json"),
        ("grpc", "application/grpc"),
    ] {
        let collector = Collector::start().await;
        let setup = collector
            .exporting(Setup::default())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue,authorization=Bearer%20canary-token");
        let gateway = run_turns(setup).await;
        assert_eq!(exported(&collector), [true; 3], "{protocol}");
        for export in collector.exports() {
            let header = |name: &str| export.headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header("content-type"), Some(kind), "{protocol}");
            assert_eq!(header("x-tenant"), Some("blue"), "{protocol}");
            assert_eq!(header("authorization"), Some("Bearer canary-token"), "{protocol}");
        }
        if protocol == "http/json" {
            let metrics = collector.exports_of("metrics").pop().unwrap();
            assert_eq!(total_of(&metrics.body, "codex_gateway.turns.ended"), 2);
            assert!(!collector.excerpts("\"invoke_agent codex\"").is_empty());
            assert!(collector.exports_of("logs").iter().any(|logs| {
                logs.body.windows(TRACE.len()).any(|part| part == TRACE.as_bytes())
            }));
        } else {
            let received = collector.received();
            assert_eq!(received.named("invoke_agent codex").len(), 2, "{protocol}");
            assert_eq!(received.total("codex_gateway.turns.ended", &json!({})), 2.0, "{protocol}");
            assert!(received.logs.iter().any(|log| log.trace == TRACE), "{protocol}");
        }
        let log = gateway.log.lock().unwrap().clone();
        assert!(!log.contains("canary-token"), "{protocol}");
        assert_eq!(warnings(&gateway), Vec::<String>::new(), "{protocol}");
    }
}

/// Returns the total of a counter in a JSON export, where a number may be a string.
fn total_of(body: &[u8], name: &str) -> u64 {
    let body: Value = serde_json::from_slice(body).unwrap();
    let scopes = body["resourceMetrics"][0]["scopeMetrics"].as_array().unwrap();
    let mut metrics = scopes.iter().flat_map(|scope| scope["metrics"].as_array().unwrap());
    let metric = metrics.find(|metric| metric["name"] == name).unwrap();
    let points = metric["sum"]["dataPoints"].as_array().unwrap().iter();
    points.map(|point| point["asInt"].to_string().trim_matches('"').parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn exports_are_compressed_when_configured() {
    for (protocol, variable, gzipped) in [
        ("http/protobuf", "OTEL_EXPORTER_OTLP_COMPRESSION", [true; 3]),
        ("http/json", "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", [false, false, true]),
        ("grpc", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", [true, false, false]),
        ("grpc", "OTEL_EXPORTER_OTLP_COMPRESSION", [true; 3]),
    ] {
        let collector = Collector::start().await;
        let setup = collector
            .exporting(Setup::default())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env(variable, "gzip");
        let gateway = run_turns(setup).await;
        assert_eq!(exported(&collector), [true; 3], "{protocol} {variable}");
        for (signal, gzipped) in ["traces", "metrics", "logs"].into_iter().zip(gzipped) {
            let exports = collector.exports_of(signal);
            let as_asked = exports.iter().all(|export| export.gzipped == gzipped);
            assert!(as_asked, "{protocol} {variable} {signal}");
        }
        if protocol != "http/json" {
            assert_eq!(collector.received().named("invoke_agent codex").len(), 2, "{protocol}");
        }
        assert_eq!(warnings(&gateway), Vec::<String>::new(), "{protocol} {variable}");
    }
}

#[tokio::test]
async fn signal_can_override_endpoint_and_protocol() {
    let collector = Collector::start().await;
    // The endpoint of a signal is the whole URL.
    let only = Setup::default()
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &format!("{}/v1/metrics", collector.url()));
    run_turns(only).await;
    assert_eq!(exported(&collector), [false, true, false]);

    let other = Collector::start().await;
    let collector = Collector::start().await;
    let setup = collector
        .exporting(Setup::default())
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &other.url())
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=green");
    run_turns(setup).await;
    assert_eq!(exported(&collector), [false, true, true]);
    assert_eq!(exported(&other), [true, false, false]);
    assert!(other.exports().iter().all(|export| export.headers["x-tenant"] == "green"));
    assert_eq!(other.received().named("invoke_agent codex").len(), 2);
}

#[tokio::test]
async fn tls_collector_is_trusted_by_configured_certificate() {
    for (protocol, transport) in [
        ("http/protobuf", Transport::Tls),
        ("http/protobuf", Transport::TlsH2),
        ("grpc", Transport::TlsH2),
    ] {
        let collector = Collector::over(transport).await;
        let certificate = collector.certificate.as_ref().unwrap().path().display().to_string();
        let setup = collector
            .exporting(Setup::default())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &certificate);
        run_turns(setup).await;
        assert_eq!(exported(&collector), [true; 3], "{protocol} {transport:?}");

        // An untrusted collector receives nothing.
        let strange = Collector::over(transport).await;
        let setup = strange
            .exporting(Setup::default())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &certificate);
        run_turns(setup).await;
        assert_eq!(exported(&strange), [false; 3], "{protocol} {transport:?}");
        assert!(strange.connections() > 0, "{protocol} {transport:?}");
    }
}

/// Either the process fails at its start with a message, or it serves with one warning.
#[tokio::test]
async fn invalid_value_is_named_once() {
    let collector = Collector::start().await;
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "signals"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no value"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist.pem"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", ""),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_LOGS_EXPORTER", "paper"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("OTEL_RESOURCE_ATTRIBUTES", "no value"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "often"),
    ] {
        let home = new_home();
        let mut setup = collector.exporting(Setup::default());
        setup.env.retain(|(known, _)| known != name);
        let said = startup_output(&setup.env(name, value), &home).await;
        let named: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
        assert_eq!(named.len(), 1, "{name}={value}: {said}");
    }
    let home = new_home();
    let setup = collector.exporting(Setup::default());
    let setup =
        setup.env("OTEL_TRACES_SAMPLER", "traceidratio").env("OTEL_TRACES_SAMPLER_ARG", "lots");
    let said = startup_output(&setup, &home).await;
    assert_eq!(
        said.lines().filter(|line| line.contains("OTEL_TRACES_SAMPLER_ARG")).count(),
        1,
        "{said}"
    );
}

/// Returns the output of a process until it serves or fails, with only the severe JSON lines.
async fn startup_output(setup: &Setup, home: &tempfile::TempDir) -> String {
    let path = home.path().join("printed");
    let printed = std::fs::File::create(&path).unwrap();
    let mut command = setup.command(home);
    command.stdin(Stdio::null()).stdout(printed.try_clone().unwrap()).stderr(printed);
    let mut child = command.spawn().unwrap();
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    let mut ended = None;
    eventually("it serves or ends", || {
        ended = child.try_wait().unwrap();
        let done = ended.is_some() || text().contains("\"serving\"");
        async move { done }
    })
    .await;
    let _ = child.kill();
    let _ = child.wait();
    assert!(ended.is_none_or(|status| !status.success()));
    let text = text();
    let severe = |line: &&str| match serde_json::from_str::<Value>(line) {
        Ok(line) => line["severity"] == "WARNING" || line["severity"] == "ERROR",
        Err(_) => true,
    };
    text.lines().filter(severe).collect::<Vec<_>>().join("\n")
}
