//! Core's thread store, with the writes of metadata merged and delayed.
//!
//! Core writes its observations of a conversation (first message, model, tokens, time of the last
//! activity) ten times a turn. Each time its own store updates a row with many indexes and reads
//! the head of the recording twice. Items of the conversation are recorded as by core; of the
//! observations only the latest counts. They are merged, and written [`DELAY`] after the first of
//! them, before any read, and when the conversation is closed. A killed process loses the pending
//! part of the row, or the row: core then finds the recording by name and rebuilds the row from it.
//!
//! Core sets one mark in the row without its store: a conversation with an external tool is no
//! source of memories (`memories.disable_on_external_context`). The mark is lost if the model calls
//! such a tool within [`DELAY`] of the conversation's first message.
//!
//! Core also passes in every delta of an answer, none of which is recorded; those are dropped here.
//!
//! Core reads the title of each conversation that it has just created. Its store, which finds no
//! row, scans the names of all recordings, the archive included, on a dozen threads. A conversation
//! without any write is answered here.
//!
//! Core waits for all items to be on disk, five times a turn: see [`recording`]. The end of a recording:
//! see [`closing`].

mod closing;
mod recording;
mod row;
#[cfg(test)]
mod tests;
mod thread_store;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use codex_protocol::ThreadId;
use codex_thread_store::CreateThreadParams;
use codex_thread_store::StoredThread;
use codex_thread_store::ThreadStore;
use codex_thread_store::ThreadStoreFuture;
use codex_thread_store::ThreadStoreResult;
use codex_thread_store::UpdateThreadMetadataParams;
use tokio::sync::Mutex;

use self::closing::Closing;
use self::recording::Recording;
use self::row::Row;

/// Delay of a row's write, if few rows are to be written.
const DELAY: Duration = Duration::from_millis(100);

const NOT_STORED: &str = "metadata of the conversation was not stored";

/// Core's store, with the pending writes of live conversations.
#[derive(Clone)]
pub(super) struct MergingStore(Arc<Inner>);

struct Inner {
    store: Arc<dyn ThreadStore>,
    live: StdMutex<HashMap<ThreadId, Arc<Live>>>,
    /// Serialises the delayed writes of rows, so that under load turns come first.
    flush_queue: Mutex<()>,
    closing: StdMutex<Closing>,
}

/// A live conversation.
#[derive(Default)]
struct Live {
    row: Mutex<Row>,
    /// Whether it was created here and nothing of it was written: no store can find it.
    unwritten: AtomicBool,
    recording: Arc<Recording>,
}

impl Live {
    fn created(params: &CreateThreadParams) -> Self {
        let row = Row { current: Some(row::new_row(params)), pending: None };
        Self { row: Mutex::new(row), unwritten: true.into(), recording: Arc::default() }
    }
}

impl MergingStore {
    pub(super) fn new(store: Arc<dyn ThreadStore>) -> Self {
        Self(Arc::new(Inner {
            store,
            live: StdMutex::default(),
            flush_queue: Mutex::default(),
            closing: StdMutex::default(),
        }))
    }

    fn lock_live(&self) -> MutexGuard<'_, HashMap<ThreadId, Arc<Live>>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, id: ThreadId) -> Option<Arc<Live>> {
        self.lock_live().get(&id).cloned()
    }

    /// The live conversation, marked as written.
    fn live_for_write(&self, id: ThreadId) -> Option<Arc<Live>> {
        let live = self.live(id)?;
        live.unwritten.store(false, Ordering::Release);
        Some(live)
    }

    fn insert_live(&self, id: ThreadId, live: Live) {
        self.lock_live().insert(id, Arc::new(live));
    }

    /// Ensures that the recording exists and holds all items; runs `persist` unless that is known.
    /// Core calls this on a prompt, before the model gets it, and before it ends a turn.
    async fn ensure_recorded(
        &self,
        id: ThreadId,
        persist: ThreadStoreFuture<'_, ()>,
    ) -> ThreadStoreResult<()> {
        let live = self.live_for_write(id);
        if let Some(live) = &live {
            live.recording.flushed().await;
            if live.recording.exists() {
                return Ok(());
            }
        }
        persist.await?;
        if let Some(live) = live {
            live.recording.set_exists(true);
        }
        Ok(())
    }

    /// Removes a live conversation and drops its pending writes.
    async fn drop_live(&self, id: ThreadId) {
        let live = self.lock_live().remove(&id);
        if let Some(live) = live {
            live.row.lock().await.pending = None;
            live.recording.drop_queued();
            live.recording.flushed().await;
        }
    }

    /// Writes a row's pending patch. A failed write stays pending.
    async fn write_row(&self, id: ThreadId, row: &mut Row) -> ThreadStoreResult<()> {
        let Some(patch) = row.pending.clone() else { return Ok(()) };
        let params = UpdateThreadMetadataParams { thread_id: id, patch, include_archived: true };
        row.current = Some(self.0.store.update_thread_metadata(params).await?);
        row.pending = None;
        Ok(())
    }

    /// Flushes the recording, then the row. Failures are only logged: the caller did not ask for
    /// this write, and core's own store ignores them too.
    async fn flush_live(&self, id: ThreadId, live: &Live) {
        live.recording.flushed().await;
        if let Err(error) = self.write_row(id, &mut *live.row.lock().await).await {
            tracing::warn!(%error, thread = %id, "{NOT_STORED}");
        }
    }

    async fn flush(&self, id: ThreadId) {
        if let Some(live) = self.live(id) {
            self.flush_live(id, &live).await;
        }
    }

    async fn flush_all(&self) {
        let ids: Vec<ThreadId> = self.lock_live().keys().copied().collect();
        for id in ids {
            self.flush(id).await;
        }
    }

    /// Flushes a conversation before it moves: neither its row nor its recording keeps its place.
    async fn detach(&self, id: ThreadId) {
        if let Some(live) = self.live(id) {
            self.flush_live(id, &live).await;
            live.row.lock().await.current = None;
            live.recording.set_exists(false);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it ends by itself after DELAY and one write")]
    fn schedule_flush(&self, id: ThreadId, live: Arc<Live>) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            let _queued = this.0.flush_queue.lock().await;
            this.flush_live(id, &live).await;
        });
    }

    /// Merges an observation into the pending patch; writes any other patch at once.
    async fn update(&self, params: UpdateThreadMetadataParams) -> ThreadStoreResult<StoredThread> {
        let id = params.thread_id;
        let Some(live) = self.live_for_write(id) else {
            return self.0.store.update_thread_metadata(params).await;
        };
        let mut row = live.row.lock().await;
        let Row { current, pending } = &mut *row;
        if let Some(current) = current.as_mut().filter(|_| row::is_observation(&params.patch)) {
            row::apply_patch(current, &params.patch);
            let current = current.clone();
            match pending {
                Some(pending) => pending.merge(params.patch),
                None => {
                    *pending = Some(params.patch);
                    self.schedule_flush(id, Arc::clone(&live));
                }
            }
            return Ok(current);
        }
        live.recording.flushed().await;
        if let Err(error) = self.write_row(id, &mut row).await {
            tracing::warn!(%error, thread = %id, "{NOT_STORED}");
        }
        let stored = self.0.store.update_thread_metadata(params).await?;
        row.current = Some(stored.clone());
        Ok(stored)
    }
}
