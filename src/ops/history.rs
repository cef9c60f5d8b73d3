//! Recorded turns of a conversation, and the changes of its newest turn.

use codex_gateway_engine::history::PastTurn;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::find;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::input::whole::Whole;

/// The size of a page.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: u64 = 1000;

/// The recorded turns of a conversation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct History {
    conversation_id: ConversationId,
    /// Oldest first.
    turns: Vec<PastTurn>,
    /// The cursor of the next page; null on the last.
    next_cursor: Option<String>,
}

/// Which recorded turns to return.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryRequest {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The size of the page.
    #[schemars(extend("default" = DEFAULT_PAGE))]
    limit: Option<Whole<1, MAX_PAGE>>,
}

/// Returns the recorded turns of a conversation, oldest first, a page at a time.
///
/// # Errors
/// `NotFound`; `InvalidRequest` for an unknown cursor; propagates
/// `EngineError`.
pub(crate) async fn history(
    app: &App,
    caller: &str,
    id: &ConversationId,
    HistoryRequest { cursor, limit }: HistoryRequest,
) -> Result<History, Error> {
    let limit = limit.map_or(DEFAULT_PAGE, Whole::size);
    find(app, caller, id)?;
    let page = app.conversations().history(id, cursor, limit).await?;
    Ok(History { conversation_id: id.clone(), turns: page.turns, next_cursor: page.next })
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
pub(crate) fn diff(app: &App, caller: &str, id: &ConversationId) -> Result<Diff, Error> {
    let diff = match find(app, caller, id)? {
        ConversationRef::Live(conversation) => conversation.diff(),
        ConversationRef::Stored(..) => None,
    };
    let (turn_id, diff) = diff.map(|(turn, diff)| (turn.to_string(), diff)).unzip();
    Ok(Diff { conversation_id: id.clone(), turn_id, diff: diff.unwrap_or_default() })
}
