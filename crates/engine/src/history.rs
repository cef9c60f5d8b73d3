//! The recorded turns of a conversation.

use codex_protocol::models::ResponseItem;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::RolloutItem;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A recorded turn.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PastTurn {
    /// Turn id.
    pub turn_id: String,
    /// Start, Unix time in seconds.
    pub started_at: Option<i64>,
    /// How the turn ended.
    pub status: PastStatus,
    /// Messages, reasoning and tool calls, in order.
    pub items: Vec<PastItem>,
}

/// How a recorded turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PastStatus {
    /// Ran to completion.
    Completed,
    /// Interrupted.
    Aborted,
    /// Still running, or ended by the end of its process.
    Unfinished,
}

/// A message, a piece of reasoning or a tool call.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PastItem {
    /// A prompt.
    UserMessage {
        /// The user's text.
        text: String,
        /// Number of attached images.
        images: usize,
    },
    /// A message of the agent.
    AgentMessage {
        /// The message.
        text: String,
    },
    /// Reasoning that the agent disclosed.
    Reasoning {
        /// Summary.
        text: String,
    },
    /// A tool call.
    ToolCall {
        /// Matches the call with its output.
        call_id: String,
        /// Tool name.
        name: String,
        /// Arguments as the model wrote them.
        arguments: String,
        /// The tool's output, once there is one.
        output: Option<Value>,
    },
}

/// A page of recorded turns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryPage {
    /// Oldest first.
    pub turns: Vec<PastTurn>,
    /// The last of these turns, if others follow.
    pub next: Option<String>,
}

/// Builds turns from the items of a recording, one after the other.
#[derive(Debug, Default)]
pub(crate) struct TurnFold {
    pub(crate) turns: Vec<PastTurn>,
}

impl TurnFold {
    /// Adds an item. A rollback is the caller's.
    pub(crate) fn add(&mut self, item: &RolloutItem) {
        match item {
            RolloutItem::EventMsg(EventMsg::TurnStarted(started)) => self.turns.push(PastTurn {
                turn_id: started.turn_id.clone(),
                started_at: started.started_at,
                status: PastStatus::Unfinished,
                items: Vec::new(),
            }),
            RolloutItem::EventMsg(msg) => {
                if let Some(turn) = self.turns.last_mut() {
                    turn.add_event(msg);
                }
            }
            RolloutItem::ResponseItem(item) => {
                if let Some(turn) = self.turns.last_mut() {
                    turn.add_tool_item(item);
                }
            }
            RolloutItem::SessionMeta(_)
            | RolloutItem::InterAgentCommunication(_)
            | RolloutItem::InterAgentCommunicationMetadata { .. }
            | RolloutItem::Compacted(_)
            | RolloutItem::TurnContext(_)
            | RolloutItem::WorldState(_) => {}
        }
    }
}

impl PastTurn {
    fn add_event(&mut self, msg: &EventMsg) {
        match msg {
            EventMsg::UserMessage(message) => self.items.push(PastItem::UserMessage {
                text: message.message.clone(),
                images: message.images.as_ref().map_or(0, Vec::len),
            }),
            EventMsg::AgentMessage(message) => {
                self.items.push(PastItem::AgentMessage { text: message.message.clone() });
            }
            EventMsg::AgentReasoning(reasoning) => {
                self.items.push(PastItem::Reasoning { text: reasoning.text.clone() });
            }
            EventMsg::TurnComplete(_) => self.status = PastStatus::Completed,
            EventMsg::TurnAborted(_) => self.status = PastStatus::Aborted,
            // Other recorded events concern tools; the response items hold those in full.
            _ => {}
        }
    }

    fn add_tool_item(&mut self, item: &ResponseItem) {
        let call = |call_id: &str, name: &str, arguments: &str| PastItem::ToolCall {
            call_id: call_id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            output: None,
        };
        match item {
            ResponseItem::FunctionCall { call_id, name, arguments, .. } => {
                self.items.push(call(call_id, name, arguments));
            }
            ResponseItem::CustomToolCall { call_id, name, input, .. } => {
                self.items.push(call(call_id, name, input));
            }
            ResponseItem::FunctionCallOutput { call_id, output, .. }
            | ResponseItem::CustomToolCallOutput { call_id, output, .. } => {
                self.set_output(call_id, serde_json::to_value(output).unwrap_or_default());
            }
            // Messages and reasoning come as events; other items are between core and the model.
            _ => {}
        }
    }

    fn set_output(&mut self, id: &str, value: Value) {
        for item in self.items.iter_mut().rev() {
            if let PastItem::ToolCall { call_id, output, .. } = item
                && call_id == id
            {
                *output = Some(value);
                return;
            }
        }
    }
}

/// The number of items that a fork copies: up to the end of `after_turn`, or of the last turn that
/// has ended. `None` if no such turn is recorded.
pub(crate) fn fork_point(items: &[RolloutItem], after_turn: Option<&str>) -> Option<usize> {
    let starts: Vec<(usize, &str)> = items
        .iter()
        .enumerate()
        .filter_map(|(at, item)| match item {
            RolloutItem::EventMsg(EventMsg::TurnStarted(turn)) => Some((at, turn.turn_id.as_str())),
            _ => None,
        })
        .collect();
    let end_of = |index: usize| starts.get(index + 1).map_or(items.len(), |(at, _)| *at);
    match after_turn {
        Some(id) => starts.iter().position(|(_, turn)| *turn == id).map(end_of),
        None => {
            let (last, _) = starts.last()?;
            let ended = items.iter().skip(*last).any(|item| {
                matches!(
                    item,
                    RolloutItem::EventMsg(EventMsg::TurnComplete(_) | EventMsg::TurnAborted(_))
                )
            });
            Some(if ended { items.len() } else { *last })
        }
    }
}
