//! `GET /ws`: the handshake, calls, subscriptions, closing, and load.

mod calls;
mod closing;
mod handshake;
mod load;
mod subscriptions;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;

/// Starts a turn that runs until it is stopped. Returns the id of its conversation.
async fn endless_turn(gateway: &Gateway, session: &str) -> String {
    let body = json!({ "prompt": "slow: 100000", "session_id": session });
    let mut lines = gateway.stream("/exec", &[], body).await;
    lines.until("agent_message_content_delta").await["conversation_id"].as_str().unwrap().to_owned()
}

async fn status(gateway: &Gateway, session: &str) -> Value {
    gateway.rpc("conversation.status", json!({ "session_id": session })).await["result"].clone()
}

/// Returns the event in a `conversation.event` notification.
fn event(notification: &Value) -> &Value {
    assert_eq!(notification["method"], "conversation.event", "{notification}");
    &notification["params"]
}

/// Returns the next event, skipping `task_completed`.
async fn next_event(socket: &mut Socket) -> Value {
    loop {
        let notification = socket.notification().await;
        if notification["type"] != "task_completed" {
            return event(&notification).clone();
        }
    }
}
