//! Event replay: from a number, while a turn runs, and past dropped events.

use serde_json::json;

use crate::support::Gateway;
use crate::support::client::kinds;
use crate::support::eventually;

#[tokio::test]
async fn events_replay_from_any_number() {
    let gateway = Gateway::start();
    let events = gateway.exec(json!({ "prompt": "run: echo hi" })).await;
    let id = events[0]["conversation_id"].as_str().unwrap();
    let path = format!("/api/v1/conversations/{id}/events");
    let again = gateway.follow(&path, &[]).await.events().await;
    assert_eq!(again[..events.len()], events[..]);
    let rest = gateway.follow(&format!("{path}?after=4"), &[]).await.events().await;
    assert_eq!(rest[0]["seq"], 5);
    let browser = [("last-event-id", "6"), ("accept", "text/event-stream")];
    let rest = gateway.follow(&format!("{path}?after=1"), &browser).await.sse().await;
    assert_eq!(rest[0].0, "7");

    let document = gateway.get(&format!("/api/v1/conversations/{id}")).await.json();
    assert_eq!(document["status"], "idle");
    assert!(document["last_seq"].as_u64().unwrap() >= events.len() as u64);
    assert!(document["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn reconnecting_client_misses_no_event() {
    let gateway = Gateway::start();
    let mut lines = gateway.stream("/exec", &[], json!({ "prompt": "slow: 10" })).await;
    let seen = lines.until("agent_message_content_delta").await;
    drop(lines);
    let (id, seq) = (seen["conversation_id"].as_str().unwrap(), &seen["seq"]);
    let path = format!("/api/v1/conversations/{id}/events?after={seq}&follow=true");
    let mut lines = gateway.follow(&path, &[]).await;
    let mut expected = seq.as_u64().unwrap();
    loop {
        let event = lines.event().await.unwrap();
        expected += 1;
        assert_eq!(event["seq"], expected, "no gap and no repeat");
        if event["msg"]["type"] == "task_complete" {
            break;
        }
    }
}

#[tokio::test]
async fn dropped_events_answer_410() {
    let gateway = Gateway::config("[gateway]\nevent_log_bytes = 4096\n").start();
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": "deltas: 500" })).await.json();
    let id = answer["conversation_id"].as_str().unwrap();
    let path = format!("/api/v1/conversations/{id}/events");
    let gone = gateway.get(&format!("{path}?after=1")).await;
    assert_eq!(gone.status, 410);
    let oldest = gone.json()["oldest_seq"].as_u64().unwrap();
    let kept = gateway.follow(&format!("{path}?after={}", oldest - 1), &[]).await.events().await;
    assert_eq!(kept[0]["seq"], oldest);
    let ahead = gateway.get(&format!("{path}?after=999999")).await;
    assert_eq!(ahead.status, 400);
}

#[tokio::test]
async fn slow_reader_learns_how_much_it_missed() {
    let gateway = Gateway::config("[gateway]\nevent_log_bytes = 65536\n").start();
    let body = json!({ "prompt": "deltas: 60000", "session_id": "big" });
    let mut slow = gateway.stream("/exec", &[], body).await;
    let first = slow.until("task_started").await;
    let id = first["conversation_id"].as_str().unwrap();
    let path = format!("/api/v1/conversations/{id}");
    // It reads nothing until the turn has ended; the gap in its events must be announced.
    eventually("the turn ends", || async { gateway.get(&path).await.json()["status"] == "idle" })
        .await;
    let events = slow.events().await;
    let mut expected = first["seq"].as_u64().unwrap() + 1;
    let mut lost = 0;
    for event in &events {
        if event["msg"]["type"] == "gateway_lagged" {
            lost += event["msg"]["missed"].as_u64().unwrap();
            expected += event["msg"]["missed"].as_u64().unwrap();
        } else {
            assert_eq!(event["seq"], expected);
            expected += 1;
        }
    }
    assert!(lost > 0, "nothing was lost: the log is too large for this test");
    assert_eq!(kinds(&events).last(), Some(&"task_complete"));
}

#[tokio::test]
async fn idle_conversations_are_evicted_and_resumed() {
    let gateway = Gateway::config("[gateway]\nmax_live_conversations = 2\n").start();
    for n in 0..4 {
        let body = json!({ "prompt": format!("say: {n}"), "session_id": format!("s{n}") });
        gateway.post("/api/v1/exec", body).await;
    }
    eventually("two are evicted", || async { gateway.load().await["conversations"] == 2 }).await;
    let known = gateway.rpc("conversation.status", json!({ "session_id": "s0" })).await;
    let id = known["result"]["conversation_id"].as_str().unwrap().to_owned();
    let events = gateway.get(&format!("/api/v1/conversations/{id}/events")).await;
    assert_eq!(events.status, 410);
    let body = json!({ "prompt": "what did I say before?", "session_id": "s0" });
    let answer = gateway.post("/api/v1/exec", body).await.json();
    assert_eq!(answer["conversation_id"], *id);
    assert!(answer["task_result"]["summary"].as_str().unwrap().contains("say: 0"));
}

#[tokio::test]
async fn raw_events_require_operator_permission() {
    let gateway = Gateway::start();
    let raw_prompt = json!({ "prompt": "say: x", "raw_events": true });
    assert_eq!(gateway.post("/exec", raw_prompt.clone()).await.status, 403);
    let plain = gateway.exec(json!({ "prompt": "say: x" })).await;
    let text = serde_json::to_string(&plain).unwrap();
    assert!(!text.contains("raw_response") && !text.contains("You are the demo model"), "{text}");

    let gateway = Gateway::config("[gateway]\nallow_raw_events = true\n").start();
    let raw = gateway.exec(raw_prompt).await;
    assert!(kinds(&raw).contains(&"raw_response_item"));
    let plain = gateway.exec(json!({ "prompt": "say: x" })).await;
    assert!(!kinds(&plain).iter().any(|kind| kind.starts_with("raw_response")));
}
