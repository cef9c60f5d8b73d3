//! Approvals: a turn waits, and continues after a decision from another connection.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::approvals::decide;
use crate::support::approvals::waiting_turn;
use crate::support::catalogue::with_catalogue;
use crate::support::client::Lines;
use crate::support::client::kinds;
use crate::support::dialects::DIALECTS;
use crate::support::provider::Provider;

/// Starts a turn that waits for the approval of a command.
async fn waiting_command(
    gateway: &Gateway,
    session: &str,
    command: &str,
) -> (Lines, String, Value) {
    let prompt = json!({ "prompt": format!("run: {command}"), "session_id": session,
                         "approval_policy": "untrusted" });
    waiting_turn(gateway, prompt).await
}

#[tokio::test]
async fn approved_command_runs_and_decision_is_an_event() {
    let gateway = Gateway::start();
    let (mut stream, path, approval) = waiting_command(&gateway, "s", "touch made && ls").await;
    assert_eq!(approval["request"]["type"], "exec_approval_request");
    assert!(approval["request"]["command"].to_string().contains("touch made"), "{approval}");
    let shown = gateway.get(&path).await.json();
    assert_eq!(shown["pending_approvals"][0]["approval_id"], approval["approval_id"]);
    let decided = decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
    assert_eq!(decided["decided"], true, "{decided}");
    let events = stream.events().await;
    let kinds = kinds(&events);
    let position = kinds.iter().position(|kind| *kind == "exec_approval_request").unwrap();
    assert_eq!(kinds[position + 1], "gateway_approval_decided");
    assert_eq!(events[position + 1]["msg"]["by"], "development");
    let end = events.last().unwrap();
    assert!(end["msg"]["last_agent_message"].as_str().unwrap().contains("made"), "{end}");
    // A second decision is refused.
    let again = decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
    assert_eq!(again["code"], "not_found");
    assert_eq!(gateway.get(&path).await.json()["status"], "idle");
}

#[tokio::test]
async fn denied_command_never_runs_and_agent_gets_reason() {
    let gateway = Gateway::start();
    let (mut stream, path, approval) = waiting_command(&gateway, "s", "touch nope").await;
    let answer = json!({ "decision": "denied", "reason": "not today" });
    decide(&gateway, &path, &approval, answer).await;
    let events = stream.events().await;
    let said = events.last().unwrap()["msg"]["last_agent_message"].to_string();
    assert!(said.contains("not today"), "{said}");
    let cwd = gateway.get(&path).await.json()["cwd"].as_str().unwrap().to_owned();
    assert!(!std::path::Path::new(&cwd).join("nope").exists());
}

#[tokio::test]
async fn abort_and_cancel_both_end_waiting_turn() {
    let gateway = Gateway::start();
    let (mut stream, path, approval) = waiting_command(&gateway, "s", "touch nope").await;
    decide(&gateway, &path, &approval, json!({ "decision": "abort" })).await;
    assert_eq!(stream.events().await.last().unwrap()["msg"]["type"], "turn_aborted");

    let (mut stream, path, approval) = waiting_command(&gateway, "s", "touch nope").await;
    gateway.rpc("conversation.cancel", json!({ "session_id": "s" })).await;
    assert_eq!(stream.events().await.last().unwrap()["msg"]["type"], "turn_aborted");
    let late = decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
    assert_eq!(late["code"], "not_found", "a finished request cannot be approved");
}

#[tokio::test]
async fn session_approval_covers_later_turns() {
    let gateway = Gateway::start();
    let (mut stream, path, approval) = waiting_command(&gateway, "s", "touch made").await;
    let answer = json!({ "conversation_id": path.rsplit('/').next(), "approval_id": approval["approval_id"],
                         "decision": "approved_for_session" });
    let decided = gateway.rpc("conversation.approve", answer).await;
    assert_eq!(decided["result"]["decision"], "approved_for_session", "{decided}");
    stream.events().await;
    let body = json!({ "prompt": "run: touch made", "session_id": "s" });
    let events = gateway.exec(body).await;
    assert!(!kinds(&events).contains(&"exec_approval_request"), "{:?}", kinds(&events));
    assert_eq!(events.last().unwrap()["msg"]["type"], "task_complete");
}

#[tokio::test]
async fn patch_applies_once_approved() {
    let dialect = &DIALECTS[0];
    let patch = "*** Begin Patch\n*** Add File: made.txt\n+by hand\n*** End Patch\n";
    let provider = Provider::start([dialect.patch(patch), dialect.text("Patched.")]).await;
    let (_catalogue, setup) = with_catalogue(dialect.model, dialect.setup(&provider));
    let gateway = setup.start();
    let prompt = json!({ "prompt": "patch it", "approval_policy": "untrusted" });
    let (mut stream, path, approval) = waiting_turn(&gateway, prompt).await;
    assert_eq!(approval["request"]["type"], "apply_patch_approval_request", "{approval}");
    decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
    assert_eq!(stream.events().await.last().unwrap()["msg"]["type"], "task_complete");
    let cwd = gateway.get(&path).await.json()["cwd"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(format!("{cwd}/made.txt")).unwrap(), "by hand\n");
}

#[tokio::test]
async fn invalid_decision_is_refused_and_turn_keeps_waiting() {
    let gateway = Gateway::start();
    let (mut stream, path, approval) = waiting_command(&gateway, "s", "touch made").await;
    for (answer, expected) in [
        (json!({}), "decision: expected a value, got nothing"),
        (
            json!({ "decision": "yes" }),
            "decision: expected approved, approved_for_session, denied or abort",
        ),
        (json!({ "decision": "denied", "reason": 7 }), "reason: "),
    ] {
        let refused = decide(&gateway, &path, &approval, answer.clone()).await;
        assert_eq!(refused["status"], 400, "{answer}: {refused}");
        assert!(refused["detail"].as_str().unwrap().contains(expected), "{answer}: {refused}");
    }
    let unknown = json!({ "approval_id": "call_7" });
    assert_eq!(
        decide(&gateway, &path, &unknown, json!({ "decision": "approved" })).await["status"],
        404
    );
    assert_eq!(gateway.get(&path).await.json()["status"], "waiting_approval");
    decide(&gateway, &path, &approval, json!({ "decision": "abort" })).await;
    stream.events().await;
}

#[tokio::test]
async fn operator_can_forbid_approvals() {
    let gateway = Gateway::config("[gateway]\nallow_approvals = false\n").start();
    for policy in ["on-request", "untrusted"] {
        let body = json!({ "prompt": "x", "approval_policy": policy });
        let refused = gateway.post("/exec", body).await;
        assert_eq!(refused.status, 403);
        assert!(refused.json()["detail"].as_str().unwrap().contains("gateway.allow_approvals"));
    }
}
