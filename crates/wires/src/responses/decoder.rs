//! The answer: events as they are, until the last one. A server that does not stream sends the
//! response as one document, whose events are made here.

use serde_json::Value;
use serde_json::json;

use super::api::API;
use super::completed;
use super::pass::pass;
use crate::Decoder;
use crate::error::Code;
use crate::error::WireError;
use crate::event::Event;
use crate::event::Kind;
use crate::failure;
use crate::failure::Place;
use crate::json::kind;
use crate::json::list;
use crate::reader::DOCUMENT;
use crate::sse;

/// Decodes one answer.
#[derive(Debug, Default)]
pub(super) struct ResponsesDecoder {
    /// Whether an event has been read.
    begun: bool,
    /// Whether an item is complete.
    answered: bool,
    ended: bool,
}

impl Decoder for ResponsesDecoder {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Event>, WireError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let is_document = name == DOCUMENT && !self.begun;
        self.begun = true;
        if (name == DOCUMENT || name == "message")
            && let Ok(document) = serde_json::from_str::<Value>(data)
            && kind(&document).is_empty()
        {
            return self.untyped(&document, is_document);
        }
        let name = if name == DOCUMENT { "message" } else { name };
        let event = pass(sse::Event { name: name.to_owned(), data: data.to_owned() });
        self.answered |= matches!(event.kind(), Kind::ItemDone(_));
        self.ended = event.is_last();
        Ok(vec![event])
    }

    fn done(&mut self) -> Result<Vec<Event>, WireError> {
        if self.ended || !self.answered {
            return self.end();
        }
        self.ended = true;
        let event = completed::of_response(Value::Null);
        Ok(vec![Event::read("response.completed".to_owned(), event.to_string())])
    }

    fn is_ending(&self) -> bool {
        false
    }

    fn end(&mut self) -> Result<Vec<Event>, WireError> {
        if self.ended {
            return Ok(Vec::new());
        }
        self.ended = true;
        let message = format!("{API}: its stream ended before response.completed");
        Err(WireError::new(Code::Truncated, message))
    }
}

impl ResponsesDecoder {
    /// Reads an event without a type: a whole response, or an error in any form.
    fn untyped(&mut self, document: &Value, is_document: bool) -> Result<Vec<Event>, WireError> {
        let is_response = document["object"] == "response" || document["output"].is_array();
        let has_error = !document["error"].is_null();
        if is_response && !has_error {
            return Ok(self.whole(document));
        }
        if has_error || is_document || document["detail"].is_string() {
            let place = if is_document { Place::Document } else { Place::Stream };
            self.ended = true;
            return Err(failure::of_value(API, place, document));
        }
        Ok(Vec::new())
    }

    /// Makes the events of a whole response.
    fn whole(&mut self, response: &Value) -> Vec<Event> {
        let id = response["id"].as_str().unwrap_or("resp");
        let mut events = vec![Event::created(id)];
        for (index, item) in list(&response["output"]).iter().enumerate() {
            let done = json!({
                "type": "response.output_item.done",
                "output_index": index,
                "item": item,
            });
            events.push(pass(sse::Event {
                name: "response.output_item.done".to_owned(),
                data: done.to_string(),
            }));
        }
        let last = match response["status"].as_str() {
            Some("incomplete") => "response.incomplete",
            Some("failed" | "cancelled") => "response.failed",
            _ => "response.completed",
        };
        let event = json!({ "type": last, "response": response });
        events.push(pass(sse::Event { name: last.to_owned(), data: event.to_string() }));
        self.ended = true;
        events
    }
}
