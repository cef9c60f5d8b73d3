//! What is begun on a conversation: a prompt's turn, a review, a compaction; one at a time.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Review;
use codex_gateway_engine::Submission;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Conversation;
use super::Defaults;
use super::Running;
use super::id::Seq;
use super::id::TurnId;
use super::keeper;
use super::log::Cursor;
use super::report::Draft;
use super::report::Report;
use crate::error::Error;
use crate::error::Kind;

/// How soon a prompt that is to steer a turn looks again for one.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long core may take to roll a conversation back.
const ROLLBACK_WITHIN: Duration = Duration::from_secs(30);

/// What to do with a prompt while a turn runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IfBusy {
    /// Refuse it.
    #[default]
    Reject,
    /// Add it to the running turn.
    Steer,
    /// Let it wait for its turn.
    Queue,
}

/// A turn, for whoever follows it.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Its conversation.
    pub conversation: Arc<Conversation>,
    /// Its id.
    pub id: TurnId,
    /// The last event before it. A conversation's first turn takes in what came while it started.
    pub after: Seq,
    pub(super) report: watch::Receiver<Option<Arc<Report>>>,
}

impl Turn {
    /// A reader of the turn's events, from the first.
    pub fn cursor(&self) -> Cursor {
        self.conversation.log.cursor(self.after)
    }

    /// A receiver of the turn's report, set once the turn has ended.
    pub(crate) fn report_receiver(&self) -> watch::Receiver<Option<Arc<Report>>> {
        self.report.clone()
    }

    /// Waits for the end.
    pub async fn report(&self) -> Result<Arc<Report>, Error> {
        let mut report = self.report.clone();
        let report = report.wait_for(Option::is_some).await.ok().and_then(|report| report.clone());
        report.ok_or_else(|| Error::new(Kind::Internal, "the turn was lost"))
    }

    /// Tells the turn to stop, if it is still running.
    pub fn cancel(&self) {
        self.conversation.stop(Some(&self.id));
    }
}

impl Conversation {
    /// Starts a turn, or does with the prompt what `if_busy` says. To be called from a task that no
    /// client can take along: a submission is not to be dropped half-way.
    ///
    /// # Errors
    /// `Busy` where a turn runs and `if_busy` is to reject; `Overloaded` where too many wait;
    /// `Unavailable` while draining; what core says of the prompt.
    pub async fn prompt(
        self: &Arc<Self>,
        prompt: Prompt,
        limit: Duration,
        if_busy: IfBusy,
    ) -> Result<Turn, Error> {
        loop {
            let slot = match self.free_slot() {
                Ok(slot) => slot,
                Err(busy) => match if_busy {
                    IfBusy::Reject => return Err(busy),
                    IfBusy::Queue => self.queue().await?,
                    IfBusy::Steer => match self.steer(&prompt).await? {
                        Some(turn) => return Ok(turn),
                        // Core's turn is not there yet, or no longer, or it is no turn that holds the
                        // place: soon there is a turn, or the prompt starts one of its own.
                        None => {
                            tokio::time::sleep(LOOK_AGAIN).await;
                            continue;
                        }
                    },
                },
            };
            return self.begin(slot, Submission::Prompt(prompt), limit).await;
        }
    }

    /// Starts a turn that sums up the history, to make room for more.
    ///
    /// # Errors
    /// As of [`Self::prompt`].
    pub async fn compact(self: &Arc<Self>) -> Result<Turn, Error> {
        self.begin(self.free_slot()?, Submission::Compact, self.own_turn_limit).await
    }

    /// Starts a turn that reviews code.
    ///
    /// # Errors
    /// As of [`Self::prompt`].
    pub async fn review(self: &Arc<Self>, review: Review, limit: Duration) -> Result<Turn, Error> {
        self.begin(self.free_slot()?, Submission::Review(review), limit).await
    }

    /// Begins to take the last turns out of what the model remembers. Files stay as they are.
    ///
    /// # Errors
    /// `Busy` where a turn runs; propagates `EngineError`.
    pub async fn start_rollback(self: &Arc<Self>, turns: u32) -> Result<PendingRollback, Error> {
        let slot = self.free_slot()?;
        let id = new_turn_id();
        let (sender, answered) = oneshot::channel();
        self.lock().awaited = Some((id.clone(), sender));
        self.thread.submit(id.to_string(), Submission::Rollback { turns }, None).await?;
        Ok(PendingRollback { conversation: Arc::clone(self), answered, _slot: slot })
    }

    fn free_slot(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.slot).try_acquire_owned().map_err(|_| self.busy())
    }

    fn busy(&self) -> Error {
        let turn_id = self.snapshot().turn_id.map(|id| id.to_string()).unwrap_or_default();
        Error::new(
            Kind::Busy { turn_id },
            "a turn is running on this conversation: wait for it, cancel it, or send \"if_busy\": \
             \"steer\" or \"queue\"",
        )
    }

    async fn queue(&self) -> Result<OwnedSemaphorePermit, Error> {
        let _place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| {
            Error::new(Kind::Overloaded, "too many prompts are waiting for this conversation")
        })?;
        tokio::select! {
            slot = Arc::clone(&self.slot).acquire_owned() => slot.map_err(|_| self.gone()),
            () = self.shutdown.drain.cancelled() => Err(draining()),
        }
    }

    /// Adds a prompt to the running turn. `None` where none is running.
    ///
    /// # Errors
    /// What core says of it.
    pub async fn steer(self: &Arc<Self>, prompt: &Prompt) -> Result<Option<Turn>, Error> {
        let after = self.log.last_seq();
        let Some((turn_id, report)) = self
            .lock()
            .running
            .as_ref()
            .map(|running| (running.id.clone(), running.report.subscribe()))
        else {
            return Ok(None);
        };
        let steer = Submission::Steer {
            turn_id: turn_id.to_string(),
            text: prompt.text.clone(),
            images: prompt.images.clone(),
        };
        match self.thread.submit(new_turn_id().to_string(), steer, None).await {
            Ok(()) => Ok(Some(Turn { conversation: Arc::clone(self), id: turn_id, after, report })),
            Err(EngineError::NoActiveTurn) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn begin(
        self: &Arc<Self>,
        slot: OwnedSemaphorePermit,
        mut submission: Submission,
        limit: Duration,
    ) -> Result<Turn, Error> {
        if self.shutdown.drain.is_cancelled() {
            return Err(draining());
        }
        let id = new_turn_id();
        let (report, reports) = watch::channel(None);
        let stop = CancellationToken::new();
        let (trace, span);
        let after = {
            let mut state = self.lock();
            if state.closed {
                return Err(self.gone());
            }
            if let Submission::Prompt(prompt) = &mut submission {
                self.settle(&mut state.settings, prompt);
            }
            let prompt = match &submission {
                Submission::Prompt(prompt) => Some(prompt.text.as_str()),
                Submission::Answer(..)
                | Submission::Compact
                | Submission::Interrupt
                | Submission::Review(_)
                | Submission::Rollback { .. }
                | Submission::Steer { .. } => None,
            };
            let turn_span = self.trace(&id, &state.settings.model, prompt);
            trace = turn_span.for_core();
            span = turn_span.span().clone();
            state.updated_at = Utc::now();
            state.running = Some(Running {
                id: id.clone(),
                started: Instant::now(),
                core_id: None,
                draft: Draft::new(state.usage.clone()),
                trace: turn_span,
                stopped: None,
                stop: stop.clone(),
                report,
                slot: Some(Arc::new(slot)),
            });
            if std::mem::replace(&mut state.has_had_turns, true) { self.log.last_seq() } else { 0 }
        };
        let turn = Turn { conversation: Arc::clone(self), id: id.clone(), after, report: reports };
        // Callers run in a task of their own, so this is not dropped half-way by a client that leaves.
        if let Err(error) = self.thread.submit(id.to_string(), submission, trace).await {
            self.lock().running = None;
            self.calls.untrace(self.id.as_str());
            return Err(error.into());
        }
        self.shutdown.spawn(keeper::run(Arc::clone(self), id, limit, stop).instrument(span));
        Ok(turn)
    }

    /// Core keeps what a prompt chose for the turns after it; here a choice is its turn's only. So what
    /// the prompt leaves open is what the conversation started with, and core is told what changes.
    fn settle(&self, settings: &mut Defaults, prompt: &mut Prompt) {
        fn change<T: PartialEq + Clone>(current: &mut T, choice: &mut Option<T>, default: &T) {
            let wanted = choice.take().unwrap_or_else(|| default.clone());
            if *current != wanted {
                current.clone_from(&wanted);
                *choice = Some(wanted);
            }
        }
        change(&mut settings.model, &mut prompt.model, &self.defaults.model);
        change(&mut settings.sandbox, &mut prompt.sandbox, &self.defaults.sandbox);
        let approval = &self.defaults.approval_policy;
        change(&mut settings.approval_policy, &mut prompt.approval_policy, approval);
    }
}

/// A rollback that core has been sent and has not confirmed. No turn starts until it is dropped.
#[derive(Debug)]
pub struct PendingRollback {
    conversation: Arc<Conversation>,
    answered: oneshot::Receiver<Result<(), String>>,
    _slot: OwnedSemaphorePermit,
}

impl PendingRollback {
    /// Waits for core to confirm.
    ///
    /// # Errors
    /// `Engine` where core refuses or takes too long; `NotFound` where the conversation ends.
    pub async fn confirmed(self) -> Result<(), Error> {
        match tokio::time::timeout(ROLLBACK_WITHIN, self.answered).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(message))) => Err(Error::new(Kind::Engine, message)),
            Ok(Err(_)) => Err(self.conversation.gone()),
            Err(_) => {
                Err(Error::new(Kind::Engine, "core did not roll the conversation back in time"))
            }
        }
    }
}

fn new_turn_id() -> TurnId {
    uuid::Uuid::now_v7().to_string().into()
}

fn draining() -> Error {
    Error::new(Kind::Unavailable, "the gateway is shutting down; send the prompt again in a moment")
}
