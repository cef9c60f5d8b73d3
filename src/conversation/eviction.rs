//! Eviction of idle conversations from memory. The next prompt resumes them from disk.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::Semaphore;

use super::handle::Conversation;
use super::registry::Registry;
use super::state::Activity;

/// The interval between two looks for idle conversations.
const INTERVAL: Duration = Duration::from_secs(5);

/// The number of conversations that are closed at the same time.
const MAX_CLOSING: usize = 32;

impl Registry {
    /// Evicts idle conversations until the process drains: those idle for longer than the limit.
    /// Also removes those whose thread has ended by itself.
    pub async fn run_eviction(self: Arc<Self>) {
        let closing = Arc::new(Semaphore::new(MAX_CLOSING));
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.shared.shutdown.drain.cancelled() => return,
            }
            // Their histories could not be written.
            if self.sessions.check_room().is_err() {
                continue;
            }
            for conversation in self.idle() {
                // Each by itself: one that hangs delays no other.
                let (this, closing) = (Arc::clone(&self), Arc::clone(&closing));
                self.shared.shutdown.spawn(async move {
                    let _one_of_few = closing.acquire().await;
                    conversation.close().await;
                    this.remove(&conversation);
                });
            }
        }
    }

    /// The conversations to evict. No turn starts in them any more.
    fn idle(&self) -> Vec<Arc<Conversation>> {
        let since = Utc::now() - self.shared.limits.idle;
        self.live()
            .values()
            .filter(|conversation| match conversation.snapshot().activity {
                Activity::Idle => conversation.close_if_idle(since),
                Activity::Closed => conversation.has_ended(),
                Activity::Running | Activity::WaitingApproval => false,
            })
            .map(Arc::clone)
            .collect()
    }
}
