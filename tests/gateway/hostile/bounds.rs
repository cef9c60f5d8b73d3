//! What hangs, and what grows: tool servers that do not end, more conversations than fit, more events
//! than memory.

use serde_json::json;

use super::metrics;
use crate::support::Gateway;
use crate::support::eventually;
use crate::support::mcp::HttpServer;
use crate::support::mcp::script;

#[tokio::test]
async fn hung_tool_server_delays_no_other() {
    let server = HttpServer::start_hanging("t0ken");
    let gateway = Gateway::config(
        "[gateway]\nconversation_idle_ms = 1000\nmcp_token_variables = [\"TOKEN\"]\n",
    )
    .env("TOKEN", "t0ken")
    .start();
    for session in ["hung", "stubborn", "a", "b"] {
        assert_eq!(gateway.ask(session, "say: hi").await["status"], "completed");
    }
    let http = json!({ "name": "h", "url": server.url, "bearer_token_env": "TOKEN" });
    let stdio =
        json!({ "name": "s", "command": "python3", "args": [script(), "stdio-hangs-at-end"] });
    for (session, config) in [("hung", http), ("stubborn", stdio)] {
        let params = json!({ "server_config": config, "session_id": session });
        let connected = gateway.rpc("mcp.connect", params).await;
        assert_eq!(connected["result"]["connected"], true, "{connected}");
        // Core starts the server with the turn.
        assert_eq!(gateway.ask(session, "say: hi").await["status"], "completed");
    }
    let live = || async { gateway.load().await["conversations"].as_u64().unwrap() };
    eventually("the others are evicted", || async { live().await <= 2 }).await;
    // Nothing is lost, and nothing hangs for ever.
    let answers = ["hung", "stubborn", "a"].map(|session| gateway.ask(session, "say: again"));
    for answer in futures::future::join_all(answers).await {
        assert_eq!(answer["status"], "completed", "{answer}");
    }
    eventually("all are evicted", || async { live().await == 0 }).await;
    let history = gateway.rpc("conversation.history", json!({ "session_id": "hung" })).await;
    assert_eq!(history["result"]["turns"].as_array().unwrap().len(), 3, "{history}");
}

#[tokio::test]
async fn live_conversations_are_a_bound() {
    let gateway = Gateway::config("[gateway]\nmax_live_conversations = 2\n").start();
    let mut running = Vec::new();
    for session in ["a", "b"] {
        let body = json!({ "prompt": "slow: 400", "session_id": session });
        let mut stream = gateway.stream("/exec", &[], body).await;
        stream.until("task_started").await;
        running.push(stream);
    }
    for path in ["/exec", "/api/v1/conversations"] {
        let refused = gateway.post(path, json!({ "prompt": "say: x", "session_id": "c" })).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.header("retry-after"), "1");
        assert!(refused.text().contains("max_live_conversations"), "{}", refused.text());
    }
    assert_eq!(gateway.load().await["conversations"], 2);
    running.remove(0).events().await;
    // The one that is idle now makes room, and comes back when the other one is.
    assert_eq!(gateway.ask("c", "say: x").await["status"], "completed");
    assert_eq!(gateway.ask("a", "say: x").await["status"], "completed");
    assert!(gateway.load().await["conversations"].as_u64().unwrap() <= 2);
}

#[tokio::test]
async fn event_logs_share_a_budget() {
    let config = "[gateway]\nevent_log_bytes = 1048576\nmax_event_log_bytes = 1048576\n";
    let gateway = Gateway::config(config).start();
    let first = gateway.ask("first", "run: seq 1 60000").await;
    for n in 0..4 {
        gateway.ask(&format!("later-{n}"), "run: seq 1 60000").await;
    }
    let size =
        || async { metrics(&gateway).await.total("codex_gateway_event_log_size_bytes", &[]) };
    eventually("the sum is bounded", || async { size().await <= 1_048_576.0 }).await;
    let newest = gateway.ask("newest", "say: hi").await;
    for (answer, is_whole) in [(first, false), (newest, true)] {
        let id = answer["conversation_id"].as_str().unwrap();
        let view = gateway.get(&format!("/api/v1/conversations/{id}")).await.json();
        assert_eq!(view["oldest_seq"] == 1, is_whole, "{view}");
        let events = gateway.get(&format!("/api/v1/conversations/{id}/events?after=0")).await;
        assert_eq!(events.status, if is_whole { 200 } else { 410 });
    }
}
