//! Requests as the API wants them.

use serde_json::json;

use super::*;

const IMAGE: &str = "data:image/png;base64,iVBORw0KGgo=";

#[test]
fn text_becomes_one_user_message() {
    check(json!([user("hi")]), json!([{"role": "user", "content": "hi"}]));
}

#[test]
fn request_has_only_what_common_servers_accept() {
    let out = Chat.encode(&ask(json!([user("hi")]))).expect("encodes");
    assert_eq!(out.path, "/chat/completions");
    let keys: Vec<_> =
        out.body.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "messages",
        "model",
        "parallel_tool_calls",
        "stream",
        "stream_options",
        "tool_choice",
        "tools",
    ];
    assert_eq!(keys, expected);
    assert_eq!(out.body["stream_options"], json!({"include_usage": true}));
    let bare = body(
        &json!({"model": "m", "input": "hi", "tool_choice": "auto", "parallel_tool_calls": false}),
    );
    assert_eq!(
        bare,
        json!({"model": "m", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "hi"}]})
    );
}

#[test]
fn history_keeps_order_and_joins_adjacent_roles() {
    let developer = |text: &str| json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": text}]});
    let body = body(&ask(json!([
        developer("Rules."),
        user("environment"),
        user("one"),
        said("two"),
        developer("New rules."),
        user("three"),
    ])));
    assert_eq!(
        body["messages"],
        json!([
            {"role": "system", "content": "Be brief.\n\nRules."},
            {"role": "user", "content": "environment\n\none"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "<developer_message>\nNew rules.\n</developer_message>\n\nthree"},
        ])
    );
}

#[test]
fn a_call_and_its_result_stand_together() {
    check(
        json!([user("go"), said("I look."), call("c1", "shell"), result("c1", json!("ok"))]),
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "I look.", "tool_calls": [chat_call("c1", "shell")]},
            tool("c1", "ok"),
        ]),
    );
}

#[test]
fn parallel_calls_share_a_message_and_keep_order() {
    check(
        json!([
            user("go"),
            call("c1", "shell"),
            call("c2", "shell"),
            result("c2", json!("2")),
            result("c1", json!("1"))
        ]),
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": null, "tool_calls": [chat_call("c1", "shell"), chat_call("c2", "shell")]},
            tool("c1", "1"),
            tool("c2", "2"),
        ]),
    );
}

#[test]
fn repeated_call_id_keeps_results_apart() {
    check(
        json!([
            call("c", "shell"),
            result("c", json!("1")),
            call("c", "shell"),
            result("c", json!("2"))
        ]),
        json!([
            {"role": "assistant", "content": null, "tool_calls": [chat_call("c", "shell")]},
            tool("c", "1"),
            {"role": "assistant", "content": null, "tool_calls": [chat_call("c", "shell")]},
            tool("c", "2"),
        ]),
    );
}

#[test]
fn unpaired_calls_and_results_are_kept() {
    check(
        json!([call("c1", "shell"), user("stop"), result("gone", json!("late"))]),
        json!([
            {"role": "assistant", "content": null, "tool_calls": [chat_call("c1", "shell")]},
            tool("c1", "aborted: this call has no result"),
            {"role": "user", "content":
                "stop\n\nResult of the tool call gone, which is not in this conversation:\nlate"},
        ]),
    );
}

#[test]
fn malformed_arguments_are_wrapped() {
    let call = |arguments: &str| json!({"type": "function_call", "call_id": "c", "name": "shell", "arguments": arguments});
    for (arguments, sent) in [
        ("", "{}"),
        ("{\"a\":", "{\"invalid_arguments\":\"{\\\"a\\\":\"}"),
        ("{\"a\": 2}", "{\"a\": 2}"),
    ] {
        let body = body(&ask(json!([call(arguments), result("c", json!(""))])));
        assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["arguments"], sent);
    }
}

#[test]
fn custom_tool_is_a_function_of_one_input() {
    let ask = ask(json!([
        {"type": "custom_tool_call", "call_id": "p", "name": "apply_patch", "input": "*** Begin\n"},
        {"type": "custom_tool_call_output", "call_id": "p", "output": "done"},
    ]));
    let body = body(&ask);
    let offered = &body["tools"][1]["function"];
    assert_eq!(offered["name"], "apply_patch");
    assert_eq!(offered["parameters"]["required"], json!(["input"]));
    assert!(offered["description"].as_str().expect("text").ends_with("lark grammar:\nstart: x"));
    let function = json!({"name": "apply_patch", "arguments": "{\"input\":\"*** Begin\\n\"}"});
    assert_eq!(body["messages"][1]["tool_calls"][0]["function"], function);
    assert_eq!(body["messages"][2], tool("p", "done"));
    for arguments in [
        "{\"input\":\"*** Begin\\n\"}",
        "{\"patch\":\"*** Begin\\n\"}",
        "\"*** Begin\\n\"",
        "*** Begin\n",
    ] {
        let item = only_call(&ask, "apply_patch", arguments);
        assert_eq!(item["type"], "custom_tool_call");
        assert_eq!(item["name"], "apply_patch");
        assert_eq!(item["input"], "*** Begin\n", "{arguments}");
    }
}

#[test]
fn namespaced_tools_are_flattened_and_found_again() {
    let ask = ask(json!([
        {"type": "function_call", "call_id": "c", "namespace": "mcp__mail", "name": "send", "arguments": "{}"},
        result("c", json!("sent")),
    ]));
    let body = body(&ask);
    let names: Vec<_> = body["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .map(|t| t["function"]["name"].clone())
        .collect();
    assert_eq!(
        names,
        ["shell", "apply_patch", "tool_search", "mcp__mail__send", "mcp__mail__read"]
    );
    assert_eq!(body["tools"][3]["function"]["description"], "Sends.\n\nmcp__mail: Mail.");
    assert_eq!(body["tools"][4]["function"]["strict"], true);
    assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["name"], "mcp__mail__send");
    let item = only_call(&ask, "mcp__mail__read", "{}");
    assert_eq!(
        (item["namespace"].as_str(), item["name"].as_str()),
        (Some("mcp__mail"), Some("read"))
    );
}

#[test]
fn odd_names_become_unique_and_acceptable() {
    let long = "x".repeat(80);
    let function = |name: &str| json!({"type": "function", "name": name, "parameters": {}});
    let mut ask = ask(json!("hi"));
    ask["tools"] = json!([function("a__b"), {"type": "namespace", "name": "a", "tools": [function("b"), function(&long)]},
        function("é"), function("è"), function(&format!("a__{long}"))]);
    let body = body(&ask);
    let tools = body["tools"].as_array().expect("tools");
    let names: std::collections::HashSet<_> =
        tools.iter().filter_map(|t| t["function"]["name"].as_str()).collect();
    assert_eq!(names.len(), 6);
    for name in names {
        assert!(
            name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
            "{name}"
        );
    }
    let name = tools[2]["function"]["name"].as_str().expect("a name");
    let item = only_call(&ask, name, "{}");
    assert_eq!(
        (item["namespace"].as_str(), item["name"].as_str()),
        (Some("a"), Some(long.as_str()))
    );
}

#[test]
fn found_tools_are_offered_and_callable() {
    let found = json!([{"type": "namespace", "name": "mcp__cal", "description": "", "tools": [
        {"type": "function", "name": "list", "description": "", "parameters": {"type": "object"}, "defer_loading": true}]}]);
    let ask = ask(json!([
        {"type": "tool_search_call", "call_id": "s", "execution": "client", "arguments": {"query": "cal"}},
        {"type": "tool_search_output", "call_id": "s", "status": "completed", "execution": "client", "tools": found},
    ]));
    let body = body(&ask);
    assert_eq!(
        body["messages"][1]["tool_calls"][0]["function"]["arguments"],
        "{\"query\":\"cal\"}"
    );
    assert_eq!(
        body["messages"][2],
        tool("s", "Found 1 tools, which can be called now: mcp__cal__list")
    );
    assert_eq!(only_call(&ask, "mcp__cal__list", "{}")["namespace"], "mcp__cal");
    let item = only_call(&ask, "tool_search", "{\"query\":\"x\"}");
    assert_eq!((&item["type"], &item["execution"]), (&json!("tool_search_call"), &json!("client")));
    assert_eq!(item["arguments"], json!({"query": "x"}));
}

#[test]
fn an_image_of_the_user_is_a_part() {
    let image = json!({"type": "input_image", "image_url": "https://example.org/a.png", "detail": "original"});
    let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "what?"}, image]});
    let content = json!([{"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "high"}}]);
    check(json!([item]), json!([{"role": "user", "content": content}]));
}

#[test]
fn result_image_follows_all_results_of_the_turn() {
    let output = json!([{"type": "input_text", "text": "seen"}, {"type": "input_image", "image_url": IMAGE}]);
    check(
        json!([
            call("c1", "shell"),
            call("c2", "shell"),
            result("c1", output),
            result("c2", json!("2"))
        ]),
        json!([
            {"role": "assistant", "content": null, "tool_calls": [chat_call("c1", "shell"), chat_call("c2", "shell")]},
            tool("c1", "seen"),
            tool("c2", "2"),
            {"role": "user", "content": [
                {"type": "text", "text": "Attached to the result of the tool call c1:"},
                {"type": "image_url", "image_url": {"url": IMAGE}}]},
        ]),
    );
}

#[test]
fn effort_format_and_choice_are_translated() {
    let mut ask = ask(json!([user("hi")]));
    for (effort, sent) in
        [("none", "none"), ("minimal", "low"), ("medium", "medium"), ("xhigh", "high")]
    {
        ask["reasoning"] = json!({"effort": effort, "summary": "auto"});
        assert_eq!(body(&ask)["reasoning_effort"], sent);
    }
    ask["text"] = json!({"verbosity": "low",
        "format": {"type": "json_schema", "strict": true, "name": "out", "schema": {"type": "object"}}});
    ask["tool_choice"] = json!({"type": "function", "namespace": "mcp__mail", "name": "read"});
    let body = body(&ask);
    let schema = json!({"name": "out", "strict": true, "schema": {"type": "object"}});
    assert_eq!(body["response_format"], json!({"type": "json_schema", "json_schema": schema}));
    assert_eq!(body["verbosity"], "low");
    assert_eq!(
        body["tool_choice"],
        json!({"type": "function", "function": {"name": "mcp__mail__read"}})
    );
}

#[test]
fn inexpressible_request_is_a_clear_error() {
    let file = json!({"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": "f"}]});
    let mut allowed = ask(json!("hi"));
    allowed["tool_choice"] = json!({"type": "allowed_tools", "mode": "auto", "tools": []});
    let asks = [
        ask(json!([file])),
        ask(json!([{"type": "compaction_trigger"}])),
        allowed,
        json!({"model": "m", "input": []}),
    ];
    for ask in asks {
        let failure = Chat.encode(&ask).expect_err("nothing to send");
        assert_eq!((failure.code.as_str(), failure.retryable), ("invalid_request", false));
        assert!(failure.message.contains("cannot express"), "{failure}");
    }
}

#[test]
fn own_reasoning_returns_and_foreign_is_dropped() {
    let foreign = json!({"type": "reasoning", "summary": [], "encrypted_content": "{\"wire\":\"anthropic\",\"blocks\":[]}"});
    let opaque = json!({"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"});
    let own = |field: &str, text: &str| {
        let kept = json!({"wire": "chat", "fields": {field: text}}).to_string();
        json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": text}], "encrypted_content": kept})
    };
    check(
        json!([
            user("a"),
            foreign,
            opaque,
            own("reasoning_content", "hm"),
            call("c1", "shell"),
            result("c1", json!("1")),
            own("reasoning", "so"),
            own("reasoning", "…"),
            said("done"),
            user("b"),
            own("reasoning", "cut off")
        ]),
        json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [chat_call("c1", "shell")]},
            tool("c1", "1"),
            {"role": "assistant", "content": "done", "reasoning": "so…"},
            {"role": "user", "content": "b"},
        ]),
    );
}
