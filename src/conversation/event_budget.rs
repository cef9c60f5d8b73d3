//! The budget of all event logs together. Each log also has a bound of its own, but a thousand full
//! logs are more memory than a gateway has.
//!
//! Above the budget, a task drops the oldest events of the conversations that have been idle
//! longest (`event_trimming`). Where it does not keep up, a log drops its own oldest events. Readers
//! learn what they missed, as always.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

/// The bytes that all event logs may keep. Clones of the `Arc` share it.
#[derive(Debug)]
pub struct EventBudget {
    limit: usize,
    used: AtomicUsize,
    exceeded: Notify,
}

impl EventBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), exceeded: Notify::new() })
    }

    /// Adds an event's bytes. Returns whether the log must make room by itself.
    pub(super) fn add(&self, bytes: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.limit {
            self.exceeded.notify_one();
        }
        self.is_far_exceeded(used)
    }

    /// Removes an event's bytes. Returns whether the log must still make room by itself.
    pub(super) fn remove(&self, bytes: usize) -> bool {
        let used = self.used.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes);
        self.is_far_exceeded(used)
    }

    /// An eighth more than the limit: the task needs a moment.
    fn is_far_exceeded(&self, used: usize) -> bool {
        used > self.limit.saturating_add(self.limit / 8)
    }

    /// Waits until the budget is exceeded.
    pub(super) async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// The bytes to remove, so that there is some room again.
    pub(super) fn surplus(&self) -> usize {
        self.used.load(Ordering::Relaxed).saturating_sub(self.limit - self.limit / 8)
    }
}
