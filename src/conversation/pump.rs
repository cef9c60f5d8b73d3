//! The one task that reads a conversation's events from core.

use std::sync::Arc;

use chrono::Utc;
use codex_gateway_engine::protocol::Event;
use codex_gateway_engine::protocol::EventMsg;

use super::Conversation;
use super::id::TurnId;
use super::report::Failure;
use super::report::Status;
use super::status_of;

pub(super) async fn run(conversation: Arc<Conversation>, raw_events: bool) {
    let mut json = Vec::with_capacity(1024);
    while let Some(event) = conversation.thread.next_event().await {
        if carries_the_system_prompt(&event.msg) && !raw_events {
            continue;
        }
        json.clear();
        match codex_gateway_engine::encode(&event, &mut json) {
            Ok(()) => conversation.record(&event, &json),
            Err(error) => tracing::error!(%error, "an event of core could not be encoded"),
        }
    }
    conversation.ended();
}

fn carries_the_system_prompt(msg: &EventMsg) -> bool {
    matches!(msg, EventMsg::RawResponseItem(_) | EventMsg::RawResponseCompleted(_))
}

/// What an event says about the turn it belongs to.
enum Ending {
    No,
    Complete,
    Aborted,
}

impl Conversation {
    /// Folds an event into the running turn, appends it to the log, and ends the turn if it says so.
    fn record(&self, event: &Event, json: &[u8]) {
        let mut state = self.lock();
        state.updated_at = Utc::now();
        if let EventMsg::TokenCount(count) = &event.msg
            && let Some(info) = &count.info
        {
            state.usage = Some(info.total_token_usage.clone());
        }
        let Some(running) = state.running.as_mut() else {
            self.log.append(json, None);
            return;
        };
        running.draft.fold(&event.msg, &self.cwd);
        let ours = *event.id == *running.id;
        let ending = match &event.msg {
            EventMsg::TurnStarted(_) if ours => {
                running.begun = true;
                Ending::No
            }
            EventMsg::TurnComplete(_) if ours => Ending::Complete,
            EventMsg::TurnAborted(_) if ours => Ending::Aborted,
            // Core would not take the prompt: no turn began, so none will complete.
            EventMsg::Error(_) if ours && !running.begun => Ending::Complete,
            // Any other event of core's, present or future, leaves the turn running.
            _ => Ending::No,
        };
        let status = match ending {
            Ending::No => {
                self.log.append(json, None);
                return;
            }
            Ending::Complete => status_of(running.stopped, false, running.draft.has_failed()),
            Ending::Aborted => status_of(running.stopped, true, running.draft.has_failed()),
        };
        let id = running.id.clone();
        self.finish(&mut state, id, status, json);
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

    fn finish(&self, state: &mut super::State, id: TurnId, status: Status, last_event: &[u8]) {
        // The slot is free before readers learn of the end: a client that prompts again at once
        // must not be told that the turn is still running.
        let Some(running) = state.running.take() else { return };
        let super::Running { draft, report, started, _slot, .. } = running;
        drop(_slot);
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let finished = draft.finish(id.clone(), status, duration_ms);
        report.send_replace(Some(Arc::new(finished)));
        self.log.append(last_event, Some(id));
    }

    /// Core's queue has ended: so has the conversation.
    fn ended(&self) {
        let running = {
            let mut state = self.lock();
            state.closed = true;
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
