//! Streams as servers send them, and their errors.

use serde_json::Value;
use serde_json::json;

use super::*;

fn calls(deltas: &[Value]) -> Vec<(String, String, String)> {
    let mut events: Vec<_> =
        deltas.iter().map(|calls| chunk(json!({"tool_calls": calls}))).collect();
    events.extend([finish("tool_calls"), done()]);
    let items = done_items(&read(&ask(json!("hi")), &events).expect("an answer"));
    let text = |item: &Value, field: &str| item[field].as_str().expect("text").to_owned();
    items
        .iter()
        .map(|item| (text(item, "call_id"), text(item, "name"), text(item, "arguments")))
        .collect()
}

#[test]
fn the_stream_of_openais_reference_is_a_message() {
    // "Streaming" of the API reference, with the usage chunk of `include_usage`.
    let usage = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "usage":
        {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3}}});
    let events = [
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"content": "Hello"})),
        chunk(json!({"content": "!"})),
        finish("stop"),
        usage,
        done(),
    ];
    let out = read(&ask(json!("hi")), &events).expect("an answer");
    assert_eq!(
        shape(&out),
        [
            "created",
            "output_item.added message",
            "output_text.delta  Hello",
            "output_text.delta  !",
            "output_item.done message Hello!",
            "completed"
        ]
    );
    assert_eq!(out[1]["item"]["id"], out[2]["item_id"]);
    assert_eq!(out[1]["item"]["id"], out[4]["item"]["id"]);
    assert_eq!(out[0]["response"]["id"], out[5]["response"]["id"]);
    assert_eq!(
        out[5]["response"]["usage"],
        json!({"input_tokens": 19, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 29})
    );
}

#[test]
fn answer_needs_neither_usage_nor_done() {
    let out = read(&ask(json!("hi")), &[chunk(json!({"content": "a"})), finish("stop")])
        .expect("an answer");
    assert_eq!(out.last().expect("an event")["type"], "response.completed");
    assert!(out.last().expect("an event")["response"]["usage"].is_null());
    let out =
        read(&ask(json!("hi")), &[chunk(json!({"content": "a"})), done()]).expect("an answer");
    assert_eq!(out.last().expect("an event")["type"], "response.completed");
}

#[test]
fn usage_is_found_wherever_servers_put_it() {
    let cases = [
        (
            json!({"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 3}),
            [5, 3, 2, 0, 7],
        ),
        // xAI: reasoning beside the completion.
        (
            json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 11,
            "completion_tokens_details": {"reasoning_tokens": 4}}),
            [5, 0, 6, 4, 11],
        ),
        (
            json!({"prompt_tokens": 1e300, "completion_tokens": -4, "total_tokens": "x"}),
            [1_i64 << 50, 0, 0, 0, 1 << 50],
        ),
    ];
    for (usage, [input, cached, output, thought, total]) in cases {
        let mut last = finish("stop");
        last["choices"][0]["usage"] = usage;
        let out = read(&ask(json!("hi")), &[last, done()]).expect("an answer");
        let usage = &out.last().expect("an event")["response"]["usage"];
        assert_eq!(usage["input_tokens"], input);
        assert_eq!(usage["input_tokens_details"]["cached_tokens"], cached);
        assert_eq!(usage["output_tokens"], output);
        assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], thought);
        assert_eq!(usage["total_tokens"], total);
    }
}

#[test]
fn fragmented_calls_are_joined() {
    let function =
        |name: Option<&str>, arguments: &str| json!({"name": name, "arguments": arguments});
    let two = [("a", "shell", "{\"a\":1}"), ("b", "shell", "{\"a\":2}")];
    let cases = [
        // OpenAI: id and name in the first fragment, here interleaved.
        vec![
            json!([{"index": 0, "id": "a", "type": "function", "function": function(Some("shell"), "")}]),
            json!([{"index": 0, "function": {"arguments": "{\"a\""}}]),
            json!([{"index": 1, "id": "b", "type": "function", "function": function(Some("shell"), "")}]),
            json!([{"index": 1, "function": {"arguments": "{\"a\":2}"}}, {"index": 0, "function": {"arguments": ":1}"}}]),
        ],
        // Id and name repeated in every fragment.
        vec![
            json!([{"index": 0, "id": "a", "function": function(Some("shell"), "{\"a\"")}]),
            json!([{"index": 0, "id": "a", "function": function(Some("shell"), ":1}")}]),
            json!([{"index": 0, "id": "a", "function": function(Some("shell"), "")}]),
            json!([{"index": 1, "id": "b", "function": function(Some("shell"), "{\"a\":2}")}]),
        ],
        // Early vLLM: an id of its own for every fragment.
        vec![
            json!([{"index": 0, "id": "a", "function": function(Some("shell"), "")}]),
            json!([{"index": 0, "id": "x", "function": function(None, "{\"a\":1}")}]),
            json!([{"index": 1, "id": "b", "function": function(Some("shell"), "")}]),
            json!([{"index": 1, "id": "y", "function": function(None, "{\"a\":2}")}]),
        ],
        // Ollama: whole calls, all at index 0.
        vec![
            json!([{"index": 0, "id": "a", "function": function(Some("shell"), "{\"a\":1}")}]),
            json!([{"index": 0, "id": "b", "function": function(Some("shell"), "{\"a\":2}")}]),
        ],
        // Whole calls without indices, as an object or with arguments that are not a string.
        vec![
            json!({"id": "a", "function": {"name": "shell", "arguments": {"a": 1}}}),
            json!([{"id": "b", "function": function(Some("shell"), "{\"a\":2}")}]),
        ],
    ];
    for deltas in cases {
        let got = calls(&deltas);
        let got: Vec<_> = got
            .iter()
            .map(|(id, name, args)| (id.as_str(), name.as_str(), args.as_str()))
            .collect();
        assert_eq!(got, two, "{deltas:?}");
    }
}

#[test]
fn calls_always_get_unique_ids() {
    let whole = |id: Value| json!({"id": id, "function": {"name": "shell", "arguments": "{}"}});
    for id in [json!(null), json!("")] {
        let got = calls(&[json!([whole(id.clone()), whole(id)])]);
        assert_eq!(got.len(), 2);
        assert!(!got[0].0.is_empty() && got[0].0 != got[1].0);
    }
    let twice = json!([{"index": 0, "id": "a", "function": {"name": "shell"}}, {"index": 1, "id": "a", "function": {"name": "shell"}}]);
    let got = calls(&[twice]);
    assert_eq!(got[0], ("a".into(), "shell".into(), "{}".into()));
    assert_ne!(got[1].0, "a");
}

#[test]
fn the_deprecated_function_call_is_a_call() {
    let events = [
        chunk(json!({"function_call": {"name": "shell", "arguments": "{\"a\":"}})),
        chunk(json!({"function_call": {"arguments": "1}"}})),
        finish("function_call"),
        done(),
    ];
    let items = done_items(&read(&ask(json!("hi")), &events).expect("an answer"));
    assert_eq!((&items[0]["name"], &items[0]["arguments"]), (&json!("shell"), &json!("{\"a\":1}")));
}

#[test]
fn reasoning_streams_as_summary_and_returns_unchanged() {
    for field in ["reasoning_content", "reasoning"] {
        let events = [
            chunk(json!({"role": "assistant", "content": null, field: "Let "})),
            chunk(json!({field: "me."})),
            chunk(json!({"content": "Yes."})),
            chunk(
                json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "shell", "arguments": "{\"a\":1}"}}]}),
            ),
            finish("tool_calls"),
            done(),
        ];
        let out = read(&ask(json!("hi")), &events).expect("an answer");
        assert_eq!(
            shape(&out),
            [
                "created",
                "output_item.added reasoning",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta  Let",
                "reasoning_summary_text.delta  me.",
                "output_item.done reasoning Let me.",
                "output_item.added message",
                "output_text.delta  Yes.",
                "output_item.done message Yes.",
                "output_item.done function_call {\"a\":1}",
                "completed"
            ]
        );
        let mut input = done_items(&out);
        input.push(result("c1", json!("ok")));
        check(
            Value::Array(input),
            json!([
                {"role": "assistant", "content": "Yes.", field: "Let me.", "tool_calls": [chat_call("c1", "shell")]},
                tool("c1", "ok"),
            ]),
        );
    }
}

#[test]
fn openrouters_details_are_joined_and_signatures_survive() {
    let text = |text: &str| {
        json!({"reasoning": text, "reasoning_details": [
        {"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0}]})
    };
    let sealed = json!({"type": "reasoning.encrypted", "data": "QUJD", "id": "c1", "index": 1});
    let events = [
        chunk(text("Let ")),
        chunk(text("me.")),
        chunk(
            json!({"content": "", "reasoning_details": [{"type": "reasoning.text", "signature": "SIG", "index": 0}]}),
        ),
        chunk(json!({"content": "Yes."})),
        chunk(json!({"reasoning_details": [sealed],
            "tool_calls": [{"index": 0, "id": "c1", "function": {"name": "shell", "arguments": "{\"a\":1}"}}]})),
        finish("tool_calls"),
        done(),
    ];
    let mut input = done_items(&read(&ask(json!("hi")), &events).expect("an answer"));
    let kinds: Vec<_> = input.iter().map(|item| item["type"].clone()).collect();
    assert_eq!(kinds, ["reasoning", "message", "reasoning", "function_call"]);
    assert_eq!(input[2]["summary"], json!([]));
    input.push(result("c1", json!("ok")));
    let details = json!([
        {"type": "reasoning.text", "text": "Let me.", "format": "anthropic-claude-v1", "index": 0, "signature": "SIG"},
        sealed,
    ]);
    check(
        Value::Array(input),
        json!([
            {"role": "assistant", "content": "Yes.", "reasoning": "Let me.", "reasoning_details": details,
                "tool_calls": [chat_call("c1", "shell")]},
            tool("c1", "ok"),
        ]),
    );
}

#[test]
fn one_item_is_open_at_a_time() {
    let events = [
        chunk(json!({"content": "a"})),
        chunk(json!({"reasoning": "b"})),
        chunk(
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "c"}]}, {"type": "text", "text": "d"}]}),
        ),
        finish("stop"),
        done(),
    ];
    let out = read(&ask(json!("hi")), &events).expect("an answer");
    let mut open = None;
    for event in &out {
        let item = event["item"]["id"].as_str().or(event["item_id"].as_str()).map(str::to_owned);
        match event["type"].as_str() {
            Some("response.output_item.added") => assert_eq!(open.replace(item), None),
            Some("response.output_item.done") => assert_eq!(open.take(), Some(item)),
            Some("response.created" | "response.completed") => assert_eq!(open, None),
            _delta => assert_eq!(open, Some(item)),
        }
    }
    assert_eq!(done_items(&out).len(), 3);
}

/// Without a mark it would be taken, after a restart, for the work of whatever provider the
/// conversation is at home with.
#[test]
fn empty_reasoning_bears_the_mark_of_its_wire() {
    let part = json!({"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]});
    let events = [
        chunk(json!({"content": [part, {"type": "text", "text": "Yes."}]})),
        finish("stop"),
        done(),
    ];
    let items = done_items(&read(&ask(json!("hi")), &events).expect("an answer"));
    let mark = items[0]["encrypted_content"].as_str().expect("a mark");
    let mark: Value = serde_json::from_str(mark).expect("JSON");
    assert_eq!(mark, json!({"wire": "chat", "provider": "p", "fields": {}}));
    check(Value::Array(items), json!([{"role": "assistant", "content": "Yes."}]));
}

#[test]
fn a_refusal_is_shown_as_text() {
    let out = read(
        &ask(json!("hi")),
        &[chunk(json!({"content": null, "refusal": "I can't."})), finish("stop"), done()],
    );
    assert_eq!(done_items(&out.expect("an answer"))[0]["content"][0]["text"], "I can't.");
}

#[test]
fn early_stop_fails_and_runs_no_partial_call() {
    for (reason, told) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        let half = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "shell", "arguments": "{\"a\":"}}]});
        let out = read(
            &ask(json!("hi")),
            &[chunk(json!({"content": "a"})), chunk(half), finish(reason), done()],
        );
        let out = out.expect("an answer");
        let last = out.last().expect("an event");
        assert_eq!(last["type"], "response.failed");
        let error = &last["response"]["error"];
        assert_eq!(error["code"], "invalid_prompt");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(told)), "{error}");
        assert_eq!(done_items(&out).len(), 1);
    }
}

#[test]
fn an_answer_that_breaks_off_is_cut() {
    let half = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "shell", "arguments": "{\"a\":"}}]});
    let cases = [
        vec![],
        vec![chunk(json!({"content": "a"}))],
        vec![done()],
        vec![chunk(half), done()],
        vec![finish("abort"), done()],
    ];
    for events in cases {
        let failure = read(&ask(json!("hi")), &events).expect_err("a cut");
        assert_eq!((failure.code.as_str(), failure.retryable), ("stream_cut", true), "{events:?}");
        assert!(failure.message.starts_with("Chat Completions provider"), "{failure}");
    }
}

#[test]
fn an_error_inside_the_stream_is_a_failure() {
    let cases = [
        // OpenAI, vLLM old and new, OpenRouter, llama.cpp, Ollama.
        (
            json!({"error": {"message": "The server had an error", "type": "server_error"}}),
            "server_error",
            true,
        ),
        (
            json!({"object": "error", "message": "Bad", "type": "BadRequestError", "code": 400}),
            "invalid_request",
            false,
        ),
        (
            json!({"id": "g", "error": {"code": 429, "message": "Slow"}, "choices": [
            {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
            "rate_limited",
            true,
        ),
        (
            json!({"error": {"code": 400, "message": "the request exceeds the available context size",
            "type": "exceed_context_size_error", "n_ctx": 256}}),
            "context_length",
            false,
        ),
        (json!({"error": "model runner has unexpectedly stopped"}), "server_error", true),
        (
            json!({"choices": [{"delta": {}, "error": {"code": 502, "message": "Gone"}}]}),
            "server_error",
            true,
        ),
        (finish("error"), "invalid_stream", true),
    ];
    for (event, code, retryable) in cases {
        let failure =
            read(&ask(json!("hi")), &[chunk(json!({"content": "a"})), event.clone(), done()])
                .expect_err("a failure");
        assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable), "{event}");
        assert!(failure.message.starts_with("Chat Completions provider"), "{failure}");
    }
}

#[test]
// Long: a table.
fn errors_have_the_codes_that_core_knows() {
    let context =
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.";
    let cases = [
        (
            400,
            json!({"error": {"message": "x", "code": "context_length_exceeded"}}),
            "context_length",
            false,
        ),
        (
            400,
            json!({"object": "error", "message": context, "type": "BadRequestError", "code": 400}),
            "context_length",
            false,
        ),
        (
            400,
            json!({"error": {"message": "the model's context length is only 1024 tokens", "code": 400}}),
            "context_length",
            false,
        ),
        (
            429,
            json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
            "quota",
            false,
        ),
        (402, json!({"error": {"message": "Insufficient credits", "code": 402}}), "quota", false),
        (
            429,
            json!({"error": {"message": "Try again in 2s", "type": "tokens", "code": "rate_limit_exceeded"}}),
            "rate_limited",
            true,
        ),
        (
            401,
            json!({"error": {"message": "Incorrect API key provided: sk-1234", "code": "invalid_api_key"}}),
            "authentication",
            false,
        ),
        (
            404,
            json!({"error": {"message": "model 'x' not found", "type": "not_found_error", "code": null}}),
            "model_not_found",
            false,
        ),
        (
            422,
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body"]}]}),
            "invalid_request",
            false,
        ),
        (
            503,
            json!({"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}),
            "overloaded",
            true,
        ),
        (500, json!("<html>oops</html>"), "server_error", true),
        (502, json!([{"error": {"code": 502, "message": "m"}}]), "server_error", true),
    ];
    for (status, body, code, retryable) in cases {
        let bytes = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let failure = Chat.error(status, bytes.as_bytes());
        assert_eq!(
            (failure.code.as_str(), failure.retryable),
            (code, retryable),
            "{status} {body}"
        );
        assert!(
            failure.message.starts_with(&format!("Chat Completions provider ({status}): ")),
            "{failure}"
        );
        assert!(!failure.message.contains("sk-1234"), "{failure}");
    }
    assert!(
        Chat.error(429, b"{\"error\":{\"message\":\"Try again in 2s\"}}")
            .message
            .contains("Try again in 2s")
    );
    assert!(Chat.error(500, &[0xff; 100_000]).message.len() < 10_000);
}

#[test]
fn garbage_and_excess_fail_for_good() {
    let mut decoder = Chat.decoder(&ask(json!("hi")), "p");
    for data in ["{\"choices\":[", "[1]", "null", "\u{0}"] {
        let mut fresh = Chat.decoder(&ask(json!("hi")), "p");
        let failure = fresh.event("message", data).expect_err("not a chunk");
        assert_eq!(failure.code.as_str(), "invalid_stream");
        assert_eq!(fresh.end(), Err(failure));
    }
    let huge = chunk(json!({"content": "x".repeat(20 << 20)})).to_string();
    assert!(decoder.event("message", &huge).is_ok());
    assert_eq!(
        decoder.event("message", &huge).expect_err("too much").code.as_str(),
        "invalid_stream"
    );
    let nameless = json!({"tool_calls": [{"index": 7, "function": {"arguments": "{}"}}]});
    let failure = read(&ask(json!("hi")), &[chunk(nameless), finish("tool_calls"), done()])
        .expect_err("no name");
    assert!(failure.message.contains("without a name"));
}

#[test]
fn what_follows_done_is_ignored() {
    let events = [chunk(json!({"content": "a"})), finish("stop"), done(), json!("junk"), done()];
    let out = read(&ask(json!("hi")), &events).expect("an answer");
    assert_eq!(out.iter().filter(|event| event["type"] == "response.completed").count(), 1);
}
