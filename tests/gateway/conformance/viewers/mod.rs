//! Telemetry in receivers of others: one from npm gets all three signals over each protocol of
//! OTLP. `phoenix.sh` shows a conversation in Arize Phoenix; CI does not run it, as Phoenix takes
//! minutes to install.

use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process::Child;
use tokio::process::ChildStdout;

use crate::support::Gateway;
use crate::support::services::node;
use crate::support::services::node_modules;
use crate::support::services::report_missing;
use crate::support::services::test_file;
use crate::support::soon;

/// A running receiver.
struct Receiver {
    http: String,
    grpc: String,
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Receiver {
    /// Returns `None`, after a report, if it is not installed.
    async fn start() -> Option<Self> {
        let probe = ["-e", "require('@elastic/mockotlpserver')"];
        let probe = node().args(probe).stderr(Stdio::null()).status().await;
        if !probe.is_ok_and(|status| status.success()) {
            report_missing(&format!(
                "@elastic/mockotlpserver is not in {}: npm install --prefix FOLDER @elastic/mockotlpserver@0.10.0",
                node_modules().display()
            ));
            return None;
        }
        let script = test_file("conformance/viewers/mockotlp.js");
        let mut child =
            node().arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = soon("the receiver listens", lines.next_line()).await.unwrap().unwrap();
        let first: Value = serde_json::from_str(&first).unwrap();
        let url = |key: &str| format!("http://{}", first[key].as_str().unwrap());
        Some(Self { http: url("http"), grpc: url("grpc"), lines, child })
    }

    /// Ends the receiver and returns everything it received.
    async fn end(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let mut got = Vec::new();
        while let Some(line) = soon("the receiver ends", self.lines.next_line()).await.unwrap() {
            got.push(serde_json::from_str(&line).unwrap());
        }
        got
    }
}

/// Returns the items of nested lists.
fn below<'a>(documents: &'a [Value], members: [&str; 3]) -> Vec<&'a Value> {
    let mut level: Vec<&Value> = documents.iter().collect();
    for member in members {
        let lists = level.into_iter().filter_map(|one| one[member].as_array());
        level = lists.flatten().collect();
    }
    level
}

#[tokio::test]
async fn npm_receiver_reads_every_signal_and_protocol() {
    for protocol in ["http/protobuf", "http/json", "grpc"] {
        let Some(receiver) = Receiver::start().await else { return };
        let endpoint = if protocol == "grpc" { &receiver.grpc } else { &receiver.http };
        let mut gateway = Gateway::env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_SERVICE_NAME", "agents")
            .start();
        let events = gateway.exec(json!({ "prompt": "run: echo canary-of-viewers" })).await;
        // The gateway exports pending telemetry before it ends.
        gateway.terminate();
        assert_eq!(soon("the gateway ends", gateway.exit_code()).await, 0, "{protocol}");
        let got = receiver.end().await;
        check_signals(protocol, &got, events[0]["conversation_id"].as_str().unwrap());
    }
}

/// Asserts the resources, spans, metrics and log records of one prompt.
fn check_signals(protocol: &str, got: &[Value], conversation: &str) {
    let text = serde_json::to_string(got).unwrap();
    assert!(!text.contains("canary-of-viewers"), "{protocol}: the prompt was exported");
    for resource in ["resourceSpans", "resourceMetrics", "resourceLogs"] {
        let whose: Vec<&Value> =
            got.iter().filter_map(|one| one[resource].as_array()).flatten().collect();
        assert!(!whose.is_empty(), "{protocol}: no {resource}");
        for one in whose {
            assert_eq!(one["resource"]["attributes"]["service.name"], "agents", "{protocol}");
        }
    }

    let spans = below(got, ["resourceSpans", "scopeSpans", "spans"]);
    let names: Vec<&Value> = spans.iter().map(|span| &span["name"]).collect();
    let find = |name: &str| {
        let found = spans.iter().find(|span| span["name"].as_str().unwrap().starts_with(name));
        *found.unwrap_or_else(|| panic!("{protocol}: no {name}: {names:?}"))
    };
    let request = find("POST /exec");
    let turn = find("invoke_agent codex");
    let (call, tool) = (find("chat "), find("execute_tool "));
    assert_eq!(request["kind"], "SPAN_KIND_SERVER", "{protocol}");
    assert_eq!(call["kind"], "SPAN_KIND_CLIENT", "{protocol}");
    for (span, parent, kind) in
        [(turn, request, "AGENT"), (call, turn, "LLM"), (tool, turn, "TOOL")]
    {
        let attributes = &span["attributes"];
        assert_eq!(span["parentSpanId"], parent["spanId"], "{protocol}: {span}");
        assert_eq!(span["traceId"], request["traceId"], "{protocol}: {span}");
        assert_eq!(attributes["openinference.span.kind"], kind, "{protocol}: {span}");
    }
    assert_eq!(turn["attributes"]["gen_ai.conversation.id"], conversation, "{protocol}");
    assert_eq!(turn["attributes"]["codex_gateway.turn.status"], "completed", "{protocol}");
    assert!(tool["attributes"].to_string().contains("process.exit.code"), "{protocol}: {tool}");

    let metrics = below(got, ["resourceMetrics", "scopeMetrics", "metrics"]);
    for name in ["codex_gateway.turns.ended", "gen_ai.client.token.usage", "process.memory.usage"] {
        assert!(metrics.iter().any(|metric| metric["name"] == name), "{protocol}: no {name}");
    }
    let logs = below(got, ["resourceLogs", "scopeLogs", "logRecords"]);
    let traced = logs.iter().any(|record| record["traceId"] == request["traceId"]);
    assert!(traced, "{protocol}: no log record of the trace: {logs:?}");
}
