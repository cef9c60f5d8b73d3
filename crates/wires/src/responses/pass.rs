//! One event: unchanged, but for those that core ignores or cannot read.
//!
//! A refusal becomes message text, as on the other wires. An answer that ended early fails with the
//! reason. An `error` in the stream becomes a failed response. Special tokens of a model behind the
//! name of a tool are cut off.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::completed;
use crate::event::Event;
use crate::json::at;
use crate::json::kind;
use crate::sse;

/// Returns the event as core understands it.
pub(super) fn pass(event: sse::Event) -> Event {
    let sse::Event { name, data } = event;
    // Some servers omit the name; the type is in the data too.
    let name = if name == "message" { type_of(&data) } else { name };
    match name.as_str() {
        "response.refusal.delta" => rewrite(name, data, |event| {
            event.insert("type".to_owned(), json!("response.output_text.delta"));
        }),
        "response.output_item.done" if data.contains("\"refusal\"") => {
            rewrite(name, data, |event| {
                let parts = event.get_mut("item").and_then(|item| item.get_mut("content"));
                for part in parts.and_then(Value::as_array_mut).into_iter().flatten() {
                    if let Some(refusal) = part.get_mut("refusal").map(Value::take) {
                        *part = json!({ "type": "output_text", "text": refusal });
                    }
                }
            })
        }
        "response.output_item.done" if data.contains("<|") => rewrite(name, data, |event| {
            let name = event.get_mut("item").and_then(|item| item.get_mut("name"));
            if let Some(name) = name
                && let Some((tool, _)) = name.as_str().and_then(|name| name.split_once("<|"))
            {
                *name = tool.trim().into();
            }
        }),
        // Some servers name the last event as the Realtime API does.
        "response.completed" | "response.done" => completed::readable(data),
        "error" => {
            let event: Value = serde_json::from_str(&data).unwrap_or_default();
            // The API's own form is flat. Some servers nest it, as in an answer with an error
            // status.
            let error = event.get("error").filter(|error| error.is_object()).unwrap_or(&event);
            let member = |name: &str| error.get(name).and_then(Value::as_str);
            let message = member("message").unwrap_or(&data);
            Event::failed(None, json!({ "code": member("code"), "message": message }))
        }
        "response.incomplete" => {
            let event: Value = serde_json::from_str(&data).unwrap_or_default();
            let id = at(&event, "/response/id").as_str().unwrap_or_default();
            let reason = at(&event, "/response/incomplete_details/reason").as_str();
            Event::unfinished(id, "The model", reason.unwrap_or("no reason given"))
        }
        _ => Event::read(name, data),
    }
}

fn type_of(data: &str) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    event.get("type").and_then(Value::as_str).unwrap_or("message").to_owned()
}

fn rewrite(name: String, data: String, change: impl FnOnce(&mut Map<String, Value>)) -> Event {
    match serde_json::from_str(&data) {
        Ok(Value::Object(mut event)) => {
            change(&mut event);
            let event = Value::Object(event);
            Event::read(kind(&event).to_owned(), event.to_string())
        }
        // Core reports the defect.
        _ => Event::read(name, data),
    }
}
