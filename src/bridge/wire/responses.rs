//! The Responses API itself: core's own language, so its events pass through as they are, but for three that core
//! has no ears for. A refusal is shown as message text, as on the other wires; an answer that ended before it was
//! whole fails with the reason; an `error` in the stream is a failure like any other.

use serde_json::Value;
use serde_json::json;

use super::unfinished;
use crate::bridge::backend::Event;
use crate::bridge::sse;

const REFUSAL: &str = "\"refusal\"";

/// An event as core understands it.
pub fn passed(event: sse::Event) -> Event {
    let sse::Event { name, data } = event;
    // Some servers leave the name out; the type is in the data too.
    let kind = if name == "message" { kind_of(&data) } else { name };
    match kind.as_str() {
        "response.refusal.delta" => reworded(&data, kind, |event| {
            event.insert("type".to_owned(), json!("response.output_text.delta"));
        }),
        "response.output_item.done" if data.contains(REFUSAL) => reworded(&data, kind, |event| {
            let parts = event.get_mut("item").and_then(|item| item.get_mut("content"));
            for part in parts.and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(said) = part.get_mut("refusal").map(Value::take) {
                    *part = json!({ "type": "output_text", "text": said });
                }
            }
        }),
        "error" => {
            let event: Value = serde_json::from_str(&data).unwrap_or_default();
            // The API's own form is flat; some servers nest it, as in an answer with an error status.
            let error = event.get("error").filter(|error| error.is_object()).unwrap_or(&event);
            let word = |member: &str| error.get(member).and_then(Value::as_str);
            let error =
                json!({ "code": word("code"), "message": word("message").unwrap_or(&data) });
            Event::of(&json!({ "type": "response.failed", "response": { "error": error } }))
        }
        "response.incomplete" => {
            let event: Value = serde_json::from_str(&data).unwrap_or_default();
            let word = |path: &str| event.pointer(path).and_then(Value::as_str);
            let reason = word("/response/incomplete_details/reason").unwrap_or("no reason given");
            Event::of(&unfinished(word("/response/id").unwrap_or_default(), "The model", reason))
        }
        _ => Event { kind, json: data },
    }
}

fn kind_of(data: &str) -> String {
    let parsed: Value = serde_json::from_str(data).unwrap_or_default();
    parsed.get("type").and_then(Value::as_str).unwrap_or("message").to_owned()
}

fn reworded(
    data: &str,
    kind: String,
    reword: impl FnOnce(&mut serde_json::Map<String, Value>),
) -> Event {
    match serde_json::from_str(data) {
        Ok(Value::Object(mut event)) => {
            reword(&mut event);
            Event::of(&Value::Object(event))
        }
        // Core says what is wrong with it.
        _ => Event { kind, json: data.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(name: &str, data: &str) -> Event {
        passed(sse::Event { name: name.to_owned(), data: data.to_owned() })
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
            assert_eq!(pass(name, data), Event { kind: name.to_owned(), json: data.to_owned() });
        }
        let unnamed = r#"{"type":"response.created","response":{"id":"r"}}"#;
        assert_eq!(pass("message", unnamed).kind, "response.created");
    }

    #[test]
    fn a_refusal_becomes_text() {
        let delta =
            pass("message", r#"{"type":"response.refusal.delta","item_id":"m","delta":"No."}"#);
        assert_eq!(delta.kind, "response.output_text.delta");
        assert!(delta.json.contains("\"delta\":\"No.\""), "{}", delta.json);
        let done = pass(
            "response.output_item.done",
            r#"{"type":"response.output_item.done","item":{"type":"message","content":[{"type":"refusal","refusal":"No."}]}}"#,
        );
        let done: Value = serde_json::from_str(&done.json).unwrap();
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
            assert_eq!(event.kind, "response.failed");
            let event: Value = serde_json::from_str(&event.json).unwrap();
            assert_eq!(event["response"]["error"], error);
        }
    }

    #[test]
    fn an_incomplete_answer_fails_with_the_reason() {
        for (reason, told) in [
            (r#"{"reason":"max_output_tokens"}"#, "limit of output tokens"),
            (r#"{"reason":"content_filter"}"#, "content filter"),
            (r#"{"reason":"steered"}"#, "steered"),
            ("null", "no reason given"),
        ] {
            let data = format!(r#"{{"response":{{"id":"r","incomplete_details":{reason}}}}}"#);
            let event: Value =
                serde_json::from_str(&pass("response.incomplete", &data).json).unwrap();
            assert_eq!(event["type"], "response.failed");
            assert_eq!(event["response"]["error"]["code"], "invalid_prompt");
            let message = event["response"]["error"]["message"].as_str().unwrap();
            assert!(message.contains(told), "{message}");
        }
    }
}
