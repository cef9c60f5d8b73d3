//! Turns that ask before they act, and answers to what they ask.

use serde_json::Value;

use super::Gateway;
use super::client::Lines;
use super::eventually;

/// Starts a turn, and waits until it asks. The stream, the conversation's path and the question.
pub async fn asking(gateway: &Gateway, prompt: Value) -> (Lines, String, Value) {
    let stream = gateway.stream("/exec", &[], prompt).await;
    let id = stream.headers["x-conversation-id"].to_str().unwrap().to_owned();
    let path = format!("/api/v1/conversations/{id}");
    eventually("the turn asks", || async {
        gateway.get(&path).await.json()["status"] == "waiting_approval"
    })
    .await;
    let pending = gateway.get(&format!("{path}/approvals")).await.json();
    (stream, path, pending["approvals"][0].clone())
}

/// Answers a question, over another connection than the turn's.
pub async fn decide(gateway: &Gateway, path: &str, question: &Value, answer: Value) -> Value {
    let id = question["approval_id"].as_str().unwrap();
    gateway.post(&format!("{path}/approvals/{id}"), answer).await.json()
}
