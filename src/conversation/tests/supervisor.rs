//! Interrupts: by a client, at the time limit, on drain; and turns that do not obey.

use tokio::time::Instant;

use super::*;
use crate::conversation::report::ErrorSource;
use crate::conversation::report::TurnStatus;
use crate::conversation::state::Activity;
use crate::error::Kind;

#[tokio::test(start_paused = true)]
async fn turn_is_interrupted_once() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    turn.interrupt();
    turn.interrupt();
    assert_eq!(one.submitted_interrupt().await, format!("{}-stop", turn.id));
    one.thread.push(&turn.id, aborted());
    assert_eq!(turn.report().await.unwrap().status, TurnStatus::Cancelled);
    turn.interrupt();
    assert!(futures::poll!(Box::pin(one.thread.next_submission())).is_pending());
    assert!(one.conversation.interrupt(None).is_none());
}

#[tokio::test(start_paused = true)]
async fn only_the_named_turn_is_interrupted() {
    let one = OneConversation::new().await;
    one.start("first").await;
    assert!(one.conversation.interrupt(Some(&"other".into())).is_none());
}

#[tokio::test(start_paused = true)]
async fn time_limit_interrupts() {
    let one = OneConversation::new().await;
    let begun = Instant::now();
    let turn = one.start("first").await;
    one.submitted_interrupt().await;
    assert!(begun.elapsed() >= LIMIT);
    one.thread.push(&turn.id, aborted());
    assert_eq!(turn.report().await.unwrap().status, TurnStatus::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn drain_interrupts() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    one.shutdown.drain.cancel();
    one.submitted_interrupt().await;
    one.thread.push(&turn.id, aborted());
    assert_eq!(turn.report().await.unwrap().status, TurnStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn turn_may_complete_in_spite_of_the_interrupt() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    turn.interrupt();
    one.submitted_interrupt().await;
    one.thread.complete_turn(&turn.id, "done");
    assert_eq!(turn.report().await.unwrap().status, TurnStatus::Completed);
    assert_eq!(one.conversation.snapshot().activity, Activity::Idle);
}

#[tokio::test(start_paused = true)]
async fn unresponsive_turn_is_abandoned() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    turn.interrupt();
    let report = turn.report().await.unwrap();
    assert_eq!(report.status, TurnStatus::Cancelled);
    assert_eq!(report.error.as_ref().unwrap().source, ErrorSource::Gateway);
    one.conversation.close().await;
    assert!(one.thread.is_closed());
    assert_eq!(one.conversation.snapshot().activity, Activity::Closed);
    let error = one.prompt("next", IfBusy::Reject).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn abandoned_turn_may_have_timed_out() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    assert_eq!(turn.report().await.unwrap().status, TurnStatus::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn interrupt_cannot_hit_the_next_turn() {
    let one = OneConversation::new().await;
    let turn = one.start("first").await;
    let hold = one.thread.hold_submissions();
    turn.interrupt();
    one.submitted_interrupt().await;
    one.thread.complete_turn(&turn.id, "");
    turn.report().await.unwrap();
    let mut next = Box::pin(one.prompt("next", IfBusy::Queue));
    assert!(futures::poll!(&mut next).is_pending());
    assert!(futures::poll!(Box::pin(one.thread.next_submission())).is_pending());
    drop(hold);
    next.await.unwrap();
    assert_eq!(one.submitted_prompt().await.text, "next");
}
