//! Server-sent events do not depend on how their bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wires::sse::Event;
use wires::sse::Parser;

fn read(chunks: &[&[u8]]) -> Vec<Event> {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    for chunk in chunks {
        events.extend(parser.push(chunk).expect("below the bound"));
    }
    events.extend(parser.end());
    events
}

fuzz_target!(|data: &[u8]| {
    let Some((size, body)) = data.split_first() else { return };
    let chunks: Vec<&[u8]> = body.chunks(usize::from(*size).max(1)).collect();
    assert_eq!(read(&chunks), read(&[body]));
});
