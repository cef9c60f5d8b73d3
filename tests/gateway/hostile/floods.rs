//! Floods of work: turns and batches are bounded, and refused with a sentence that says how.

use serde_json::Value;
use serde_json::json;

use super::KEY;
use super::metrics;
use crate::support::Gateway;

#[tokio::test]
async fn turns_beyond_the_limit_are_refused() {
    let gateway =
        Gateway::config("[gateway]\nmax_running_turns = 2\n").env("GATEWAY_API_KEY", "k").start();
    let slow = |session: &str| json!({ "prompt": "slow: 600", "session_id": session });
    let mut running = Vec::new();
    for session in ["a", "b"] {
        let mut stream = gateway.stream("/exec", &[KEY], slow(session)).await;
        stream.until("task_started").await;
        running.push(stream);
    }
    for path in ["/exec", "/api/v1/exec", "/api/v1/conversations"] {
        let refused = gateway.post_with(path, &[KEY], slow("c")).await;
        assert_eq!(refused.status, 429, "{path}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("at most 2 turns") && detail.contains("max_running_turns"),
            "{detail}"
        );
    }
    let shown = metrics(&gateway).await;
    assert_eq!(shown.total("codex_gateway_turns_running", &[]), 2.0);
    assert_eq!(shown.total("codex_gateway_turns_limit", &[]), 2.0);
    assert_eq!(shown.total("codex_gateway_turns_refused_total", &[]), 3.0);
    gateway.rpc_with(&[KEY], "conversation.cancel", json!({ "session_id": "a" })).await;
    let body = json!({ "prompt": "say: in", "session_id": "c" });
    let answer = gateway.post_with("/api/v1/exec", &[KEY], body).await.json();
    assert_eq!(answer["task_result"]["summary"], "in", "{answer}");
}

#[tokio::test]
async fn batch_starts_a_bounded_number_of_conversations() {
    let gateway = Gateway::start();
    let call = |id: usize| json!({ "jsonrpc": "2.0", "id": id, "method": "conversation.start", "params": {} });
    let answers = |count: usize| {
        let batch = Value::from((0..count).map(call).collect::<Vec<_>>());
        let gateway = &gateway;
        async move { gateway.post("/jsonrpc", batch).await.json() }
    };
    let refused = answers(17).await;
    for answer in refused.as_array().unwrap() {
        assert_eq!(answer["error"]["code"], -32001, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("max_batch_starts") && message.contains("got 17"), "{message}");
    }
    assert_eq!(refused.as_array().unwrap().len(), 17);
    assert_eq!(gateway.load().await["conversations"], 0);
    let started = answers(16).await;
    assert!(started.as_array().unwrap().iter().all(|answer| answer["error"].is_null()));
    assert_eq!(gateway.load().await["conversations"], 16);
}

#[tokio::test]
async fn refused_requests_create_no_folders() {
    let gateway = Gateway::start();
    gateway.post("/api/v1/exec", json!({ "prompt": "say: hi", "cwd": "mine" })).await;
    let prompt = json!({ "prompt": "say: hi", "cwd": "mine/new/deep" });
    assert_eq!(gateway.post("/exec", prompt).await.status, 400);
    for (method, params) in [
        ("exec", json!({ "command": "id", "cwd": "mine/new/deep" })),
        ("interactive.start", json!({ "cwd": "mine/new/deep" })),
    ] {
        gateway.assert_rpc_error(method, params, -32602, "not inside").await;
    }
    assert!(!gateway.workspaces().join("mine/new").exists());
}
