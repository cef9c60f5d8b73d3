//! [`ThreadStore`] on [`MergingStore`]: flushes pending writes before every read.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use codex_protocol::ThreadId;
use codex_protocol::protocol::RolloutItem;
use codex_protocol::protocol::ThreadHistoryMode;
use codex_rollout::is_persisted_rollout_item;
use codex_thread_store::AppendThreadItemsParams;
use codex_thread_store::ArchiveThreadParams;
use codex_thread_store::CreateThreadParams;
use codex_thread_store::DeleteThreadParams;
use codex_thread_store::DeleteThreadsParams;
use codex_thread_store::ItemPage;
use codex_thread_store::ListItemsParams;
use codex_thread_store::ListThreadsParams;
use codex_thread_store::ListTurnsParams;
use codex_thread_store::LoadThreadHistoryParams;
use codex_thread_store::ReadThreadByRolloutPathParams;
use codex_thread_store::ReadThreadParams;
use codex_thread_store::ResumeThreadParams;
use codex_thread_store::SearchThreadOccurrencesParams;
use codex_thread_store::SearchThreadsParams;
use codex_thread_store::StoredModelContext;
use codex_thread_store::StoredThread;
use codex_thread_store::StoredThreadHistory;
use codex_thread_store::ThreadOccurrenceSearchPage;
use codex_thread_store::ThreadPage;
use codex_thread_store::ThreadSearchPage;
use codex_thread_store::ThreadStore;
use codex_thread_store::ThreadStoreError;
use codex_thread_store::ThreadStoreFuture;
use codex_thread_store::TurnPage;
use codex_thread_store::UpdateThreadMetadataParams;

use super::Live;
use super::MergingStore;

impl ThreadStore for MergingStore {
    /// Core downcasts this to its own store.
    fn as_any(&self) -> &dyn Any {
        self.0.store.as_any()
    }

    fn default_history_mode(&self) -> ThreadHistoryMode {
        self.0.store.default_history_mode()
    }

    fn create_thread(&self, params: CreateThreadParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            let live = Live::created(&params);
            let id = params.thread_id;
            self.0.store.create_thread(params).await?;
            self.insert_live(id, live);
            Ok(())
        })
    }

    fn resume_thread(&self, params: ResumeThreadParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            let id = params.thread_id;
            self.flush(id).await;
            self.0.store.resume_thread(params).await?;
            self.insert_live(id, Live::default());
            Ok(())
        })
    }

    fn append_items(&self, params: AppendThreadItemsParams) -> ThreadStoreFuture<'_, ()> {
        if !params.items.iter().any(is_recorded) {
            return Box::pin(std::future::ready(Ok(())));
        }
        Box::pin(async move {
            let Some(live) = self.live_for_write(params.thread_id) else {
                return self.0.store.append_items(params).await;
            };
            let AppendThreadItemsParams { thread_id, items } = params;
            let store = Arc::clone(&self.0.store);
            let write = move |items| {
                let store = Arc::clone(&store);
                async move {
                    let params = AppendThreadItemsParams { thread_id, items };
                    let written = store.append_items(params).await;
                    written.inspect_err(|error| {
                        tracing::warn!(%error, thread = %thread_id, "items were not recorded");
                    })
                }
            };
            live.recording.append(items, write).await;
            Ok(())
        })
    }

    fn persist_thread(&self, thread_id: ThreadId) -> ThreadStoreFuture<'_, ()> {
        Box::pin(self.ensure_recorded(thread_id, self.0.store.persist_thread(thread_id)))
    }

    fn flush_thread(&self, thread_id: ThreadId) -> ThreadStoreFuture<'_, ()> {
        Box::pin(self.ensure_recorded(thread_id, self.0.store.flush_thread(thread_id)))
    }

    fn shutdown_thread(&self, thread_id: ThreadId) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            if self.is_late_close(thread_id) {
                return Ok(());
            }
            self.close_recording(thread_id).await
        })
    }

    fn discard_thread(&self, thread_id: ThreadId) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            self.drop_live(thread_id).await;
            self.0.store.discard_thread(thread_id).await
        })
    }

    fn load_history(
        &self,
        params: LoadThreadHistoryParams,
    ) -> ThreadStoreFuture<'_, StoredThreadHistory> {
        Box::pin(async move {
            self.flush(params.thread_id).await;
            self.0.store.load_history(params).await
        })
    }

    fn load_latest_model_context(
        &self,
        params: LoadThreadHistoryParams,
    ) -> ThreadStoreFuture<'_, StoredModelContext> {
        Box::pin(async move {
            self.flush(params.thread_id).await;
            self.0.store.load_latest_model_context(params).await
        })
    }

    fn read_thread(&self, params: ReadThreadParams) -> ThreadStoreFuture<'_, StoredThread> {
        Box::pin(async move {
            let thread_id = params.thread_id;
            let live = self.live(thread_id);
            if live.is_some_and(|live| live.unwritten.load(Ordering::Acquire)) {
                // The error of core's store, which would first search all recordings.
                let message = format!("no rollout found for thread id {thread_id}");
                return Err(ThreadStoreError::InvalidRequest { message });
            }
            self.flush(thread_id).await;
            self.0.store.read_thread(params).await
        })
    }

    fn read_thread_by_rollout_path(
        &self,
        params: ReadThreadByRolloutPathParams,
    ) -> ThreadStoreFuture<'_, StoredThread> {
        Box::pin(async move {
            self.flush_all().await;
            self.0.store.read_thread_by_rollout_path(params).await
        })
    }

    fn list_threads(&self, params: ListThreadsParams) -> ThreadStoreFuture<'_, ThreadPage> {
        Box::pin(async move {
            self.flush_all().await;
            self.0.store.list_threads(params).await
        })
    }

    fn supports_paginated_history_lists(&self) -> bool {
        self.0.store.supports_paginated_history_lists()
    }

    fn search_threads(
        &self,
        params: SearchThreadsParams,
    ) -> ThreadStoreFuture<'_, ThreadSearchPage> {
        Box::pin(async move {
            self.flush_all().await;
            self.0.store.search_threads(params).await
        })
    }

    fn search_thread_occurrences(
        &self,
        params: SearchThreadOccurrencesParams,
    ) -> ThreadStoreFuture<'_, ThreadOccurrenceSearchPage> {
        Box::pin(async move {
            self.flush(params.thread_id).await;
            self.0.store.search_thread_occurrences(params).await
        })
    }

    fn list_turns(&self, params: ListTurnsParams) -> ThreadStoreFuture<'_, TurnPage> {
        Box::pin(async move {
            self.flush(params.thread_id).await;
            self.0.store.list_turns(params).await
        })
    }

    fn list_items(&self, params: ListItemsParams) -> ThreadStoreFuture<'_, ItemPage> {
        Box::pin(async move {
            self.flush(params.thread_id).await;
            self.0.store.list_items(params).await
        })
    }

    fn update_thread_metadata(
        &self,
        params: UpdateThreadMetadataParams,
    ) -> ThreadStoreFuture<'_, StoredThread> {
        Box::pin(self.update(params))
    }

    fn archive_thread(&self, params: ArchiveThreadParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            self.detach(params.thread_id).await;
            self.0.store.archive_thread(params).await
        })
    }

    fn unarchive_thread(&self, params: ArchiveThreadParams) -> ThreadStoreFuture<'_, StoredThread> {
        Box::pin(async move {
            self.detach(params.thread_id).await;
            self.0.store.unarchive_thread(params).await
        })
    }

    fn delete_thread(&self, params: DeleteThreadParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            // A pending write would restore the row.
            self.drop_live(params.thread_id).await;
            self.0.store.delete_thread(params).await
        })
    }

    fn delete_threads(&self, params: DeleteThreadsParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            for id in &params.thread_ids {
                self.drop_live(*id).await;
            }
            self.0.store.delete_threads(params).await
        })
    }
}

/// Whether an item is recorded in either history mode. Deltas of answers and of command output are
/// not; core's own store takes three locks to find out.
pub(super) fn is_recorded(item: &RolloutItem) -> bool {
    [ThreadHistoryMode::Legacy, ThreadHistoryMode::Paginated]
        .into_iter()
        .any(|mode| is_persisted_rollout_item(item, mode))
}
