//! The events of a conversation, from any number on.

use std::sync::Arc;

use super::find;
use super::policy::allow_raw_events;
use crate::app::App;
use crate::conversation::Conversation;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::error::Error;
use crate::error::Kind;

/// Finds a conversation whose events after `after`, which the client gave in `field`, can be read
/// without a gap.
///
/// # Errors
/// `NotFound`; `Gone` where some of the events are no longer kept; `InvalidRequest` where `after`
/// is beyond the newest event.
pub(crate) fn read(
    app: &App,
    caller: &str,
    id: &ConversationId,
    field: &str,
    after: Seq,
) -> Result<Arc<Conversation>, Error> {
    let conversation = loaded(find(app, caller, id)?)?;
    let oldest_seq = conversation.log().oldest_seq();
    let last_gone = oldest_seq.saturating_sub(1);
    if after < last_gone {
        return Err(Error::new(
            Kind::Gone { oldest_seq },
            format!(
                "{field}: events up to {last_gone} are no longer kept: expected {last_gone} or more, \
                 got {after}"
            ),
        ));
    }
    check_after(field, after, &conversation)?;
    Ok(conversation)
}

/// Checks that a client may follow the events after `after_seq`. An event announces a gap.
///
/// # Errors
/// `Forbidden` for raw events that the operator does not permit; `Gone` where the conversation is
/// not loaded; `InvalidRequest` where `after_seq` is beyond the newest event.
pub(crate) fn subscribe(
    app: &App,
    known: ConversationRef,
    after_seq: Seq,
    raw_events: bool,
) -> Result<Arc<Conversation>, Error> {
    allow_raw_events(app.config(), raw_events)?;
    let conversation = loaded(known)?;
    check_after("after_seq", after_seq, &conversation)?;
    Ok(conversation)
}

fn loaded(known: ConversationRef) -> Result<Arc<Conversation>, Error> {
    match known {
        ConversationRef::Live(conversation) => Ok(conversation),
        ConversationRef::Stored(..) => Err(Error::new(
            Kind::Gone { oldest_seq: 1 },
            "the conversation is not loaded and its events are no longer kept: send a prompt or \
             resume it; its events are then numbered from 1",
        )),
    }
}

fn check_after(field: &str, after: Seq, conversation: &Conversation) -> Result<(), Error> {
    let last_seq = conversation.log().last_seq();
    if after > last_seq {
        return Err(Error::invalid(format!(
            "{field}: expected the seq of an event, at most {last_seq}, got {after}"
        )));
    }
    Ok(())
}
