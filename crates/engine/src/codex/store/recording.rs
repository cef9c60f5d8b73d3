//! What is said in a live conversation, on its way to the recording.
//!
//! Core says something ten times a turn and waits each time until it is on disk, over three threads. Here
//! it goes on at once: what is said while something is being written is written together, after it. Core
//! asks that all of it be on disk when it has a prompt, before the model hears of it, and before it ends a
//! turn; it reckons with stores that write only then.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use codex_protocol::protocol::RolloutItem;
use codex_thread_store::ThreadStoreResult;
use tokio::sync::Notify;

/// How much may wait for a slow disk before who says more has to wait too.
const MOST: usize = 1024;

/// The end of a recording that is being written.
#[derive(Default)]
pub(super) struct Recording {
    state: Mutex<State>,
    /// What waited is being written, or nothing waits any more.
    went_on: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<RolloutItem>,
    /// Somebody is at it.
    writing: bool,
    /// It was asked for, and is there.
    exists: bool,
    /// Something may not have got to the disk: from now on core's store is always asked.
    unsure: bool,
}

impl Recording {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the items written by `write`, after all that was said before them.
    pub(super) async fn say<Writing>(
        self: &Arc<Self>,
        items: Vec<RolloutItem>,
        write: impl Fn(Vec<RolloutItem>) -> Writing + Send + 'static,
    ) where
        Writing: Future<Output = ThreadStoreResult<()>> + Send,
    {
        self.until(|state| state.waiting.len() < MOST).await;
        let begin = {
            let mut state = self.lock();
            state.waiting.extend(items);
            !std::mem::replace(&mut state.writing, true)
        };
        if begin {
            self.begin(write);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "closing the conversation waits for its end")]
    fn begin<Writing>(
        self: &Arc<Self>,
        write: impl Fn(Vec<RolloutItem>) -> Writing + Send + 'static,
    ) where
        Writing: Future<Output = ThreadStoreResult<()>> + Send,
    {
        let writer = Writer(Arc::clone(self));
        tokio::spawn(async move {
            while let Some(items) = writer.next() {
                if write(items).await.is_err() {
                    writer.0.lock().unsure = true;
                }
            }
        });
    }

    /// Waits until nothing that was said waits to be written.
    pub(super) async fn written(&self) {
        self.until(|state| !state.writing).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let went_on = self.went_on.notified();
            tokio::pin!(went_on);
            went_on.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            went_on.await;
        }
    }

    /// Whether it is there, with all that was written so far.
    pub(super) fn exists(&self) -> bool {
        let state = self.lock();
        state.exists && !state.unsure
    }

    /// It is there, or not where it was any more.
    pub(super) fn set_exists(&self, exists: bool) {
        self.lock().exists = exists;
    }

    /// What waits is not to be written any more.
    pub(super) fn drop_waiting(&self) {
        self.lock().waiting.clear();
    }
}

/// Who writes, as long as this lives.
struct Writer(Arc<Recording>);

impl Writer {
    /// What is to be written next. None where nothing is, and then nobody writes any more.
    fn next(&self) -> Option<Vec<RolloutItem>> {
        let mut state = self.0.lock();
        let items = std::mem::take(&mut state.waiting);
        state.writing = !items.is_empty();
        drop(state);
        self.0.went_on.notify_waiters();
        Some(items).filter(|items| !items.is_empty())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It was ended half-way.
        let mut state = self.0.lock();
        if state.writing {
            state.writing = false;
            state.unsure = true;
            drop(state);
            self.0.went_on.notify_waiters();
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
    async fn what_could_not_be_written_is_not_held_to_be_there() {
        let recording = Arc::new(Recording::default());
        recording.set_exists(true);
        recording.say(items(1), |_| std::future::ready(Ok(()))).await;
        recording.written().await;
        assert!(recording.exists());
        let failure = || ThreadStoreError::Internal { message: "the disk is full".to_owned() };
        recording.say(items(1), move |_| std::future::ready(Err(failure()))).await;
        recording.written().await;
        assert!(!recording.exists());
    }

    #[tokio::test]
    async fn who_ends_half_way_leaves_nobody_waiting() {
        let recording = Arc::new(Recording::default());
        recording.set_exists(true);
        let broken = |_| async { panic!("on purpose") };
        recording.say(items(1), broken).await;
        recording.written().await;
        assert!(!recording.exists());
        recording.say(items(1), |_| std::future::ready(Ok(()))).await;
        recording.written().await;
    }

    #[tokio::test]
    async fn a_slow_disk_holds_up_who_says_much() {
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
        recording.say(items(1), write(&disk)).await;
        tokio::task::yield_now().await;
        recording.say(items(MOST), write(&disk)).await;
        let mut more = std::pin::pin!(recording.say(items(1), write(&disk)));
        assert!(futures::poll!(&mut more).is_pending());
        disk.add_permits(1);
        more.await;
        disk.add_permits(2);
        recording.written().await;
        assert_eq!(disk.available_permits(), 0);
    }
}
