//! Answers that come whole instead of streamed.

use super::*;

#[test]
fn whole_answer_is_taken_on_every_wire() {
    for (wire, body) in [
        (
            "chat",
            r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
        ),
        (
            "responses",
            r#"{"id":"r","object":"response","status":"completed","error":null,"output":[{"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"Hello."}]}],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}"#,
        ),
        (
            "anthropic",
            r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"Hello."}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}"#,
        ),
        (
            "gemini",
            r#"{"candidates":[{"content":{"parts":[{"text":"Hello."}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}"#,
        ),
    ] {
        let indented: Value = serde_json::from_str(body).unwrap();
        let indented = format!("\u{feff}\n{indented:#}\n");
        let event = format!("data: {body}\n\ndata: [DONE]\n\n");
        for form in [body, &indented, &event] {
            assert_eq!(told(wire, form), ["Hello."], "{wire}: {form}");
        }
        let usage =
            read(wire, body).unwrap().last().unwrap().to_value()["response"]["usage"].clone();
        assert_eq!(
            (&usage["input_tokens"], &usage["output_tokens"]),
            (&json!(3), &json!(2)),
            "{wire}"
        );
        assert_eq!(usage["total_tokens"], 5, "{wire}");
    }
}

#[test]
fn whole_answer_with_a_call_is_taken() {
    for (wire, body) in [
        (
            "chat",
            r#"{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"shell","arguments":"{\"command\":[\"ls\"]}"}}]}}]}"#,
        ),
        (
            "responses",
            r#"{"object":"response","output":[{"type":"function_call","id":"f","call_id":"c1","name":"shell","arguments":"{\"command\":[\"ls\"]}"}]}"#,
        ),
        (
            "anthropic",
            r#"{"type":"message","content":[{"type":"tool_use","id":"c1","name":"shell","input":{"command":["ls"]}}],"stop_reason":"tool_use"}"#,
        ),
        (
            "gemini",
            r#"[{"candidates":[{"content":{"parts":[{"functionCall":{"name":"shell","args":{"command":["ls"]}}}]}}]},{"candidates":[{"finishReason":"STOP"}]}]"#,
        ),
    ] {
        assert_eq!(told(wire, body), [r#"shell({"command":["ls"]})"#], "{wire}");
    }
}

#[test]
fn lines_of_json_are_a_stream() {
    let chunks = [
        r#"{"choices":[{"index":0,"delta":{"content":"Hel"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"lo."},"finish_reason":"stop"}]}"#,
    ];
    assert_eq!(told("chat", &chunks.join("\n")), ["Hello."]);
    let mut reader = reader("chat");
    let (events, _) = reader.push(chunks[0].as_bytes());
    assert!(events.iter().any(|event| event.json().contains("Hel")), "{events:?}");
}

#[test]
fn a_cut_document_is_no_answer() {
    let whole = r#"{"choices":[{"message":{"content":"Hello."},"finish_reason":"stop"}]}"#;
    for at in 1..whole.len() {
        let error = read("chat", &whole[..at]).unwrap_err();
        assert_eq!((error.code.as_str(), error.retryable), ("stream_cut", true), "{at}");
    }
}

#[test]
fn whole_error_shows_its_words_and_is_final() {
    for wire in WIRES {
        for body in [
            r#"{"error":"Unexpected endpoint or method"}"#,
            r#"{"error":{"message":"Unexpected endpoint or method"}}"#,
            r#"{"detail":"Unexpected endpoint or method"}"#,
            r#"{"code":7,"msg":"Unexpected endpoint or method","data":null}"#,
            r#"{"choices":null,"base_resp":{"status_code":2013,"status_msg":"Unexpected endpoint or method"}}"#,
        ] {
            let error = read(wire, body).unwrap_err();
            assert_eq!(error.message.matches("Unexpected endpoint").count(), 1, "{wire}: {error}");
            assert_eq!(
                (error.code.as_str(), error.retryable),
                ("invalid_request", false),
                "{wire}"
            );
        }
        let busy = read(wire, r#"{"error":{"code":503,"message":"The model is overloaded"}}"#);
        let busy = busy.unwrap_err();
        assert_eq!((busy.code.as_str(), busy.retryable), ("overloaded", true), "{wire}");
    }
}

#[test]
fn page_instead_of_an_answer_names_its_title() {
    for wire in WIRES {
        let page = "<!DOCTYPE html>\n<html><head><title>Sign in to the proxy</title></head>…";
        let error = read(wire, page).unwrap_err();
        assert!(error.message.contains("Sign in to the proxy"), "{wire}: {error}");
        assert!(error.message.contains("base_url") && !error.retryable, "{wire}: {error}");
    }
}

#[test]
fn text_instead_of_events_is_quoted() {
    for wire in WIRES {
        let error = read(wire, "upstream connect error or disconnect/reset before headers\n");
        let error = error.unwrap_err();
        assert!(error.message.contains("upstream connect error"), "{wire}: {error}");
        assert!(error.retryable, "{wire}");
    }
}
