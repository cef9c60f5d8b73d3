//! Streams that end oddly, or hold what imitations of an API send.

use super::*;

fn anthropic(events: &[&str]) -> String {
    let start = r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":1}}}"#;
    [&[start], events].concat().iter().map(|event| format!("data: {event}\n\n")).collect()
}

const TEXT: &str =
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hello."}}"#;
const STOP: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":2}}"#;
const END: &str = r#"{"type":"message_stop"}"#;

fn call(index: u64) -> [String; 2] {
    [
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"c{index}","name":"shell","input":{{}}}}}}"#
        ),
        format!(
            r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"input_json_delta","partial_json":"{{\"command\":[\"ls\"]}}"}}}}"#
        ),
    ]
}

const CALLED: &str = r#"shell({"command":["ls"]})"#;

#[test]
fn anthropic_block_without_a_stop_is_closed() {
    let [start, input] = call(1);
    assert_eq!(
        told("anthropic", &anthropic(&[TEXT, &start, &input, STOP, END])),
        ["Hello.", CALLED]
    );
}

#[test]
fn anthropic_index_used_twice_is_two_blocks() {
    let [start, input] = call(0);
    assert_eq!(
        told("anthropic", &anthropic(&[TEXT, &start, &input, STOP, END])),
        ["Hello.", CALLED]
    );
    let twice = anthropic(&[&start, &input, &start, &input, STOP, END]);
    assert_eq!(told("anthropic", &twice), [CALLED, CALLED]);
}

#[test]
fn anthropic_calls_may_interleave() {
    let ([a, a_input], [b, b_input]) = (call(1), call(2));
    let body = anthropic(&[&a, &b, &a_input, &b_input, STOP, END]);
    assert_eq!(told("anthropic", &body), [CALLED, CALLED]);
}

#[test]
fn anthropic_stop_reason_is_an_end() {
    let [start, input] = call(1);
    let body = anthropic(&[TEXT, &start, &input, STOP]);
    assert_eq!(told("anthropic", &body), ["Hello.", CALLED]);
    let mut reader = reader("anthropic");
    assert!(!reader.is_ending());
    reader.push(body.as_bytes());
    assert!(reader.is_ending());
    let done =
        anthropic(&[TEXT, r#"{"type":"content_block_stop","index":0}"#]) + "data: [DONE]\n\n";
    assert_eq!(told("anthropic", &done), ["Hello."]);
}

#[test]
fn anthropic_start_may_be_missing() {
    let delta =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello."}}"#;
    let body: String = [delta, STOP, END].map(|event| format!("data: {event}\n\n")).concat();
    assert_eq!(told("anthropic", &body), ["Hello."]);
}

#[test]
fn anthropic_answer_without_a_reason_was_cut() {
    for events in [&[TEXT][..], &[]] {
        let error = read("anthropic", &anthropic(events)).unwrap_err();
        assert_eq!((error.code.as_str(), error.retryable), ("stream_cut", true));
    }
}

#[test]
fn gemini_is_done_where_it_says_so() {
    let text =
        r#"data: {"candidates":[{"content":{"parts":[{"text":"Hello."}]},"finishReason":"STOP"}]}"#;
    let mut open = reader("gemini");
    let (_, error) = open.push(format!("{text}\n\n").as_bytes());
    assert!(error.is_none() && open.is_ending());
    let (events, error) = open.push(b"data: [DONE]\n\n");
    assert_eq!(error, None);
    assert_eq!(events.last().unwrap().name(), "response.completed");
    let bare = text.replace(",\"finishReason\":\"STOP\"", "");
    assert_eq!(told("gemini", &format!("{bare}\n\ndata: [DONE]\n\n")), ["Hello."]);
    let error = read("gemini", &format!("{bare}\n\n")).unwrap_err();
    assert_eq!(error.code.as_str(), "stream_cut");
}

/// A model that only thought has not answered, whatever closes the stream.
#[test]
fn gemini_thoughts_alone_are_no_answer() {
    let thought = r#"data: {"candidates":[{"content":{"parts":[{"text":"Hm.","thought":true}]}}]}"#;
    let error = read("gemini", &format!("{thought}\n\n")).unwrap_err();
    assert_eq!((error.code.as_str(), error.retryable), ("stream_cut", true));
}

#[test]
fn responses_items_before_done_are_an_answer() {
    let item = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","role":"assistant","id":"m","content":[{"type":"output_text","text":"Hello."}]}}"#;
    assert_eq!(told("responses", &format!("data: {item}\n\ndata: [DONE]\n\n")), ["Hello."]);
    let error = read("responses", &format!("data: {item}\n\n")).unwrap_err();
    assert_eq!((error.code.as_str(), error.retryable), ("stream_cut", true));
    let realtime = r#"{"type":"response.done","response":{"id":"r"}}"#;
    let body = format!("data: {item}\n\ndata: {realtime}\n\n");
    assert_eq!(told("responses", &body), ["Hello."]);
    let last = read("responses", &body).unwrap().pop().unwrap();
    assert_eq!(last.to_value()["type"], "response.completed", "core reads the type in the data");
}

#[test]
fn responses_usage_with_gaps_is_zeros() {
    for usage in [
        r#"{"input_tokens":1,"output_tokens":1,"total_tokens":2,"output_tokens_details":{"text_tokens":1}}"#,
        r#"{"input_tokens":1,"output_tokens":1,"total_tokens":2,"input_tokens_details":{}}"#,
        r#"{"input_tokens":1,"output_tokens":1}"#,
        r#"{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2.0}"#,
    ] {
        let event =
            format!(r#"{{"type":"response.completed","response":{{"id":"r","usage":{usage}}}}}"#);
        let events = read("responses", &format!("data: {event}\n\n")).unwrap();
        let usage = events[0].to_value()["response"]["usage"].clone();
        assert_eq!(
            usage,
            json!({
                "input_tokens": 1,
                "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
                "output_tokens": 1,
                "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": 2,
            })
        );
    }
    for (usage, id) in [("null", "\"r\""), ("7", "null")] {
        let event =
            format!(r#"{{"type":"response.completed","response":{{"id":{id},"usage":{usage}}}}}"#);
        let events = read("responses", &format!("data: {event}\n\n")).unwrap();
        let response = events[0].to_value()["response"].clone();
        assert!(response["usage"].is_null() && response["id"].is_string(), "{response}");
    }
}

#[test]
fn readable_completion_passes_byte_for_byte() {
    let event = r#"{"type":"response.completed",  "response":{"id":"r","usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0},"output_tokens":1,"output_tokens_details":null,"total_tokens":2}}}"#;
    let events = read("responses", &format!("data: {event}\n\n")).unwrap();
    assert_eq!(events[0].json(), event);
}

fn chat(deltas: &[&str]) -> String {
    let chunk =
        |delta: &&str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n");
    let stop =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n";
    deltas.iter().map(chunk).collect::<String>() + stop
}

#[test]
fn arguments_behind_a_placeholder_are_whole() {
    let fragment =
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"command\":[\"ls\"]}"}}]}"#;
    for placeholder in [r#""{}""#, r#""""#, "{}", "null", r#""null""#] {
        let first = format!(
            r#"{{"tool_calls":[{{"index":0,"id":"c1","function":{{"name":"shell","arguments":{placeholder}}}}}]}}"#
        );
        assert_eq!(told("chat", &chat(&[&first, fragment])), [CALLED], "{placeholder}");
    }
}

#[test]
fn special_tokens_in_a_tool_name_are_cut() {
    for name in ["shell<|channel|>commentary", "functions.shell", "functions.shell:0", "shell "] {
        let delta = format!(
            r#"{{"tool_calls":[{{"index":0,"id":"c1","function":{{"name":"{name}","arguments":"{{\"command\":[\"ls\"]}}"}}}}]}}"#
        );
        assert_eq!(told("chat", &chat(&[&delta])), [CALLED], "{name}");
    }
    let item = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","id":"f","call_id":"c","name":"shell<|channel|>commentary","arguments":"{\"command\":[\"ls\"]}"}}"#;
    let completed = r#"{"type":"response.completed","response":{"id":"r"}}"#;
    assert_eq!(told("responses", &format!("data: {item}\n\ndata: {completed}\n\n")), [CALLED]);
}

#[test]
fn finish_reason_is_enough_on_chat() {
    let mut open = reader("chat");
    open.push(chat(&[r#"{"content":"Hello."}"#]).as_bytes());
    assert!(open.is_ending());
    let (events, error) = open.end();
    assert_eq!((events.last().map(Event::name), error), (Some("response.completed"), None));
}
