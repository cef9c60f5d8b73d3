//! One turn at a time: refuse, queue, steer.

use codex_gateway_engine::EngineError;
use codex_gateway_engine::Sandbox;

use super::*;
use crate::conversation::report::TurnStatus;
use crate::conversation::state::Activity;
use crate::error::Kind;

#[tokio::test(start_paused = true)]
async fn prompt_is_refused_while_a_turn_runs() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    let error = one.prompt("second", IfBusy::Reject).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Busy { turn_id: turn.id.to_string() });
}

#[tokio::test(start_paused = true)]
async fn queued_prompts_start_in_order() {
    let one = OneConversation::new().await;
    let mut turn = one.start("first").await;
    let mut queued = ["a", "b", "c"].map(|text| (text, Box::pin(one.prompt(text, IfBusy::Queue))));
    for (_, prompt) in &mut queued {
        assert!(futures::poll!(prompt).is_pending());
    }
    for (text, prompt) in queued {
        one.thread.complete_turn(&turn.id, "");
        turn = prompt.await.unwrap();
        assert_eq!(one.submitted_prompt().await.text, text);
    }
}

#[tokio::test(start_paused = true)]
async fn queue_is_bounded() {
    let one = OneConversation::with(Limits { max_queued: 1, ..limits() }, false).await;
    one.start("first").await;
    let mut queued = Box::pin(one.prompt("second", IfBusy::Queue));
    assert!(futures::poll!(&mut queued).is_pending());
    let error = one.prompt("third", IfBusy::Queue).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn queued_prompt_is_refused_on_drain() {
    let one = OneConversation::new().await;
    one.start("first").await;
    let mut queued = Box::pin(one.prompt("second", IfBusy::Queue));
    assert!(futures::poll!(&mut queued).is_pending());
    one.shutdown.drain.cancel();
    assert_eq!(*queued.await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn dropped_prompt_leaves_the_queue() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    let mut dropped = Box::pin(one.prompt("dropped", IfBusy::Queue));
    assert!(futures::poll!(&mut dropped).is_pending());
    let mut kept = Box::pin(one.prompt("kept", IfBusy::Queue));
    assert!(futures::poll!(&mut kept).is_pending());
    drop(dropped);
    one.thread.complete_turn(&turn.id, "");
    kept.await.unwrap();
    assert_eq!(one.submitted_prompt().await.text, "kept");
}

#[tokio::test(start_paused = true)]
async fn queued_prompt_waits_for_cores_own_turn() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    let mut next = Box::pin(one.prompt("next", IfBusy::Queue));
    let mut last = Box::pin(one.prompt("last", IfBusy::Queue));
    assert!(futures::poll!(&mut next).is_pending());
    assert!(futures::poll!(&mut last).is_pending());

    // Core begins a turn of its own before the prompt that was given the slot is polled.
    one.thread.complete_turn(&turn.id, "");
    one.thread.begin_turn("own");
    one.until_running("own").await;
    assert!(futures::poll!(&mut next).is_pending());
    let own = one.conversation.interrupt(None).unwrap();
    one.submitted_interrupt().await;
    one.thread.push("own", aborted());
    assert_eq!(own.report().await.unwrap().status, TurnStatus::Cancelled);

    let turn = next.await.unwrap();
    assert_eq!(one.submitted_prompt().await.text, "next");
    one.thread.complete_turn(&turn.id, "done");
    assert_eq!(turn.report().await.unwrap().message, "done");
    last.await.unwrap();
    assert_eq!(one.submitted_prompt().await.text, "last");
}

#[tokio::test(start_paused = true)]
async fn steering_adds_to_the_running_turn() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    let steered = one.prompt("more", IfBusy::Steer).await.unwrap();
    assert_eq!(steered.id, turn.id);
    match one.thread.next_submission().await.submission {
        Submission::Steer { turn_id, text, .. } => {
            assert_eq!((turn_id.as_str(), text.as_str()), (&*turn.id, "more"));
        }
        other => panic!("expected a steer: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn steering_too_late_starts_a_turn() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    one.thread.fail_next_submission(EngineError::NoActiveTurn);
    one.thread.complete_turn(&turn.id, "");
    let next = one.prompt("more", IfBusy::Steer).await.unwrap();
    assert_ne!(next.id, turn.id);
    assert!(matches!(one.thread.next_submission().await.submission, Submission::Steer { .. }));
    assert_eq!(one.submitted_prompt().await.text, "more");
}

#[tokio::test(start_paused = true)]
async fn failed_submission_leaves_no_turn_and_settings() {
    let one = OneConversation::new().await;
    let read_only = Prompt { sandbox: Some(Sandbox::ReadOnly), ..prompt("hi") };
    let start = || one.conversation.prompt(read_only.clone(), LIMIT, IfBusy::Reject);
    one.thread.fail_next_submission(EngineError::Failed("gone".to_owned()));
    assert!(start().await.is_err());
    assert_eq!(one.conversation.snapshot().activity, Activity::Idle);
    one.submitted_prompt().await;
    start().await.unwrap();
    assert_eq!(one.submitted_prompt().await.sandbox, Some(Sandbox::ReadOnly));
}
