//! Logs: lines on standard output, and records over OTLP.

use serde_json::Value;
use serde_json::json;

use super::DIALECT;
use super::TRACE;
use super::TRACEPARENT;
use super::observed;
use crate::support::Gateway;
use crate::support::collector::Collector;
use crate::support::collector::Log;
use crate::support::collector::Received;
use crate::support::eventually;
use crate::support::gateway::new_home;
use crate::support::provider::Provider;

/// Returns every line of standard output, which must be a JSON object.
fn lines(gateway: &Gateway) -> Vec<Value> {
    let stdout = gateway.stdout.lock().unwrap().clone();
    let read =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    let lines: Vec<Value> = stdout.lines().map(read).collect();
    assert!(lines.iter().all(Value::is_object));
    lines
}

/// Waits for the lines of the request with this id and returns them.
async fn of_request(gateway: &Gateway, id: &str) -> Vec<Value> {
    let its = || -> Vec<Value> {
        lines(gateway).into_iter().filter(|line| line["request_id"] == id).collect()
    };
    eventually("its lines", || async { !its().is_empty() }).await;
    its()
}

#[tokio::test]
async fn unknown_model_logs_no_warning() {
    let provider = Provider::start([DIALECT.text("Done.")]).await;
    let gateway = DIALECT.gateway(&provider);
    gateway.ask("s", "go").await;
    let warnings = lines(&gateway).into_iter().filter(|line| line["severity"] == "WARNING");
    assert_eq!(warnings.collect::<Vec<_>>(), Vec::<Value>::new());
}

#[tokio::test]
async fn log_lines_are_json_with_trace_ids() {
    let collector = Collector::start().await;
    let (_provider, gateway) = observed(&collector, [DIALECT.text("Done.")]).await;
    let headers = [("traceparent", TRACEPARENT), ("x-request-id", "req-7")];
    gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
    let its = of_request(&gateway, "req-7").await;
    for line in &its {
        assert_eq!(line["trace_id"], TRACE, "{line}");
        let span = line["span_id"].as_str().unwrap();
        assert!(span.len() == 16 && span.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
        assert_eq!(line["logging.googleapis.com/trace"], TRACE, "{line}");
        assert_eq!(line["logging.googleapis.com/spanId"], span, "{line}");
        assert_eq!(line["logging.googleapis.com/trace_sampled"], true, "{line}");
    }
    let all = lines(&gateway);
    assert!(all.len() > its.len(), "the start is logged too");
    for line in &all {
        let severity = line["severity"].as_str().unwrap();
        assert!(["DEBUG", "INFO", "WARNING", "ERROR"].contains(&severity), "{line}");
        assert!(line["message"].is_string() && line["target"].is_string(), "{line}");
        assert!(
            chrono::DateTime::parse_from_rfc3339(line["time"].as_str().unwrap()).is_ok(),
            "{line}"
        );
    }
    // The start-up message for people stays on standard error.
    let (log, stdout) =
        (gateway.log.lock().unwrap().clone(), gateway.stdout.lock().unwrap().clone());
    assert!(log.contains(" on http://") && !stdout.contains(" on http://"));
}

#[tokio::test]
async fn project_id_completes_the_cloud_trace_name() {
    let gateway = Gateway::env("GOOGLE_CLOUD_PROJECT", "my-project").start();
    let headers = [("traceparent", TRACEPARENT), ("x-request-id", "req-7")];
    gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "say: x" })).await;
    let line = of_request(&gateway, "req-7").await[0].clone();
    assert_eq!(line["logging.googleapis.com/trace"], format!("projects/my-project/traces/{TRACE}"));
    // Trace ids are logged without an endpoint too.
    assert_eq!(line["trace_id"], TRACE, "{line}");
}

#[tokio::test]
async fn operator_can_choose_pretty_logs() {
    let gateway = Gateway::config("[gateway.telemetry]\nlog_format = \"pretty\"\n").start();
    eventually("a line", || async { gateway.stdout.lock().unwrap().contains("serving") }).await;
    let stdout = gateway.stdout.lock().unwrap().clone();
    assert!(!stdout.contains('{') && stdout.contains("INFO"), "{stdout}");
    drop(gateway);

    let home = new_home();
    let setup = Gateway::config("[gateway.telemetry]\nlog_format = \"xml\"\n");
    let refused = setup.command(&home).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("log_format") && said.contains("pretty"), "{said}");
}

/// Returns the name of an event of core.
fn event(log: &Log) -> &str {
    let named = log.attributes.get("event.name").and_then(Value::as_str);
    named.unwrap_or(&log.event)
}

#[tokio::test]
async fn core_events_and_log_lines_export_traced() {
    let collector = Collector::start().await;
    let (_provider, gateway) =
        observed(&collector, [DIALECT.call("echo out"), DIALECT.text("Done.")]).await;
    let headers = [("traceparent", TRACEPARENT)];
    gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
    for name in ["codex.conversation_starts", "codex.user_prompt", "codex.tool_result"] {
        let there = |received: &Received| received.logs.iter().any(|log| event(log) == name);
        collector.until(name, there).await;
    }
    let received = collector.received();
    let prompt = received.logs.iter().find(|log| event(log) == "codex.user_prompt").unwrap();
    assert_eq!((prompt.trace.as_str(), prompt.span.len()), (TRACE, 16), "{prompt:?}");
    collector
        .until("a line of the gateway's in the trace", |received| {
            received.logs.iter().any(|log| !event(log).starts_with("codex.") && log.trace == TRACE)
        })
        .await;
    for log in &collector.received().logs {
        assert!(!log.severity.is_empty(), "{log:?}");
        // Core logs some events a second time with content, for local logs only.
        assert_ne!(log.scope, "codex_otel.log_only");
        let content =
            ["prompt", "arguments", "output"].iter().find(|key| log.attributes.contains_key(**key));
        assert_eq!(content, None, "{log:?}");
    }
}
