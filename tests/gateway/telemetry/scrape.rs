//! `GET /metrics`: access, families, labels and bounds.

use std::collections::BTreeSet;

use codex_gateway::telemetry::names::Kind;
use codex_gateway::telemetry::names::MAX_VALUES;
use codex_gateway::telemetry::names::METRICS;
use codex_gateway::telemetry::names::Metric;
use serde_json::json;

use super::DIALECT;
use crate::support::Gateway;
use crate::support::eventually;
use crate::support::provider::Provider;
use crate::support::scrape::Scrape;

async fn scrape(gateway: &Gateway) -> Scrape {
    let reply = gateway.get("/metrics").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.header("content-type").starts_with("text/plain; version=0.0.4"), "{reply:?}");
    Scrape::read(reply.text())
}

/// Returns the Prometheus name of a metric.
fn family(metric: &Metric) -> String {
    let mut name = metric.name.replace('.', "_");
    let unit = match metric.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    if !name.ends_with(unit) {
        name += unit;
    }
    if metric.kind == Kind::Counter { name + "_total" } else { name }
}

#[tokio::test]
async fn metrics_require_a_key_unless_opened() {
    let closed = Gateway::env("GATEWAY_API_KEY", "k").start();
    let refused = closed.get("/metrics").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (401, Some("unauthorized")));
    assert!(!refused.header("www-authenticate").is_empty());
    let shown = closed.send("GET", "/metrics", &[("x-api-key", "k")], b"").await;
    assert_eq!(shown.status, 200);
    assert_eq!(closed.send("POST", "/metrics", &[("x-api-key", "k")], b"").await.status, 405);
    drop(closed);

    let open = Gateway::config("[gateway.telemetry]\nmetrics_open = true\n");
    let open = open.env("GATEWAY_API_KEY", "k").start();
    scrape(&open).await;
    // Nothing else is opened.
    assert_eq!(open.get("/api/v1/conversations").await.status, 401);
}

#[tokio::test]
async fn every_family_matches_the_table() {
    let provider = Provider::start([DIALECT.call("echo out"), DIALECT.text("Done.")]).await;
    let gateway = DIALECT.gateway(&provider);
    gateway.ask("s", "go").await;
    gateway.exec(json!({ "prompt": "go", "session_id": "s" })).await;
    gateway.get("/no/such/path").await;
    let scraped = scrape(&gateway).await;
    // The resource.
    let target = scraped.series("target_info", &[("service_name", "codex-gateway")]);
    assert_eq!(target.len(), 1);
    for sample in scraped.samples.iter().filter(|sample| sample.name != "target_info") {
        let found = scraped.family(sample);
        let metric = METRICS.iter().find(|metric| family(metric) == found);
        let metric = metric.unwrap_or_else(|| panic!("not in the table: {sample:?}"));
        assert_eq!(
            scraped.types.get(found).map(String::as_str),
            Some(metric.kind.as_str()),
            "{found}"
        );
        let known: BTreeSet<String> = metric
            .labels
            .iter()
            .map(|label| label.replace('.', "_"))
            .chain(["le".to_owned()])
            .collect();
        for label in sample.labels.keys() {
            assert!(known.contains(label), "{label} of {found}");
        }
    }
    for metric in METRICS {
        // These appear only after events that this test does not cause.
        let absent = ["requests.refused", "approval.duration", "export_failures"];
        let there = scraped.types.contains_key(&family(metric));
        assert!(
            there || absent.iter().any(|end| metric.name.ends_with(end)),
            "{} is absent",
            metric.name
        );
    }
    assert_eq!(
        scraped.total(
            "codex_gateway_turns_ended_total",
            &[("codex_gateway_turn_status", "completed")]
        ),
        2.0
    );
    let route = [("http_route", "/api/v1/exec"), ("http_request_method", "POST")];
    assert_eq!(scraped.total("http_server_request_duration_seconds_count", &route), 1.0);
    // Two turns, and three model calls of ten tokens each.
    let input = [("gen_ai_token_type", "input")];
    assert_eq!(scraped.total("gen_ai_client_token_usage_sum", &input), 30.0);
    assert!(scraped.text.contains("# HELP http_server_request_duration_seconds "));
}

/// A rate needs a first value, so that the first failed turn is an increase.
#[tokio::test]
async fn counters_begin_at_zero() {
    let gateway = Gateway::start();
    let scraped = scrape(&gateway).await;
    for status in ["completed", "failed", "timed_out", "cancelled"] {
        let labels = [("codex_gateway_turn_status", status), ("gen_ai_provider_name", "demo")];
        let series = scraped.series("codex_gateway_turns_ended_total", &labels);
        assert_eq!(series.len(), 1, "{status}");
    }
    for counter in ["turns_started", "events", "stream_events", "stream_size_bytes", "stream_lost"]
    {
        let counter = format!("codex_gateway_{counter}_total");
        assert_eq!(scraped.series(&counter, &[]).len(), 1, "{counter}");
        assert_eq!(scraped.total(&counter, &[]), 0.0, "{counter}");
    }
}

#[tokio::test]
async fn gauges_track_current_state() {
    let gateway = Gateway::start();
    let mut lines =
        gateway.stream("/exec", &[], json!({ "prompt": "slow: 3000", "session_id": "s" })).await;
    lines.until("agent_message_content_delta").await;
    let during = scrape(&gateway).await;
    for gauge in ["turns_running", "streams", "conversations"] {
        assert_eq!(during.total(&format!("codex_gateway_{gauge}"), &[]), 1.0, "{gauge}");
    }
    // The scrape and the stream.
    assert_eq!(during.total("http_server_active_requests", &[]), 2.0);
    drop(lines);
    gateway.rpc("conversation.cancel", json!({ "session_id": "s" })).await;
    eventually("nothing runs", || async {
        let now = scrape(&gateway).await;
        let of = |gauge: &str| now.total(&format!("codex_gateway_{gauge}"), &[]);
        of("turns_running") == 0.0
            && of("streams") == 0.0
            && now.total("http_server_active_requests", &[]) == 1.0
    })
    .await;
}

#[tokio::test]
async fn unknown_names_create_no_new_series() {
    let provider = Provider::start([DIALECT.text("Done.")]).await;
    let gateway = DIALECT.gateway(&provider);
    gateway.ask("warm", "go").await;
    for number in 0..100 {
        gateway.get(&format!("/made/up/{number}")).await;
        gateway.send(&format!("BREW{number}"), "/health", &[], b"").await;
        gateway.get(&format!("/api/v1/conversations/made-up-{number}")).await;
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": format!("made.up{number}") });
        gateway.post("/jsonrpc", call).await;
    }
    for number in 0..100 {
        let body = json!({ "prompt": "go", "session_id": format!("s{number}"), "model": format!("made-up-{number}") });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        assert_eq!(answer["status"], "completed", "{answer}");
    }
    let scraped = scrape(&gateway).await;
    let values = |name: &str, label: &str| -> BTreeSet<String> {
        scraped.series(name, &[]).iter().filter_map(|one| one.labels.get(label).cloned()).collect()
    };
    let requests = "http_server_request_duration_seconds_count";
    let routes = values(requests, "http_route");
    assert!(routes.contains("_OTHER") && routes.len() < 8, "{routes:?}");
    // Unknown paths, unsupported methods, invalid ids.
    assert_eq!(scraped.total(requests, &[("http_route", "_OTHER")]), 300.0);
    assert!(
        values(requests, "http_request_method")
            .is_subset(&["GET", "POST", "_OTHER"].map(String::from).into())
    );
    for name in
        ["gen_ai_client_operation_duration_seconds_count", "gen_ai_client_token_usage_count"]
    {
        let models = values(name, "gen_ai_request_model");
        assert_eq!(models.len(), MAX_VALUES + 1, "{models:?}");
        assert!(models.contains("_OTHER"));
    }
    let calls = scraped.total("gen_ai_client_operation_duration_seconds_count", &[]);
    assert_eq!(calls, 101.0, "calls of unlisted models are counted too");
    for name in
        scraped.types.keys().filter(|name| !name.contains("gen_ai") && !name.contains("model"))
    {
        let series = scraped.samples.iter().filter(|sample| scraped.family(sample) == name);
        let series = series.filter(|sample| !sample.name.ends_with("_bucket")).count();
        assert!(series < 64, "{series} series of {name}");
    }
}
