//! Answers, as Anthropic streams them.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;

fn asked() -> Value {
    json!({"model": "claude-opus-4-8", "input": [], "tools": [
        {"type": "function", "name": "get_weather", "parameters": {}},
        {"type": "custom", "name": "apply_patch", "description": "", "format": {}},
        {"type": "namespace", "name": "mcp__mail", "tools": [{"type": "function", "name": "send", "parameters": {}}]},
    ]})
}

/// The events of a stream as the documentation prints it.
fn parsed(stream: &str) -> Vec<(String, String)> {
    let field = |event: &str, key: &str| {
        event.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned()
    };
    stream
        .split("\n\n")
        .filter(|event| !event.trim().is_empty())
        .map(|event| (field(event, "event:"), field(event, "data:")))
        .collect()
}

fn read(stream: &str) -> Result<Vec<Value>, WireError> {
    let mut answer = Anthropic.decoder(&asked(), "p");
    let mut events = Vec::new();
    for (name, data) in parsed(stream) {
        events.extend(values(&answer.event(&name, &data)?));
    }
    events.extend(values(&answer.end()?));
    Ok(events)
}

fn started(rest: &str) -> String {
    let start = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude-opus-4-8","stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":7,"cache_read_input_tokens":100,"output_tokens":1}}}"#;
    format!("{start}\n\n{rest}")
}

/// A whole stream of blocks, each given as its start and its deltas.
fn whole(blocks: &[(&str, &[&str])], stop: &str) -> String {
    let mut stream = started("");
    for (index, (block, deltas)) in blocks.iter().enumerate() {
        stream += &format!(
            "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":{block}}}\n\n"
        );
        for delta in *deltas {
            stream += &format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{delta}}}\n\n"
            );
        }
        stream += &format!(
            "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{index}}}\n\n"
        );
    }
    stream + &ended(stop)
}

fn ended(stop: &str) -> String {
    format!(
        "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{{stop},\"stop_sequence\":null}},\"usage\":{{\"output_tokens\":15}}}}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
    )
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

const TEXT: &str = r#"event: content_block_start
data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}

event: content_block_delta
data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "!"}}

event: content_block_stop
data: {"type": "content_block_stop", "index": 0}

event: message_delta
data: {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence":null}, "usage": {"output_tokens": 15}}

event: message_stop
data: {"type": "message_stop"}
"#;

#[test]
fn text_is_passed_on_as_it_comes() {
    let id = "msg_1_0";
    let item = |content: Value| json!({"type": "message", "role": "assistant", "id": id, "content": content});
    let delta = |text: &str| json!({"type": "response.output_text.delta", "item_id": id, "output_index": 0, "content_index": 0, "delta": text});
    let expected = [
        json!({"type": "response.created", "response": {"id": "msg_1"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item(json!([]))}),
        delta("Hello"),
        delta("!"),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item(json!([{"type": "output_text", "text": "Hello!"}]))}),
        json!({"type": "response.completed", "response": {"id": "msg_1", "usage": {
            "input_tokens": 132, "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 7},
            "output_tokens": 15, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 147}}}),
    ];
    assert_eq!(read(&started(TEXT)).unwrap(), expected);
}

#[test]
// Long: a recorded stream.
fn thinking_becomes_reasoning_with_its_block() {
    let stream = whole(
        &[
            (
                r#"{"type":"thinking","thinking":"","signature":""}"#,
                &[
                    r#"{"type":"thinking_delta","thinking":"First, "}"#,
                    r#"{"type":"thinking_delta","thinking":"27 * 453."}"#,
                    r#"{"type":"signature_delta","signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3h"}"#,
                ],
            ),
            (
                r#"{"type":"thinking","thinking":"","signature":""}"#,
                &[r#"{"type":"signature_delta","signature":"abc"}"#],
            ),
            (r#"{"type":"redacted_thinking","data":"EmwK"}"#, &[]),
            (r#"{"type":"text","text":""}"#, &[r#"{"type":"text_delta","text":"12231"}"#]),
        ],
        r#""stop_reason":"end_turn""#,
    );
    let events = read(&stream).unwrap();
    assert_eq!(
        kinds(&events)[1..6],
        [
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.delta",
            "response.output_item.done",
        ]
    );
    let done: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    let carried = |item: &Value| {
        serde_json::from_str::<Value>(item["encrypted_content"].as_str().unwrap()).unwrap()
    };
    assert_eq!(done[0]["summary"], json!([{"type": "summary_text", "text": "First, 27 * 453."}]));
    let block = json!({"type": "thinking", "thinking": "First, 27 * 453.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"});
    assert_eq!(
        carried(done[0]),
        json!({"wire": "anthropic", "provider": "p", "model": "claude-opus-4-8", "blocks": [block]})
    );
    assert_eq!(done[1]["summary"], json!([]));
    assert_eq!(carried(done[2])["blocks"], json!([{"type": "redacted_thinking", "data": "EmwK"}]));
    // What was carried goes back where it was.
    let input: Vec<Value> = std::iter::once(json!({"role": "user", "content": "27 * 453?"}))
        .chain(done.iter().map(|item| (*item).clone()))
        .collect();
    let back = Anthropic
        .encode(
            &json!({"model": "claude-opus-4-8", "reasoning": {"effort": "high"}, "input": input}),
        )
        .unwrap()
        .body;
    let kinds: Vec<&str> = back["messages"][1]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["thinking", "thinking", "redacted_thinking", "text"]);
    assert_eq!(back["messages"][1]["content"][0], block);
}

#[test]
fn calls_are_split_by_kind_and_namespace() {
    let stream = whole(
        &[
            (
                r#"{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{}}"#,
                &[
                    r#"{"type":"input_json_delta","partial_json":""}"#,
                    r#"{"type":"input_json_delta","partial_json":"{\"location\": \"San"}"#,
                    r#"{"type":"input_json_delta","partial_json":" Francisco\"}"}"#,
                ],
            ),
            (
                r#"{"type":"tool_use","id":"toolu_2","name":"apply_patch","input":{}}"#,
                &[r#"{"type":"input_json_delta","partial_json":"{\"input\":\"*** Begin\\n\"}"}"#],
            ),
            (r#"{"type":"tool_use","id":"toolu_3","name":"mcp__mail__send","input":{}}"#, &[]),
        ],
        r#""stop_reason":"tool_use""#,
    );
    let events = read(&stream).unwrap();
    let done: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(
        *done[0],
        json!({"type": "function_call", "id": "fc_msg_1_0", "call_id": "toolu_1", "name": "get_weather", "arguments": "{\"location\": \"San Francisco\"}"})
    );
    assert_eq!(
        *done[1],
        json!({"type": "custom_tool_call", "id": "fc_msg_1_1", "call_id": "toolu_2", "name": "apply_patch", "input": "*** Begin\n"})
    );
    assert_eq!(
        *done[2],
        json!({"type": "function_call", "id": "fc_msg_1_2", "call_id": "toolu_3", "name": "send", "namespace": "mcp__mail", "arguments": "{}"})
    );
}

#[test]
fn truncated_call_is_dropped_but_malformed_one_kept() {
    let block: &[(&str, &[&str])] = &[(
        r#"{"type":"tool_use","id":"t","name":"get_weather","input":{}}"#,
        &[r#"{"type":"input_json_delta","partial_json":"{\"loc"}"#],
    )];
    let events = read(&whole(block, r#""stop_reason":"max_tokens""#)).unwrap();
    assert_eq!(kinds(&events), ["response.created", "response.failed"]);
    let error = &events[1]["response"]["error"];
    assert!(error["message"].as_str().unwrap().contains("max_output_tokens"), "{error}");
    let events = read(&whole(block, r#""stop_reason":"tool_use""#)).unwrap();
    assert_eq!(events[1]["item"]["arguments"], "{\"loc");
    assert_eq!(kinds(&events)[2], "response.completed");
}

#[test]
fn every_stop_reason_has_its_end() {
    let end = |reason: &str| {
        read(&whole(&[], &format!("\"stop_reason\":{reason}")))
            .map(|events| events.last().unwrap().clone())
    };
    for reason in
        ["\"end_turn\"", "\"tool_use\"", "\"stop_sequence\"", "null", "\"one of a later version\""]
    {
        assert_eq!(end(reason).unwrap()["type"], "response.completed", "{reason}");
    }
    assert_eq!(end("\"pause_turn\"").unwrap()["response"]["end_turn"], false);
    let full = end("\"model_context_window_exceeded\"").unwrap_err();
    assert_eq!((full.code.as_str(), full.retryable), ("context_length", false));
}

#[test]
fn a_refusal_is_a_message() {
    let stream = whole(
        &[(r#"{"type":"text","text":""}"#, &[])],
        r#""stop_reason":"refusal","stop_details":{"type":"refusal","category":"cyber","explanation":"This request was refused due to policy."}"#,
    );
    let events = read(&stream).unwrap();
    assert_eq!(
        kinds(&events),
        [
            "response.created",
            "response.output_item.added",
            "response.output_text.delta",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let said =
        "The model declined to answer (category: cyber). This request was refused due to policy.";
    assert_eq!(events[3]["item"]["content"][0]["text"], said);
}

#[test]
fn an_error_in_the_stream_is_a_failure() {
    let stream = started(
        "event: error\ndata: {\"type\": \"error\", \"error\": {\"type\": \"overloaded_error\", \"message\": \"Overloaded\"}}\n\n",
    );
    let failure = read(&stream).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("overloaded", true));
    // Not `server_is_overloaded`, over which core does not ask again.
    assert_eq!(failure.code.for_core(), "server_error");
    assert!(failure.message.contains("Anthropic") && failure.message.contains("Overloaded"));
}

#[test]
fn server_tools_citations_and_news_are_passed_over() {
    let stream = whole(
        &[
            (
                r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{}}"#,
                &[r#"{"type":"input_json_delta","partial_json":"{"}"#],
            ),
            (
                r#"{"type":"text","text":"A"}"#,
                &[
                    r#"{"type":"citations_delta","citation":{}}"#,
                    r#"{"type":"text_delta","text":"B"}"#,
                ],
            ),
        ],
        r#""stop_reason":"end_turn""#,
    );
    let events = read(&stream.replace(
        "event: message_delta",
        "event: novelty\ndata: {\"type\":\"novelty\"}\n\nevent: message_delta",
    ))
    .unwrap();
    assert_eq!(
        events.iter().filter(|event| event["item"]["content"][0]["text"] == "AB").count(),
        1
    );
    assert_eq!(
        events.iter().filter(|event| event["type"] == "response.output_item.done").count(),
        1
    );
}

#[test]
fn garbage_and_wrong_order_name_the_provider() {
    let block = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
    let wrong = [
        ("event: x\ndata: {oops\n\n".to_owned(), "no JSON"),
        (format!("event: x\ndata: {}\n\n", "[".repeat(100_000)), "no JSON"),
        (started(&format!("{block}{}", started(""))), "amid a message"),
        (
            started(
                "event: content_block_delta\ndata: {\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}}\n\n",
            ),
            "is no call",
        ),
        (
            started(&format!(
                "{block}event: content_block_delta\ndata: {{\"index\":0,\"delta\":{{\"type\":\"thinking_delta\",\"thinking\":\"x\"}}}}\n\n"
            )),
            "not of its kind",
        ),
        (
            started(
                "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"tool_use\"}}\n\n",
            ),
            "no name",
        ),
    ];
    for (stream, why) in wrong {
        let failure = read(&stream).unwrap_err();
        assert!(
            failure.message.contains("Anthropic") && failure.message.contains(why),
            "{why}: {}",
            failure.message
        );
        assert!(failure.retryable);
    }
}

#[test]
fn a_stream_without_its_end_was_cut() {
    let cut = started(TEXT)
        .replace("message_stop", "ping")
        .replace("\"stop_reason\": \"end_turn\"", "\"x\": 1");
    let failure = read(&cut).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("stream_cut", true));
    assert!(failure.message.contains("Anthropic") && failure.message.contains("message_stop"));
    assert_eq!(read("").unwrap_err().code.as_str(), "stream_cut");
}

#[test]
fn an_endless_answer_is_stopped() {
    let mut answer = Anthropic.decoder(&asked(), "p");
    let huge = json!({"type": "ping", "padding": "x".repeat(1 << 20)}).to_string();
    let failed = (0..100).find_map(|_| answer.event("ping", &huge).err());
    assert!(failed.unwrap().message.contains("larger"));
}

/// Everything a stream may consist of, in pieces.
fn pieces() -> Vec<(String, String)> {
    let blocks: &[(&str, &[&str])] = &[
        (
            r#"{"type":"thinking","thinking":""}"#,
            &[
                r#"{"type":"thinking_delta","thinking":"é"}"#,
                r#"{"type":"signature_delta","signature":"s"}"#,
            ],
        ),
        (r#"{"type":"text","text":"t"}"#, &[r#"{"type":"text_delta","text":"u"}"#]),
        (
            r#"{"type":"tool_use","id":"i","name":"apply_patch"}"#,
            &[r#"{"type":"input_json_delta","partial_json":"{"}"#],
        ),
        (r#"{"type":"redacted_thinking"}"#, &[]),
    ];
    let mut all = parsed(&whole(blocks, r#""stop_reason":"tool_use""#));
    all.extend(
        ["refusal", "max_tokens", "pause_turn"]
            .map(|stop| parsed(&ended(&format!("\"stop_reason\":\"{stop}\""))).remove(0)),
    );
    all.extend(["null", "[]", "{}", "[DONE]", "", "{\"type\":7}", "{\"type\":\"message_delta\",\"usage\":{\"input_tokens\":18446744073709551615,\"output_tokens\":9223372036854775807}}"].map(|data| ("message".to_owned(), data.to_owned())));
    all
}

fn survives(events: &[(String, String)]) {
    let mut answer = Anthropic.decoder(&asked(), "p");
    for (name, data) in events {
        if let Err(failure) = answer.event(name, data) {
            assert!(failure.message.contains("Anthropic"));
        }
    }
    if let Err(failure) = answer.end() {
        assert!(failure.message.contains("Anthropic"));
    }
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_the_reader(order in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        let pieces = pieces();
        survives(&order.iter().map(|index| index.get(&pieces).clone()).collect::<Vec<_>>());
    }

    #[test]
    fn no_cut_and_no_garbage_breaks_the_reader(at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), garbage in ".{0,40}", name in ".{0,12}") {
        let mut events = pieces();
        let place = at.index(events.len());
        let data = events[place].1.clone();
        let split = (0..=cut.index(data.len() + 1)).rev().find(|index| data.is_char_boundary(*index)).unwrap();
        events[place].1 = format!("{}{garbage}{}", &data[..split], &data[split..]);
        survives(&events);
        events[place].1 = data[..split].to_owned();
        events.insert(place, (name, data[split..].to_owned()));
        survives(&events);
    }

    #[test]
    fn no_request_breaks_the_writer(kinds in prop::collection::vec((0..12_usize, ".{0,6}"), 0..20), model in "claude-[a-z]{0,6}-[0-9]{1,2}-[0-9]{1,2}|.{1,10}") {
        let input: Vec<Value> = kinds.iter().map(|(kind, word)| match kind {
            0 => json!({"role": "user", "content": word}),
            1 => json!({"role": "assistant", "content": [{"type": "output_text", "text": word}]}),
            2 => json!({"type": "function_call", "call_id": word, "name": word, "arguments": word}),
            3 => json!({"type": "function_call_output", "call_id": word, "output": [word]}),
            4 => json!({"type": "custom_tool_call", "call_id": word, "name": word, "input": word}),
            5 => json!({"type": "custom_tool_call_output", "call_id": word, "output": word}),
            6 => json!({"type": "reasoning", "encrypted_content": json!({"wire": "anthropic", "model": model, "blocks": [{"type": "thinking", "thinking": word}]}).to_string()}),
            7 => json!({"role": "developer", "content": [{"type": "input_text", "text": word}]}),
            8 => json!({"role": "user", "content": [{"type": "input_image", "image_url": word}]}),
            9 => json!({"type": word, "content": word}),
            10 => json!(word),
            _ => json!({"type": "compaction", "encrypted_content": word}),
        }).collect();
        let ask = json!({"model": model, "input": input, "reasoning": {"effort": "high"}, "tools": asked()["tools"]});
        if let Ok(sent) = Anthropic.encode(&ask) {
            legal(&sent.body);
        }
    }
}

/// The rules of the API about the order of messages.
fn legal(body: &Value) {
    let messages = body["messages"].as_array().unwrap();
    let mut called: Vec<&Value> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let content = message["content"].as_array().unwrap();
        let all = |kind: &str, key: &'static str| -> Vec<&Value> {
            content.iter().filter(|block| block["type"] == kind).map(|block| &block[key]).collect()
        };
        if index % 2 == 0 {
            assert_eq!(message["role"], "user");
            assert_eq!(all("tool_result", "tool_use_id"), called);
            assert!(content.iter().take(called.len()).all(|block| block["type"] == "tool_result"));
            assert!(!content.is_empty());
        } else {
            assert_eq!(message["role"], "assistant");
            assert_ne!(content.last().unwrap()["type"], "thinking");
            called = all("tool_use", "id");
        }
        if index % 2 == 0 {
            called.clear();
        }
    }
    assert_eq!(messages.len() % 2, 1);
}
