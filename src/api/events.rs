//! Streams of core's events as JSON lines or SSE, and `GET /api/v1/conversations/{id}/events`.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::StreamExt;
use http::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::app::App;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::error::Error;
use crate::input::whole::Count;
use crate::ops;
use crate::stream;
use crate::stream::Item;
use crate::stream::StreamEnd;
use crate::text::excerpt;
use crate::web::Body;
use crate::web::Limits;
use crate::web::RequestContext;
use crate::web::accept;
use crate::web::describe::Operation;
use crate::web::extract::AdmittedRequest;
use crate::web::extract::Extract;
use crate::web::extract::Query;
use crate::web::reply;
use crate::web::respond::Respond;

/// The media type of server-sent events.
pub(crate) const SSE: &str = "text/event-stream";

/// A stream of events, framed as the client asks.
#[derive(Debug)]
pub(crate) struct EventStream(Response<Body>);

impl EventStream {
    /// Frames events. `owned` is dropped with the stream.
    pub(crate) fn new<S>(framing: Framing, items: S, owned: impl Any + Send) -> Self
    where
        S: Stream<Item = Item> + Send + 'static,
    {
        let Framing { content_type, frame } = framing;
        Self(reply::stream(content_type, Body::stream(items.map(frame), owned)))
    }
}

/// The form of a stream of events: JSON lines unless `Accept` prefers SSE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framing {
    content_type: &'static str,
    frame: fn(Item) -> Bytes,
}

impl Framing {
    /// The media types, the default first.
    const TYPES: [&'static str; 3] = ["application/x-ndjson", "application/jsonl", SSE];
}

impl Extract for Framing {
    /// The responses name the media types.
    fn describe(operation: &mut Operation<'_>) {
        operation.fails(&[406]);
    }

    async fn extract(request: &mut AdmittedRequest, _limits: &Limits) -> Result<Self, Error> {
        let content_type = accept::media_type(&request.context.headers, &Self::TYPES)?;
        let frame = if content_type == SSE { stream::sse::frame } else { stream::jsonl::frame };
        Ok(Self { content_type, frame })
    }
}

/// The media type of SSE, which a stream of nothing else needs as well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcceptsSse;

impl Extract for AcceptsSse {
    fn describe(operation: &mut Operation<'_>) {
        operation.fails(&[406]);
    }

    async fn extract(request: &mut AdmittedRequest, _limits: &Limits) -> Result<Self, Error> {
        accept::media_type(&request.context.headers, &[SSE]).map(|_| Self)
    }
}

impl EventStream {
    /// Describes the stream; `end` is the event that ends it.
    pub(super) fn describe_until(operation: &mut Operation<'_>, end: &str) {
        let event = operation.schemas.encoded::<Event>();
        operation.responds(
            StatusCode::OK,
            &format!(
                "Events, one a line, or one per SSE event in `data`, as `Accept` asks. The stream \
                 ends with {end}."
            ),
            &[
                ("application/x-ndjson", event.clone()),
                ("application/jsonl", event),
                (SSE, sse_event("message")),
            ],
        );
    }
}

impl Respond for EventStream {
    fn describe(operation: &mut Operation<'_>) {
        let end = "the newest event, or, with `follow`, when the conversation or the gateway ends";
        Self::describe_until(operation, end);
    }

    fn into_response(self) -> Response<Body> {
        self.0
    }
}

/// The schema of an SSE event whose data is JSON text.
pub(crate) fn sse_event(default_type: &str) -> Value {
    json!({
        "type": "object",
        "required": ["data"],
        "properties": {
            "id": { "type": "string", "description": "The `seq` of the newest event." },
            "event": { "type": "string", "default": default_type },
            "data": { "type": "string", "contentMediaType": "application/json" },
        },
    })
}

/// An event of codex-core, with two members in front.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "events are encoded by the log, once; this is their schema")]
pub(crate) struct Event {
    /// Its number within the conversation; the first is 1.
    seq: Seq,
    conversation_id: ConversationId,
    /// The submission that it belongs to.
    id: String,
    msg: EventMessage,
}

/// Core's own form. Types that begin with `gateway_` are the gateway's.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "events are encoded by the log, once; this is their schema")]
pub(crate) struct EventMessage {
    r#type: String,
    #[serde(flatten)]
    members: Map<String, Value>,
}

/// `Last-Event-ID`: where a browser's `EventSource` left off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastEventId(Option<Seq>);

impl Extract for LastEventId {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
        operation.header("Last-Event-ID", schema, "Replaces `after`.");
    }

    async fn extract(request: &mut AdmittedRequest, _limits: &Limits) -> Result<Self, Error> {
        let value = request.context.headers.get("last-event-id");
        let Some(text) = value.and_then(|value| value.to_str().ok()) else {
            return Ok(Self(None));
        };
        let seq = text.parse().map_err(|_| {
            let got = excerpt(text);
            Error::invalid(format!("Last-Event-ID: expected the seq of an event, got {got}"))
        });
        seq.map(|seq| Self(Some(seq)))
    }
}

/// Which events to stream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Range {
    /// The newest event that the client has; default 0, for all that are kept.
    after: Option<Count>,
    /// Whether to stay for the events to come.
    follow: bool,
}

/// `GET …/{id}/events`
pub(crate) async fn events(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
    (framing, (last, Query(Range { after, follow }))): (Framing, (LastEventId, Query<Range>)),
) -> Result<EventStream, Error> {
    // A reconnecting EventSource repeats its URL: where it left off is what counts.
    let LastEventId(last) = last;
    let after = last.unwrap_or_else(|| after.map_or(0, Count::get));
    let field = if last.is_some() { "Last-Event-ID" } else { "after" };
    let conversation = ops::events::read(app, context.caller(), &id, field, after)?;
    let until = if follow { StreamEnd::Never } else { StreamEnd::CaughtUp };
    let items = app.event_reader(&conversation, after, until, false).into_stream();
    Ok(EventStream::new(framing, items, app.stream_guard()))
}
