//! Conversations are put to rest: nothing of them is left in memory, and a prompt takes them up again from
//! their history.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::Activity;
use super::Conversation;
use super::registry::Registry;

/// How often idle conversations are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

impl Registry {
    /// Puts idle conversations to rest until the process drains: those whose time is up, and, above
    /// the bound on live ones, those that have been idle longest. A prompt takes them up again.
    pub async fn keep_house(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(HOUSEKEEPING) => {}
                () = self.shutdown.drain.cancelled() => return,
            }
            for conversation in self.to_rest() {
                conversation.close().await;
                self.forget(&conversation);
            }
        }
    }

    fn to_rest(&self) -> Vec<Arc<Conversation>> {
        let mut idle: Vec<_> = self
            .live()
            .values()
            .filter(|one| one.snapshot().activity == Activity::Idle)
            .map(|one| (one.snapshot().updated_at, Arc::clone(one)))
            .collect();
        idle.sort_by_key(|(updated_at, _)| *updated_at);
        let surplus = self.len().saturating_sub(self.limits.max_live);
        let now = Utc::now();
        idle.into_iter()
            .enumerate()
            .filter(|(place, (_, one))| {
                let limit = if *place < surplus { Duration::ZERO } else { self.limits.idle };
                one.retire(now - limit)
            })
            .map(|(_, (_, one))| one)
            .collect()
    }
}
