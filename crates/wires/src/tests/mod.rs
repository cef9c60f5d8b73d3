//! Answers and errors as servers send them, byte for byte, over every wire.

mod anything;
mod endings;
mod errors;
mod whole;

use serde_json::Value;
use serde_json::json;

use crate::Event;
use crate::Reader;
use crate::Wire;
use crate::WireError;
use crate::anthropic::Anthropic;
use crate::chat::Chat;
use crate::gemini::Gemini;
use crate::responses;

/// The wires, by their name in the configuration.
const WIRES: [&str; 4] = ["responses", "chat", "anthropic", "gemini"];

fn request() -> Value {
    let properties = json!({ "command": { "type": "array" } });
    json!({
        "model": "m",
        "input": [{ "type": "message", "role": "user", "content": "hi" }],
        "tools": [{
            "type": "function",
            "name": "shell",
            "parameters": { "type": "object", "properties": properties },
        }],
    })
}

fn reader(wire: &str) -> Reader {
    let request = request();
    Reader::new(match wire {
        "chat" => Chat.decoder(&request, "p"),
        "anthropic" => Anthropic.decoder(&request, "p"),
        "gemini" => Gemini.decoder(&request, "p"),
        _ => responses::decoder(),
    })
}

/// Reads a body in one chunk.
fn read(wire: &str, body: &str) -> Result<Vec<Event>, WireError> {
    pieces(wire, &[body.as_bytes()]).1
}

/// Reads a body in chunks. Returns the events before the first error, too.
fn pieces(wire: &str, body: &[&[u8]]) -> (Vec<Event>, Result<Vec<Event>, WireError>) {
    let mut reader = reader(wire);
    let mut events = Vec::new();
    for piece in body {
        let (more, error) = reader.push(piece);
        events.extend(more);
        if let Some(error) = error {
            return (events, Err(error));
        }
    }
    let (more, error) = reader.end();
    events.extend(more);
    (events.clone(), error.map_or(Ok(events), Err))
}

/// The texts and calls of an answer, which must be complete.
fn told(wire: &str, body: &str) -> Vec<String> {
    let events = read(wire, body).unwrap_or_else(|error| panic!("{wire}: {error}: {body}"));
    let last = events.last().map(Event::name);
    assert_eq!(last, Some("response.completed"), "{wire}: {body}");
    let items = events.iter().map(Event::to_value);
    let items = items.filter(|event| event["type"] == "response.output_item.done");
    let tell = |event: Value| match event["item"]["type"].as_str() {
        Some("message") => event["item"]["content"][0]["text"].as_str().unwrap().to_owned(),
        Some("function_call") => {
            let member = |name: &str| event["item"][name].as_str().unwrap().to_owned();
            format!("{}({})", member("name"), member("arguments"))
        }
        other => other.unwrap_or_default().to_owned(),
    };
    items.map(tell).collect()
}
