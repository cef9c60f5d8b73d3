//! Turns that wait for an approval, and decisions about it.

use serde_json::Value;

use super::Gateway;
use super::client::Lines;
use super::eventually;

/// Starts a turn and waits for its first approval request. Returns the stream, the path of the
/// conversation and the pending approval.
pub async fn waiting_turn(gateway: &Gateway, prompt: Value) -> (Lines, String, Value) {
    let stream = gateway.stream("/exec", &[], prompt).await;
    let id = stream.headers["x-conversation-id"].to_str().unwrap().to_owned();
    let path = format!("/api/v1/conversations/{id}");
    eventually("the turn waits for an approval", || async {
        gateway.get(&path).await.json()["status"] == "waiting_approval"
    })
    .await;
    let pending = gateway.get(&format!("{path}/approvals")).await.json();
    (stream, path, pending["approvals"][0].clone())
}

/// Decides a pending approval, over another connection than the turn's. Returns the answer.
pub async fn decide(gateway: &Gateway, path: &str, approval: &Value, decision: Value) -> Value {
    let id = approval["approval_id"].as_str().unwrap();
    gateway.post(&format!("{path}/approvals/{id}"), decision).await.json()
}
