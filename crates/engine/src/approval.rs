//! What the agent stops to ask, and how it is answered.

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

use crate::EngineError;

/// Something that the agent waits to be told.
#[derive(Debug, Clone)]
pub struct Question {
    /// Names it within its conversation.
    pub id: String,
    topic: Topic,
}

/// What it is about, with what core needs to match the answer to it.
#[derive(Debug, Clone)]
enum Topic {
    Command { turn_id: String },
    Patch,
    Input { turn_id: String, questions: Vec<String> },
    Permissions { wanted: Box<RequestPermissionProfile> },
    Elicitation { server: String, request: RequestId },
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Do it.
    Approved,
    /// Do it, and things like it without asking, as long as the conversation is live.
    ApprovedForSession,
    /// Do something else.
    Denied,
    /// Stop the turn.
    Abort,
}

impl Decision {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::ApprovedForSession => "approved_for_session",
            Self::Denied => "denied",
            Self::Abort => "abort",
        }
    }
}

/// An answer to a question.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Answer {
    /// What to do.
    pub decision: Decision,
    /// With `denied`: what the agent is told.
    pub reason: Option<String>,
    /// To `request_user_input`: for each question's id, the answers.
    #[serde(default)]
    pub answers: BTreeMap<String, Vec<String>>,
    /// To an elicitation: what its schema asks for.
    pub content: Option<Value>,
}

impl Answer {
    /// No, because of this.
    pub fn denied(reason: &str) -> Self {
        Self {
            decision: Decision::Denied,
            reason: Some(reason.to_owned()),
            answers: BTreeMap::new(),
            content: None,
        }
    }
}

impl Question {
    /// What an event asks, if it asks something.
    pub fn of(event: &Event) -> Option<Self> {
        let turn = |turn_id: &String| match turn_id.as_str() {
            "" => event.id.clone(),
            turn_id => turn_id.to_owned(),
        };
        let (id, topic) = match &event.msg {
            EventMsg::ExecApprovalRequest(ask) => {
                (ask.effective_approval_id(), Topic::Command { turn_id: turn(&ask.turn_id) })
            }
            EventMsg::ApplyPatchApprovalRequest(ask) => (ask.call_id.clone(), Topic::Patch),
            EventMsg::RequestUserInput(ask) => {
                let questions = ask.questions.iter().map(|question| question.id.clone());
                let turn_id = turn(&ask.turn_id);
                (ask.call_id.clone(), Topic::Input { turn_id, questions: questions.collect() })
            }
            EventMsg::RequestPermissions(ask) => {
                let wanted = Box::new(ask.permissions.clone());
                (ask.call_id.clone(), Topic::Permissions { wanted })
            }
            EventMsg::ElicitationRequest(ask) => {
                let (server, request) = (ask.server_name.clone(), ask.id.clone());
                (format!("{server}:{request}"), Topic::Elicitation { server, request })
            }
            // The other events ask nothing.
            _ => return None,
        };
        Some(Self { id, topic })
    }

    /// Whether a tool server's tool is to be allowed, or the server asks something itself. Core asks the
    /// former whatever the approval policy is.
    pub fn is_of_a_tool_server(&self) -> bool {
        matches!(self.topic, Topic::Elicitation { .. })
    }

    /// Whether an answer fits.
    ///
    /// # Errors
    /// `Rejected` names what is missing.
    pub fn check(&self, answer: &Answer) -> Result<(), EngineError> {
        let Topic::Input { questions, .. } = &self.topic else { return Ok(()) };
        let approved = matches!(answer.decision, Decision::Approved | Decision::ApprovedForSession);
        match questions.iter().find(|id| !answer.answers.contains_key(*id)) {
            Some(id) if approved => {
                Err(EngineError::Rejected(format!("answers.{id}: expected a list of strings")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The answer as core takes it.
    pub(crate) fn op(self, answer: Answer) -> Op {
        let Self { id, topic } = self;
        let Answer { decision, reason, answers, content } = answer;
        let verdict = match decision {
            Decision::Approved => ReviewDecision::Approved,
            Decision::ApprovedForSession => ReviewDecision::ApprovedForSession,
            Decision::Denied => {
                ReviewDecision::denied(reason.unwrap_or_else(|| "denied by the user".to_owned()))
            }
            Decision::Abort => return Op::Interrupt,
        };
        let approved = matches!(decision, Decision::Approved | Decision::ApprovedForSession);
        match topic {
            Topic::Command { turn_id } => {
                Op::ExecApproval { id, turn_id: Some(turn_id), decision: verdict }
            }
            Topic::Patch => Op::PatchApproval { id, decision: verdict },
            Topic::Input { turn_id, .. } => {
                let answers: HashMap<_, _> = answers
                    .into_iter()
                    .filter(|_| approved)
                    .map(|(id, answers)| (id, RequestUserInputAnswer { answers }))
                    .collect();
                Op::UserInputAnswer { id: turn_id, response: RequestUserInputResponse { answers } }
            }
            Topic::Permissions { wanted } => Op::RequestPermissionsResponse {
                id,
                response: RequestPermissionsResponse {
                    permissions: if approved {
                        *wanted
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
            Topic::Elicitation { server, request } => Op::ResolveElicitation {
                server_name: server,
                request_id: request,
                decision: if approved {
                    ElicitationAction::Accept
                } else {
                    ElicitationAction::Decline
                },
                content,
                // How core remembers the approval of an MCP tool.
                meta: (decision == Decision::ApprovedForSession)
                    .then(|| serde_json::json!({ "persist": "session" })),
            },
        }
    }
}
