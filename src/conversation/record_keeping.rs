//! The task that brings records to the disk, and notices when they cannot be written.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::registry::Registry;

/// The interval between two syncs: what a power failure may lose.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// The number of syncs between two trials whether records can be written.
const SYNCS_PER_TRIAL: u32 = 5;
/// The number of histories that are written at the same time, and the time for one.
const FLUSHES: usize = 8;
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

impl Registry {
    /// Syncs the session file until the process drains, and tries whether it can be written. When
    /// that works again, writes what turns could not record in the meantime.
    pub async fn run_record_keeping(self: Arc<Self>) {
        let mut round = 0;
        loop {
            let drains = tokio::select! {
                () = tokio::time::sleep(SYNC_INTERVAL) => false,
                () = self.shared.shutdown.drain.cancelled() => true,
            };
            let (sessions, workspaces) = (self.sessions.clone(), self.workspaces.clone());
            let trial = round % SYNCS_PER_TRIAL == 0 && !drains;
            let failed_before = self.records().failure().is_some();
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
            if failed_before && self.records().failure().is_none() {
                self.flush_histories().await;
            }
            round = round.wrapping_add(1);
        }
    }

    async fn flush_histories(&self) {
        let live: Vec<_> = self.live().values().map(Arc::clone).collect();
        let flushes = futures::stream::iter(live).for_each_concurrent(FLUSHES, |conversation| async move {
            let flushed = tokio::time::timeout(FLUSH_LIMIT, conversation.thread.flush()).await;
            match flushed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, conversation = %conversation.id, "a history is not on disk");
                }
                Err(_) => {
                    tracing::warn!(conversation = %conversation.id, "a history takes too long");
                }
            }
        });
        flushes.await;
    }
}
