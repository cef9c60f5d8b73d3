//! The task that keeps event logs within their common budget.

use std::sync::Arc;
use std::time::Duration;

use super::registry::Registry;
use super::state::Activity;

/// The pause between two rounds of dropping.
const PAUSE: Duration = Duration::from_millis(10);

impl Registry {
    /// Keeps the event logs within their budget until the process drains.
    pub async fn run_event_budget(self: Arc<Self>) {
        let budget = Arc::clone(&self.shared.event_budget);
        loop {
            tokio::select! {
                () = budget.exceeded() => {}
                () = self.shared.shutdown.drain.cancelled() => return,
            }
            self.drop_oldest_events();
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn drop_oldest_events(&self) {
        let mut logs: Vec<_> = self
            .live()
            .values()
            .map(|conversation| {
                let snapshot = conversation.snapshot();
                let is_busy = match snapshot.activity {
                    Activity::Running | Activity::WaitingApproval => true,
                    Activity::Idle | Activity::Closed => false,
                };
                (is_busy, snapshot.updated_at, Arc::clone(&conversation.log))
            })
            .collect();
        logs.sort_by_key(|(is_busy, updated_at, _)| (*is_busy, *updated_at));
        for (_, _, log) in logs {
            match self.shared.event_budget.surplus() {
                0 => return,
                surplus => log.drop_oldest(surplus),
            }
        }
    }
}
