//! Calls of tool servers: their spans, and the trace context they receive.

use serde_json::Value;
use serde_json::json;

use super::TRACE;
use super::TRACEPARENT;
use super::parts;
use crate::support::Gateway;
use crate::support::collector::Collector;
use crate::support::gateway::Setup;
use crate::support::mcp::HttpServer;

/// Starts a gateway with a connected server.
async fn connected(setup: Setup, server: &HttpServer) -> Gateway {
    let gateway = setup
        .config("[gateway]\nmcp_token_variables = [\"MCP_TOKEN\"]\n")
        .env("MCP_TOKEN", "http-canary")
        .start();
    let config = json!({ "name": "web", "url": server.url, "bearer_token_env": "MCP_TOKEN" });
    let answer = gateway.rpc("mcp.connect", json!({ "server_config": config })).await;
    assert_eq!(answer["result"]["connected"], true, "{answer}");
    gateway
}

/// Returns the trace and the parent in the `_meta` of a call. Headers hold the context of the task
/// that owns the connection.
fn trace_context(call: &Value) -> (String, String) {
    let meta = &call["message"]["params"]["_meta"]["x-codex-turn-metadata"];
    parts(meta["traceparent"].as_str().unwrap_or_else(|| panic!("no trace: {call:#}")))
}

#[tokio::test]
async fn tool_server_receives_the_call_trace() {
    let server = HttpServer::start("http-canary");
    let collector = Collector::start().await;
    let gateway = connected(collector.exporting(Setup::default()), &server).await;
    let body = json!({ "prompt": "call: web add {\"a\":20,\"b\":3}", "session_id": "s" });
    let answer =
        gateway.post_with("/api/v1/exec", &[("traceparent", TRACEPARENT)], body).await.json();
    assert!(answer["task_result"]["summary"].to_string().contains("23"), "{answer}");
    let (tool, _) = collector.span("execute_tool add").await;
    assert_eq!(tool.trace, TRACE);
    tool.has(&json!({
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "add", "gen_ai.tool.type": "extension",
        "mcp.server.name": "web", "openinference.span.kind": "TOOL",
    }));
    let calls = server.requests("tools/call");
    assert_eq!(calls.len(), 1);
    let (trace, parent) = trace_context(&calls[0]);
    assert_eq!(trace, TRACE);
    // The parent of the call is the span of the turn or one below it.
    collector
        .until("the span above the call", |received| {
            let above = received.trace(TRACE).into_iter().find(|span| span.id == parent);
            above.is_some_and(|span| {
                span.name == "invoke_agent codex"
                    || received.above(span).contains(&"invoke_agent codex")
            })
        })
        .await;
}

#[tokio::test]
async fn disabled_telemetry_still_forwards_trace_to_servers() {
    let server = HttpServer::start("http-canary");
    let gateway = connected(Setup::default(), &server).await;
    let body = json!({ "prompt": "call: web add {\"a\":20,\"b\":3}", "session_id": "s" });
    gateway.post_with("/api/v1/exec", &[("traceparent", TRACEPARENT)], body).await;
    assert_eq!(trace_context(&server.requests("tools/call")[0]).0, TRACE);
}
