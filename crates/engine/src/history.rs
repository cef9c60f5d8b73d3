//! What core recorded of a conversation, turn by turn.

use codex_protocol::models::ResponseItem;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::RolloutItem;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A turn of the past.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PastTurn {
    /// Its id.
    pub turn_id: String,
    /// Unix time in seconds.
    pub started_at: Option<i64>,
    /// How it ended.
    pub status: PastStatus,
    /// What was said and done, in order.
    pub items: Vec<PastItem>,
}

/// How a turn of the past ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PastStatus {
    /// By itself.
    Completed,
    /// It was interrupted.
    Aborted,
    /// It runs, or its process was killed.
    Unfinished,
}

/// Something said or done in a turn.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PastItem {
    /// A prompt.
    UserMessage {
        /// What the user said.
        text: String,
        /// How many images came with it.
        images: usize,
    },
    /// Something that the agent said.
    AgentMessage {
        /// What it said.
        text: String,
    },
    /// What the agent showed of its reasoning.
    Reasoning {
        /// A summary.
        text: String,
    },
    /// A tool that the agent called.
    ToolCall {
        /// Matches the call with its output.
        call_id: String,
        /// The tool.
        name: String,
        /// Its arguments, as the model wrote them.
        arguments: String,
        /// What it answered.
        output: Option<Value>,
    },
}

/// The turns that a recorded history holds; those that were rolled back are gone.
pub(crate) fn turns(items: &[RolloutItem]) -> Vec<PastTurn> {
    let mut turns: Vec<PastTurn> = Vec::new();
    for item in items {
        match item {
            RolloutItem::EventMsg(EventMsg::TurnStarted(started)) => turns.push(PastTurn {
                turn_id: started.turn_id.clone(),
                started_at: started.started_at,
                status: PastStatus::Unfinished,
                items: Vec::new(),
            }),
            RolloutItem::EventMsg(EventMsg::ThreadRolledBack(back)) => {
                for _ in 0..back.num_turns {
                    let Some(at) = turns.iter().rposition(PastTurn::was_asked_for) else { break };
                    turns.truncate(at);
                }
            }
            RolloutItem::EventMsg(msg) => {
                if let Some(turn) = turns.last_mut() {
                    turn.event(msg);
                }
            }
            RolloutItem::ResponseItem(item) => {
                if let Some(turn) = turns.last_mut() {
                    turn.tool(item);
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
    turns
}

impl PastTurn {
    fn was_asked_for(&self) -> bool {
        self.items.iter().any(|item| matches!(item, PastItem::UserMessage { .. }))
    }

    fn event(&mut self, msg: &EventMsg) {
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
            // Core records a few more; they tell of tools, which the response items do whole.
            _ => {}
        }
    }

    fn tool(&mut self, item: &ResponseItem) {
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
                self.answered(call_id, serde_json::to_value(output).unwrap_or_default());
            }
            // Messages and reasoning come as events; the rest is bookkeeping between core and model.
            _ => {}
        }
    }

    fn answered(&mut self, id: &str, value: Value) {
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

/// How much of a history a fork takes: up to the end of a turn, or of the last one that has ended.
/// `None` where no such turn is recorded.
pub(crate) fn cut(items: &[RolloutItem], after_turn: Option<&str>) -> Option<usize> {
    let starts: Vec<(usize, &str)> = items
        .iter()
        .enumerate()
        .filter_map(|(at, item)| match item {
            RolloutItem::EventMsg(EventMsg::TurnStarted(turn)) => Some((at, turn.turn_id.as_str())),
            _ => None,
        })
        .collect();
    let end_of = |place: usize| starts.get(place + 1).map_or(items.len(), |(at, _)| *at);
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
