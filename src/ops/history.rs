//! Recorded turns of a conversation, and the changes of its newest turn.

use codex_gateway_engine::history::PastTurn;
use schemars::JsonSchema;
use serde::Serialize;

use super::find;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::error::Error;

/// The recorded turns of a conversation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct History {
    conversation_id: ConversationId,
    /// Oldest first.
    turns: Vec<PastTurn>,
}

/// Returns the recorded turns of a conversation.
///
/// # Errors
/// `NotFound`; propagates `EngineError`.
pub(crate) async fn history(app: &App, id: &ConversationId) -> Result<History, Error> {
    find(app, id)?;
    let turns = app.conversations().history(id).await?;
    Ok(History { conversation_id: id.clone(), turns })
}

/// The changes of the newest turn.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Diff {
    conversation_id: ConversationId,
    /// The turn; null where none has changed anything since the conversation was loaded.
    turn_id: Option<String>,
    /// A unified diff.
    diff: String,
}

/// Returns the changes of the newest turn.
///
/// # Errors
/// `NotFound`.
pub(crate) fn diff(app: &App, id: &ConversationId) -> Result<Diff, Error> {
    let diff = match find(app, id)? {
        ConversationRef::Live(conversation) => conversation.diff(),
        ConversationRef::Stored(..) => None,
    };
    let (turn_id, diff) = diff.map(|(turn, diff)| (turn.to_string(), diff)).unzip();
    Ok(Diff { conversation_id: id.clone(), turn_id, diff: diff.unwrap_or_default() })
}
