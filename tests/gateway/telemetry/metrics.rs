//! Metrics over OTLP.

use codex_gateway::telemetry::names::METRICS;
use serde_json::Value;
use serde_json::json;

use super::DIALECT;
use super::observed;
use crate::support::Gateway;
use crate::support::approvals::decide;
use crate::support::approvals::waiting_turn;
use crate::support::catalogue::with_catalogue;
use crate::support::collector::Collector;
use crate::support::collector::Received;
use crate::support::provider::End;
use crate::support::provider::Provider;
use crate::support::provider::status;

/// Waits until the total of a metric with these labels has this value.
async fn counted(collector: &Collector, name: &str, labels: Value, total: f64) -> Received {
    let what = format!("{name}{labels} is {total}");
    collector.until(&what, |received| received.total(name, &labels) == total).await
}

#[tokio::test]
async fn turns_are_counted_by_status() {
    let collector = Collector::start().await;
    let (provider, gateway) = observed(&collector, [DIALECT.text("Done.")]).await;
    assert_eq!(gateway.ask("a", "go").await["status"], "completed");
    provider.respond_with(status(404, &json!({ "error": { "message": "no" } })));
    assert_eq!(gateway.ask("b", "go").await["status"], "failed");
    let mut endless = DIALECT.partial("One ");
    endless.end = End::Hang;
    provider.respond_with(endless);
    let body = json!({ "prompt": "go", "session_id": "c", "timeout_ms": 5000 });
    assert_eq!(gateway.post("/api/v1/exec", body).await.json()["status"], "timed_out");
    let mut lines =
        gateway.stream("/exec", &[], json!({ "prompt": "go", "session_id": "d" })).await;
    lines.until("agent_message_content_delta").await;
    counted(&collector, "codex_gateway.turns.running", json!({}), 1.0).await;
    gateway.rpc("conversation.cancel", json!({ "session_id": "d" })).await;
    lines.events().await;

    for end in ["completed", "failed", "timed_out", "cancelled"] {
        let labels =
            json!({ "codex_gateway.turn.status": end, "gen_ai.provider.name": "scripted" });
        counted(&collector, "codex_gateway.turns.ended", labels.clone(), 1.0).await;
        let received =
            counted(&collector, "codex_gateway.turn.duration", labels.clone(), 1.0).await;
        let duration = received.series("codex_gateway.turn.duration", &labels)[0];
        assert_eq!(duration.unit, "s");
        assert_eq!(duration.bounds.last(), Some(&1800.0), "agents take up to half an hour");
    }
    counted(&collector, "codex_gateway.turns.started", json!({}), 4.0).await;
    counted(&collector, "codex_gateway.turns.running", json!({}), 0.0).await;
    counted(&collector, "codex_gateway.turn.time_to_first_token", json!({}), 3.0).await;
    let received =
        counted(&collector, "codex_gateway.turn.time_to_first_event", json!({}), 4.0).await;
    let wait = received.series(
        "codex_gateway.turn.duration",
        &json!({ "codex_gateway.turn.status": "timed_out" }),
    );
    assert!((1.0..60.0).contains(&wait[0].value), "{wait:?}");
}

#[tokio::test]
async fn model_calls_and_their_tokens_are_counted() {
    let collector = Collector::start().await;
    let busy = status(503, &json!({ "error": { "message": "busy" } }));
    let script = [DIALECT.call("echo out"), busy, DIALECT.text("Done.")];
    let (provider, gateway) = observed(&collector, script).await;
    gateway.ask("s", "go").await;
    let whose = json!({ "gen_ai.operation.name": "chat", "gen_ai.provider.name": "scripted",
                        "gen_ai.request.model": "scripted" });
    let received =
        counted(&collector, "gen_ai.client.operation.duration", whose.clone(), 2.0).await;
    let all = received.series("gen_ai.client.operation.duration", &whose);
    assert!(all.iter().all(|one| !one.attributes.contains_key("error.type")), "{all:?}");
    for (kind, tokens) in [("input", 20.0), ("output", 4.0)] {
        let mut labels = whose.clone();
        labels["gen_ai.token.type"] = kind.into();
        let received = counted(&collector, "gen_ai.client.token.usage", labels.clone(), 2.0).await;
        let usage = received.series("gen_ai.client.token.usage", &labels);
        assert_eq!((usage[0].value, usage[0].unit.as_str()), (tokens, "{token}"));
    }
    counted(&collector, "codex_gateway.model.retries", json!({}), 1.0).await;
    counted(&collector, "codex_gateway.model.time_to_first_token", json!({}), 2.0).await;

    provider.respond_with(status(404, &json!({ "error": { "message": "no" } })));
    gateway.ask("s", "go").await;
    let failed = |received: &Received| {
        let all = received.series("gen_ai.client.operation.duration", &whose).into_iter();
        all.filter(|one| one.attributes.contains_key("error.type"))
            .map(|one| one.count)
            .sum::<u64>()
            == 1
    };
    collector.until("the failed call", failed).await;
}

#[tokio::test]
async fn tool_calls_are_counted_by_kind_and_outcome() {
    let patch = "*** Begin Patch\n*** Add File: a.txt\n+a\n*** End Patch\n";
    let script = [DIALECT.call("echo out"), DIALECT.patch(patch), DIALECT.text("Done.")];
    let provider = Provider::start(script).await;
    let (_catalogue, setup) = with_catalogue(DIALECT.model, DIALECT.setup(&provider));
    let collector = Collector::start().await;
    let gateway = collector.exporting(setup).start();
    gateway.ask("s", "go").await;
    counted(
        &collector,
        "codex_gateway.tool.calls",
        json!({ "codex_gateway.tool.outcome": "ok" }),
        2.0,
    )
    .await;
    let received = counted(&collector, "codex_gateway.tool.duration", json!({}), 2.0).await;
    let kinds = received.series("codex_gateway.tool.duration", &json!({}));
    assert_eq!(kinds.len(), 2, "a command and a patch: {kinds:?}");

    provider.respond_with(DIALECT.text("Done."));
    provider.respond_with(DIALECT.call("exit 3"));
    let body = json!({ "prompt": "go", "session_id": "again" });
    let mut lines = gateway.stream("/exec", &[], body).await;
    lines.until("exec_command_end").await;
    provider.respond_with(DIALECT.text("Done."));
    lines.events().await;
    collector
        .until("the failed command", |received| {
            received.total(
                "codex_gateway.tool.calls",
                &json!({ "codex_gateway.tool.outcome": "error" }),
            ) >= 1.0
        })
        .await;
}

#[tokio::test]
async fn requests_are_timed_and_refusals_counted() {
    let collector = Collector::start().await;
    let gateway = collector.exporting(Gateway::env("GATEWAY_API_KEY", "k")).start();
    let key = [("x-api-key", "k")];
    let body = json!({ "prompt": "say: x", "session_id": "s" });
    let answer = gateway.post_with("/api/v1/exec", &key, body).await.json();
    let path = format!("/api/v1/conversations/{}", answer["conversation_id"].as_str().unwrap());
    gateway.send("GET", &path, &key, b"").await;
    gateway.post("/api/v1/exec", json!({ "prompt": "x" })).await;
    gateway.post_with("/api/v1/exec", &key, json!({ "prompt": 7 })).await;
    gateway.rpc_with(&key, "conversation.resume", json!({ "session_id": "nobody" })).await;

    let time = "http.server.request.duration";
    for (method, route, status, times) in [
        ("POST", "/api/v1/exec", 200, 1.0),
        ("POST", "/api/v1/exec", 401, 1.0),
        ("POST", "/api/v1/exec", 400, 1.0),
        ("GET", "/api/v1/conversations/{id}", 200, 1.0),
        ("POST", "/jsonrpc", 200, 1.0),
    ] {
        let labels = json!({ "http.request.method": method, "http.route": route, "http.response.status_code": status });
        counted(&collector, time, labels, times).await;
    }
    for code in ["unauthorized", "invalid_request", "not_found"] {
        counted(&collector, "codex_gateway.requests.refused", json!({ "error.type": code }), 1.0)
            .await;
    }
    counted(&collector, "http.server.active_requests", json!({}), 0.0).await;
}

#[tokio::test]
async fn streams_and_their_events_are_counted() {
    let collector = Collector::start().await;
    let gateway = collector.exporting(Gateway::config("")).start();
    let mut lines =
        gateway.stream("/exec", &[], json!({ "prompt": "slow: 3000", "session_id": "s" })).await;
    lines.until("agent_message_content_delta").await;
    counted(&collector, "codex_gateway.streams", json!({}), 1.0).await;
    counted(&collector, "codex_gateway.conversations", json!({}), 1.0).await;
    gateway.rpc("conversation.cancel", json!({ "session_id": "s" })).await;
    lines.events().await;
    let received = counted(&collector, "codex_gateway.streams", json!({}), 0.0).await;
    assert!(received.total("codex_gateway.event_log.size", &json!({})) > 1000.0);
    let received = collector
        .until("events", |received| received.total("codex_gateway.stream.events", &json!({})) > 5.0)
        .await;
    assert!(received.total("codex_gateway.stream.size", &json!({})) > 500.0);
    assert!(
        received.total("codex_gateway.events", &json!({}))
            >= received.total("codex_gateway.stream.events", &json!({}))
    );
}

#[tokio::test]
async fn approvals_are_counted_and_timed() {
    let collector = Collector::start().await;
    let gateway = collector.exporting(Gateway::config("")).start();
    let prompt =
        json!({ "prompt": "run: touch made", "session_id": "s", "approval_policy": "untrusted" });
    let (mut lines, path, approval) = waiting_turn(&gateway, prompt).await;
    counted(&collector, "codex_gateway.approvals.pending", json!({}), 1.0).await;
    decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
    lines.events().await;
    counted(&collector, "codex_gateway.approvals.pending", json!({}), 0.0).await;
    let labels = json!({ "codex_gateway.approval.decision": "approved" });
    counted(&collector, "codex_gateway.approval.duration", labels, 1.0).await;
}

#[tokio::test]
async fn exported_metrics_match_the_table() {
    let collector = Collector::start().await;
    let (_provider, gateway) =
        observed(&collector, [DIALECT.call("echo out"), DIALECT.text("Done.")]).await;
    gateway.ask("s", "go").await;
    gateway.get("/no/such/path").await;
    let received = counted(&collector, "codex_gateway.turns.ended", json!({}), 1.0).await;
    // Core exports metrics with its own names.
    for point in received.points.iter().filter(|point| !point.name.starts_with("codex.")) {
        let metric = METRICS.iter().find(|metric| metric.name == point.name);
        let metric = metric.unwrap_or_else(|| panic!("not in the table: {point:?}"));
        assert_eq!(point.unit, metric.unit, "{}", point.name);
        assert_eq!(point.kind, metric.kind.as_str(), "{}", point.name);
        for label in point.attributes.keys() {
            assert!(metric.labels.contains(&label.as_str()), "{label} of {}", point.name);
        }
    }
    for name in [
        "process.memory.usage",
        "process.cpu.time",
        "process.unix.file_descriptor.count",
        "process.thread.count",
        "process.uptime",
        "codex_gateway.tasks",
        "codex_gateway.build.info",
    ] {
        assert!(!received.series(name, &json!({})).is_empty(), "{name}");
    }
    let build = received
        .series("codex_gateway.build.info", &json!({ "version": env!("CARGO_PKG_VERSION") }));
    assert!(build.len() == 1 && build[0].attributes["engine"].is_string(), "{build:?}");
}
