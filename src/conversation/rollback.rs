//! Rollback: removes the last turns from what the model remembers. Files stay as they are.

use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Submission;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot;

use super::handle::Conversation;
use super::id::TurnId;
use super::state::State;
use super::turn::new_submission_id;
use crate::error::Error;
use crate::error::Kind;

/// Core's time limit for a rollback.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(30);

/// The submission that core is to confirm, and the task that waits for it.
#[derive(Debug)]
pub(super) struct RollbackReply {
    submission_id: TurnId,
    sender: oneshot::Sender<Result<(), String>>,
}

/// A rollback that core has been sent and has not confirmed. No turn starts until it is dropped.
#[derive(Debug)]
pub struct PendingRollback {
    conversation: Arc<Conversation>,
    reply: oneshot::Receiver<Result<(), String>>,
    _slot: OwnedSemaphorePermit,
}

impl Conversation {
    /// Begins to remove the last turns from the history.
    ///
    /// # Errors
    /// `Busy` where a turn runs; propagates `EngineError`.
    pub async fn start_rollback(self: &Arc<Self>, turns: u32) -> Result<PendingRollback, Error> {
        let slot = self.free_slot()?;
        let submission_id = new_submission_id();
        let (sender, reply) = oneshot::channel();
        let id = submission_id.to_string();
        self.lock().rollback = Some(RollbackReply { submission_id, sender });
        self.thread.submit(id, Submission::Rollback { turns }, None).await?;
        Ok(PendingRollback { conversation: Arc::clone(self), reply, _slot: slot })
    }
}

impl PendingRollback {
    /// Waits for core to confirm.
    ///
    /// # Errors
    /// `Engine` where core refuses or takes too long; `NotFound` where the conversation ends.
    pub async fn confirmed(self) -> Result<(), Error> {
        match tokio::time::timeout(ROLLBACK_LIMIT, self.reply).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(message))) => Err(Error::new(Kind::Engine, message)),
            Ok(Err(_)) => Err(self.conversation.ended()),
            Err(_) => {
                Err(Error::new(Kind::Engine, "core did not roll the conversation back in time"))
            }
        }
    }
}

impl State {
    /// Reports the outcome of a submission, if it is the pending rollback.
    pub(super) fn confirm_rollback(&mut self, submission_id: &str, outcome: Result<(), String>) {
        let pending = self.rollback.take_if(|rollback| *rollback.submission_id == *submission_id);
        if let Some(RollbackReply { sender, .. }) = pending {
            // The request may have timed out.
            let _ = sender.send(outcome);
        }
    }
}
