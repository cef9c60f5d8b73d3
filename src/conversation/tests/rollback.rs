//! Rollbacks: confirmed, refused, lost.

use super::*;
use crate::conversation::rollback::PendingRollback;
use crate::error::Kind;

async fn start(one: &OneConversation) -> (PendingRollback, String) {
    let pending = one.conversation.start_rollback(2).await.unwrap();
    let submitted = one.thread.next_submission().await;
    assert!(matches!(submitted.submission, Submission::Rollback { turns: 2 }), "{submitted:?}");
    (pending, submitted.id)
}

#[tokio::test(start_paused = true)]
async fn no_turn_starts_before_core_confirms() {
    let one = OneConversation::new().await;
    let (pending, id) = start(&one).await;
    let error = one.prompt("first", IfBusy::Reject).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Busy { .. }), "{error:?}");
    one.thread.push(&id, json!({ "type": "thread_rolled_back", "num_turns": 2 }));
    pending.confirmed().await.unwrap();
    one.start("first").await;
}

#[tokio::test(start_paused = true)]
async fn refused_rollback_is_an_error() {
    let one = OneConversation::new().await;
    let (pending, id) = start(&one).await;
    one.thread.push(&id, json!({ "type": "error", "message": "no" }));
    let error = pending.confirmed().await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (&Kind::Engine, "no"));
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_rollback_times_out() {
    let one = OneConversation::new().await;
    let (pending, _) = start(&one).await;
    assert_eq!(*pending.confirmed().await.unwrap_err().kind(), Kind::Engine);
}

#[tokio::test(start_paused = true)]
async fn rollback_ends_with_the_conversation() {
    let one = OneConversation::new().await;
    let (pending, _) = start(&one).await;
    one.conversation.close().await;
    assert_eq!(*pending.confirmed().await.unwrap_err().kind(), Kind::NotFound);
}
