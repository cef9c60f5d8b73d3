//! Eviction of idle conversations, and prompts that race it.

use chrono::Utc;

use super::*;
use crate::conversation::conversation_ref::ConversationRef;
use crate::conversation::log::Read;
use crate::error::Kind;

/// Longer than the interval of the eviction.
const A_WHILE: Duration = Duration::from_secs(6);

impl ManyConversations {
    fn run_eviction(&self) {
        self.shutdown.spawn(Arc::clone(&self.registry).run_eviction());
    }
}

#[tokio::test(start_paused = true)]
async fn idle_conversation_is_evicted_and_resumed() {
    let many = ManyConversations::new(Limits { idle: Duration::ZERO, ..limits() });
    let first = many.run_turn("a", 0).await;
    many.run_eviction();
    tokio::time::sleep(A_WHILE).await;
    assert!(many.engine.thread(0).is_closed());
    assert!(many.registry.is_empty());
    assert!(matches!(many.registry.find("key", &key("a")), Some(ConversationRef::Stored(..))));
    let second = many.run_turn("a", 1).await;
    assert_eq!(second.conversation.id(), first.conversation.id());
}

#[tokio::test(start_paused = true)]
async fn conversation_stays_before_its_time() {
    let many = ManyConversations::new(limits());
    many.run_turn("a", 0).await;
    many.run_eviction();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(many.registry.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn running_conversation_is_not_evicted() {
    let none_idle = Limits { idle: Duration::ZERO, max_live: 1, ..limits() };
    let many = ManyConversations::new(none_idle);
    let turn = many.prompt("a").await.unwrap();
    many.run_eviction();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(many.registry.running(), 1);
    many.engine.thread(0).complete_turn(&turn.id, "done");
    turn.report().await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(many.registry.is_empty());
}

#[tokio::test(start_paused = true)]
async fn longest_idle_makes_room() {
    let many = ManyConversations::new(Limits { max_live: 2, ..limits() });
    for (thread, session) in ["a", "b", "c"].into_iter().enumerate() {
        many.run_turn(session, thread).await;
        // The times of conversations differ.
        std::thread::sleep(Duration::from_millis(2));
    }
    let live = |session| {
        matches!(many.registry.find("key", &key(session)), Some(ConversationRef::Live(_)))
    };
    assert_eq!(["a", "b", "c"].map(live), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn live_conversations_are_bounded() {
    let many = ManyConversations::new(Limits { max_live: 1, ..limits() });
    let turn = many.prompt("a").await.unwrap();
    let refused = many.prompt("b").await.unwrap_err();
    assert_eq!(*refused.kind(), Kind::Unavailable);
    assert!(refused.to_string().contains("max_live_conversations"), "{refused}");
    assert_eq!(many.registry.len(), 1);
    many.engine.thread(0).complete_turn(&turn.id, "done");
    turn.report().await.unwrap();
    many.prompt("b").await.unwrap();
    assert_eq!(many.registry.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn conversation_that_hangs_delays_no_other() {
    let many = ManyConversations::new(Limits { idle: Duration::ZERO, ..limits() });
    let hung = many.run_turn("a", 0).await;
    many.run_turn("b", 1).await;
    let thread = many.engine.thread(0);
    let hold = thread.hold_close();
    many.run_eviction();
    tokio::time::sleep(A_WHILE).await;
    assert!(many.engine.thread(1).is_closed());
    assert_eq!(many.registry.len(), 1);
    // Core gives it up. Its readers end, and the next prompt resumes it.
    thread.never_end();
    drop(hold);
    let mut cursor = hung.conversation.log().cursor(hung.conversation.log().last_seq());
    while !matches!(cursor.read(), Read::Ended) {
        cursor.changed().await;
    }
    let resumed = many.run_turn("a", 2).await;
    assert_eq!(resumed.conversation.id(), hung.conversation.id());
}

#[tokio::test(start_paused = true)]
async fn thread_that_ends_by_itself_leaves() {
    let many = ManyConversations::new(Limits { max_live: 1, ..limits() });
    many.run_turn("a", 0).await.conversation.close().await;
    many.run_eviction();
    tokio::time::sleep(A_WHILE).await;
    assert!(many.registry.is_empty());
    many.run_turn("b", 1).await;
}

#[tokio::test(start_paused = true)]
async fn prompt_waits_for_an_eviction_and_resumes() {
    let many = ManyConversations::new(Limits { idle: Duration::ZERO, ..limits() });
    let first = many.run_turn("a", 0).await;
    let hold = many.engine.thread(0).hold_close();
    many.run_eviction();
    tokio::time::sleep(A_WHILE).await;
    let mut prompt = Box::pin(many.prompt("a"));
    assert!(futures::poll!(&mut prompt).is_pending(), "the history is not on disk yet");
    drop(hold);
    let turn = prompt.await.unwrap();
    assert_eq!(turn.conversation.id(), first.conversation.id());
    assert_eq!(many.engine.thread(1).next_submission().await.id, *turn.id);
}

#[tokio::test(start_paused = true)]
async fn eviction_between_open_and_prompt_is_retried() {
    let many = ManyConversations::new(limits());
    let first = many.run_turn("a", 0).await;
    let id = first.conversation.id().clone();
    let compact = |conversation: Arc<Conversation>| {
        if Arc::ptr_eq(&conversation, &first.conversation) {
            conversation.close_if_idle(Utc::now() + LIMIT);
        }
        async move { conversation.compact().await }
    };
    let turn = many.registry.with_live(&id, "key", compact).await.unwrap();
    assert!(!Arc::ptr_eq(&turn.conversation, &first.conversation));
    let submitted = many.engine.thread(1).next_submission().await;
    assert!(matches!(submitted.submission, Submission::Compact));
}
