//! Subscriptions: no event is lost, repeated or late.

use futures::future::join_all;
use serde_json::Value;
use serde_json::json;

use super::endless_turn;
use super::event;
use super::next_event;
use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;
use crate::support::process::resident_memory;

async fn subscribe(socket: &mut Socket, params: Value) -> Value {
    let answer = socket.call("conversation.subscribe", params).await;
    assert_eq!(answer["result"]["subscribed"], true, "{answer}");
    answer["result"].clone()
}

#[tokio::test]
async fn subscriber_gets_past_and_future_events() {
    let gateway = Gateway::start();
    let events = gateway.exec(json!({ "prompt": "say: one", "session_id": "s" })).await;
    let mut first = Socket::connect(&gateway, &[]).await;
    let mut second = Socket::connect(&gateway, &[]).await;
    let subscribed = subscribe(&mut first, json!({ "session_id": "s" })).await;
    assert!(first.notified().is_empty(), "events follow the answer");
    assert_eq!(subscribed["oldest_seq"], 1);
    for expected in &events {
        assert_eq!(next_event(&mut first).await, *expected, "the same events as on /exec");
    }
    let after = subscribed["last_seq"].as_u64().unwrap();
    subscribe(
        &mut second,
        json!({ "session_id": "s", "after_seq": after, "include_deltas": false }),
    )
    .await;

    let body = json!({ "prompt": "create a python script that prints two", "session_id": "s" });
    let turn = gateway.exec(body).await;
    for (socket, deltas) in [(&mut first, true), (&mut second, false)] {
        let mut seen = Vec::new();
        let completed = loop {
            let notification = socket.notification().await;
            if notification["type"] == "task_completed" {
                // The first subscriber also gets the end of the earlier turn.
                if notification["turn_id"] == turn[0]["id"] {
                    break notification;
                }
            } else {
                seen.push(event(&notification).clone());
            }
        };
        let mut expected: Vec<&Value> = turn.iter().collect();
        expected
            .retain(|event| deltas || !event["msg"]["type"].as_str().unwrap().ends_with("_delta"));
        let from = seen.iter().position(|event| event == expected[0]).unwrap();
        assert_eq!(seen[from..].iter().collect::<Vec<_>>(), expected);
        assert_eq!(completed["session_id"], "s");
        assert_eq!(completed["conversation_id"], turn[0]["conversation_id"]);
        assert_eq!(completed["status"], "completed");
        assert!(completed["summary"].as_str().unwrap().contains("two"), "{completed}");
        assert_eq!(completed["files_created"].as_array().unwrap().len(), 1, "{completed}");
    }
}

#[tokio::test]
async fn resubscribing_loses_and_repeats_nothing() {
    let gateway = Gateway::start();
    let body = json!({ "prompt": "deltas: 10000", "session_id": "r" });
    let mut lines = gateway.stream("/exec", &[], body).await;
    lines.until("task_started").await;
    drop(lines);
    let mut socket = Socket::connect(&gateway, &[]).await;
    let (mut seen, mut rounds) = (0, 0);
    'turn: loop {
        subscribe(&mut socket, json!({ "session_id": "r", "after_seq": seen })).await;
        rounds += 1;
        // Notifications before the answer belong to the earlier subscription, which the answer
        // ends.
        for earlier in socket.notified() {
            // The turn may end in an earlier round; this one receives its last events again.
            if earlier["type"] == "task_completed" {
                continue;
            }
            let seq = event(&earlier)["seq"].as_u64().unwrap();
            assert!(seq > seen || rounds == 1);
        }
        // A different number in each round, so that subscriptions start anywhere.
        for _ in 0..(1 + rounds * 37 % 400) {
            let event = next_event(&mut socket).await;
            seen += 1;
            assert_eq!(event["seq"], seen, "round {rounds}");
            if event["msg"]["type"] == "task_complete" {
                break 'turn;
            }
        }
    }
    assert!(seen > 9_000 && rounds > 20, "{seen} events in {rounds} rounds");
}

#[tokio::test]
async fn no_event_follows_the_unsubscribe_answer() {
    let gateway = Gateway::start();
    let body = json!({ "prompt": "deltas: 100000", "session_id": "u" });
    let mut lines = gateway.stream("/exec", &[], body).await;
    lines.until("task_started").await;
    drop(lines);
    let mut socket = Socket::connect(&gateway, &[]).await;
    for _ in 0..50 {
        subscribe(&mut socket, json!({ "session_id": "u" })).await;
        next_event(&mut socket).await;
        let answer = socket.call("conversation.unsubscribe", json!({ "session_id": "u" })).await;
        assert_eq!(answer["result"]["unsubscribed"], true);
        socket.notified();
        for _ in 0..3 {
            socket.call("conversation.status", json!({ "session_id": "u" })).await;
        }
        let late = socket.notified();
        assert!(late.is_empty(), "{} came after the answer: {}", late.len(), late[0]);
    }
    let answer = socket.call("conversation.unsubscribe", json!({ "session_id": "u" })).await;
    assert_eq!(answer["result"]["unsubscribed"], false);
    eventually("no stream is left", || async { gateway.load().await["streams"] == 0 }).await;
}

#[tokio::test]
async fn invalid_subscription_is_refused_with_reason() {
    let gateway = Gateway::start();
    gateway.exec(json!({ "prompt": "say: x", "session_id": "known" })).await;
    let mut socket = Socket::connect(&gateway, &[]).await;
    for (params, code, says) in [
        (json!({}), -32602, "session_id or conversation_id"),
        (json!({ "session_id": "nobody" }), -32004, "nobody"),
        (json!({ "session_id": "known", "after_seq": 99999 }), -32602, "after_seq"),
        (json!({ "session_id": "known", "after_seq": -1 }), -32602, "after_seq"),
        (json!({ "session_id": "known", "raw_events": true }), -32003, "allow_raw_events"),
    ] {
        let answer = socket.call("conversation.subscribe", params).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(says), "{answer}");
    }
    for method in ["conversation.subscribe", "conversation.unsubscribe"] {
        let answer = gateway.rpc(method, json!({ "session_id": "known" })).await;
        assert_eq!(answer["error"]["code"], -32003);
        assert!(answer["error"]["message"].as_str().unwrap().contains("GET /ws"), "{answer}");
    }
}

#[tokio::test]
async fn evicted_conversation_refuses_subscription() {
    let gateway = Gateway::config("[gateway]\nmax_live_conversations = 1\n").start();
    gateway.exec(json!({ "prompt": "say: a", "session_id": "a" })).await;
    gateway.exec(json!({ "prompt": "say: b", "session_id": "b" })).await;
    eventually("one is evicted", || async { gateway.load().await["conversations"] == 1 }).await;
    let mut socket = Socket::connect(&gateway, &[]).await;
    let answer = socket.call("conversation.subscribe", json!({ "session_id": "a" })).await;
    assert_eq!(answer["error"]["code"], -32004);
    assert_eq!(answer["error"]["data"]["oldest_seq"], 1, "{answer}");
}

#[tokio::test]
async fn stalled_subscriber_is_bounded_and_learns_its_loss() {
    // Enough for the client that reads, and much less than the turn.
    let gateway = Gateway::config("[gateway]\nevent_log_bytes = 4194304\n").start();
    // Warm-up: the memory of a turn of this size without subscribers.
    gateway.exec(json!({ "prompt": "deltas: 30000", "session_id": "warm" })).await;
    gateway.exec(json!({ "prompt": "say: x", "session_id": "s" })).await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut socket = Socket::connect(&gateway, &[]).await;
        subscribe(&mut socket, json!({ "session_id": "s", "after_seq": 0 })).await;
        slow.push(socket);
    }
    let before = resident_memory(gateway.child.id());
    let turn = gateway.exec(json!({ "prompt": "deltas: 30000", "session_id": "s" })).await;
    let first = turn[0]["seq"].as_u64().unwrap();
    for (expected, event) in (first..).zip(&turn) {
        assert_eq!(event["seq"], expected, "the client that reads loses nothing");
    }
    assert!(turn.len() > 25_000, "{}", turn.len());
    let grown = resident_memory(gateway.child.id()).saturating_sub(before);
    // Ten queues of at most 1 MiB; thirty thousand events take about 9 MB per subscriber.
    assert!(grown < 40 << 20, "ten slow readers cost {grown} bytes");

    // Concurrently: the gateway closes clients that answer no pings.
    let end = turn.last().unwrap()["seq"].as_u64().unwrap();
    join_all(slow.iter_mut().map(|socket| async move {
        let (mut seq, mut lost) = (0, 0);
        loop {
            let event = next_event(socket).await;
            if event["msg"]["type"] == "gateway_lagged" {
                let missed = event["msg"]["missed"].as_u64().unwrap();
                lost += missed;
                seq += missed;
                assert_eq!(event["seq"], seq);
                continue;
            }
            seq += 1;
            assert_eq!(event["seq"], seq);
            if seq == end {
                break;
            }
        }
        assert!(lost > 0, "nothing was lost: the log is too large for this test");
    }))
    .await;
}

#[tokio::test]
async fn resubscribing_takes_no_second_place() {
    let gateway = Gateway::start();
    let id = endless_turn(&gateway, "m").await;
    let mut socket = Socket::connect(&gateway, &[]).await;
    let subscribed = subscribe(&mut socket, json!({ "conversation_id": id })).await;
    assert_eq!(subscribed["session_id"], "m");
    // More often than the limit of subscriptions.
    for _ in 0..300 {
        let after = json!({ "session_id": "m", "after_seq": subscribed["last_seq"] });
        subscribe(&mut socket, after).await;
    }
    eventually("one is left", || async { gateway.load().await["streams"] == 1 }).await;
}
