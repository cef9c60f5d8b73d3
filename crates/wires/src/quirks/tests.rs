//! Refusals as servers write them, and what the next request is.

use serde_json::Value;
use serde_json::json;

use super::CallIds;
use super::Quirks;

fn call(id: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": "shell", "arguments": "{}" } })
}

fn request() -> Value {
    json!({
        "model": "m",
        "stream": true,
        "stream_options": { "include_usage": true },
        "parallel_tool_calls": true,
        "reasoning_effort": "high",
        "tools": [
            { "type": "function", "function": { "name": "shell", "parameters": {} } },
            { "type": "function", "function": { "name": "mcp__odd", "parameters": {} } },
        ],
        "messages": [
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [call("call_abc"), call("AbCdEf123")] },
            { "role": "tool", "tool_call_id": "call_abc", "content": "a" },
            { "role": "tool", "tool_call_id": "AbCdEf123", "content": "b" },
            { "role": "user", "content": "and?" },
        ],
    })
}

/// The request after one refusal.
fn after(refusal: &str) -> Value {
    let mut body = request();
    let learned = Quirks::default().learn(&body, refusal);
    learned.unwrap_or_else(|| panic!("nothing learned: {refusal}")).apply(&mut body);
    body
}

#[test]
fn refused_member_is_left_out() {
    for (refusal, gone) in [
        (
            r#"{"error":{"message":"Unknown parameter: 'parallel_tool_calls'"}}"#,
            "parallel_tool_calls",
        ),
        (
            r#"{"error":{"message":"Unsupported parameter: 'parallel_tool_calls' is not supported with this model.","param":"parallel_tool_calls"}}"#,
            "parallel_tool_calls",
        ),
        (
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#,
            "stream_options",
        ),
        (
            r#"{"error_code":"BAD_REQUEST","message":"stream_options: Extra inputs are not permitted"}"#,
            "stream_options",
        ),
        (
            r#"{"error":"registry.ollama.ai/library/x does not support thinking"}"#,
            "reasoning_effort",
        ),
        (
            r#"{"error":{"message":"Unrecognized request argument supplied: reasoning_effort"}}"#,
            "reasoning_effort",
        ),
    ] {
        let body = after(refusal);
        assert!(body.get(gone).is_none(), "{refusal}");
        assert_eq!(body.as_object().unwrap().len(), request().as_object().unwrap().len() - 1);
    }
    let groq = after("'messages.1' : property 'reasoning_content' is unsupported");
    assert!(groq["messages"][1].get("reasoning_content").is_none());
}

#[test]
fn mistral_gets_an_assistant_between_tool_and_user() {
    let refusal =
        r#"{"object":"error","message":"Unexpected role 'user' after role 'tool'","code":"3230"}"#;
    let roles = |body: &Value| -> Vec<String> {
        let messages = body["messages"].as_array().unwrap().iter();
        messages.map(|message| message["role"].as_str().unwrap().to_owned()).collect()
    };
    let expected = ["user", "assistant", "tool", "tool", "assistant", "user"];
    assert_eq!(roles(&after(refusal)), expected);
    let mut known = request();
    Quirks::known("api.mistral.ai", "devstral-medium").apply(&mut known);
    assert_eq!(roles(&known), expected);
    // Once: the same refusal again teaches nothing.
    let learned = Quirks::default().learn(&request(), refusal).unwrap();
    assert_eq!(learned.learn(&known, refusal), None);
}

#[test]
fn call_ids_become_nine_characters_one_to_one() {
    for refusal in [
        r#"{"object":"error","message":"Tool call id was call_abc but must be a-z, A-Z, 0-9, with a length of 9.","code":"3280"}"#,
        r#"{"error":{"message":"tool_call_id must match pattern ^[A-Za-z0-9]{9}$"}}"#,
        r#"{"error":{"message":"Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40"}}"#,
    ] {
        let body = after(refusal);
        let id = |pointer: &str| body.pointer(pointer).unwrap().as_str().unwrap();
        let (first, second) =
            (id("/messages/1/tool_calls/0/id"), id("/messages/1/tool_calls/1/id"));
        assert_eq!((first.len(), second), (9, "AbCdEf123"), "{refusal}");
        assert!(first.chars().all(|c| c.is_ascii_alphanumeric()) && first != second);
        assert_eq!(
            (id("/messages/2/tool_call_id"), id("/messages/3/tool_call_id")),
            (first, second)
        );
        assert_eq!(after(refusal), body, "the same ids in every request");
    }
}

#[test]
fn kimi_gets_its_own_form_of_ids() {
    let mut body = request();
    Quirks::known("api.moonshot.ai", "kimi-k2-turbo").apply(&mut body);
    let messages = &body["messages"];
    assert_eq!(messages[1]["tool_calls"][0]["id"], "functions.shell:0");
    assert_eq!(messages[1]["tool_calls"][1]["id"], "functions.shell:1");
    assert_eq!(messages[2]["tool_call_id"], "functions.shell:0");
    assert_eq!(messages[3]["tool_call_id"], "functions.shell:1");
}

#[test]
fn max_tokens_follow_the_refusal() {
    for (refusal, expected) in [
        ("max_tokens is too large: 32000", 8192),
        (
            "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for m",
            8192,
        ),
        (
            "max_tokens: 32000 > 4096, which is the maximum allowed number of output tokens for m",
            4096,
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384 tokens and your request has 100 input tokens",
            4096,
        ),
    ] {
        let mut body = json!({ "model": "qwen", "max_tokens": 32_000, "messages": [] });
        Quirks::default().learn(&body, refusal).unwrap().apply(&mut body);
        assert_eq!(body["max_tokens"], expected, "{refusal}");
    }
    // It ends: a prompt that leaves no room is too long.
    let mut body = json!({ "max_tokens": 32_000, "messages": [] });
    let mut quirks = Quirks::default();
    let refusal = "max_tokens is too large. This model's maximum context length is 512 tokens";
    let steps = std::iter::from_fn(|| {
        quirks = quirks.learn(&body, refusal)?;
        quirks.apply(&mut body);
        Some(())
    });
    assert!(steps.take(20).count() < 8);
    let mut renamed = json!({ "max_tokens": 10, "messages": [] });
    let refusal = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    Quirks::default().learn(&renamed, refusal).unwrap().apply(&mut renamed);
    assert_eq!(renamed, json!({ "max_completion_tokens": 10, "messages": [] }));
}

#[test]
fn set_limit_reaches_every_api() {
    let quirks = Quirks { max_tokens: Some(100), ..Quirks::default() };
    for (mut body, pointer) in [
        (json!({ "messages": [] }), "/max_tokens"),
        (json!({ "messages": [], "max_tokens": 9000 }), "/max_tokens"),
        (json!({ "input": [] }), "/max_output_tokens"),
        (json!({ "contents": [] }), "/generationConfig/maxOutputTokens"),
    ] {
        quirks.apply(&mut body);
        assert_eq!(body.pointer(pointer), Some(&json!(100)), "{body}");
    }
    let mut lower =
        json!({ "messages": [], "max_tokens": 50, "thinking": { "budget_tokens": 1024 } });
    quirks.apply(&mut lower);
    assert_eq!(lower, json!({ "messages": [], "max_tokens": 50 }));
}

#[test]
fn tool_with_a_bad_schema_is_left_out() {
    for refusal in [
        "tools.1.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'",
        "Invalid schema for function 'mcp__odd': array schema missing items",
        "tools[1].function.parameters is not a valid JSON schema",
    ] {
        let body = after(refusal);
        assert_eq!(body["tools"].as_array().unwrap().len(), 1, "{refusal}");
        assert_eq!(body["tools"][0]["function"]["name"], "shell", "{refusal}");
    }
}

#[test]
fn other_refusals_teach_nothing() {
    for refusal in [
        "",
        "{}",
        "Invalid API key",
        "The model `m` does not exist",
        "prompt is too long: 208310 tokens > 200000 maximum",
        "An assistant message with 'tool_calls' must be followed by tool messages",
        "No tool output found for function call call_abc.",
        "Please store this text and include the reasoning",
    ] {
        assert_eq!(Quirks::default().learn(&request(), refusal), None, "{refusal}");
    }
}

#[test]
fn hosts_are_known_by_whole_names() {
    assert!(Quirks::known("mistral.ai.evil.example", "m").is_empty());
    assert!(Quirks::known("notmistral.ai", "m").is_empty());
    assert_eq!(Quirks::known("api.mistral.ai", "m").call_ids, CallIds::Nine);
    assert_eq!(Quirks::known("localhost", "mistralai/Devstral-Small").call_ids, CallIds::Nine);
    assert!(Quirks::known("localhost", "qwen3").is_empty());
}

#[test]
fn system_and_empty_content_are_rewritten() {
    let system = |body: &Value| -> Value {
        let mut with = body.clone();
        let first = json!({ "role": "system", "content": "Be brief." });
        with["messages"].as_array_mut().unwrap().insert(0, first);
        with
    };
    let mut body = system(&request());
    let learned = Quirks::default().learn(&body, "jinja: System role not supported").unwrap();
    learned.apply(&mut body);
    assert_eq!(body["messages"][0], json!({ "role": "user", "content": "Be brief.\n\nhi" }));
    assert_eq!(learned.learn(&body, "jinja: System role not supported"), None);
    for refusal in [
        "messages.1.content: none is not an allowed value",
        "[{'loc': ('body', 'messages', 1, 'content'), 'msg': 'Input should be a valid string'}]",
    ] {
        assert_eq!(after(refusal)["messages"][1]["content"], "", "{refusal}");
    }
}
