//! The Responses API itself: events pass through unchanged, but for three event types that core
//! ignores.
//!
//! A refusal becomes message text, as on the other wires. An answer that ended early fails with the
//! reason. An `error` in the stream becomes a failed response.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::event::Event;
use crate::json::at;
use crate::json::kind;
use crate::sse;

/// Returns the event as core understands it.
pub fn pass(event: sse::Event) -> Event {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(name: &str, data: &str) -> Event {
        super::pass(sse::Event { name: name.to_owned(), data: data.to_owned() })
    }

    #[test]
    fn events_pass_byte_for_byte() {
        for (name, data) in [
            (
                "response.output_text.delta",
                r#"{ "type":"response.output_text.delta", "delta":"\u0041 \"refusal\"" }"#,
            ),
            (
                "response.output_item.done",
                r#"{"item":{"type":"message","content":[{"type":"output_text","text":"x"}]}}"#,
            ),
            ("response.output_item.done", "no JSON \"refusal\""),
            ("keepalive", "{}"),
        ] {
            let event = pass(name, data);
            assert_eq!((event.name(), event.json()), (name, data));
        }
        let unnamed = r#"{"type":"response.created","response":{"id":"r"}}"#;
        assert_eq!(pass("message", unnamed).name(), "response.created");
    }

    #[test]
    fn a_refusal_becomes_text() {
        let delta =
            pass("message", r#"{"type":"response.refusal.delta","item_id":"m","delta":"No."}"#);
        assert_eq!(delta.name(), "response.output_text.delta");
        assert!(delta.json().contains("\"delta\":\"No.\""), "{}", delta.json());
        let done = pass(
            "response.output_item.done",
            r#"{"type":"response.output_item.done","item":{"type":"message","content":[{"type":"refusal","refusal":"No."}]}}"#,
        );
        let done = done.to_value();
        assert_eq!(done["item"]["content"], json!([{ "type": "output_text", "text": "No." }]));
    }

    #[test]
    fn an_error_in_the_stream_is_a_failure() {
        for (data, error) in [
            (
                r#"{"type":"error","code":"server_error","message":"Sorry.","param":null,"sequence_number":3}"#,
                json!({ "code": "server_error", "message": "Sorry." }),
            ),
            (
                r#"{"type":"error","error":{"code":500,"message":"Sorry."}}"#,
                json!({ "code": null, "message": "Sorry." }),
            ),
            ("gone", json!({ "code": null, "message": "gone" })),
        ] {
            let event = pass("error", data);
            assert_eq!(event.name(), "response.failed");
            let event = event.to_value();
            assert_eq!(event["response"]["error"], error);
        }
    }

    #[test]
    fn an_incomplete_answer_fails_with_the_reason() {
        for (reason, expected) in [
            (r#"{"reason":"max_output_tokens"}"#, "limit of output tokens"),
            (r#"{"reason":"content_filter"}"#, "content filter"),
            (r#"{"reason":"steered"}"#, "steered"),
            ("null", "no reason given"),
        ] {
            let data = format!(r#"{{"response":{{"id":"r","incomplete_details":{reason}}}}}"#);
            let event = pass("response.incomplete", &data).to_value();
            assert_eq!(event["type"], "response.failed");
            assert_eq!(event["response"]["error"]["code"], "invalid_prompt");
            let message = event["response"]["error"]["message"].as_str().unwrap();
            assert!(message.contains(expected), "{message}");
        }
    }
}
