//! The end of recordings: also where the disk is full, and where a part of core hangs.
//!
//! Core closes a recording last, after its tool servers and hooks. If one of these hangs, the
//! gateway gives the conversation up and closes the recording itself, so that the conversation can
//! be resumed. Should core's own close come after all, it must not hit the resumed one.

use std::collections::HashMap;
use std::collections::HashSet;

use codex_protocol::ThreadId;
use codex_thread_store::ThreadStoreError;
use codex_thread_store::ThreadStoreResult;

use super::MergingStore;

/// Conversations that are being closed, or were given up.
#[derive(Default)]
pub(super) struct Closing {
    /// Whose shutdown has been requested.
    expected: HashSet<ThreadId>,
    /// How many closes of core may still come too late.
    abandoned: HashMap<ThreadId, usize>,
}

impl MergingStore {
    fn lock_closing(&self) -> std::sync::MutexGuard<'_, Closing> {
        self.0.closing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes that the live conversation is asked to end: the next close of its recording is its own.
    pub(in crate::codex) fn expect_close(&self, id: ThreadId) {
        self.lock_closing().expected.insert(id);
    }

    /// Notes that the conversation has ended.
    pub(in crate::codex) fn closed(&self, id: ThreadId) {
        self.lock_closing().expected.remove(&id);
    }

    /// Closes the recording of a conversation that does not end.
    pub(in crate::codex) async fn abandon(&self, id: ThreadId) {
        {
            let mut closing = self.lock_closing();
            closing.expected.remove(&id);
            *closing.abandoned.entry(id).or_default() += 1;
        }
        // Logged inside.
        let _ = self.close_recording(id).await;
    }

    /// Whether a close comes from a conversation that was given up.
    pub(super) fn is_late_close(&self, id: ThreadId) -> bool {
        let mut closing = self.lock_closing();
        if closing.expected.contains(&id) {
            return false;
        }
        let Some(left) = closing.abandoned.get_mut(&id) else { return false };
        *left -= 1;
        if *left == 0 {
            closing.abandoned.remove(&id);
        }
        true
    }

    /// Flushes and closes a recording. One that cannot be written is dropped from memory, because
    /// the conversation could not be resumed beside it.
    pub(super) async fn close_recording(&self, id: ThreadId) -> ThreadStoreResult<()> {
        let live = self.lock_live().remove(&id);
        if let Some(live) = live {
            self.flush_live(id, &live).await;
        }
        let closed = self.0.store.shutdown_thread(id).await;
        match &closed {
            Ok(()) | Err(ThreadStoreError::ThreadNotFound { .. }) => {}
            Err(error) => {
                tracing::error!(%error, thread = %id, "the end of a recording is lost");
                let _ = self.0.store.discard_thread(id).await;
            }
        }
        closed
    }
}
