//! What the agent has asked and nobody answered yet. Its turn waits, until the answer or its time
//! limit; the answer may come over any connection.

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

use super::Conversation;
use super::State;
use super::id::TurnId;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry::metrics;
use crate::telemetry::names;
use crate::text::excerpt;

/// A question that waits.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    question: ApprovalRequest,
    turn_id: TurnId,
    asked_at: DateTime<Utc>,
    /// Core's event.
    request: Value,
}

/// A question that waits, for clients.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PendingApproval {
    /// Names it in `POST …/approvals/{approval_id}`.
    pub approval_id: String,
    /// The turn that waits.
    pub turn_id: String,
    /// RFC 3339.
    pub asked_at: String,
    /// Core's event: its `type` says what is asked.
    pub request: Value,
}

impl Pending {
    fn decided(&self, answer: &Answer) {
        let waited = Utc::now().signed_duration_since(self.asked_at).to_std().unwrap_or_default();
        let decision = KeyValue::new(names::DECISION, answer.decision.as_str());
        metrics().approval_wait.record(waited.as_secs_f64(), &[decision]);
    }
}

impl Conversation {
    /// The questions that wait, oldest first.
    pub fn pending_approvals(&self) -> Vec<PendingApproval> {
        let state = self.lock();
        let pending = state.questions.iter().map(|pending| PendingApproval {
            approval_id: pending.question.id.clone(),
            turn_id: pending.turn_id.to_string(),
            asked_at: crate::text::rfc3339(pending.asked_at),
            request: pending.request.clone(),
        });
        pending.collect()
    }

    /// Answers a question; its turn goes on. `by` is the name of the caller's key.
    ///
    /// # Errors
    /// `NotFound` where no such question waits, or no longer; `InvalidRequest` where the answer does
    /// not fit.
    pub async fn answer(&self, id: &str, answer: Answer, by: &str) -> Result<(), Error> {
        let pending = {
            let mut state = self.lock();
            let place = state.questions.iter().position(|pending| pending.question.id == id);
            let place = place.ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!(
                        "approval_id: expected one of the conversation's pending approvals, got {}",
                        excerpt(id)
                    ),
                )
            })?;
            if let Some(pending) = state.questions.get(place) {
                pending.question.check(&answer)?;
            }
            let pending = state.questions.remove(place);
            let decided = decided(&pending.turn_id, &pending.question, &answer, by);
            self.log.append(decided.as_bytes(), None);
            pending.decided(&answer);
            pending
        };
        let submission = Submission::Answer(pending.question.clone(), answer);
        let submitted = self.thread.submit(format!("{id}-answer"), submission, None).await;
        if submitted.is_err() {
            self.lock().questions.push(pending);
        }
        Ok(submitted?)
    }

    /// Notes what an event asks. What nobody is to be asked is denied at once.
    pub(super) fn asked(self: &Arc<Self>, state: &mut State, event: &Event, json: &[u8]) {
        let Some(question) = ApprovalRequest::from_event(event) else { return };
        let turn_id: TurnId =
            state.running.as_ref().map_or_else(|| event.id.as_str().into(), |turn| turn.id.clone());
        if state.settings.approval_policy == Approval::Never && question.is_from_tool_server() {
            self.shutdown.spawn(Arc::clone(self).deny(turn_id, question));
            return;
        }
        let request = serde_json::from_slice(json).ok();
        let request = request.and_then(|mut event: Value| event.get_mut("msg").map(Value::take));
        state.questions.retain(|pending| pending.question.id != question.id);
        state.questions.push(Pending {
            question,
            turn_id,
            asked_at: Utc::now(),
            request: request.unwrap_or_default(),
        });
    }
}

impl Conversation {
    /// Denies what core asks although the turn's policy says that nobody is asked.
    async fn deny(self: Arc<Self>, turn_id: TurnId, question: ApprovalRequest) {
        let answer = Answer::denied(
            "approval_policy is \"never\"; a server's tools are used without a question where its table in \
             config.toml says default_tools_approval_mode = \"approve\"",
        );
        {
            // Whatever appends holds this lock; so the question stands before its answer.
            let _state = self.lock();
            let decided = decided(&turn_id, &question, &answer, "gateway");
            self.log.append(decided.as_bytes(), None);
        }
        let submission = Submission::Answer(question, answer);
        let submitted = self.thread.submit(format!("{turn_id}-denied"), submission, None).await;
        if let Err(error) = submitted {
            tracing::warn!(%error, conversation = %self.id, "a question could not be denied");
        }
    }
}

/// An event of the gateway's own, so that everyone who follows learns of the decision. Written by
/// hand because readers of the log expect the tag first.
fn decided(turn_id: &TurnId, question: &ApprovalRequest, answer: &Answer, by: &str) -> String {
    let reason = answer.reason.as_deref().map(Value::from);
    let reason = reason.map_or_else(String::new, |reason| format!(r#","reason":{reason}"#));
    format!(
        r#"{{"id":{},"msg":{{"type":"gateway_approval_decided","approval_id":{},"decision":{},"by":{}{reason}}}}}"#,
        Value::from(&**turn_id),
        Value::from(question.id.as_str()),
        serde_json::to_value(answer.decision).unwrap_or_default(),
        Value::from(by),
    )
}
