//! Running a prompt. One request, three views of its turn:
//!
//! - `POST /exec`: core's events as JSON lines, or as SSE by `Accept`
//! - `POST /api/v1/exec/stream`: the task view, as SSE
//! - `POST /api/v1/exec`: waits and answers one JSON document

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::StreamExt;
use http::Response;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;

use super::cancel_on_disconnect::CancelOnDrop;
use super::prompt::PromptRequest;
use super::task::Task;
use crate::app::App;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::stream;
use crate::stream::Item;
use crate::stream::StreamEnd;
use crate::stream::task::TaskView;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::json as body_json;
use crate::web::reply;

/// The framings of core's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Sse,
    NdJson,
    Jsonl,
}

impl Framing {
    /// What `Accept` asks for; JSON lines unless it names something else.
    pub(crate) fn of(context: &RequestContext) -> Self {
        let accept = context.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        match accept.unwrap_or_default() {
            accept if accept.contains("text/event-stream") => Self::Sse,
            accept if accept.contains("application/jsonl") => Self::Jsonl,
            _ => Self::NdJson,
        }
    }

    pub(crate) fn reply<S>(self, items: S, owned: impl std::any::Any + Send) -> Response<Body>
    where
        S: Stream<Item = Item> + Send + 'static,
    {
        let (content_type, frame): (_, fn(Item) -> Bytes) = match self {
            Self::Sse => ("text/event-stream", stream::sse::frame),
            Self::NdJson => ("application/x-ndjson", stream::jsonl::frame),
            Self::Jsonl => ("application/jsonl", stream::jsonl::frame),
        };
        reply::stream(content_type, Body::stream(items.map(frame), owned))
    }
}

/// Reads the request and starts its turn, which may be tied to its client. Says also whether raw events
/// are wanted.
async fn start(
    app: &Arc<App>,
    context: &RequestContext,
    conversation: Option<&ConversationId>,
    body: Incoming,
) -> Result<(Turn, CancelOnDrop, bool), Error> {
    let bytes = body_json::read(&context.headers, body, &app.config().server).await?;
    let mut request: PromptRequest = body_json::decode(&bytes)?;
    if let Some(id) = conversation {
        request.address(id)?;
    }
    let raw = request.raw_events;
    let checked = request.check(app, context.caller())?;
    let (turn, tied) = checked.start(app, CancelOnDrop::wanted(context)).await?;
    Ok((turn, tied, raw))
}

fn items(app: &App, turn: &Turn, raw: bool) -> impl Stream<Item = Item> + Send + 'static {
    let until = StreamEnd::end_of(turn);
    stream::events(app.reading(&turn.conversation, turn.after, until, raw))
}

/// `POST /exec`, and `POST /api/v1/conversations/{id}/turns`, where the path names the conversation.
pub async fn events(
    app: &Arc<App>,
    context: &RequestContext,
    conversation: Option<&ConversationId>,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let (turn, tied, raw) = start(app, context, conversation, body).await?;
    let owned = (tied, app.stream_guard());
    Ok(named(Framing::of(context).reply(items(app, &turn, raw), owned), &turn, app))
}

/// `POST /api/v1/exec/stream`
pub async fn task_stream(
    app: &Arc<App>,
    context: &RequestContext,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let (turn, tied, raw) = start(app, context, None, body).await?;
    let owned = (tied, app.stream_guard());
    let items = items(app, &turn, raw);
    let mut view = TaskView::new(&turn, &app.facts().sandbox);
    let followed = turn.clone();
    let frames = async_stream::stream! {
        yield view.started(followed.after);
        let mut seq = followed.after;
        for await item in items {
            if let Item::Events(entries) = &item {
                seq = entries.last().map_or(seq, |entry| entry.seq);
            }
            yield view.frame(item);
        }
        if let Ok(report) = followed.report().await {
            yield view.ended(seq, &report);
        }
    };
    Ok(named(reply::stream("text/event-stream", Body::stream(frames, owned)), &turn, app))
}

/// `POST /api/v1/exec`
pub async fn task(
    app: &Arc<App>,
    context: &RequestContext,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let (turn, _tied, _raw) = start(app, context, None, body).await?;
    let report = turn.report().await?;
    Ok(named(reply::json(StatusCode::OK, &Task::of(app, &turn, &report)), &turn, app))
}

/// Says in the head which conversation and turn this is, so that a client that is cut off before the
/// first event can still come back; and what protects tool calls.
fn named(mut response: Response<Body>, turn: &Turn, app: &App) -> Response<Body> {
    let headers = response.headers_mut();
    let sandbox = &app.facts().sandbox;
    for (name, value) in [
        ("x-conversation-id", turn.conversation.id().as_str()),
        ("x-session-id", turn.conversation.session_id().as_str()),
        ("x-turn-id", &turn.id),
        ("x-sandbox", sandbox.mechanism.as_str()),
        ("x-tools", sandbox.tools.as_str()),
    ] {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}
