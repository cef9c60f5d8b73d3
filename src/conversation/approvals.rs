//! Approvals: requests of the agent that wait for an answer. The turn waits until its time limit;
//! the answer may come over any connection.

use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::Submission;
use codex_gateway_engine::approval::Answer;
use codex_gateway_engine::approval::ApprovalRequest;
use codex_gateway_engine::approval::Grants;
use codex_gateway_engine::protocol::Event;
use opentelemetry::KeyValue;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::grants;
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
    #[schemars(extend("format" = "date-time"))]
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

    /// Whether a request that waits asks for facts, and not for permission.
    pub fn is_question(&self, id: &str) -> bool {
        find_pending(&self.lock(), id).is_ok_and(|(_, pending)| pending.request.is_question())
    }

    /// Answers a request, and its turn goes on. `by` is the name of the caller's key; `outside` tells
    /// whether an approval may give the agent more than its folder.
    ///
    /// # Errors
    /// `NotFound` where no such request waits; `InvalidRequest` where the answer does not fit;
    /// `Forbidden` for an approval that gives too much; propagates `EngineError`.
    pub async fn answer(
        &self,
        id: &str,
        answer: Answer,
        by: &str,
        outside: bool,
    ) -> Result<(), Error> {
        let judged = match answer.decision.approves() && !outside {
            true => Some(self.judge(id).await?),
            false => None,
        };
        let pending = self.take_pending(id, &answer, by, judged.as_ref())?;
        let submission = Submission::Answer(pending.request.clone(), answer);
        let submitted = self.thread.submit(format!("{id}-answer"), submission, None).await;
        if submitted.is_err() {
            self.return_pending(pending);
        }
        Ok(submitted?)
    }

    /// Judges what the approval of a request gives the agent.
    async fn judge(&self, id: &str) -> Result<Grants, Error> {
        let (grants, sandbox) = {
            let state = self.lock();
            (find_pending(&state, id)?.1.request.grants.clone(), state.settings.sandbox)
        };
        // Where the agent may write everywhere, an approval gives it nothing more.
        if sandbox != Sandbox::DangerFullAccess {
            grants::check(self.cwd.clone(), grants.clone()).await?;
        }
        Ok(grants)
    }

    /// Removes a request and announces the decision, if the answer fits. `judged` is what its approval
    /// was found to give; ids are the model's, so another request may have come under the same one.
    fn take_pending(
        &self,
        id: &str,
        answer: &Answer,
        by: &str,
        judged: Option<&Grants>,
    ) -> Result<PendingRequest, Error> {
        let mut state = self.lock();
        let (position, pending) = find_pending(&state, id)?;
        pending.request.check(answer)?;
        if judged.is_some_and(|judged| *judged != pending.request.grants) {
            return Err(no_such_request(id));
        }
        let pending = state.pending.remove(position);
        let decision = decision_event(&pending.turn_id, &pending.request, answer, by);
        self.log.append(decision.as_bytes(), None);
        let waited = Utc::now().signed_duration_since(pending.asked_at).to_std();
        let decision = KeyValue::new(names::DECISION, answer.decision.as_str());
        metrics().approval_wait.record(waited.unwrap_or_default().as_secs_f64(), &[decision]);
        Ok(pending)
    }

    /// Takes back a decision that did not reach core: announces that, and the request waits again,
    /// unless its turn has ended.
    fn return_pending(&self, pending: PendingRequest) {
        let mut state = self.lock();
        let id = Value::from(pending.request.id.as_str());
        let event = format!(
            r#"{{"id":{},"msg":{{"type":"gateway_approval_not_delivered","approval_id":{id}}}}}"#,
            Value::from(&*pending.turn_id),
        );
        self.log.append(event.as_bytes(), None);
        let is_running = state.running.as_ref().is_some_and(|turn| turn.id == pending.turn_id);
        if is_running && !state.closed {
            state.pending.push(pending);
        }
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

/// Finds a request that waits, and its position.
fn find_pending<'a>(state: &'a State, id: &str) -> Result<(usize, &'a PendingRequest), Error> {
    let mut pending = state.pending.iter().enumerate();
    pending.find(|(_, pending)| pending.request.id == id).ok_or_else(|| no_such_request(id))
}

fn no_such_request(id: &str) -> Error {
    let id = excerpt(id);
    Error::new(
        Kind::NotFound,
        format!(
            "approval_id: expected one of the conversation's pending approvals, got {id}; it may \
             have been decided, or its turn may have ended"
        ),
    )
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
