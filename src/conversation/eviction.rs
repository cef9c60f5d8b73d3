//! Eviction of idle conversations from memory. The next prompt resumes them from disk.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::handle::Conversation;
use super::registry::Registry;
use super::state::Activity;

/// The interval between two looks for idle conversations.
const INTERVAL: Duration = Duration::from_secs(5);

impl Registry {
    /// Evicts idle conversations until the process drains: those idle for longer than the limit
    /// and, above the bound on live ones, those that have been idle longest.
    pub async fn run_eviction(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.shared.shutdown.drain.cancelled() => return,
            }
            for conversation in self.idle() {
                conversation.close().await;
                self.remove(&conversation);
            }
        }
    }

    /// The conversations to evict. No turn starts in them any more.
    fn idle(&self) -> Vec<Arc<Conversation>> {
        let mut idle: Vec<_> = self
            .live()
            .values()
            .map(|conversation| (conversation.snapshot(), conversation))
            .filter(|(snapshot, _)| snapshot.activity == Activity::Idle)
            .map(|(snapshot, conversation)| (snapshot.updated_at, Arc::clone(conversation)))
            .collect();
        idle.sort_by_key(|(updated_at, _)| *updated_at);
        let limits = &self.shared.limits;
        let surplus = self.len().saturating_sub(limits.max_live);
        let now = Utc::now();
        idle.into_iter()
            .enumerate()
            .filter(|(position, (_, conversation))| {
                let limit = if *position < surplus { Duration::ZERO } else { limits.idle };
                conversation.close_if_idle(now - limit)
            })
            .map(|(_, (_, conversation))| conversation)
            .collect()
    }
}
