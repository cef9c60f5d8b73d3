//! Runs a prompt. One request, three views of its turn:
//!
//! - `POST /exec`: core's events as JSON lines, or as SSE by `Accept`
//! - `POST /api/v1/exec/stream`: the task view, as SSE
//! - `POST /api/v1/exec`: waits and returns one JSON document

use std::sync::Arc;

use futures::Stream;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use serde_json::json;

use super::events::AcceptsSse;
use super::events::EventStream;
use super::events::Framing;
use super::events::SSE;
use super::events::sse_event;
pub(crate) use super::task::Task;
use crate::app::App;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::error::Error;
pub(crate) use crate::ops::prompt::PromptRequest;
use crate::ops::prompt::StartedTurn;
use crate::ops::prompt::prompt;
use crate::stream::Item;
use crate::stream::StreamEnd;
use crate::stream::task_view::TaskView;
use crate::web::Body;
use crate::web::Json;
use crate::web::RequestContext;
use crate::web::describe::Operation;
use crate::web::extract::CancelOnDisconnect;
use crate::web::reply;
use crate::web::respond::Respond;

/// The prompt, and whether its turn ends with the connection.
type Argument = (CancelOnDisconnect, Json<PromptRequest>);

/// `POST /exec`
pub(crate) async fn events(
    app: &Arc<App>,
    context: &RequestContext,
    (framing, (CancelOnDisconnect(cancel_on_disconnect), Json(request))): (Framing, Argument),
) -> Result<TurnResponse<TurnEvents>, Error> {
    let started = prompt(app, context.caller(), request, cancel_on_disconnect).await?;
    let StartedTurn { turn, cancel_on_drop, raw_events } = started;
    let owned = (cancel_on_drop, app.stream_guard());
    let stream = EventStream::new(framing, items(app, &turn, raw_events), owned);
    Ok(TurnResponse::new(app, &turn, TurnEvents(stream)))
}

/// The events of a turn.
#[derive(Debug)]
pub(crate) struct TurnEvents(EventStream);

impl Respond for TurnEvents {
    fn describe(operation: &mut Operation<'_>) {
        EventStream::describe_until(operation, "the last event of the turn");
    }

    fn into_response(self) -> Response<Body> {
        self.0.into_response()
    }
}

/// `POST /api/v1/conversations/{id}/turns`: the same in a conversation.
pub(crate) async fn turn(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
    (framing, (cancel_on_disconnect, Json(mut request))): (Framing, Argument),
) -> Result<TurnResponse<TurnEvents>, Error> {
    request.in_conversation(&id)?;
    events(app, context, (framing, (cancel_on_disconnect, Json(request)))).await
}

/// `POST /api/v1/exec/stream`
pub(crate) async fn task_stream(
    app: &Arc<App>,
    context: &RequestContext,
    (AcceptsSse, (CancelOnDisconnect(cancel_on_disconnect), Json(request))): (AcceptsSse, Argument),
) -> Result<TurnResponse<TaskStream>, Error> {
    let started = prompt(app, context.caller(), request, cancel_on_disconnect).await?;
    let StartedTurn { turn, cancel_on_drop, raw_events } = started;
    let owned = (cancel_on_drop, app.stream_guard());
    let items = items(app, &turn, raw_events);
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
    Ok(TurnResponse::new(app, &turn, TaskStream(Body::stream(frames, owned))))
}

/// `POST /api/v1/exec`
pub(crate) async fn task(
    app: &Arc<App>,
    context: &RequestContext,
    (CancelOnDisconnect(cancel_on_disconnect), Json(request)): Argument,
) -> Result<TurnResponse<Json<Task>>, Error> {
    let StartedTurn { turn, cancel_on_drop: _cancel_on_drop, raw_events: _ } =
        prompt(app, context.caller(), request, cancel_on_disconnect).await?;
    let report = turn.report().await?;
    Ok(TurnResponse::new(app, &turn, Json(Task::new(app, &turn, &report))))
}

fn items(app: &App, turn: &Turn, raw: bool) -> impl Stream<Item = Item> + Send + 'static {
    let until = StreamEnd::end_of(turn);
    app.event_reader(&turn.conversation, turn.after, until, raw).into_stream()
}

/// The task view of a turn, as SSE.
#[derive(Debug)]
pub(crate) struct TaskStream(Body);

impl Respond for TaskStream {
    fn describe(operation: &mut Operation<'_>) {
        operation.responds(
            StatusCode::OK,
            "`task_started`, `task_progress`, `stdout_line`, `stderr_line`, `task_result`, \
             `task_completed`; `error` where the turn fails.",
            &[(SSE, sse_event("task_progress"))],
        );
    }

    fn into_response(self) -> Response<Body> {
        reply::stream(SSE, self.0)
    }
}

/// A response whose head names the conversation and the turn, so that a client that is cut off
/// before the first event can come back; and what confines tool calls.
#[derive(Debug)]
pub(crate) struct TurnResponse<R> {
    reply: R,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl<R> TurnResponse<R> {
    /// The headers, and what each of them says.
    const HEADERS: [(&'static str, &'static str); 5] = [
        ("x-conversation-id", "The conversation."),
        ("x-session-id", "The name of its session."),
        ("x-turn-id", "The turn."),
        ("x-sandbox", "What confines commands."),
        ("x-tools", "Whether the agent may run commands."),
    ];

    fn new(app: &App, turn: &Turn, reply: R) -> Self {
        let sandbox = &app.facts().sandbox;
        let values = [
            turn.conversation.id().as_str(),
            turn.conversation.session_id().as_str(),
            &turn.id,
            sandbox.mechanism.as_str(),
            sandbox.tools.as_str(),
        ];
        let headers = Self::HEADERS.into_iter().zip(values);
        let headers = headers.filter_map(|((name, _), value)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
        });
        Self { reply, headers: headers.collect() }
    }
}

impl<R: Respond> Respond for TurnResponse<R> {
    fn describe(operation: &mut Operation<'_>) {
        R::describe(operation);
        for (name, description) in Self::HEADERS {
            let header = json!({ "description": description, "schema": { "type": "string" } });
            operation.response_header(StatusCode::OK, name, header);
        }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = self.reply.into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}
