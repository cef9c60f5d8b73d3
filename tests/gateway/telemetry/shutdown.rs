//! SIGTERM: pending telemetry is exported within the drain timeout.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::DIALECT;
use super::wait_for_exit;
use crate::support::Gateway;
use crate::support::client::Lines;
use crate::support::collector::Collector;
use crate::support::collector::Mode;
use crate::support::gateway::Setup;
use crate::support::process::marker;
use crate::support::process::process_runs;
use crate::support::provider::End;
use crate::support::provider::Provider;

/// Returns a set-up whose scheduled exports are far apart.
fn rarely_exporting(collector: &Collector) -> Setup {
    Gateway::env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "600000")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "600000")
}

/// Starts a turn that runs a command.
async fn start_command(gateway: &Gateway, marker: &str) -> Lines {
    let body = json!({ "prompt": format!("run: sleep {marker}"), "session_id": "s" });
    let mut lines = gateway.stream("/exec", &[], body).await;
    lines.until("exec_command_begin").await;
    lines
}

#[tokio::test]
async fn interrupted_turn_exports_its_spans() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start().await;
        let mut gateway =
            rarely_exporting(&collector).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).start();
        let marker = marker();
        let _lines = start_command(&gateway, &marker).await;
        assert!(collector.exports_of("traces").is_empty());
        gateway.terminate();
        wait_for_exit(&mut gateway).await;
        assert!(!process_runs(&marker));
        let received = collector.received();
        let agent = received.span("invoke_agent codex");
        agent.has(&json!({ "codex_gateway.turn.status": "cancelled" }));
        assert_eq!(agent.parent, received.span("POST /exec").id, "{}", received.tree());
        let below: Vec<&str> =
            received.children(agent).iter().map(|span| span.name.as_str()).collect();
        for name in ["chat demo", "execute_tool exec_command"] {
            assert!(below.contains(&name), "{protocol}: {below:?}\n{}", received.tree());
        }
        assert_eq!(received.total("codex_gateway.turns.ended", &json!({})), 1.0, "{protocol}");
        assert!(
            received.logs.iter().any(|log| log.body.to_string().contains("draining")),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn interrupted_model_call_exports_its_span() {
    let mut endless = DIALECT.partial("One ");
    endless.end = End::Hang;
    let provider = Provider::start([endless]).await;
    let collector = Collector::start().await;
    let mut setup = rarely_exporting(&collector);
    let with_provider = DIALECT.setup(&provider);
    setup.env.extend(with_provider.env);
    let mut gateway = setup.config(&with_provider.config).start();
    let mut lines = gateway.stream("/exec", &[], json!({ "prompt": "go" })).await;
    lines.until("agent_message_content_delta").await;
    gateway.terminate();
    wait_for_exit(&mut gateway).await;
    let received = collector.received();
    let chat = received.span("chat scripted");
    assert_eq!(chat.parent, received.span("invoke_agent codex").id, "{}", received.tree());
    assert!(chat.get("error.type").is_string(), "{:#?}", chat.attributes);
}

#[tokio::test]
async fn hanging_collector_never_delays_shutdown() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start().await;
        collector.set_mode(Mode::Hangs);
        let mut gateway = rarely_exporting(&collector)
            .config("[gateway]\ndrain_timeout_ms = 3000\n")
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
            .start();
        let marker = marker();
        let _lines = start_command(&gateway, &marker).await;
        let begun = Instant::now();
        gateway.terminate();
        wait_for_exit(&mut gateway).await;
        let took = begun.elapsed();
        // The drain timeout, and a margin for a busy machine.
        assert!(took < Duration::from_secs(3 + 5), "{protocol}: {took:?}");
        assert!(!collector.exports().is_empty(), "{protocol}: no export was tried");
        assert!(!process_runs(&marker));
    }
}
