//! The supervisor: the one task per turn that may interrupt it, at its time limit, on a client's
//! request or when the process drains. So core gets one interrupt per turn, and an unresponsive
//! turn is abandoned in one place.

use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Submission;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::handle::Conversation;
use super::id::TurnId;
use super::report::TurnReport;
use super::state::StopReason;
use super::state::turn_status;

/// The time for core to end an interrupted turn.
const GRACE: Duration = Duration::from_secs(5);

/// Supervises a turn until it has ended.
pub(super) async fn run(
    conversation: Arc<Conversation>,
    turn_id: TurnId,
    limit: Duration,
    interrupt: CancellationToken,
) {
    let Some((mut reports, out_of_space)) = conversation.watched(&turn_id) else { return };
    let reason = tokio::select! {
        _ = reports.wait_for(Option::is_some) => return,
        () = tokio::time::sleep(limit) => StopReason::TimedOut,
        () = interrupt.cancelled() => StopReason::Cancelled,
        () = out_of_space.cancelled() => StopReason::OutOfSpace,
        () = conversation.shutdown.drain.cancelled() => StopReason::Draining,
    };
    let Some(slot) = conversation.mark_stopped(&turn_id, reason) else { return };
    let id = &conversation.id;
    tracing::debug!(conversation = %id, %turn_id, ?reason, "interrupting the turn");
    let interrupt =
        conversation.thread.submit(format!("{turn_id}-stop"), Submission::Interrupt, None);
    let interrupted = tokio::time::timeout(GRACE, interrupt).await;
    // After the interrupt: core would take the end of its model call for a failure and repeat it.
    conversation.calls.stop(conversation.id.as_str());
    match interrupted {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, conversation = %id, "core refused to interrupt the turn");
        }
        Err(_) => tracing::warn!(conversation = %id, "core does not take the interrupt"),
    }
    // Held until here: an interrupt names no turn and must not hit the next one.
    drop(slot);
    if tokio::time::timeout(GRACE, reports.wait_for(Option::is_some)).await.is_err() {
        tracing::error!(conversation = %id, %turn_id, "the interrupted turn did not end");
        conversation.abandon(
            &turn_id,
            turn_status(Some(reason), true, false),
            "the turn did not end when it was interrupted",
        );
        // Core may still be working on it. The next prompt resumes the conversation from its
        // history.
        conversation.close().await;
    }
}

impl Conversation {
    /// What the supervisor of a turn waits for: its report, and a volume that is nearly full.
    fn watched(
        &self,
        turn_id: &TurnId,
    ) -> Option<(watch::Receiver<Option<Arc<TurnReport>>>, CancellationToken)> {
        let mut state = self.lock();
        let running = state.running(turn_id)?;
        Some((running.reports.subscribe(), running.out_of_space.clone()))
    }

    /// Records why the turn is interrupted. Returns its slot, or `None` if it has ended.
    fn mark_stopped(
        &self,
        turn_id: &TurnId,
        reason: StopReason,
    ) -> Option<Option<Arc<OwnedSemaphorePermit>>> {
        let mut state = self.lock();
        let running = state.running(turn_id)?;
        running.stop_reason = Some(reason);
        Some(running.slot.clone())
    }
}
