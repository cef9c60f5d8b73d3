//! Damaged files of sessions and recordings, on the real core.

use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

use super::metrics;
use crate::support::Gateway;
use crate::support::gateway::Setup;
use crate::support::model::Model;

async fn start(model: &Model) -> Gateway {
    Gateway::config(&model.config()).env("SCRIPTED_KEY", "k").start()
}

/// Kills the gateway, changes files of its home, and starts it again.
fn restarted(gateway: Gateway, model: &Model, change: impl FnOnce(&Gateway)) -> Gateway {
    let mut gateway = gateway;
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    change(&gateway);
    let home = std::sync::Arc::clone(&gateway.home);
    drop(gateway);
    Setup::default().config(&model.config()).env("SCRIPTED_KEY", "k").start_in(&home)
}

fn sessions_file(gateway: &Gateway) -> PathBuf {
    gateway.home.path().join("gateway/sessions.jsonl")
}

/// The recording of a conversation.
fn recording(gateway: &Gateway, answer: &Value) -> PathBuf {
    let id = answer["conversation_id"].as_str().unwrap();
    let mut folders = vec![gateway.home.path().join("sessions")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(&format!("{id}.jsonl")) {
                return path;
            }
        }
    }
    panic!("no recording of {id}");
}

/// Replaces the first line that contains `marks`.
fn damage(path: &PathBuf, marks: &[&str], with: &[u8]) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut done = false;
    let mut bytes = Vec::new();
    for line in text.lines() {
        let hit = !done && marks.iter().all(|mark| line.contains(mark));
        done |= hit;
        bytes.extend_from_slice(if hit { with } else { line.as_bytes() });
        bytes.push(b'\n');
    }
    assert!(done, "{marks:?} in {text}");
    std::fs::write(path, bytes).unwrap();
}

async fn damaged(gateway: &Gateway, kind: &str) -> f64 {
    let labels = [("codex_gateway_record_kind", kind)];
    metrics(gateway).await.total("codex_gateway_records_damaged_total", &labels)
}

#[tokio::test]
async fn empty_recording_is_a_conversation_without_turns() {
    let model = Model::start(200).await;
    let gateway = start(&model).await;
    let first = gateway.ask("empty", "remember pomegranate").await;
    let other = gateway.ask("torn", "remember quince").await;
    let gateway = restarted(gateway, &model, |gateway| {
        std::fs::write(recording(gateway, &first), "").unwrap();
        std::fs::write(recording(gateway, &other), "{\"timestamp\":\"2026-").unwrap();
    });
    for (session, before) in [("empty", &first), ("torn", &other)] {
        let id = before["conversation_id"].as_str().unwrap();
        let history = gateway.get(&format!("/api/v1/conversations/{id}/history")).await;
        assert_eq!((history.status, &history.json()["turns"]), (200, &json!([])), "{session}");
        for _ in 0..2 {
            let answer = gateway.ask(session, "hello").await;
            assert_eq!(answer["status"], "completed", "{session}: {answer}");
        }
        let archived =
            gateway.send("DELETE", &format!("/api/v1/conversations/{id}"), &[], b"").await;
        assert_eq!(archived.status, 200, "{}", archived.text());
    }
}

#[tokio::test]
async fn damaged_recording_is_repaired_and_told() {
    let model = Model::start(200).await;
    let gateway = start(&model).await;
    let bad = [("not-utf8", &b"\xff\xfe\x00"[..]), ("not-json", b"{\"timestamp\":")];
    let mut answers = Vec::new();
    for (session, _) in bad {
        let answer = gateway.ask(session, "remember pomegranate").await;
        gateway.ask(session, "remember quince").await;
        answers.push(answer);
    }
    let gateway = restarted(gateway, &model, |gateway| {
        for (answer, (_, with)) in answers.iter().zip(bad) {
            // The prompt as the model gets it; the event that the history shows stays.
            damage(
                &recording(gateway, answer),
                &["response_item", "\"role\":\"user\"", "pomegranate"],
                with,
            );
        }
    });
    for ((session, _), answer) in bad.into_iter().zip(&answers) {
        let mut stream = gateway
            .stream("/exec", &[], json!({ "prompt": "which?", "session_id": session }))
            .await;
        let warning = stream.until("warning").await;
        assert!(warning["msg"]["message"].as_str().unwrap().contains("1 damaged lines"));
        stream.until("task_complete").await;
        let sent = model.last_request();
        assert!(sent.contains("pomegranate") && sent.contains("quince"), "{session}");
        let id = answer["conversation_id"].as_str().unwrap();
        let history = gateway.get(&format!("/api/v1/conversations/{id}/history")).await.json();
        assert_eq!(history["turns"].as_array().unwrap().len(), 3, "{history}");
        assert_eq!(history["turns"][0]["items"][0]["text"], "remember pomegranate");
    }
    assert_eq!(damaged(&gateway, "recording").await, 2.0);
    assert!(gateway.log.lock().unwrap().contains("a recording is damaged"));
}

#[tokio::test]
async fn damaged_session_line_is_restored() {
    let model = Model::start(200).await;
    let gateway = start(&model).await;
    let kept = gateway.ask("kept", "remember medlar").await;
    let cut = gateway.ask("cut", "remember pomegranate").await;
    let gone = gateway.ask("gone", "remember quince").await;
    let gateway = restarted(gateway, &model, |gateway| {
        let file = sessions_file(gateway);
        let id = cut["conversation_id"].as_str().unwrap();
        let line = format!("{{\"session_id\":\"cut\",\"conversation_id\":\"{id}\",\"cw\u{1}");
        damage(&file, &["\"cut\""], line.as_bytes());
        damage(&file, &["\"gone\""], b"\xff\xff");
    });
    assert_eq!(damaged(&gateway, "session").await, 2.0);
    for (session, before, word) in [("kept", &kept, "medlar"), ("cut", &cut, "pomegranate")] {
        let again = gateway.ask(session, "which?").await;
        assert_eq!(again["conversation_id"], before["conversation_id"], "{session}: {again}");
        assert!(model.last_request().contains(word), "{session}");
    }
    // Its name is lost, its conversation is not.
    let body = json!({ "prompt": "which?", "conversation_id": gone["conversation_id"] });
    let again = gateway.post("/api/v1/exec", body).await.json();
    assert_eq!(again["status"], "completed", "{again}");
    assert!(model.last_request().contains("quince"));
    // The next start finds nothing damaged.
    let gateway = gateway.kill_and_restart();
    assert_eq!(damaged(&gateway, "session").await, 0.0);
    assert_eq!(gateway.ask("cut", "hello").await["conversation_id"], cut["conversation_id"]);
}
