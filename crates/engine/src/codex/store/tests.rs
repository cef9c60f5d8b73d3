//! Core's store behind the merging one, in memory.

use std::time::SystemTime;

use codex_protocol::SessionId;
use codex_protocol::models::BaseInstructions;
use codex_protocol::protocol::SessionSource;
use codex_protocol::protocol::ThreadMemoryMode;
use codex_thread_store::InMemoryThreadStore;
use codex_thread_store::ThreadPersistenceMetadata;

use super::*;

async fn live(id: ThreadId) -> (Arc<InMemoryThreadStore>, MergingStore) {
    let inner = Arc::new(InMemoryThreadStore::default());
    let store = MergingStore::new(Arc::clone(&inner) as Arc<dyn ThreadStore>);
    let params = CreateThreadParams {
        session_id: SessionId::from(id),
        thread_id: id,
        extra_config: None,
        forked_from_id: None,
        parent_thread_id: None,
        source: SessionSource::Exec,
        thread_source: None,
        originator: "test".to_owned(),
        base_instructions: BaseInstructions::default(),
        dynamic_tools: Vec::new(),
        selected_capability_roots: Vec::new(),
        multi_agent_version: None,
        history_mode: ThreadHistoryMode::default(),
        subagent_history_start_ordinal: None,
        initial_window_id: String::new(),
        metadata: ThreadPersistenceMetadata {
            cwd: None,
            model_provider: "test".to_owned(),
            memory_mode: ThreadMemoryMode::Disabled,
        },
    };
    store.create_thread(params).await.unwrap();
    (inner, store)
}

async fn observe(store: &MergingStore, id: ThreadId, model: &str) -> StoredThread {
    let patch = ThreadMetadataPatch {
        model: Some(model.to_owned()),
        updated_at: Some(SystemTime::now().into()),
        ..ThreadMetadataPatch::default()
    };
    update(store, id, patch).await
}

async fn update(store: &MergingStore, id: ThreadId, patch: ThreadMetadataPatch) -> StoredThread {
    let params = UpdateThreadMetadataParams { thread_id: id, patch, include_archived: true };
    store.update_thread_metadata(params).await.unwrap()
}

fn read(id: ThreadId) -> ReadThreadParams {
    ReadThreadParams { thread_id: id, include_archived: true, include_history: false }
}

#[tokio::test]
async fn what_is_observed_is_merged_and_written_a_moment_later() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    for model in ["a", "b", "c"] {
        assert_eq!(observe(&store, id, model).await.model.as_deref(), Some(model));
    }
    assert_eq!(inner.calls().await.update_thread_metadata, 1);
    while inner.calls().await.update_thread_metadata < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(inner.read_thread(read(id)).await.unwrap().model.as_deref(), Some("c"));
}

#[tokio::test]
async fn who_reads_or_closes_a_conversation_finds_what_was_observed() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    observe(&store, id, "a").await;
    observe(&store, id, "b").await;
    assert_eq!(store.read_thread(read(id)).await.unwrap().model.as_deref(), Some("b"));
    observe(&store, id, "c").await;
    let name = ThreadMetadataPatch {
        name: Some(Some("mine".to_owned())),
        ..ThreadMetadataPatch::default()
    };
    let named = update(&store, id, name).await;
    assert_eq!((named.name.as_deref(), named.model.as_deref()), (Some("mine"), Some("c")));
    observe(&store, id, "d").await;
    store.shutdown_thread(id).await.unwrap();
    assert_eq!(inner.read_thread(read(id)).await.unwrap().model.as_deref(), Some("d"));
    assert_eq!(inner.calls().await.update_thread_metadata, 5);
}

#[tokio::test]
async fn a_recording_that_is_on_disk_is_not_asked_for_again() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    store.persist_thread(id).await.unwrap();
    store.persist_thread(id).await.unwrap();
    store.flush_thread(id).await.unwrap();
    let calls = inner.calls().await;
    assert_eq!((calls.persist_thread, calls.flush_thread), (1, 0));
    let said = AppendThreadItemsParams { thread_id: id, items: vec![item("agent_message")] };
    store.append_items(said).await.unwrap();
    store.flush_thread(id).await.unwrap();
    assert_eq!(inner.calls().await.flush_thread, 0);
    // What is being said may not be there yet.
    let mut appending = Appending::begin(store.live(id).unwrap());
    store.flush_thread(id).await.unwrap();
    assert_eq!(inner.calls().await.flush_thread, 1);
    appending.done = true;
    drop(appending);
    store.archive_thread(ArchiveThreadParams { thread_id: id }).await.unwrap();
    store.flush_thread(id).await.unwrap();
    store.flush_thread(id).await.unwrap();
    assert_eq!(inner.calls().await.flush_thread, 2);
    // Nor what could not be said.
    drop(Appending::begin(store.live(id).unwrap()));
    store.flush_thread(id).await.unwrap();
    assert_eq!(inner.calls().await.flush_thread, 3);
}

#[tokio::test]
async fn a_conversation_of_which_nothing_was_written_is_not_searched_for() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    let error = store.read_thread(read(id)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("invalid thread-store request: no rollout found for thread id {id}")
    );
    assert_eq!(inner.calls().await.read_thread, 0);
    let items = vec![item("agent_message")];
    store.append_items(AppendThreadItemsParams { thread_id: id, items }).await.unwrap();
    store.read_thread(read(id)).await.unwrap();
    assert_eq!(inner.calls().await.read_thread, 1);

    // One whose recording was asked for may be found.
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    store.persist_thread(id).await.unwrap();
    store.read_thread(read(id)).await.unwrap();
    assert_eq!(inner.calls().await.read_thread, 1);
}

#[tokio::test]
async fn pieces_of_an_answer_are_not_said_to_the_store() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    for items in [
        vec![item("agent_message_content_delta")],
        vec![item("agent_message_content_delta"), item("agent_message")],
        vec![item("exec_command_output_delta")],
    ] {
        store.append_items(AppendThreadItemsParams { thread_id: id, items }).await.unwrap();
    }
    assert_eq!(inner.calls().await.append_items, 1);
    assert!(!may_be_recorded(&item("agent_message_content_delta")));
    // In one of the two modes.
    assert!(may_be_recorded(&item("agent_message")));
}

/// An event, which core would have recorded.
fn item(kind: &str) -> RolloutItem {
    let event = serde_json::json!({
        "type": kind, "message": "hi", "thread_id": "t", "turn_id": "u", "item_id": "i", "delta": "hi",
        "call_id": "c", "stream": "stdout", "chunk": "aGk=",
    });
    RolloutItem::EventMsg(serde_json::from_value(event).unwrap())
}

#[tokio::test]
async fn what_is_held_back_does_not_bring_a_deleted_conversation_back() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    observe(&store, id, "a").await;
    observe(&store, id, "b").await;
    let live = store.live(id).unwrap();
    assert!(live.row.lock().await.pending.is_some());
    let _ = store.delete_thread(DeleteThreadParams { thread_id: id }).await;
    assert!(live.row.lock().await.pending.is_none());
    assert_eq!(inner.calls().await.update_thread_metadata, 1);
}
