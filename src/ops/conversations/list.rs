//! Lists conversations, a page at a time.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::super::integer;
use super::view::ConversationView;
use crate::app::App;
use crate::conversation::Activity;
use crate::conversation::id::ConversationId;
use crate::error::Error;

/// The size of a page.
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;
/// The number of conversations that are read at a time.
const BATCH: usize = 100;

/// Which conversations to list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ListRequest {
    /// `next_cursor` of the page before.
    #[schemars(with = "Option<ConversationId>")]
    cursor: Option<String>,
    /// The size of the page; default 20.
    #[serde(default, deserialize_with = "integer::optional")]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    limit: Option<u32>,
    /// Only those in this state. Default: all but those that are archived (`closed`).
    status: Option<Activity>,
}

/// A page of conversations, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConversationPage {
    conversations: Vec<ConversationView>,
    /// The cursor of the next page; null on the last.
    next_cursor: Option<ConversationId>,
}

/// Lists conversations, newest first, a page at a time.
///
/// # Errors
/// `InvalidRequest` for a limit out of range, or a malformed cursor.
pub(crate) fn list(app: &App, list: &ListRequest) -> Result<ConversationPage, Error> {
    let limit = list.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Error::invalid(format!("limit: expected 1 to {MAX_PAGE}, got {limit}")));
    }
    let cursor = list.cursor.as_deref().map(ConversationId::parse).transpose();
    let mut before =
        cursor.map_err(|_| Error::invalid("cursor: expected next_cursor of a page"))?;
    let mut page = ConversationPage { conversations: Vec::new(), next_cursor: None };
    loop {
        let found = app.conversations().newest_first(before.as_ref(), BATCH);
        let last = found.len() < BATCH;
        for known in &found {
            let view = ConversationView::new(known);
            let listed = match list.status {
                Some(status) => view.state.status == status,
                None => view.state.status != Activity::Closed,
            };
            if !listed {
                continue;
            }
            if page.conversations.len() == limit as usize {
                let last = page.conversations.last();
                page.next_cursor = last.map(|last| last.state.conversation_id.clone());
                return Ok(page);
            }
            page.conversations.push(view);
        }
        if last {
            return Ok(page);
        }
        before = found.last().map(|last| last.id().clone());
    }
}
