//! What the fuzz targets share.

use serde_json::Value;
use serde_json::json;
use wires::Decoder;
use wires::Event;
use wires::Reader;

/// A request with a tool.
pub fn request() -> Value {
    json!({
        "model": "m",
        "input": [{ "type": "message", "role": "user", "content": "hi" }],
        "tools": [{ "type": "function", "name": "shell", "parameters": { "type": "object" } }],
    })
}

/// Reads a body in chunks. Returns the names of its events, and the error.
fn read(decoder: Box<dyn Decoder>, chunks: &[&[u8]]) -> (Vec<String>, Option<String>) {
    let mut reader = Reader::new(decoder);
    let mut names = Vec::new();
    let mut ends = 0;
    let mut take = |events: Vec<Event>| {
        ends += events.iter().filter(|event| event.is_last()).count();
        names.extend(events.iter().map(|event| event.name().to_owned()));
    };
    for chunk in chunks {
        let (events, error) = reader.push(chunk);
        take(events);
        if let Some(error) = error {
            return (names, Some(error.message));
        }
    }
    let (events, error) = reader.end();
    take(events);
    let error = error.map(|error| error.message);
    assert_eq!(ends, usize::from(error.is_none()), "an answer ends once: {names:?}, {error:?}");
    (names, error)
}

/// Checks that a body is read to one end, and to the same end however it is split. The first byte
/// is the size of the chunks.
pub fn check(data: &[u8], decoder: impl Fn() -> Box<dyn Decoder>) {
    let Some((size, body)) = data.split_first() else { return };
    let chunks: Vec<&[u8]> = body.chunks(usize::from(*size).max(1)).collect();
    assert_eq!(read(decoder(), &chunks), read(decoder(), &[body]));
}
