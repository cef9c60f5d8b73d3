//! Write-behind queue of a live conversation's recording.
//!
//! Core appends items ten times a turn and waits each time, over three threads, until they are on
//! disk. Here it continues at once: items appended during a write are written together after it.
//! Core requests a flush on a prompt, before the model gets it, and before it ends a turn; it
//! supports stores that write only then.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use codex_protocol::protocol::RolloutItem;
use codex_thread_store::ThreadStoreResult;
use tokio::sync::Notify;

/// Number of queued items from which [`Recording::append`] waits for the disk.
const MAX_QUEUED: usize = 1024;

/// The queue and the state of a recording.
#[derive(Default)]
pub(super) struct Recording {
    state: Mutex<State>,
    /// Notified when a batch is taken from the queue, and when the writer ends.
    progressed: Notify,
}

#[derive(Default)]
struct State {
    queued: Vec<RolloutItem>,
    /// Whether a writer task runs.
    writing: bool,
    /// Whether core's store has created the recording.
    exists: bool,
    /// Whether a write may have failed: from then on every flush goes to core's store.
    suspect: bool,
}

impl Recording {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues items for `write`, after all items before them. Waits while the queue is full.
    pub(super) async fn append<Writing>(
        self: &Arc<Self>,
        items: Vec<RolloutItem>,
        write: impl Fn(Vec<RolloutItem>) -> Writing + Send + 'static,
    ) where
        Writing: Future<Output = ThreadStoreResult<()>> + Send,
    {
        self.wait_until(|state| state.queued.len() < MAX_QUEUED).await;
        let start = {
            let mut state = self.lock();
            state.queued.extend(items);
            !std::mem::replace(&mut state.writing, true)
        };
        if start {
            self.start_writer(write);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "closing the conversation waits for its end")]
    fn start_writer<Writing>(
        self: &Arc<Self>,
        write: impl Fn(Vec<RolloutItem>) -> Writing + Send + 'static,
    ) where
        Writing: Future<Output = ThreadStoreResult<()>> + Send,
    {
        let writer = Writer(Arc::clone(self));
        tokio::spawn(async move {
            while let Some(items) = writer.next_batch() {
                if write(items).await.is_err() {
                    writer.0.lock().suspect = true;
                }
            }
        });
    }

    /// Waits until all queued items are written.
    pub(super) async fn flushed(&self) {
        self.wait_until(|state| !state.writing).await;
    }

    async fn wait_until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let progressed = self.progressed.notified();
            tokio::pin!(progressed);
            progressed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            progressed.await;
        }
    }

    /// Whether the recording exists and holds all items written so far.
    pub(super) fn exists(&self) -> bool {
        let state = self.lock();
        state.exists && !state.suspect
    }

    /// Notes that the recording was created, or that it has moved.
    pub(super) fn set_exists(&self, exists: bool) {
        self.lock().exists = exists;
    }

    /// Drops the queued items.
    pub(super) fn drop_queued(&self) {
        self.lock().queued.clear();
    }
}

/// The running writer. If it is dropped during a write, the recording becomes suspect.
struct Writer(Arc<Recording>);

impl Writer {
    /// The next batch; `None` ends the writer.
    fn next_batch(&self) -> Option<Vec<RolloutItem>> {
        let mut state = self.0.lock();
        let items = std::mem::take(&mut state.queued);
        state.writing = !items.is_empty();
        drop(state);
        self.0.progressed.notify_waiters();
        Some(items).filter(|items| !items.is_empty())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Still set only if the write did not end.
        let mut state = self.0.lock();
        if state.writing {
            state.writing = false;
            state.suspect = true;
            drop(state);
            self.0.progressed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use codex_thread_store::ThreadStoreError;

    use super::*;

    fn items(count: usize) -> Vec<RolloutItem> {
        let item = serde_json::json!({ "type": "agent_message", "message": "hi" });
        vec![RolloutItem::EventMsg(serde_json::from_value(item).unwrap()); count]
    }

    #[tokio::test]
    async fn failed_write_makes_recording_suspect() {
        let recording = Arc::new(Recording::default());
        recording.set_exists(true);
        recording.append(items(1), |_| std::future::ready(Ok(()))).await;
        recording.flushed().await;
        assert!(recording.exists());
        let failure = || ThreadStoreError::Internal { message: "the disk is full".to_owned() };
        recording.append(items(1), move |_| std::future::ready(Err(failure()))).await;
        recording.flushed().await;
        assert!(!recording.exists());
    }

    #[tokio::test]
    async fn panicking_writer_does_not_block_flush() {
        let recording = Arc::new(Recording::default());
        recording.set_exists(true);
        let broken = |_| async { panic!("on purpose") };
        recording.append(items(1), broken).await;
        recording.flushed().await;
        assert!(!recording.exists());
        recording.append(items(1), |_| std::future::ready(Ok(()))).await;
        recording.flushed().await;
    }

    #[tokio::test]
    async fn slow_disk_applies_backpressure() {
        let recording = Arc::new(Recording::default());
        let disk = Arc::new(tokio::sync::Semaphore::new(0));
        let write = |disk: &Arc<tokio::sync::Semaphore>| {
            let disk = Arc::clone(disk);
            move |_| {
                let disk = Arc::clone(&disk);
                async move {
                    disk.acquire().await.unwrap().forget();
                    Ok(())
                }
            }
        };
        recording.append(items(1), write(&disk)).await;
        tokio::task::yield_now().await;
        recording.append(items(MAX_QUEUED), write(&disk)).await;
        let mut more = std::pin::pin!(recording.append(items(1), write(&disk)));
        assert!(futures::poll!(&mut more).is_pending());
        disk.add_permits(1);
        more.await;
        disk.add_permits(2);
        recording.flushed().await;
        assert_eq!(disk.available_permits(), 0);
    }
}
