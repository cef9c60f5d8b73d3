//! Events of a Responses stream, as text for core and with the part of it that the gateway reads.
//!
//! An event is read once, when it is made. Deltas, of which an answer has thousands, are not parsed
//! at all.

use std::borrow::Cow;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::item::Item;
use crate::json::set;
use crate::usage::Usage;

/// The `type` of the error of an answer that its provider ended early.
pub const INCOMPLETE: &str = "incomplete";

/// One event of a Responses stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    name: Cow<'static, str>,
    kind: Kind,
    json: String,
}

/// The meaning of an event, with its content where the gateway reads it.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Announces content: a response, an item or a part of one begins.
    Announcement,
    /// A piece of content.
    Delta,
    /// `response.output_item.done`: an item is complete.
    ItemDone(Item),
    /// `response.completed`: the last event of a complete answer.
    Completed(Box<Completed>),
    /// `response.failed`, with its error: the last event of an answer that failed.
    Failed(Value),
    /// `error`: the only event of a request that was rejected, with its HTTP status.
    Rejected(Option<u16>),
    /// Any other event.
    Other,
}

/// The content of `response.completed`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completed {
    /// The id of the response.
    pub id: String,
    /// The token counts.
    pub usage: Usage,
}

impl Event {
    /// The answer begins.
    pub fn created(id: &str) -> Self {
        let document = json!({ "response": { "id": id } });
        Self::build("response.created", Kind::Announcement, document)
    }

    /// An item begins. Core attaches the deltas after it to this item.
    pub fn item_added(index: u64, item: &Value) -> Self {
        let document = json!({ "output_index": index, "item": item });
        Self::build("response.output_item.added", Kind::Announcement, document)
    }

    /// A piece of a message.
    pub fn text_delta(item_id: &str, index: u64, delta: &str) -> Self {
        #[derive(Serialize)]
        struct Delta<'a> {
            content_index: u8,
            delta: &'a str,
            item_id: &'a str,
            output_index: u64,
            r#type: &'static str,
        }
        let name = "response.output_text.delta";
        let delta = Delta { content_index: 0, delta, item_id, output_index: index, r#type: name };
        Self::delta(name, &delta)
    }

    /// The summary of a reasoning item begins.
    pub fn summary_added(item_id: &str, index: u64) -> Self {
        let document = json!({ "item_id": item_id, "output_index": index, "summary_index": 0 });
        Self::build("response.reasoning_summary_part.added", Kind::Announcement, document)
    }

    /// A piece of the summary of a reasoning item.
    pub fn summary_delta(item_id: &str, index: u64, delta: &str) -> Self {
        #[derive(Serialize)]
        struct Delta<'a> {
            delta: &'a str,
            item_id: &'a str,
            output_index: u64,
            summary_index: u8,
            r#type: &'static str,
        }
        let name = "response.reasoning_summary_text.delta";
        let delta = Delta { delta, item_id, output_index: index, summary_index: 0, r#type: name };
        Self::delta(name, &delta)
    }

    /// Deltas are written without a map in between: an answer has thousands of them.
    fn delta(name: &'static str, delta: &impl Serialize) -> Self {
        let json = serde_json::to_string(delta).expect("strings and numbers are JSON");
        Self { name: name.into(), kind: Kind::Delta, json }
    }

    /// An item is complete.
    pub fn item_done(index: u64, item: &Value) -> Self {
        let item = Item::of(item);
        let json = format!(
            r#"{{"item":{},"output_index":{index},"type":"response.output_item.done"}}"#,
            item.json(),
        );
        Self { name: "response.output_item.done".into(), kind: Kind::ItemDone(item), json }
    }

    /// The answer is complete.
    pub fn completed(id: &str, usage: Option<Usage>) -> Self {
        Self::ended(id, usage, None)
    }

    /// The answer is complete but its turn is not: core continues it with another call.
    pub fn paused(id: &str, usage: Option<Usage>) -> Self {
        Self::ended(id, usage, Some(false))
    }

    fn ended(id: &str, usage: Option<Usage>, end_turn: Option<bool>) -> Self {
        let mut response = json!({ "id": id });
        set(&mut response, "usage", usage.map(Usage::to_value));
        set(&mut response, "end_turn", end_turn.map(Value::from));
        let completed = Completed { id: id.to_owned(), usage: usage.unwrap_or_default() };
        let kind = Kind::Completed(Box::new(completed));
        Self::build("response.completed", kind, json!({ "response": response }))
    }

    /// The answer failed. Core waits forever after an `error` event without a status, so every
    /// failure of a call that was begun has this form.
    pub fn failed(id: Option<&str>, error: Value) -> Self {
        let mut response = json!({ "error": error });
        set(&mut response, "id", id.map(Value::from));
        Self::build("response.failed", Kind::Failed(error), json!({ "response": response }))
    }

    /// The answer failed because its provider ended it early.
    ///
    /// Core takes `response.incomplete` for a broken connection: it repeats the call five times and
    /// gives up its WebSocket. `invalid_prompt` ends the turn with the reason and keeps the text so
    /// far.
    pub fn unfinished(id: &str, provider: &str, reason: &str) -> Self {
        let why = match reason {
            "max_output_tokens" => {
                "it was cut off at the limit of output tokens (max_output_tokens)"
            }
            "content_filter" => "the provider's content filter stopped it (content_filter)",
            other => other,
        };
        let message = format!("{provider} did not finish its answer: {why}");
        let error = json!({ "code": "invalid_prompt", "type": INCOMPLETE, "message": message });
        Self::failed(Some(id), error)
    }

    /// The request was rejected, with the status that the answer would have over HTTP.
    pub fn rejected(status: u16, code: &str, message: &str) -> Self {
        let error = json!({ "code": code, "message": message });
        let document = json!({ "status": status, "error": error });
        Self::build("error", Kind::Rejected(Some(status)), document)
    }

    /// The provider rejected the request, with headers that core reads.
    pub fn rejected_with(status: u16, error: &Value, headers: Map<String, Value>) -> Self {
        let document = json!({ "status": status, "error": error, "headers": headers });
        Self::build("error", Kind::Rejected(Some(status)), document)
    }

    fn build(name: &'static str, kind: Kind, mut document: Value) -> Self {
        set(&mut document, "type", Value::from(name));
        Self { name: name.into(), kind, json: document.to_string() }
    }

    /// Reads an event that a provider wrote. Its text stays as it is.
    pub(crate) fn read(name: String, json: String) -> Self {
        let kind = Kind::read(&name, &json);
        Self { name: name.into(), kind, json }
    }

    /// The `type` of the event.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The meaning of the event.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The event as JSON on one line.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Returns the JSON text.
    pub fn into_json(self) -> String {
        self.json
    }

    /// Parses the whole event.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }

    /// Whether core expects no event after it.
    pub fn is_last(&self) -> bool {
        match self.kind {
            Kind::Completed(_) | Kind::Failed(_) | Kind::Rejected(_) => true,
            Kind::Announcement | Kind::Delta | Kind::ItemDone(_) | Kind::Other => false,
        }
    }

    /// Appends to the message of a failure.
    #[must_use]
    pub fn with_remark(self, remark: &str) -> Self {
        let mut document = self.to_value();
        let pointer = ["/response/error/message", "/error/message"]
            .into_iter()
            .find(|pointer| document.pointer(pointer).is_some());
        let Some(message) = pointer.and_then(|pointer| document.pointer_mut(pointer)) else {
            return self;
        };
        *message = format!("{}{remark}", message.as_str().unwrap_or_default()).into();
        Self::read(self.name.into_owned(), document.to_string())
    }
}

impl Kind {
    fn read(name: &str, json: &str) -> Self {
        match name {
            "response.output_item.done" => Item::of_done(json).map_or(Self::Other, Self::ItemDone),
            "response.completed" => Self::Completed(Box::new(Completed::read(json))),
            "response.failed" => Self::Failed(error(json)),
            "error" => Self::Rejected(status(json)),
            "response.created"
            | "response.queued"
            | "response.in_progress"
            | "response.metadata"
            | "codex.rate_limits"
            | "keepalive"
            | "message" => Self::Announcement,
            name if name.ends_with(".added") => Self::Announcement,
            name if name.ends_with(".delta") => Self::Delta,
            _ => Self::Other,
        }
    }
}

impl Completed {
    /// Reads `response.completed`, without the output that its response repeats.
    fn read(json: &str) -> Self {
        #[derive(Deserialize)]
        struct Document {
            response: Response,
        }
        #[derive(Deserialize)]
        struct Response {
            #[serde(default)]
            id: Value,
            #[serde(default)]
            usage: Value,
        }
        let Ok(Document { response }) = serde_json::from_str(json) else { return Self::default() };
        let id = response.id.as_str().unwrap_or_default().to_owned();
        Self { id, usage: Usage::read(&response.usage) }
    }
}

/// Returns the error of a `response.failed` event, or the whole event if it has none.
fn error(json: &str) -> Value {
    let document: Value = serde_json::from_str(json).unwrap_or_default();
    let error = document.pointer("/response/error").or(document.get("error"));
    error.cloned().unwrap_or(document)
}

fn status(json: &str) -> Option<u16> {
    let document: Value = serde_json::from_str(json).ok()?;
    document.get("status")?.as_u64()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a built event is what would be read of its text.
    #[test]
    fn built_events_read_as_their_text() {
        let usage = Usage { input: Some(3), cached: Some(1), total: Some(3), ..Usage::default() };
        let message = crate::item::message("m", "a\"b");
        let events = [
            Event::created("r"),
            Event::item_added(0, &message),
            Event::text_delta("m\n", 1, "a\"\u{7}é"),
            Event::summary_added("m", 0),
            Event::summary_delta("m", 2, "\\"),
            Event::item_done(0, &message),
            Event::completed("r", Some(usage)),
            Event::completed("r", None),
            Event::paused("r", Some(usage)),
            Event::failed(Some("r"), json!({ "code": "x", "message": "m" })),
            Event::unfinished("r", "P", "max_output_tokens"),
            Event::rejected(400, "c", "m"),
            Event::rejected_with(429, &json!({ "message": "m" }), Map::new()),
        ];
        for event in events {
            assert_eq!(Event::read(event.name().to_owned(), event.json().to_owned()), event);
            let value = event.to_value();
            assert_eq!(value["type"], event.name());
            assert_eq!(value.to_string(), event.json(), "members are sorted");
        }
    }

    #[test]
    fn a_remark_is_appended_to_the_message() {
        let failed = Event::failed(None, json!({ "message": "a" })).with_remark(" (b)");
        assert_eq!(failed, Event::failed(None, json!({ "message": "a (b)" })));
        let rejected = Event::rejected(400, "c", "a").with_remark(" (b)");
        assert_eq!(rejected, Event::rejected(400, "c", "a (b)"));
        let silent = Event::failed(None, json!({}));
        assert_eq!(silent.clone().with_remark("x"), silent);
    }

    #[test]
    fn malformed_events_keep_their_place() {
        let kind = |name: &str, json: &str| Event::read(name.into(), json.into()).kind;
        assert_eq!(kind("response.output_item.done", "{"), Kind::Other);
        assert_eq!(kind("response.completed", "{"), Kind::Completed(Box::default()));
        let lenient = r#"{"response":{"id":"r","usage":{"input_tokens":"x","output_tokens":2}}}"#;
        let usage = Usage { output: Some(2), ..Usage::default() };
        let completed = Completed { id: "r".into(), usage };
        assert_eq!(kind("response.completed", lenient), Kind::Completed(Box::new(completed)));
        assert_eq!(kind("response.failed", "{"), Kind::Failed(Value::Null));
        assert_eq!(kind("error", "{}"), Kind::Rejected(None));
    }
}
