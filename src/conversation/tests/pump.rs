//! Core's events: the report, the log, turns that core starts by itself, the end.

use super::*;
use crate::conversation::log::Read;
use crate::conversation::report::ErrorSource;
use crate::conversation::report::TurnStatus;
use crate::conversation::state::Activity;

#[tokio::test(start_paused = true)]
async fn report_follows_from_the_events() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    one.thread.push(&turn.id, json!({ "type": "agent_message", "message": "hello" }));
    one.thread.push(&turn.id, json!({ "type": "agent_message", "message": "goodbye" }));
    one.thread.complete_turn(&turn.id, "goodbye");
    let report = turn.report().await.unwrap();
    assert_eq!((report.status, report.message.as_str()), (TurnStatus::Completed, "goodbye"));
    assert_eq!(report.end_seq, one.conversation.log().last_seq());
    assert_eq!(one.conversation.turn_summary(&turn.id).unwrap().summary, "goodbye");
    let Read::Events(entries) = turn.cursor().read() else { panic!("expected events") };
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind()).collect();
    assert_eq!(kinds, ["task_started", "agent_message", "agent_message", "task_complete"]);
    assert_eq!(entries.last().unwrap().ends.as_ref(), Some(&turn.id));
}

#[tokio::test]
async fn events_never_hold_the_egress_secret() {
    let egress = EgressProxy::open(&Shutdown::default()).await.unwrap();
    let masked = egress.masked_url("https://tools.example/mcp");
    let one = OneConversation::behind(Some(egress), limits(), false).await;
    let turn = one.start("first").await;
    let message = format!("cannot send to {masked}: refused");
    one.thread.push(&turn.id, json!({ "type": "warning", "message": message }));
    one.thread.complete_turn(&turn.id, "done");
    turn.report().await.unwrap();
    let Read::Events(entries) = turn.cursor().read() else { panic!("expected events") };
    let warning = entries.iter().find(|entry| entry.kind() == "warning").unwrap();
    let line = String::from_utf8_lossy(&warning.line);
    assert!(line.contains("\"cannot send to https://tools.example/mcp: refused\""), "{line}");
}

#[tokio::test(start_paused = true)]
async fn refused_prompt_fails_its_turn() {
    let one = OneConversation::new().await;
    let turn = one.prompt("first", IfBusy::Reject).await.unwrap();
    one.thread.push(&turn.id, json!({ "type": "error", "message": "no" }));
    let report = turn.report().await.unwrap();
    assert_eq!(report.status, TurnStatus::Failed);
    let error = report.error.as_ref().unwrap();
    assert_eq!((error.source, error.message.as_str()), (ErrorSource::Model, "no"));
}

#[tokio::test(start_paused = true)]
async fn cores_own_turn_is_a_turn() {
    let one = OneConversation::new().await;
    one.thread.begin_turn("own");
    one.until_running("own").await;
    assert_eq!(one.conversation.snapshot().activity, Activity::Running);
    let own = one.conversation.interrupt(None).unwrap();
    assert_eq!(one.submitted_interrupt().await, "own-stop");
    one.thread.push("own", aborted());
    assert_eq!(own.report().await.unwrap().status, TurnStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn merged_prompt_ends_with_cores_own_turn() {
    let one = OneConversation::new().await;
    let turn = one.prompt("first", IfBusy::Reject).await.unwrap();
    one.thread.begin_turn("own");
    one.thread.complete_turn("own", "both");
    assert_eq!(turn.report().await.unwrap().message, "both");
}

#[tokio::test(start_paused = true)]
async fn end_of_the_thread_fails_its_turn() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    let mut cursor = turn.cursor();
    one.thread.push("", json!({ "type": "shutdown_complete" }));
    let report = turn.report().await.unwrap();
    assert_eq!(report.status, TurnStatus::Failed);
    assert_eq!(report.error.as_ref().unwrap().source, ErrorSource::Gateway);
    let Read::Events(entries) = cursor.read() else { panic!("expected events") };
    assert_eq!(entries.last().unwrap().kind(), "gateway_error");
    assert!(matches!(cursor.read(), Read::Ended));
    assert_eq!(one.conversation.snapshot().activity, Activity::Closed);
}

#[tokio::test(start_paused = true)]
async fn slow_reader_of_a_small_log_lags() {
    let one = OneConversation::with(Limits { event_log_bytes: 300, ..limits() }, false).await;
    let turn = one.start("first").await;
    for _ in 0..10 {
        one.thread.push(&turn.id, json!({ "type": "agent_message", "message": "hello" }));
    }
    one.thread.complete_turn(&turn.id, "");
    let report = turn.report().await.unwrap();
    let mut cursor = turn.cursor();
    let Read::Lagged { missed } = cursor.read() else { panic!("expected a gap") };
    assert!(missed >= 9, "{missed}");
    let Read::Events(entries) = cursor.read() else { panic!("expected events") };
    assert_eq!(entries.last().unwrap().seq, report.end_seq);
}

#[tokio::test(start_paused = true)]
async fn system_prompt_is_kept_only_on_demand() {
    for kept in [false, true] {
        let one = OneConversation::with(limits(), kept).await;
        let turn = one.start("first").await;
        let item = json!({ "type": "message", "role": "assistant", "content": [] });
        one.thread.push(&turn.id, json!({ "type": "raw_response_item", "item": item }));
        one.thread.complete_turn(&turn.id, "");
        turn.report().await.unwrap();
        let Read::Events(entries) = turn.cursor().read() else { panic!("expected events") };
        assert_eq!(entries.iter().any(|entry| entry.is_raw()), kept);
    }
}
