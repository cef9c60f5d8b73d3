//! Calls on one socket.

use serde_json::Value;
use serde_json::json;

use super::endless_turn;
use super::status;
use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;

#[tokio::test]
async fn single_calls_batches_and_notifications_share_a_socket() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    let answer = socket.call("conversation.prompt", json!({ "prompt": "say: hi" })).await;
    assert_eq!(answer["result"]["content"], "hi");

    let call = |id: Value| {
        json!({ "jsonrpc": "2.0", "id": id, "method": "conversation.status",
                "params": { "session_id": "x" } })
    };
    let mut notification = call(Value::Null);
    notification.as_object_mut().unwrap().remove("id");
    // Neither of these is answered: the next answer is the one to the batch.
    socket.raw(&notification.to_string()).await;
    socket.raw(&json!([notification, notification]).to_string()).await;
    let batch = json!([call(json!("a")), notification, call(json!(2)), call(Value::Null), 7]);
    socket.raw(&batch.to_string()).await;
    let answers = socket.json().await;
    let ids: Vec<&Value> = answers.as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, [&json!("a"), &json!(2), &Value::Null, &Value::Null]);
    assert_eq!(answers[3]["error"]["code"], -32600);
    socket.close().await;
}

#[tokio::test]
async fn calls_run_concurrently_up_to_the_limit() {
    let gateway = Gateway::start();
    endless_turn(&gateway, "busy").await;
    let mut socket = Socket::connect(&gateway, &[]).await;
    // Calls that run until their turns are stopped.
    let mut held = Vec::new();
    for n in 0..128 {
        let params = json!({ "prompt": "slow: 100000", "session_id": format!("held-{n}") });
        held.push(socket.send("conversation.prompt", params).await);
    }
    let refused = socket.call("conversation.status", json!({ "session_id": "busy" })).await;
    assert_eq!(refused["error"]["code"], -32001, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("128"), "{refused}");
    assert_eq!(refused["error"]["data"]["retry"], "after");
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1000, "method": "conversation.status", "params": {} },
        { "jsonrpc": "2.0", "method": "conversation.status", "params": {} },
        { "jsonrpc": "2.0", "id": 1001, "method": "conversation.status", "params": {} },
    ]);
    socket.raw(&batch.to_string()).await;
    let refused = socket.json().await;
    assert_eq!(refused.as_array().unwrap().len(), 2);
    assert!(refused.as_array().unwrap().iter().all(|one| one["error"]["code"] == -32001));
    socket.raw(r#"{"jsonrpc":"2.0","method":"conversation.status","params":{}}"#).await;
    socket.raw("{").await;
    assert_eq!(
        socket.json().await["error"]["code"],
        -32700,
        "a malformed message gets its own error"
    );

    // Another socket has its own limit; it stops one of the turns, which frees its slot.
    let mut other = Socket::connect(&gateway, &[]).await;
    eventually("the turn runs", || async {
        status(&gateway, "held-7").await["status"] == "running"
    })
    .await;
    let stopped = other.call("conversation.cancel", json!({ "session_id": "held-7" })).await;
    assert_eq!(stopped["result"]["cancelled"], true);
    assert_eq!(socket.answer(held[7]).await["result"]["status"], "cancelled");
    let answer = socket.call("conversation.status", json!({ "session_id": "busy" })).await;
    assert_eq!(answer["result"]["status"], "running");
}

#[tokio::test]
async fn answers_arrive_when_ready() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    let slow = socket
        .send("conversation.prompt", json!({ "prompt": "slow: 100000", "session_id": "slow" }))
        .await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let params = json!({ "prompt": format!("say: {n}"), "session_id": format!("s{n}") });
        ids.push(socket.send("conversation.prompt", params).await);
    }
    for (n, id) in ids.into_iter().enumerate().rev() {
        assert_eq!(socket.answer(id).await["result"]["content"], n.to_string());
    }
    let stopped = socket.call("conversation.cancel", json!({ "session_id": "slow" })).await;
    assert_eq!(stopped["result"]["cancelled"], true);
    assert_eq!(socket.answer(slow).await["result"]["status"], "cancelled");
}

#[tokio::test]
async fn batch_calls_count_against_the_limit() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    for n in 0..40 {
        let params = json!({ "prompt": "slow: 100000", "session_id": format!("held-{n}") });
        socket.send("conversation.prompt", params).await;
    }
    let batch = |calls: usize| {
        let call = |id| {
            json!({ "jsonrpc": "2.0", "id": id, "method": "conversation.status",
                    "params": { "session_id": "nobody" } })
        };
        Value::from_iter((0..calls).map(|n| call(1000 + n)))
    };
    // 128 slots, 40 of them taken: a batch runs completely or not at all.
    for (calls, fits) in [(89, false), (88, true), (100, false)] {
        socket.raw(&batch(calls).to_string()).await;
        let answers = socket.json().await;
        let answers = answers.as_array().unwrap();
        assert_eq!(answers.len(), calls);
        let said = |answer: &Value| match fits {
            true => answer["result"]["status"] == "not_found",
            false => answer["error"]["code"] == -32001,
        };
        assert!(answers.iter().all(said), "{calls}: {}", answers[0]);
    }
}
