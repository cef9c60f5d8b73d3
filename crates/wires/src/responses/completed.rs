//! `response.completed` as core reads it: with an id, and with token counts that are all present or
//! all absent.

use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::event::Event;

/// The members that core requires. Anything else in their place makes core repeat the call.
#[derive(Deserialize)]
struct Required {
    #[serde(rename = "type")]
    kind: Kind,
    response: Response,
}

#[derive(Deserialize)]
enum Kind {
    #[serde(rename = "response.completed")]
    Completed,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "id")]
    _id: String,
    usage: Option<Usage>,
    #[serde(rename = "end_turn")]
    _end_turn: Option<bool>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(rename = "input_tokens")]
    _input: i64,
    input_tokens_details: Option<InputDetails>,
    #[serde(rename = "output_tokens")]
    _output: i64,
    output_tokens_details: Option<OutputDetails>,
    #[serde(rename = "total_tokens")]
    _total: i64,
}

#[derive(Deserialize)]
struct InputDetails {
    #[serde(rename = "cached_tokens")]
    _cached: i64,
    #[serde(default, rename = "cache_write_tokens")]
    _written: i64,
}

#[derive(Deserialize)]
struct OutputDetails {
    #[serde(rename = "reasoning_tokens")]
    _reasoning: i64,
}

/// Returns the event as it is, if core can read it, or else repaired.
pub(super) fn readable(data: String) -> Event {
    let name = || "response.completed".to_owned();
    match serde_json::from_str::<Required>(&data) {
        Ok(Required { kind: Kind::Completed, response: Response { usage, .. } }) => {
            // Read, not only parsed: what core requires is in the types.
            let _ = usage.map(|usage| (usage.input_tokens_details, usage.output_tokens_details));
            Event::read(name(), data)
        }
        Err(_) => {
            let event: Value = serde_json::from_str(&data).unwrap_or_default();
            let response = event.get("response").cloned().unwrap_or_default();
            Event::read(name(), of_response(response).to_string())
        }
    }
}

/// Builds the event of a response.
pub(super) fn of_response(mut response: Value) -> Value {
    if !response.is_object() {
        response = json!({});
    }
    if let Some(members) = response.as_object_mut() {
        if !members.get("id").is_some_and(Value::is_string) {
            // Random, as it must be unique in the conversation.
            let id = format!("resp_{:016x}", RandomState::new().build_hasher().finish());
            members.insert("id".to_owned(), id.into());
        }
        if !members.get("end_turn").is_none_or(|end| end.is_boolean() || end.is_null()) {
            members.remove("end_turn");
        }
        let usage = members.get("usage").map(whole).unwrap_or_default();
        members.insert("usage".to_owned(), usage);
    }
    json!({ "type": "response.completed", "response": response })
}

/// Returns token counts without gaps, or null if there are none.
fn whole(usage: &Value) -> Value {
    if !usage.is_object() {
        return Value::Null;
    }
    let count = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| usage.pointer(pointer)?.as_f64());
        // Bounded, so that sums of garbage cannot overflow.
        found.unwrap_or(0.0).clamp(0.0, 1e15) as i64
    };
    let input = count(&["/input_tokens", "/prompt_tokens"]);
    let output = count(&["/output_tokens", "/completion_tokens"]);
    let total = match count(&["/total_tokens"]) {
        0 => input + output,
        total => total,
    };
    let cached = ["/input_tokens_details/cached_tokens", "/prompt_tokens_details/cached_tokens"];
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": count(&cached),
            "cache_write_tokens": count(&["/input_tokens_details/cache_write_tokens"]),
        },
        "output_tokens": output,
        "output_tokens_details": {
            "reasoning_tokens": count(&["/output_tokens_details/reasoning_tokens"]),
        },
        "total_tokens": total,
    })
}
