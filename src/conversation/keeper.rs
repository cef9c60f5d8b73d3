//! The one task per turn that may stop it: at its time limit, on a cancellation, when the process
//! drains. Whoever wants a turn stopped tells its keeper; so an interrupt is sent once, and a turn
//! that does not obey is given up in one place.

use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Submission;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::Conversation;
use super::Stop;
use super::id::TurnId;
use super::status_of;

/// How long core may take to end a turn that it was told to.
const GRACE: Duration = Duration::from_secs(5);

pub(super) async fn run(
    conversation: Arc<Conversation>,
    turn_id: TurnId,
    limit: Duration,
    stop: CancellationToken,
) {
    let Some(mut report) = conversation.report_of(&turn_id) else { return };
    let reason = tokio::select! {
        _ = report.wait_for(Option::is_some) => return,
        () = tokio::time::sleep(limit) => Stop::TimedOut,
        () = stop.cancelled() => Stop::Cancelled,
        () = conversation.shutdown.drain.cancelled() => Stop::Draining,
    };
    let Some(slot) = conversation.mark_stopped(&turn_id, reason) else { return };
    tracing::debug!(conversation = %conversation.id, %turn_id, ?reason, "interrupting the turn");
    let interrupt =
        conversation.thread.submit(format!("{turn_id}-stop"), Submission::Interrupt, None);
    let interrupted = interrupt.await;
    // After the interrupt: core must not take the end of its call for a failure and ask again.
    conversation.calls.stop(conversation.id.as_str());
    if let Err(error) = interrupted {
        tracing::warn!(%error, conversation = %conversation.id, "core would not interrupt the turn");
    }
    // Held until here: an interrupt names no turn, and must not hit the next one.
    drop(slot);
    if tokio::time::timeout(GRACE, report.wait_for(Option::is_some)).await.is_err() {
        tracing::error!(conversation = %conversation.id, %turn_id, "the turn did not end when told");
        conversation.abandon(
            &turn_id,
            status_of(Some(reason), true, false),
            "the turn did not end when it was interrupted",
        );
        // Core may still be at it: the next prompt takes the conversation up from its history.
        conversation.close().await;
    }
}

impl Conversation {
    fn report_of(
        &self,
        turn_id: &TurnId,
    ) -> Option<tokio::sync::watch::Receiver<Option<Arc<super::Report>>>> {
        let state = self.lock();
        let running = state.running.as_ref().filter(|running| running.id == *turn_id)?;
        Some(running.report.subscribe())
    }

    /// Notes why the turn is stopped. Returns its slot, or `None` where it has ended.
    fn mark_stopped(
        &self,
        turn_id: &TurnId,
        reason: Stop,
    ) -> Option<Option<Arc<OwnedSemaphorePermit>>> {
        let mut state = self.lock();
        let running = state.running.as_mut().filter(|running| running.id == *turn_id)?;
        running.stopped = Some(reason);
        Some(running.slot.clone())
    }
}
