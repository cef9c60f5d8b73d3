//! `GET /ws`, a file per question: who may open it, what calls get, which events come, how it ends,
//! and what many of them cost.

mod calls;
mod closing;
mod handshake;
mod load;
mod subscriptions;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;

/// A turn that goes on until it is stopped; its conversation's id.
async fn endless_turn(gateway: &Gateway, session: &str) -> String {
    let body = json!({ "prompt": "slow: 100000", "session_id": session });
    let mut lines = gateway.stream("/exec", &[], body).await;
    lines.until("agent_message_content_delta").await["conversation_id"].as_str().unwrap().to_owned()
}

async fn status(gateway: &Gateway, session: &str) -> Value {
    gateway.rpc("conversation.status", json!({ "session_id": session })).await["result"].clone()
}

/// The event in a `conversation.event` notification.
fn event(notification: &Value) -> &Value {
    assert_eq!(notification["method"], "conversation.event", "{notification}");
    &notification["params"]
}

/// The next event, over what is no event.
async fn next_event(socket: &mut Socket) -> Value {
    loop {
        let notification = socket.notification().await;
        if notification["type"] != "task_completed" {
            return event(&notification).clone();
        }
    }
}

/// The resident memory of a process, in bytes.
fn resident(process: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
