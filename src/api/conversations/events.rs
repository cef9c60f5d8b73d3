//! `GET /api/v1/conversations/{id}/events?after=N&follow=true|false`: a conversation's events from
//! `N` on.

use std::sync::Arc;

use http::Response;

use super::super::exec::Framing;
use crate::app::App;
use crate::conversation::Conversation;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::conversation::registry::unknown;
use crate::error::Error;
use crate::error::Kind;
use crate::stream;
use crate::stream::StreamEnd;
use crate::web::Body;
use crate::web::RequestContext;

/// `GET /api/v1/conversations/{id}/events`
pub async fn events(
    app: &Arc<App>,
    context: &RequestContext,
    id: &ConversationId,
) -> Result<Response<Body>, Error> {
    let Range { after, follow } = range(context)?;
    let conversation: Arc<Conversation> = match app.conversations().known(id) {
        Some(ConversationRef::Live(conversation)) => conversation,
        Some(ConversationRef::Stored(_)) => {
            return Err(Error::new(
                Kind::Gone { oldest_seq: 1 },
                "the conversation rests on disk and its events are no longer kept: expected a prompt, \
                 which takes it up again and numbers its events from 1",
            ));
        }
        None => return Err(unknown(id)),
    };
    let log = conversation.log();
    let (oldest_seq, last_seq) = (log.oldest_seq(), log.last_seq());
    if after + 1 < oldest_seq {
        return Err(Error::new(
            Kind::Gone { oldest_seq },
            format!(
                "events up to {} are no longer kept: expected after={} or later",
                oldest_seq - 1,
                oldest_seq - 1
            ),
        ));
    }
    if after > last_seq {
        return Err(Error::invalid(format!(
            "after: expected at most {last_seq}, the newest event"
        )));
    }
    let until = if follow { StreamEnd::Never } else { StreamEnd::CaughtUp };
    let items = stream::events(app.reading(&conversation, after, until, false));
    Ok(Framing::of(context).reply(items, app.stream_guard()))
}

/// Which events a request wants.
struct Range {
    after: Seq,
    follow: bool,
}

/// `after` and `follow` of the query; `Last-Event-ID` is where a browser's `EventSource` left off.
fn range(context: &RequestContext) -> Result<Range, Error> {
    let mut range = Range { after: 0, follow: false };
    let last_event_id = context.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    if let Some(text) = last_event_id {
        range.after = parse_seq("Last-Event-ID", text)?;
    }
    for pair in
        context.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty())
    {
        match pair.split_once('=').unwrap_or((pair, "")) {
            // A reconnecting EventSource repeats its URL: where it left off is what counts.
            ("after", _) if last_event_id.is_some() => {}
            ("after", text) => range.after = parse_seq("after", text)?,
            ("follow", "true" | "1" | "") => range.follow = true,
            ("follow", "false" | "0") => range.follow = false,
            ("follow", _) => return Err(Error::invalid("follow: expected true or false")),
            (name, _) => {
                return Err(Error::invalid(format!(
                    "expected the query parameters after and follow, got {}",
                    crate::text::excerpt(name)
                )));
            }
        }
    }
    Ok(range)
}

fn parse_seq(name: &str, text: &str) -> Result<Seq, Error> {
    text.parse().map_err(|_| {
        Error::invalid(format!(
            "{name}: expected the seq of an event, got {}",
            crate::text::excerpt(text)
        ))
    })
}
