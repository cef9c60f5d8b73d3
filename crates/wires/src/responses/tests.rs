//! Events and answers as servers send them.

use serde_json::json;

use super::pass;
use crate::Event;
use crate::sse;

fn pass(name: &str, data: &str) -> Event {
    pass::pass(sse::Event { name: name.to_owned(), data: data.to_owned() })
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
    let delta = pass("message", r#"{"type":"response.refusal.delta","item_id":"m","delta":"No."}"#);
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
