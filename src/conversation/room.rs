//! Room for live conversations: their number is a bound, not a wish.

use std::time::Duration;

use chrono::Utc;
use tokio::sync::OwnedSemaphorePermit;

use super::registry::Registry;
use super::state::Activity;
use crate::error::Error;
use crate::error::Kind;

/// The time that a request waits for another conversation to end or to be evicted.
const WAIT: Duration = Duration::from_secs(2);

impl Registry {
    /// Takes the place of a conversation, evicting the one that has been idle longest where there is
    /// none.
    ///
    /// # Errors
    /// `Unavailable` where all are busy.
    pub(super) async fn room(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        self.evict_idlest().await;
        let place = tokio::time::timeout(WAIT, self.places.clone().acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or_else(|| {
            let live = self.shared.limits.max_live;
            Error::new(
                Kind::Unavailable,
                format!(
                    "all {live} live conversations (max_live_conversations) are busy: try again \
                     when a turn has ended"
                ),
            )
        })
    }

    async fn evict_idlest(&self) {
        if self.sessions.check_room().is_err() {
            // Its history could not be written.
            return;
        }
        let mut idle: Vec<_> = self
            .live()
            .values()
            .map(|conversation| (conversation.snapshot(), conversation))
            .filter(|(snapshot, _)| snapshot.activity == Activity::Idle)
            .map(|(snapshot, conversation)| (snapshot.updated_at, conversation.clone()))
            .collect();
        idle.sort_by_key(|(updated_at, _)| *updated_at);
        let now = Utc::now() + chrono::TimeDelta::milliseconds(1);
        for (_, conversation) in idle {
            if conversation.close_if_idle(now) {
                conversation.close().await;
                self.remove(&conversation);
                return;
            }
        }
    }
}
