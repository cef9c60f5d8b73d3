//! How turns start: a prompt's turn, a review, a compaction. One at a time per conversation.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Review;
use codex_gateway_engine::Submission;
use codex_gateway_engine::TraceContext;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::Span;

use super::handle::Conversation;
use super::id::Seq;
use super::id::TurnId;
use super::log::Cursor;
use super::report::TurnReport;
use super::settings::Settings;
use super::state::RunningTurn;
use super::supervisor;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry::metrics;

/// The pause before a prompt that is to steer a turn looks for one again.
const STEER_PAUSE: Duration = Duration::from_millis(5);

/// How long it looks at most.
const STEER_LIMIT: Duration = Duration::from_secs(30);

/// How to handle a prompt while a turn runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IfBusy {
    /// Refuse it.
    #[default]
    Reject,
    /// Add it to the running turn.
    Steer,
    /// Start it after the running turn.
    Queue,
}

/// A handle on a turn.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Its conversation.
    pub conversation: Arc<Conversation>,
    /// Its id.
    pub id: TurnId,
    /// The last event before the turn. A conversation's first turn includes the events of its
    /// start.
    pub after: Seq,
    reports: watch::Receiver<Option<Arc<TurnReport>>>,
}

impl Turn {
    /// A cursor that begins at the turn's first event.
    pub fn cursor(&self) -> Cursor {
        self.conversation.log.cursor(self.after)
    }

    /// A receiver of the turn's report, set once the turn has ended.
    pub(crate) fn report_receiver(&self) -> watch::Receiver<Option<Arc<TurnReport>>> {
        self.reports.clone()
    }

    /// Waits for the turn's end.
    ///
    /// # Errors
    /// `Internal` if the turn was dropped without an end.
    pub async fn report(&self) -> Result<Arc<TurnReport>, Error> {
        let mut reports = self.reports.clone();
        let report = reports.wait_for(Option::is_some).await.ok().and_then(|report| report.clone());
        report.ok_or_else(|| Error::new(Kind::Internal, "the turn was lost"))
    }

    /// Interrupts the turn if it is still running. Does not wait for its end.
    pub fn interrupt(&self) {
        self.conversation.interrupt(Some(&self.id));
    }
}

/// A turn that is registered and not yet submitted to core.
struct Registered {
    turn: Turn,
    interrupt: CancellationToken,
    span: Span,
    trace: Option<TraceContext>,
    /// The settings before the turn.
    settings: Settings,
}

impl Conversation {
    /// Starts a turn, or handles the prompt as `if_busy` says. Not cancel-safe: a submission must
    /// not be dropped half-way, so callers run in a task that goes on without the client.
    ///
    /// # Errors
    /// `Busy` where a turn runs and `if_busy` is to reject; `Overloaded` where too many prompts are
    /// queued; `Unavailable` while the process drains; `NotFound` where the conversation has ended;
    /// propagates `EngineError`.
    pub(super) async fn prompt(
        self: &Arc<Self>,
        prompt: Prompt,
        limit: Duration,
        if_busy: IfBusy,
    ) -> Result<Turn, Error> {
        match if_busy {
            IfBusy::Reject => {
                self.start(Submission::Prompt(prompt), limit).await.map_err(name_other_ways)
            }
            IfBusy::Queue => self.queue(Submission::Prompt(prompt), limit).await,
            IfBusy::Steer => self.steer_or_start(&prompt, limit).await,
        }
    }

    /// Starts a turn that summarises the history to free context.
    ///
    /// # Errors
    /// `Busy` where a turn runs; otherwise as for a prompt.
    pub async fn compact(self: &Arc<Self>) -> Result<Turn, Error> {
        self.start(Submission::Compact, self.own_turn_limit).await
    }

    /// Starts a turn that reviews code.
    ///
    /// # Errors
    /// `Busy` where a turn runs; otherwise as for a prompt.
    pub async fn review(self: &Arc<Self>, review: Review, limit: Duration) -> Result<Turn, Error> {
        self.start(Submission::Review(review), limit).await
    }

    /// Interrupts the running turn: any, or only this one. Returns it, if it was running. Does not
    /// wait for its end.
    pub fn interrupt(self: &Arc<Self>, only: Option<&TurnId>) -> Option<Turn> {
        let state = self.lock();
        let running = state.running.as_ref()?;
        if only.is_some_and(|only| *only != running.id) {
            return None;
        }
        running.interrupt.cancel();
        Some(self.turn(running, self.log.last_seq()))
    }

    /// Adds a prompt to the running turn. Returns it, or `None` where no turn is running.
    ///
    /// # Errors
    /// Propagates `EngineError`.
    pub async fn steer(self: &Arc<Self>, prompt: &Prompt) -> Result<Option<Turn>, Error> {
        let after = self.log.last_seq();
        let turn = self.lock().running.as_ref().map(|running| self.turn(running, after));
        let Some(turn) = turn else { return Ok(None) };
        let steer = Submission::Steer {
            turn_id: turn.id.to_string(),
            text: prompt.text.clone(),
            images: prompt.images.clone(),
        };
        match self.thread.submit(new_submission_id().to_string(), steer, None).await {
            Ok(()) => Ok(Some(turn)),
            Err(EngineError::NoActiveTurn) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts a turn at once.
    async fn start(
        self: &Arc<Self>,
        mut submission: Submission,
        limit: Duration,
    ) -> Result<Turn, Error> {
        match self.register(self.free_slot()?, &mut submission)? {
            Some(registered) => self.submit(registered, submission, limit).await,
            None => Err(self.busy()),
        }
    }

    /// Starts a turn after the running one and those that were queued before.
    async fn queue(
        self: &Arc<Self>,
        mut submission: Submission,
        limit: Duration,
    ) -> Result<Turn, Error> {
        if let Ok(slot) = self.free_slot()
            && let Some(registered) = self.register(slot, &mut submission)?
        {
            return self.submit(registered, submission, limit).await;
        }
        let _queued = self.queued.try_acquire().map_err(|_| {
            Error::new(Kind::Overloaded, "too many prompts are waiting for this conversation")
        })?;
        // Held until the turn has started: a prompt that finds a turn of core's own in its place
        // stays ahead of those that were queued later.
        let _next = self.unless_draining(self.queue_head.acquire()).await?;
        loop {
            let slot = self.unless_draining(Arc::clone(&self.slot).acquire_owned()).await?;
            let slot = slot.map_err(|_| self.ended())?;
            if let Some(registered) = self.register(slot, &mut submission)? {
                return self.submit(registered, submission, limit).await;
            }
        }
    }

    /// Adds the prompt to the running turn, or starts one with it.
    async fn steer_or_start(
        self: &Arc<Self>,
        prompt: &Prompt,
        limit: Duration,
    ) -> Result<Turn, Error> {
        let end = Instant::now() + STEER_LIMIT.min(limit);
        loop {
            if let Ok(slot) = self.free_slot() {
                let mut submission = Submission::Prompt(prompt.clone());
                if let Some(registered) = self.register(slot, &mut submission)? {
                    return self.submit(registered, submission, limit).await;
                }
            }
            if let Some(turn) = self.steer(prompt).await? {
                return Ok(turn);
            }
            // The turn has not begun in core yet or has just ended, or a rollback holds the slot.
            if Instant::now() >= end {
                return Err(self.busy());
            }
            self.unless_draining(tokio::time::sleep(STEER_PAUSE)).await?;
        }
    }

    /// Takes the slot of the conversation, which allows one turn or rollback at a time.
    pub(super) fn free_slot(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.slot).try_acquire_owned().map_err(|_| self.busy())
    }

    async fn unless_draining<T>(&self, wait: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            done = wait => Ok(done),
            () = self.shutdown.drain.cancelled() => Err(draining()),
        }
    }

    /// Makes the submission's turn the running one. Returns `None` if core has begun a turn of its
    /// own while the slot was on its way to the caller; that turn takes the slot.
    fn register(
        self: &Arc<Self>,
        slot: OwnedSemaphorePermit,
        submission: &mut Submission,
    ) -> Result<Option<Registered>, Error> {
        if self.shutdown.drain.is_cancelled() {
            return Err(draining());
        }
        let mut state = self.lock();
        if state.closed {
            return Err(self.ended());
        }
        if let Some(running) = &mut state.running {
            running.slot.get_or_insert(Arc::new(slot));
            return Ok(None);
        }
        let turn_slot = Arc::clone(&self.turn_slots).try_acquire_owned().map_err(|_| {
            metrics().turns_refused.add(1, &[]);
            let most = self.max_running;
            Error::new(
                Kind::Overloaded,
                format!(
                    "expected at most {most} turns that run at a time (gateway.max_running_turns); try \
                     again later"
                ),
            )
        })?;
        let settings = state.settings.clone();
        let text = match submission {
            Submission::Prompt(prompt) => {
                state.settings.update(prompt, &self.defaults);
                Some(prompt.text.as_str())
            }
            Submission::Answer(..)
            | Submission::Compact
            | Submission::Interrupt
            | Submission::Review(_)
            | Submission::Rollback { .. }
            | Submission::Steer { .. } => None,
        };
        let id = new_submission_id();
        let span = self.begin_span(&id, &state.settings.model, text);
        let (trace, current) = (span.for_core(), span.span().clone());
        let mut running = RunningTurn::new(id, state.usage.clone(), span, Some(slot));
        running.turn_slot = Some(turn_slot);
        let is_first = !std::mem::replace(&mut state.has_had_turns, true);
        let turn = self.turn(&running, if is_first { 0 } else { self.log.last_seq() });
        let interrupt = running.interrupt.clone();
        state.updated_at = Utc::now();
        state.running = Some(running);
        Ok(Some(Registered { turn, interrupt, span: current, trace, settings }))
    }

    /// Submits a registered turn to core, under supervision.
    async fn submit(
        self: &Arc<Self>,
        registered: Registered,
        submission: Submission,
        limit: Duration,
    ) -> Result<Turn, Error> {
        let Registered { turn, interrupt, span, trace, settings } = registered;
        if let Err(error) = self.thread.submit(turn.id.to_string(), submission, trace).await {
            let mut state = self.lock();
            if state.running(&turn.id).is_some() {
                state.running = None;
                // Core has not received the turn's settings.
                state.settings = settings;
                self.calls.untrace(self.id.as_str());
            }
            return Err(error.into());
        }
        let supervisor = supervisor::run(Arc::clone(self), turn.id.clone(), limit, interrupt);
        self.shutdown.spawn(supervisor.instrument(span));
        Ok(turn)
    }

    fn turn(self: &Arc<Self>, running: &RunningTurn, after: Seq) -> Turn {
        Turn {
            conversation: Arc::clone(self),
            id: running.id.clone(),
            after,
            reports: running.reports.subscribe(),
        }
    }

    fn busy(&self) -> Error {
        let turn_id = self.snapshot().turn_id.map(|id| id.to_string()).unwrap_or_default();
        Error::new(
            Kind::Busy { turn_id },
            "a turn is running on this conversation: wait for it or interrupt it",
        )
    }
}

/// A new id of a submission to core. The id of a submission that starts a turn is the turn's.
pub(super) fn new_submission_id() -> TurnId {
    uuid::Uuid::now_v7().to_string().into()
}

/// Names what a prompt can choose while a turn runs, which other requests cannot.
fn name_other_ways(error: Error) -> Error {
    match error.kind() {
        Kind::Busy { .. } => Error::new(
            error.kind().clone(),
            format!("{error}, or send \"if_busy\": \"steer\" or \"queue\""),
        ),
        _ => error,
    }
}

fn draining() -> Error {
    Error::new(Kind::Unavailable, "the gateway is shutting down; send the prompt again in a moment")
}
