//! The merging store over core's in-memory store.

use std::time::SystemTime;

use codex_protocol::SessionId;
use codex_protocol::models::BaseInstructions;
use codex_protocol::protocol::RolloutItem;
use codex_protocol::protocol::SessionSource;
use codex_protocol::protocol::ThreadHistoryMode;
use codex_protocol::protocol::ThreadMemoryMode;
use codex_thread_store::AppendThreadItemsParams;
use codex_thread_store::ArchiveThreadParams;
use codex_thread_store::DeleteThreadParams;
use codex_thread_store::InMemoryThreadStore;
use codex_thread_store::LoadThreadHistoryParams;
use codex_thread_store::ReadThreadParams;
use codex_thread_store::ThreadMetadataPatch;
use codex_thread_store::ThreadPersistenceMetadata;

use super::thread_store::is_recorded;
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
async fn observations_are_merged_and_written_later() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    for model in ["a", "b", "c"] {
        assert_eq!(observe(&store, id, model).await.model.as_deref(), Some(model));
    }
    assert_eq!(inner.calls().await.update_thread_metadata, 0);
    while inner.calls().await.update_thread_metadata < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(inner.read_thread(read(id)).await.unwrap().model.as_deref(), Some("c"));
}

#[tokio::test]
async fn reads_and_close_see_observations() {
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
    assert_eq!(inner.calls().await.update_thread_metadata, 4);
}

#[tokio::test]
async fn observations_wait_and_changes_do_not() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    let first = ThreadMetadataPatch {
        created_at: Some(SystemTime::UNIX_EPOCH.into()),
        updated_at: Some(SystemTime::now().into()),
        preview: Some("hi".to_owned()),
        title: Some("hi".to_owned()),
        first_user_message: Some("hi there".to_owned()),
        memory_mode: Some(ThreadMemoryMode::Disabled),
        ..ThreadMetadataPatch::default()
    };
    let row = update(&store, id, first).await;
    assert_eq!((row.preview.as_str(), row.first_user_message.as_deref()), ("hi", Some("hi there")));
    assert_eq!(SystemTime::from(row.created_at), SystemTime::UNIX_EPOCH);
    assert_eq!(inner.calls().await.update_thread_metadata, 0);
    let mode = ThreadMetadataPatch {
        memory_mode: Some(ThreadMemoryMode::Enabled),
        ..ThreadMetadataPatch::default()
    };
    let row = update(&store, id, mode).await;
    assert_eq!(row.first_user_message.as_deref(), Some("hi there"));
    // The pending observation is written first.
    assert_eq!(inner.calls().await.update_thread_metadata, 2);
    // The row of a resumed conversation is unknown until its first write.
    store.shutdown_thread(id).await.unwrap();
    store.insert_live(id, Live::default());
    observe(&store, id, "a").await;
    assert_eq!(inner.calls().await.update_thread_metadata, 3);
    observe(&store, id, "b").await;
    assert_eq!(inner.calls().await.update_thread_metadata, 3);
}

async fn append(store: &MergingStore, id: ThreadId, items: &[&str]) {
    let items = items.iter().map(|kind| item(kind)).collect();
    store.append_items(AppendThreadItemsParams { thread_id: id, items }).await.unwrap();
}

#[tokio::test]
async fn recording_on_disk_is_not_persisted_again() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    store.persist_thread(id).await.unwrap();
    store.persist_thread(id).await.unwrap();
    store.flush_thread(id).await.unwrap();
    let calls = inner.calls().await;
    assert_eq!((calls.persist_thread, calls.flush_thread), (1, 0));
    append(&store, id, &["agent_message"]).await;
    store.flush_thread(id).await.unwrap();
    assert_eq!(inner.calls().await.flush_thread, 0);
    store.archive_thread(ArchiveThreadParams { thread_id: id }).await.unwrap();
    store.flush_thread(id).await.unwrap();
    store.flush_thread(id).await.unwrap();
    assert_eq!(inner.calls().await.flush_thread, 1);
}

#[tokio::test]
async fn items_are_batched_in_order_and_flushed() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    store.persist_thread(id).await.unwrap();
    append(&store, id, &["user_message"]).await;
    append(&store, id, &["agent_message", "agent_message"]).await;
    assert_eq!(inner.calls().await.append_items, 0);
    store.flush_thread(id).await.unwrap();
    assert_eq!(inner.calls().await.append_items, 1);
    append(&store, id, &["user_message"]).await;
    // A read flushes the queue by itself.
    let params = LoadThreadHistoryParams { thread_id: id, include_archived: true };
    let history = store.load_history(params).await.unwrap();
    let kinds = ["user_message", "agent_message", "agent_message", "user_message"];
    let json = |items: &[RolloutItem]| serde_json::to_value(items).unwrap();
    // The first item is the session's metadata.
    assert_eq!(json(&history.items[1..]), json(&kinds.map(item)));
    append(&store, id, &["agent_message"]).await;
    store.shutdown_thread(id).await.unwrap();
    assert_eq!(inner.calls().await.append_items, 3);
}

#[tokio::test]
async fn unwritten_conversation_is_not_searched_for() {
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

    // A persisted conversation may be found.
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    store.persist_thread(id).await.unwrap();
    store.read_thread(read(id)).await.unwrap();
    assert_eq!(inner.calls().await.read_thread, 1);
}

#[tokio::test]
async fn deltas_are_not_recorded() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    for items in [
        vec![item("agent_message_content_delta")],
        vec![item("agent_message_content_delta"), item("agent_message")],
        vec![item("exec_command_output_delta")],
    ] {
        store.append_items(AppendThreadItemsParams { thread_id: id, items }).await.unwrap();
        store.flush_thread(id).await.unwrap();
    }
    assert_eq!(inner.calls().await.append_items, 1);
    assert!(!is_recorded(&item("agent_message_content_delta")));
    // Recorded in one of the two modes.
    assert!(is_recorded(&item("agent_message")));
}

/// A rollout item of an event of this type.
fn item(kind: &str) -> RolloutItem {
    let event = serde_json::json!({
        "type": kind, "message": "hi", "thread_id": "t", "turn_id": "u", "item_id": "i", "delta": "hi",
        "call_id": "c", "stream": "stdout", "chunk": "aGk=",
    });
    RolloutItem::EventMsg(serde_json::from_value(event).unwrap())
}

#[tokio::test]
async fn pending_write_does_not_restore_deleted_conversation() {
    let id = ThreadId::new();
    let (inner, store) = live(id).await;
    observe(&store, id, "a").await;
    let live = store.live(id).unwrap();
    assert!(live.row.lock().await.pending.is_some());
    let _ = store.delete_thread(DeleteThreadParams { thread_id: id }).await;
    assert!(live.row.lock().await.pending.is_none());
    assert_eq!(inner.calls().await.update_thread_metadata, 0);
}
