//! SIGTERM: what has not been exported is, within the time that draining has.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::SPEAKS;
use super::ended;
use crate::support::Gateway;
use crate::support::client::Lines;
use crate::support::collector::Collector;
use crate::support::collector::Mood;
use crate::support::gateway::Setup;
use crate::support::marker;
use crate::support::provider::End;
use crate::support::provider::Provider;
use crate::support::runs;

/// Exports that come by themselves are far apart.
fn seldom(collector: &Collector) -> Setup {
    Gateway::env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "600000")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "600000")
}

async fn in_a_command(gateway: &Gateway, marker: &str) -> Lines {
    let body = json!({ "prompt": format!("run: sleep {marker}"), "session_id": "s" });
    let mut lines = gateway.stream("/exec", &[], body).await;
    lines.until("exec_command_begin").await;
    lines
}

#[tokio::test]
async fn interrupted_turn_exports_its_spans() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start().await;
        let mut gateway = seldom(&collector).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).start();
        let marker = marker();
        let _lines = in_a_command(&gateway, &marker).await;
        assert!(collector.exports_of("traces").is_empty());
        gateway.terminate();
        ended(&mut gateway).await;
        assert!(!runs(&marker));
        let kept = collector.kept();
        let agent = kept.span("invoke_agent codex");
        agent.has(&json!({ "codex_gateway.turn.status": "cancelled" }));
        assert_eq!(agent.parent, kept.span("POST /exec").id, "{}", kept.tree());
        let below: Vec<&str> = kept.children(agent).iter().map(|span| span.name.as_str()).collect();
        for name in ["chat demo", "execute_tool exec_command"] {
            assert!(below.contains(&name), "{protocol}: {below:?}\n{}", kept.tree());
        }
        assert_eq!(kept.total("codex_gateway.turns.ended", &json!({})), 1.0, "{protocol}");
        assert!(
            kept.logs.iter().any(|log| log.body.to_string().contains("draining")),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn interrupted_model_call_exports_its_span() {
    let mut endless = SPEAKS.begun("One ");
    endless.end = End::Hang;
    let provider = Provider::start([endless]).await;
    let collector = Collector::start().await;
    let mut setup = seldom(&collector);
    let with_provider = SPEAKS.setup(&provider);
    setup.env.extend(with_provider.env);
    let mut gateway = setup.config(&with_provider.config).start();
    let mut lines = gateway.stream("/exec", &[], json!({ "prompt": "go" })).await;
    lines.until("agent_message_content_delta").await;
    gateway.terminate();
    ended(&mut gateway).await;
    let kept = collector.kept();
    let chat = kept.span("chat scripted");
    assert_eq!(chat.parent, kept.span("invoke_agent codex").id, "{}", kept.tree());
    assert!(chat.get("error.type").is_string(), "{:#?}", chat.attributes);
}

#[tokio::test]
async fn hanging_collector_never_delays_shutdown() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start().await;
        collector.mood(Mood::Hangs);
        let mut gateway = seldom(&collector)
            .config("[gateway]\ndrain_timeout_ms = 3000\n")
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
            .start();
        let marker = marker();
        let _lines = in_a_command(&gateway, &marker).await;
        let begun = Instant::now();
        gateway.terminate();
        ended(&mut gateway).await;
        let took = begun.elapsed();
        // The limit, and what a busy machine adds to it.
        assert!(took < Duration::from_secs(3 + 5), "{protocol}: {took:?}");
        assert!(!collector.exports().is_empty(), "{protocol}: it was not even tried");
        assert!(!runs(&marker));
    }
}
