//! The task that brings records to the disk, and notices when they cannot be written.

use std::sync::Arc;
use std::time::Duration;

use super::registry::Registry;

/// The interval between two syncs: what a power failure may lose.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// The number of syncs between two trials whether records can be written.
const SYNCS_PER_TRIAL: u32 = 5;

impl Registry {
    /// Syncs the session file until the process drains, and tries whether it can be written.
    pub async fn run_record_keeping(self: Arc<Self>) {
        let mut round = 0;
        loop {
            let drains = tokio::select! {
                () = tokio::time::sleep(SYNC_INTERVAL) => false,
                () = self.shared.shutdown.drain.cancelled() => true,
            };
            let (sessions, workspaces) = (self.sessions.clone(), self.workspaces.clone());
            let trial = round % SYNCS_PER_TRIAL == 0 && !drains;
            let kept = tokio::task::spawn_blocking(move || {
                sessions.sync();
                workspaces.sync();
                if trial {
                    sessions.maintain();
                }
            });
            if let Err(error) = kept.await {
                tracing::error!(%error, "record keeping panicked");
            }
            if drains {
                return;
            }
            round = round.wrapping_add(1);
        }
    }
}
