//! The one task that reads a conversation's events from core.

use std::sync::Arc;

use chrono::Utc;
use codex_gateway_engine::protocol::Event;
use codex_gateway_engine::protocol::EventMsg;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Conversation;
use super::Ending;
use super::KEPT_ENDINGS;
use super::Running;
use super::State;
use super::id::TurnId;
use super::keeper;
use super::report::Draft;
use super::report::Failure;
use super::report::Status;
use super::status_of;
use crate::telemetry::metrics;

pub(super) async fn run(conversation: Arc<Conversation>, raw_events: bool) {
    let mut json = Vec::with_capacity(1024);
    while let Some(event) = conversation.thread.next_event().await {
        if carries_the_system_prompt(&event.msg) && !raw_events {
            conversation.see(&event);
            continue;
        }
        json.clear();
        match codex_gateway_engine::encode(&event, &mut json) {
            Ok(()) => conversation.record(&event, &json),
            Err(error) => tracing::error!(%error, "an event of core could not be encoded"),
        }
        // Core keeps its queue open after its last word.
        if matches!(event.msg, EventMsg::ShutdownComplete) {
            break;
        }
    }
    conversation.ended();
}

fn carries_the_system_prompt(msg: &EventMsg) -> bool {
    matches!(msg, EventMsg::RawResponseItem(_) | EventMsg::RawResponseCompleted(_))
}

impl State {
    /// Tells whoever waits for a submission what became of it.
    fn settle_awaited(&mut self, id: &str, outcome: Result<(), String>) {
        if let Some((_, waiting)) = self.awaited.take_if(|(awaited, _)| **awaited == *id) {
            let _ = waiting.send(outcome);
        }
    }
}

impl Running {
    /// Whether an event under this submission id belongs to the turn.
    fn owns(&self, event_id: &str) -> bool {
        match &self.core_id {
            Some(core_id) => core_id == event_id,
            None => *self.id == *event_id,
        }
    }
}

impl Conversation {
    /// An event that nobody is sent.
    fn see(&self, event: &Event) {
        if let Some(running) = &mut self.lock().running
            && running.owns(&event.id)
        {
            running.trace.see(&event.msg);
        }
    }

    /// Folds an event into the running turn, appends it to the log, and ends the turn if it says so.
    fn record(self: &Arc<Self>, event: &Event, json: &[u8]) {
        let mut state = self.lock();
        state.updated_at = Utc::now();
        if let EventMsg::TokenCount(count) = &event.msg
            && let Some(info) = &count.info
        {
            state.usage = Some(info.total_token_usage.clone());
        }
        match &event.msg {
            EventMsg::TurnStarted(_) => self.begun(&mut state, &event.id),
            EventMsg::TurnDiff(diff) => {
                let turn = state.running.as_ref().map(|running| running.id.clone());
                let turn = turn.unwrap_or_else(|| event.id.as_str().into());
                state.diff = Some((turn, diff.unified_diff.clone()));
            }
            EventMsg::ThreadRolledBack(_) => state.settle_awaited(&event.id, Ok(())),
            EventMsg::Error(error) => state.settle_awaited(&event.id, Err(error.message.clone())),
            // The rest is of the turn, if one is running, or of nothing.
            _ => self.asked(&mut state, event, json),
        }
        metrics().events.add(1, &[]);
        let Some(running) = state.running.as_mut().filter(|running| running.owns(&event.id)) else {
            self.log.append(json, None);
            return;
        };
        running.trace.see(&event.msg);
        running.draft.fold(&event.msg, &self.cwd);
        let failed = running.draft.has_failed();
        let status = match &event.msg {
            EventMsg::TurnComplete(_) => status_of(running.stopped, false, failed),
            EventMsg::TurnAborted(_) => status_of(running.stopped, true, failed),
            // Core would not take the prompt: no turn began, so none will complete.
            EventMsg::Error(_) if running.core_id.is_none() => Status::Failed,
            // Any other event of core's, present or future, leaves the turn running.
            _ => {
                self.log.append(json, None);
                return;
            }
        };
        let id = running.id.clone();
        self.finish(&mut state, id, status, json);
    }

    /// Core has begun a turn: the one it was asked for, or one of its own (a goal that goes on, a
    /// sub-agent's report). One of its own is a turn like any other: it can be seen, stopped and
    /// waited for, and it has a time limit.
    fn begun(self: &Arc<Self>, state: &mut State, core_id: &str) {
        if let Some(running) = state.running.as_mut() {
            if running.core_id.is_none() || *running.id == *core_id {
                running.core_id = Some(core_id.to_owned());
            }
            return;
        }
        let id: TurnId = core_id.into();
        let stop = CancellationToken::new();
        state.has_had_turns = true;
        state.running = Some(Running {
            id: id.clone(),
            started: Instant::now(),
            core_id: Some(core_id.to_owned()),
            draft: Draft::new(state.usage.clone()),
            trace: self.trace(&id, &state.settings.model, None),
            stopped: None,
            stop: stop.clone(),
            report: watch::channel(None).0,
            slot: Arc::clone(&self.slot).try_acquire_owned().ok().map(Arc::new),
        });
        let keeper = keeper::run(Arc::clone(self), id, self.own_turn_limit, stop);
        self.shutdown.spawn(keeper);
    }

    /// Ends the running turn with an event of the gateway's own: core will not.
    pub(super) fn abandon(&self, turn_id: &TurnId, status: Status, message: &str) {
        let mut state = self.lock();
        let Some(running) = state.running.as_mut().filter(|running| running.id == *turn_id) else {
            return;
        };
        let failure = Failure { source: "gateway", message: message.to_owned() };
        running.draft.fail(failure);
        // Written by hand because readers of the log expect the tag first.
        let json = format!(
            r#"{{"id":"{turn_id}","msg":{{"type":"gateway_error","message":{}}}}}"#,
            serde_json::Value::from(message)
        );
        self.finish(&mut state, turn_id.clone(), status, json.as_bytes());
    }

    fn finish(&self, state: &mut State, id: TurnId, status: Status, last_event: &[u8]) {
        // The slot is free before readers learn of the end: a client that prompts again at once
        // must not be told that the turn is still running.
        let Some(running) = state.running.take() else { return };
        state.questions.clear();
        let Running { draft, report, started, slot, trace, .. } = running;
        self.calls.untrace(self.id.as_str());
        drop(slot);
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Whatever appends holds this lock.
        let end_seq = self.log.last_seq() + 1;
        let finished = Arc::new(draft.finish(id.clone(), status, duration_ms, end_seq));
        trace.end(&finished);
        // Before readers come to the turn's last event.
        state.ended.truncate(KEPT_ENDINGS - 1);
        state.ended.push_front(Ending::of(&finished));
        self.log.append(last_event, Some(id));
        report.send_replace(Some(finished));
    }

    /// Core's queue has ended: so has the conversation.
    fn ended(&self) {
        let running = {
            let mut state = self.lock();
            state.closed = true;
            state.awaited = None;
            state.running.as_ref().map(|running| (running.id.clone(), running.stopped))
        };
        if let Some((turn_id, stopped)) = running {
            let status = match stopped {
                Some(_) => status_of(stopped, true, false),
                None => Status::Failed,
            };
            self.abandon(&turn_id, status, "the conversation ended before its turn did");
        }
        self.log.close();
    }
}
