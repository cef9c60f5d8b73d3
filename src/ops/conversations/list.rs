//! Lists conversations, a page at a time.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::view::ConversationView;
use crate::app::App;
use crate::conversation::Activity;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::input::whole::Whole;

/// The size of a page.
const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: u64 = 100;
/// The number of conversations that are read at a time.
const BATCH: usize = 100;

/// Which conversations to list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListRequest {
    /// `next_cursor` of the page before.
    cursor: Option<ConversationId>,
    /// The size of the page.
    #[schemars(extend("default" = DEFAULT_PAGE))]
    limit: Option<Whole<1, MAX_PAGE>>,
    /// Only those in this state. Default: all but those that are archived (`closed`).
    status: Option<Activity>,
}

/// A page of conversations, newest first.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct ConversationPage {
    conversations: Vec<ConversationView>,
    /// The cursor of the next page; null on the last.
    next_cursor: Option<ConversationId>,
}

/// Lists the conversations that a caller may use, newest first, a page at a time.
///
/// # Errors
/// None: a page of an unknown cursor is empty.
pub(crate) fn list(app: &App, caller: &str, list: &ListRequest) -> Result<ConversationPage, Error> {
    let limit = list.limit.map_or(DEFAULT_PAGE, Whole::size);
    let conversations = app.conversations();
    let mut before = match list.cursor.as_ref().map(|id| conversations.order_key(id)) {
        None => None,
        Some(Some(key)) => Some(key),
        Some(None) => return Ok(ConversationPage::default()),
    };
    let mut page = ConversationPage::default();
    loop {
        let found = match list.status {
            // Only live conversations can be in these states.
            Some(activity @ (Activity::Running | Activity::WaitingApproval)) => {
                conversations.live_newest_first(activity, before.as_ref(), BATCH)
            }
            Some(Activity::Closed) => conversations.newest_first(true, before.as_ref(), BATCH),
            Some(Activity::Idle) | None => {
                conversations.newest_first(false, before.as_ref(), BATCH)
            }
        };
        for known in found.iter().filter(|known| conversations.may_use(caller, known)) {
            let view = ConversationView::new(known);
            if list.status.is_some_and(|status| view.state.status != status) {
                continue;
            }
            if page.conversations.len() == limit {
                let last = page.conversations.last();
                page.next_cursor = last.map(|last| last.state.conversation_id.clone());
                return Ok(page);
            }
            page.conversations.push(view);
        }
        before = match found.last() {
            Some(last) if found.len() == BATCH => conversations.order_key(last.id()),
            Some(_) | None => return Ok(page),
        };
        if before.is_none() {
            return Ok(page);
        }
    }
}
