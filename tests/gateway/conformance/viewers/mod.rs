//! What others make of the gateway's telemetry: a receiver from npm gets all three signals over each of OTLP's
//! protocols. (`viewers/phoenix.sh` shows a conversation in Arize Phoenix; it is not run here, for it takes minutes to
//! install.)

use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process::Child;
use tokio::process::ChildStdout;
use tokio::process::Command;

use crate::support::Gateway;
use crate::support::soon;

/// The receiver.
struct Receiver {
    http: String,
    grpc: String,
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Receiver {
    /// None, said aloud, where it is not installed; where services are required, that is a failure.
    async fn start() -> Option<Self> {
        let packages = std::env::var_os("GATEWAY_NODE_MODULES").map_or_else(
            || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("node_modules"),
            PathBuf::from,
        );
        let node = || {
            let mut command = Command::new("node");
            command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
            command.env("NODE_PATH", &packages).kill_on_drop(true);
            command
        };
        let probe = ["-e", "require('@elastic/mockotlpserver')"];
        let probe = node().args(probe).stderr(Stdio::null()).status().await;
        if !probe.is_ok_and(|status| status.success()) {
            let hint = format!(
                "@elastic/mockotlpserver is not in {}: npm install --prefix FOLDER @elastic/mockotlpserver@0.10.0",
                packages.display()
            );
            let required =
                std::env::var_os("GATEWAY_REQUIRE_SERVICES").is_some_and(|set| set == "1");
            assert!(!required, "{hint}");
            eprintln!("SKIPPED: {hint}");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/gateway/conformance/viewers/mockotlp.js");
        let mut child =
            node().arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = soon("the receiver listens", lines.next_line()).await.unwrap().unwrap();
        let first: Value = serde_json::from_str(&first).unwrap();
        let url = |key: &str| format!("http://{}", first[key].as_str().unwrap());
        Some(Self { http: url("http"), grpc: url("grpc"), lines, child })
    }

    /// Everything it got; it ends.
    async fn end(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let mut got = Vec::new();
        while let Some(line) = soon("the receiver ends", self.lines.next_line()).await.unwrap() {
            got.push(serde_json::from_str(&line).unwrap());
        }
        got
    }
}

/// The leaves below these members, each a list.
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
        // What is left is exported before the exit.
        gateway.terminate();
        assert_eq!(soon("the gateway ends", gateway.exit_code()).await, 0, "{protocol}");
        let got = receiver.end().await;
        judge(protocol, &got, events[0]["conversation_id"].as_str().unwrap());
    }
}

fn judge(protocol: &str, got: &[Value], conversation: &str) {
    let text = serde_json::to_string(got).unwrap();
    assert!(!text.contains("canary-of-viewers"), "{protocol}: the prompt left");
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
