//! The pump: the one task that reads a conversation's events from core.

use std::sync::Arc;

use chrono::Utc;
use codex_gateway_engine::protocol::Event;
use codex_gateway_engine::protocol::EventMsg;

use super::handle::Conversation;
use super::id::TurnId;
use super::report::ErrorSource;
use super::report::TurnStatus;
use super::state::RunningTurn;
use super::state::State;
use super::state::turn_status;
use super::supervisor;
use crate::proxy::mcp_egress::EgressProxy;
use crate::telemetry::metrics;

/// Reads events until the thread has ended. URLs of `egress` are replaced: core reports them in
/// errors of tool servers, and their secret admits to every server.
pub(super) async fn run(
    conversation: Arc<Conversation>,
    raw_events: bool,
    egress: Option<EgressProxy>,
) {
    let mut json = Vec::with_capacity(1024);
    while let Some(event) = conversation.next_event().await {
        if carries_system_prompt(&event.msg) && !raw_events {
            conversation.trace_event(&event);
            continue;
        }
        json.clear();
        match codex_gateway_engine::encode(&event, &mut json) {
            Ok(()) => {
                if let Some(egress) = &egress {
                    egress.unmask_json(&mut json);
                }
                conversation.record(&event, &json);
            }
            Err(error) => tracing::error!(%error, "an event of core could not be encoded"),
        }
        // Core keeps its queue open after this event, which is its last.
        if matches!(event.msg, EventMsg::ShutdownComplete) {
            break;
        }
    }
    conversation.thread_ended();
}

fn carries_system_prompt(msg: &EventMsg) -> bool {
    matches!(msg, EventMsg::RawResponseItem(_) | EventMsg::RawResponseCompleted(_))
}

impl Conversation {
    /// The next event; `None` where none follows.
    async fn next_event(&self) -> Option<Event> {
        tokio::select! {
            // Events that are there already come first.
            biased;
            event = self.thread.next_event() => event,
            () = self.abandoned.cancelled() => None,
        }
    }

    /// Traces an event that no client receives.
    fn trace_event(&self, event: &Event) {
        if let Some(running) = &mut self.lock().running
            && running.owns(&event.id)
        {
            running.span.observe(&event.msg);
        }
    }

    /// Folds an event into the running turn, appends it to the log, and ends the turn if it is the
    /// turn's last.
    fn record(self: &Arc<Self>, event: &Event, json: &[u8]) {
        let mut state = self.lock();
        self.update(&mut state, event, json);
        metrics().events.add(1, &[]);
        let Some(running) = state.running.as_mut().filter(|running| running.owns(&event.id)) else {
            self.log.append(json, None);
            return;
        };
        running.span.observe(&event.msg);
        running.report.fold(&event.msg, &self.cwd);
        let failed = running.report.has_failed();
        let status = match &event.msg {
            EventMsg::TurnComplete(_) => turn_status(running.stop_reason, false, failed),
            EventMsg::TurnAborted(_) => turn_status(running.stop_reason, true, failed),
            // Core refused the prompt. No turn began, so none will complete.
            EventMsg::Error(_) if running.core_id.is_none() => TurnStatus::Failed,
            // Core's events grow with upstream. No other ends a turn.
            _ => {
                self.log.append(json, None);
                return;
            }
        };
        let id = running.id.clone();
        self.finish(&mut state, id, status, json);
    }

    /// Updates the conversation's state with an event.
    fn update(self: &Arc<Self>, state: &mut State, event: &Event, json: &[u8]) {
        state.updated_at = Utc::now();
        if let EventMsg::TokenCount(count) = &event.msg
            && let Some(info) = &count.info
        {
            state.usage = Some(info.total_token_usage.clone());
        }
        match &event.msg {
            EventMsg::TurnStarted(_) => self.turn_started(state, &event.id),
            EventMsg::TurnDiff(diff) => {
                let turn = state.running.as_ref().map(|running| running.id.clone());
                let turn = turn.unwrap_or_else(|| event.id.as_str().into());
                state.diff = Some((turn, diff.unified_diff.clone()));
            }
            EventMsg::ThreadRolledBack(_) => state.confirm_rollback(&event.id, Ok(())),
            EventMsg::Error(error) => {
                state.confirm_rollback(&event.id, Err(error.message.clone()));
            }
            // Core's events grow with upstream. Some of them are requests to the client.
            _ => self.record_request(state, event, json),
        }
    }

    /// Notes that core has begun a turn: the submitted one, or one of its own (a goal that goes on,
    /// a sub-agent's report). The latter is registered like any other: clients can see, interrupt
    /// and await it, and it has a time limit.
    fn turn_started(self: &Arc<Self>, state: &mut State, core_id: &str) {
        if let Some(running) = state.running.as_mut() {
            if running.core_id.is_none() || *running.id == *core_id {
                running.core_id = Some(core_id.to_owned());
            }
            return;
        }
        let id: TurnId = core_id.into();
        state.has_had_turns = true;
        let span = self.begin_span(&id, &state.settings.model, None);
        let slot = Arc::clone(&self.slot).try_acquire_owned().ok();
        let mut running = RunningTurn::new(id.clone(), state.usage.clone(), span, slot);
        running.turn_slot = Arc::clone(&self.turn_slots).try_acquire_owned().ok();
        running.core_id = Some(core_id.to_owned());
        let interrupt = running.interrupt.clone();
        state.running = Some(running);
        let supervisor = supervisor::run(Arc::clone(self), id, self.own_turn_limit, interrupt);
        self.shutdown.spawn(supervisor);
    }

    /// Ends the running turn with an event of the gateway's own, because core will not.
    pub(super) fn abandon(&self, turn_id: &TurnId, status: TurnStatus, message: &str) {
        let mut state = self.lock();
        let Some(running) = state.running(turn_id) else { return };
        running.report.fail(ErrorSource::Gateway, message);
        // Written by hand because readers of the log expect the tag first.
        let json = format!(
            r#"{{"id":"{turn_id}","msg":{{"type":"gateway_error","message":{}}}}}"#,
            serde_json::Value::from(message)
        );
        self.finish(&mut state, turn_id.clone(), status, json.as_bytes());
    }

    fn finish(&self, state: &mut State, id: TurnId, status: TurnStatus, last_event: &[u8]) {
        // The slot is free before readers learn of the end: a client that prompts again at once
        // must not be told that the turn is still running.
        let Some(running) = state.running.take() else { return };
        state.pending.clear();
        let RunningTurn { report, reports, started, slot, span, .. } = running;
        self.calls.untrace(self.id.as_str());
        drop(slot);
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Every append happens under the lock of `state`.
        let end_seq = self.log.last_seq() + 1;
        let report = Arc::new(report.finish(id.clone(), status, duration_ms, end_seq));
        span.end(&report);
        // Readers of the turn's last event look for its summary.
        state.remember(&report);
        self.log.append(last_event, Some(id));
        reports.send_replace(Some(report));
    }

    /// Closes the conversation after its thread has ended.
    fn thread_ended(&self) {
        let running = {
            let mut state = self.lock();
            state.closed = true;
            state.rollback = None;
            state.running.as_ref().map(|running| (running.id.clone(), running.stop_reason))
        };
        if let Some((turn_id, stop_reason)) = running {
            let status = match stop_reason {
                Some(_) => turn_status(stop_reason, true, false),
                None => TurnStatus::Failed,
            };
            self.abandon(&turn_id, status, "the conversation ended before its turn did");
        }
        self.log.complete();
    }
}
