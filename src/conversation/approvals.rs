//! Approvals: requests of the agent that wait for an answer. The turn waits until its time limit;
//! the answer may come over any connection.

use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Approval;
use codex_gateway_engine::Submission;
use codex_gateway_engine::approval::Answer;
use codex_gateway_engine::approval::ApprovalRequest;
use codex_gateway_engine::protocol::Event;
use opentelemetry::KeyValue;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::handle::Conversation;
use super::id::TurnId;
use super::state::State;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry::metrics;
use crate::telemetry::names;
use crate::text::excerpt;
use crate::text::rfc3339;

/// A request that waits for an answer.
#[derive(Debug, Clone)]
pub(super) struct PendingRequest {
    request: ApprovalRequest,
    turn_id: TurnId,
    asked_at: DateTime<Utc>,
    /// Core's event.
    event: Value,
}

/// A request that waits for an answer, as clients see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PendingApproval {
    /// Its name in `POST …/approvals/{approval_id}`.
    pub approval_id: String,
    /// The turn that waits.
    pub turn_id: String,
    /// RFC 3339.
    pub asked_at: String,
    /// Core's event: its `type` says what is asked.
    pub request: Value,
}

impl Conversation {
    /// The requests that wait for an answer, oldest first.
    pub fn pending_approvals(&self) -> Vec<PendingApproval> {
        let state = self.lock();
        let pending = state.pending.iter().map(|pending| PendingApproval {
            approval_id: pending.request.id.clone(),
            turn_id: pending.turn_id.to_string(),
            asked_at: rfc3339(pending.asked_at),
            request: pending.event.clone(),
        });
        pending.collect()
    }

    /// Answers a request, and its turn goes on. `by` is the name of the caller's key.
    ///
    /// # Errors
    /// `NotFound` where no such request waits; `InvalidRequest` where the answer does not fit;
    /// propagates `EngineError`.
    pub async fn answer(&self, id: &str, answer: Answer, by: &str) -> Result<(), Error> {
        let pending = self.take_pending(id, &answer, by)?;
        let submission = Submission::Answer(pending.request.clone(), answer);
        let submitted = self.thread.submit(format!("{id}-answer"), submission, None).await;
        if submitted.is_err() {
            self.lock().pending.push(pending);
        }
        Ok(submitted?)
    }

    /// Removes a request and announces the decision, if the answer fits.
    fn take_pending(&self, id: &str, answer: &Answer, by: &str) -> Result<PendingRequest, Error> {
        let mut state = self.lock();
        let position = state.pending.iter().position(|pending| pending.request.id == id);
        let position = position.ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!(
                    "approval_id: expected one of the conversation's pending approvals, got {}",
                    excerpt(id)
                ),
            )
        })?;
        if let Some(pending) = state.pending.get(position) {
            pending.request.check(answer)?;
        }
        let pending = state.pending.remove(position);
        let decision = decision_event(&pending.turn_id, &pending.request, answer, by);
        self.log.append(decision.as_bytes(), None);
        let waited = Utc::now().signed_duration_since(pending.asked_at).to_std();
        let decision = KeyValue::new(names::DECISION, answer.decision.as_str());
        metrics().approval_wait.record(waited.unwrap_or_default().as_secs_f64(), &[decision]);
        Ok(pending)
    }

    /// Records the request in an event, if it is one. Denies it at once where the turn's policy
    /// rules out requests.
    pub(super) fn record_request(self: &Arc<Self>, state: &mut State, event: &Event, json: &[u8]) {
        let Some(request) = ApprovalRequest::from_event(event) else { return };
        let turn_id: TurnId =
            state.running.as_ref().map_or_else(|| event.id.as_str().into(), |turn| turn.id.clone());
        if state.settings.approval_policy == Approval::Never && request.is_from_tool_server() {
            self.shutdown.spawn(Arc::clone(self).deny(turn_id, request));
            return;
        }
        let event = serde_json::from_slice(json).ok();
        let event = event.and_then(|mut event: Value| event.get_mut("msg").map(Value::take));
        state.pending.retain(|pending| pending.request.id != request.id);
        state.pending.push(PendingRequest {
            request,
            turn_id,
            asked_at: Utc::now(),
            event: event.unwrap_or_default(),
        });
    }

    /// Denies a request that core makes although the turn's policy is never to ask.
    async fn deny(self: Arc<Self>, turn_id: TurnId, request: ApprovalRequest) {
        let answer = Answer::denied(
            "approval_policy is \"never\": tools of MCP servers need \
             default_tools_approval_mode = \"approve\" in the server's table of config.toml",
        );
        {
            // Every append happens under this lock, so the request stands before its answer.
            let _state = self.lock();
            let decision = decision_event(&turn_id, &request, &answer, "gateway");
            self.log.append(decision.as_bytes(), None);
        }
        let submission = Submission::Answer(request, answer);
        let submitted = self.thread.submit(format!("{turn_id}-denied"), submission, None).await;
        if let Err(error) = submitted {
            tracing::warn!(%error, conversation = %self.id, "a request could not be denied");
        }
    }
}

/// The event of a decision, for everyone who follows the conversation. Written by hand because
/// readers of the log expect the tag first.
fn decision_event(
    turn_id: &TurnId,
    request: &ApprovalRequest,
    answer: &Answer,
    by: &str,
) -> String {
    let reason = answer.reason.as_deref().map(Value::from);
    let reason = reason.map_or_else(String::new, |reason| format!(r#","reason":{reason}"#));
    format!(
        r#"{{"id":{},"msg":{{"type":"gateway_approval_decided","approval_id":{},"decision":{},"by":{}{reason}}}}}"#,
        Value::from(&**turn_id),
        Value::from(request.id.as_str()),
        serde_json::to_value(answer.decision).unwrap_or_default(),
        Value::from(by),
    )
}
