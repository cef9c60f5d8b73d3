//! Error bodies: words and a code on every wire, and lessons that end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use wires::Quirks;
use wires::Wire;
use wires::anthropic::Anthropic;
use wires::chat::Chat;
use wires::gemini::Gemini;
use wires::responses;

fuzz_target!(|data: &[u8]| {
    let Some((status, body)) = data.split_first() else { return };
    let status = 400 + u16::from(*status) % 200;
    for wire in [&Chat as &dyn Wire, &Anthropic, &Gemini] {
        assert!(!wire.error(status, body).message.is_empty());
    }
    assert!(!responses::error(status, body).message.is_empty());
    let mut sent = json!({
        "messages": [{ "role": "tool", "tool_call_id": "a" }, { "role": "user" }],
        "tools": [{ "function": { "name": "shell" } }],
        "max_tokens": 32_000,
        "stream_options": {},
    });
    let refusal = String::from_utf8_lossy(body);
    let mut quirks = Quirks::default();
    let lessons = std::iter::from_fn(|| {
        quirks = quirks.learn(&sent, &refusal)?;
        quirks.apply(&mut sent);
        Some(())
    });
    assert!(lessons.take(100).count() < 100, "a refusal teaches without end: {refusal}");
});
