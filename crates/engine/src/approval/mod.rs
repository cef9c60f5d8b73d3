//! Requests of the agent for approval or input, and their answers.

mod grants;

use std::collections::BTreeMap;
use std::collections::HashMap;

use codex_protocol::approvals::ElicitationAction;
use codex_protocol::mcp::RequestId;
use codex_protocol::protocol::Event;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::Op;
use codex_protocol::protocol::ReviewDecision;
use codex_protocol::request_permissions::PermissionGrantScope;
use codex_protocol::request_permissions::RequestPermissionProfile;
use codex_protocol::request_permissions::RequestPermissionsResponse;
use codex_protocol::request_user_input::RequestUserInputAnswer;
use codex_protocol::request_user_input::RequestUserInputResponse;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

pub use self::grants::Grants;
use crate::EngineError;

/// A request that the agent waits for.
#[derive(Debug, Clone)]
pub struct ApprovalRequest {
    /// Unique within its conversation.
    pub id: String,
    /// What the agent gets beyond its sandbox if the request is approved.
    pub grants: Grants,
    kind: Kind,
}

/// The kind of a request, with the data that core matches an answer by.
#[derive(Debug, Clone)]
enum Kind {
    Command { turn_id: String },
    Patch,
    Input { turn_id: String, questions: Vec<String> },
    Permissions { requested: Box<RequestPermissionProfile> },
    Elicitation { server: String, request: RequestId },
}

/// The decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Go ahead.
    Approved,
    /// Go ahead, and do not ask for the like again while the conversation is live.
    ApprovedForSession,
    /// Refuse; the agent goes on without.
    Denied,
    /// Stop the turn.
    Abort,
}

impl Decision {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::ApprovedForSession => "approved_for_session",
            Self::Denied => "denied",
            Self::Abort => "abort",
        }
    }

    /// Whether the agent may go ahead.
    pub fn approves(self) -> bool {
        match self {
            Self::Approved | Self::ApprovedForSession => true,
            Self::Denied | Self::Abort => false,
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApprovalAnswer")]
pub struct Answer {
    /// The decision.
    pub decision: Decision,
    /// With `denied`: the reason that the agent receives.
    pub reason: Option<String>,
    /// To `request_user_input`: the answers by question id.
    #[serde(default)]
    pub answers: BTreeMap<String, Vec<String>>,
    /// To an elicitation: content that matches its schema.
    pub content: Option<Value>,
}

impl Answer {
    /// A refusal with a reason.
    pub fn denied(reason: &str) -> Self {
        Self {
            decision: Decision::Denied,
            reason: Some(reason.to_owned()),
            answers: BTreeMap::new(),
            content: None,
        }
    }
}

impl ApprovalRequest {
    /// The request that an event makes, if any.
    pub fn from_event(event: &Event) -> Option<Self> {
        let turn = |turn_id: &String| match turn_id.as_str() {
            "" => event.id.clone(),
            turn_id => turn_id.to_owned(),
        };
        let (id, kind) = match &event.msg {
            EventMsg::ExecApprovalRequest(ask) => {
                (ask.effective_approval_id(), Kind::Command { turn_id: turn(&ask.turn_id) })
            }
            EventMsg::ApplyPatchApprovalRequest(ask) => (ask.call_id.clone(), Kind::Patch),
            EventMsg::RequestUserInput(ask) => {
                let questions = ask.questions.iter().map(|question| question.id.clone());
                let turn_id = turn(&ask.turn_id);
                (ask.call_id.clone(), Kind::Input { turn_id, questions: questions.collect() })
            }
            EventMsg::RequestPermissions(ask) => {
                let requested = Box::new(ask.permissions.clone());
                (ask.call_id.clone(), Kind::Permissions { requested })
            }
            EventMsg::ElicitationRequest(ask) => {
                let (server, request) = (ask.server_name.clone(), ask.id.clone());
                (format!("{server}:{request}"), Kind::Elicitation { server, request })
            }
            // Other events request nothing.
            _ => return None,
        };
        Some(Self { id, grants: Grants::from_event(&event.msg), kind })
    }

    /// Whether the agent asks its user for facts, and not for permission.
    pub fn is_question(&self) -> bool {
        matches!(self.kind, Kind::Input { .. })
    }

    /// Whether the request concerns a tool server: the call of a tool, or an elicitation of the
    /// server. Core makes the former under every approval policy.
    pub fn is_from_tool_server(&self) -> bool {
        matches!(self.kind, Kind::Elicitation { .. })
    }

    /// Checks that an answer is complete.
    ///
    /// # Errors
    /// `Rejected` names the missing member.
    pub fn check(&self, answer: &Answer) -> Result<(), EngineError> {
        let Kind::Input { questions, .. } = &self.kind else { return Ok(()) };
        let approved = answer.decision.approves();
        match questions.iter().find(|id| !answer.answers.contains_key(*id)) {
            Some(id) if approved => Err(EngineError::Rejected(format!(
                "answers.{id}: expected a list of strings, got nothing; answer each question"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Core's operation for an answer.
    pub(crate) fn into_op(self, answer: Answer) -> Op {
        let Self { id, grants: _, kind } = self;
        let Answer { decision, reason, answers, content } = answer;
        let verdict = match decision {
            Decision::Approved => ReviewDecision::Approved,
            Decision::ApprovedForSession => ReviewDecision::ApprovedForSession,
            Decision::Denied => {
                ReviewDecision::denied(reason.unwrap_or_else(|| "denied by the user".to_owned()))
            }
            Decision::Abort => return Op::Interrupt,
        };
        let approved = decision.approves();
        match kind {
            Kind::Command { turn_id } => {
                Op::ExecApproval { id, turn_id: Some(turn_id), decision: verdict }
            }
            Kind::Patch => Op::PatchApproval { id, decision: verdict },
            Kind::Input { turn_id, .. } => {
                let answers: HashMap<_, _> = answers
                    .into_iter()
                    .filter(|_| approved)
                    .map(|(id, answers)| (id, RequestUserInputAnswer { answers }))
                    .collect();
                Op::UserInputAnswer { id: turn_id, response: RequestUserInputResponse { answers } }
            }
            Kind::Permissions { requested } => Op::RequestPermissionsResponse {
                id,
                response: RequestPermissionsResponse {
                    permissions: if approved {
                        *requested
                    } else {
                        RequestPermissionProfile::default()
                    },
                    scope: match decision {
                        Decision::ApprovedForSession => PermissionGrantScope::Session,
                        Decision::Approved | Decision::Denied | Decision::Abort => {
                            PermissionGrantScope::Turn
                        }
                    },
                    strict_auto_review: false,
                },
            },
            Kind::Elicitation { server, request } => Op::ResolveElicitation {
                server_name: server,
                request_id: request,
                decision: if approved {
                    ElicitationAction::Accept
                } else {
                    ElicitationAction::Decline
                },
                content,
                // Core's form of an approval of an MCP tool that lasts.
                meta: (decision == Decision::ApprovedForSession)
                    .then(|| serde_json::json!({ "persist": "session" })),
            },
        }
    }
}
