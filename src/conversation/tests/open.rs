//! Opening conversations: by name, by id, from the archive, from a pre-started thread.

use codex_gateway_engine::EngineError;

use super::*;
use crate::conversation::conversation_ref::ConversationRef;
use crate::conversation::model_choice::ModelChoice;
use crate::error::Kind;

#[tokio::test(start_paused = true)]
async fn concurrent_callers_start_one_conversation() {
    let many = ManyConversations::new(limits());
    let (options, key) = (StartOptions::new("key"), key("a"));
    let (one, other) =
        tokio::join!(many.registry.open(&key, &options), many.registry.open(&key, &options));
    assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
    assert_eq!(many.registry.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn failed_start_leaves_nothing_behind() {
    let many = ManyConversations::new(limits());
    many.engine.fail_next_start(EngineError::Rejected("no".to_owned()));
    assert!(many.prompt("a").await.is_err());
    assert!(many.registry.find("key", &key("a")).is_none());
    assert!(many.registry.names().is_empty());
    let left = std::fs::read_dir(many.dir.path().join("root")).unwrap().count();
    assert_eq!(left, 0, "its folder is removed");
    many.run_turn("a", 0).await;
}

#[tokio::test(start_paused = true)]
async fn provider_is_chosen_once() {
    let many = ManyConversations::new(limits());
    let first = many.run_turn("a", 0).await;
    let model = ModelChoice { provider: Some("other".to_owned()), ..ModelChoice::default() };
    let options = StartOptions { model, ..StartOptions::new("key") };
    let key = first.conversation.id().clone().into();
    let refused = many.registry.prompt(&key, &options, prompt("hi"), LIMIT, IfBusy::Reject).await;
    let error = refused.unwrap_err();
    assert_eq!(*error.kind(), Kind::InvalidRequest);
    assert!(error.to_string().starts_with("model_provider: the conversation already uses"));
}

#[tokio::test(start_paused = true)]
async fn archived_conversation_answers_after_unarchiving() {
    let many = ManyConversations::new(limits());
    let first = many.run_turn("a", 0).await;
    let id = first.conversation.id();
    many.registry.archive(id).await.unwrap();
    assert!(many.engine.thread(0).is_closed());
    let options = StartOptions::new("key");
    let refused = many.registry.open(&id.clone().into(), &options).await.unwrap_err();
    assert_eq!(*refused.kind(), Kind::NotFound);
    let back = many.registry.unarchive(id, "key").await.unwrap();
    assert_eq!(back.id(), id);
}

#[tokio::test(start_paused = true)]
async fn plain_conversation_takes_a_prestarted_thread() {
    let many = ManyConversations::new(Limits { prestarted: 1, ..limits() });
    many.shutdown.spawn(Arc::clone(&many.registry).run_prestart());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ready = many.engine.thread(0);
    let turn = many.prompt("a").await.unwrap();
    assert_eq!(ready.next_submission().await.id, *turn.id);
    assert_eq!(many.registry.len(), 1, "the next one is in no list");
}

#[tokio::test(start_paused = true)]
async fn special_conversation_starts_its_own_thread() {
    let many = ManyConversations::new(Limits { prestarted: 1, ..limits() });
    many.shutdown.spawn(Arc::clone(&many.registry).run_prestart());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let options = StartOptions { cwd: Some("here".to_owned()), ..StartOptions::new("key") };
    let conversation = many.registry.open(&key("a"), &options).await.unwrap();
    assert!(conversation.cwd().ends_with("root/here"));
}

/// A prompt that comes while a conversation is archived starts another one, and leaves the archived
/// one alone.
#[tokio::test(start_paused = true)]
async fn prompt_during_archiving_starts_another_conversation() {
    let many = ManyConversations::new(limits());
    let first = many.run_turn("a", 0).await;
    let id = first.conversation.id().clone();
    let hold = many.engine.thread(0).hold_close();
    let (name, options) = (key("a"), StartOptions::new("key"));
    let opening = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        many.registry.open(&name, &options).await
    };
    let release = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(hold);
    };
    let (archived, second, ()) = tokio::join!(many.registry.archive(&id), opening, release);
    archived.unwrap();
    let stored = many.registry.sessions.by_conversation(&id).unwrap();
    assert!(stored.archived);
    let live = many.registry.get_any(&id);
    assert!(matches!(live, Some(ConversationRef::Stored(..))), "{live:?}");
    drop(second);
}
