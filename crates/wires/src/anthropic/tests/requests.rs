//! Requests in the form that Anthropic accepts, and its errors.

use serde_json::Value;
use serde_json::json;

use super::*;

#[test]
fn a_request_names_the_version_and_streams() {
    let sent = Anthropic.encode(&ask(json!([user("Hi")]))).unwrap();
    assert_eq!(sent.path, "/v1/messages");
    assert_eq!(sent.headers, [("anthropic-version", "2026-10-21".to_owned())]);
    assert_eq!(sent.body["model"], NEW);
    assert_eq!(sent.body["max_tokens"], 64_000);
    assert_eq!(sent.body["stream"], true);
    assert!(sent.body.get("thinking").is_none() && sent.body.get("output_config").is_none());
    let mut small = ask(json!([user("Hi")]));
    small["max_output_tokens"] = json!(77);
    assert_eq!(body(&small)["max_tokens"], 77);
}

#[test]
fn turns_alternate_and_results_come_first() {
    becomes(json!([user("Hi")]), &[("user", vec![says("Hi")])]);
    becomes(
        json!([user("a"), user("b"), assistant("c"), assistant("d"), user("e")]),
        &[
            ("user", vec![says("a"), says("b")]),
            ("assistant", vec![says("c"), says("d")]),
            ("user", vec![says("e")]),
        ],
    );
    becomes(
        json!([user("a"), assistant("I look."), call("c1"), output("c1", "x")]),
        &[
            ("user", vec![says("a")]),
            ("assistant", vec![says("I look."), used("c1")]),
            ("user", vec![result("c1", "x")]),
        ],
    );
    // Two at once, answered in another order, with a word of the user in between.
    becomes(
        json!([
            user("a"),
            call("c1"),
            call("c2"),
            user("hurry"),
            output("c2", "y"),
            output("c1", "x"),
            assistant("ok"),
            user("b")
        ]),
        &[
            ("user", vec![says("a")]),
            ("assistant", vec![used("c1"), used("c2")]),
            ("user", vec![result("c1", "x"), result("c2", "y"), says("hurry")]),
            ("assistant", vec![says("ok")]),
            ("user", vec![says("b")]),
        ],
    );
    // One after the other.
    becomes(
        json!([user("a"), call("c1"), output("c1", "x"), call("c2"), output("c2", "y")]),
        &[
            ("user", vec![says("a")]),
            ("assistant", vec![used("c1")]),
            ("user", vec![result("c1", "x")]),
            ("assistant", vec![used("c2")]),
            ("user", vec![result("c2", "y")]),
        ],
    );
}

#[test]
fn orphans_make_no_invalid_request() {
    let lost = json!({"type": "tool_result", "tool_use_id": "c1", "content": "The call was interrupted; it has no result.", "is_error": true});
    becomes(
        json!([user("a"), call("c1")]),
        &[("user", vec![says("a")]), ("assistant", vec![used("c1")]), ("user", vec![lost])],
    );
    let gone = says("[the result of a tool call that is no longer in the conversation follows]");
    becomes(json!([output("c9", "x"), user("a")]), &[("user", vec![gone, says("x"), says("a")])]);
    let began = says("[the conversation begins with the assistant]");
    becomes(
        json!([assistant("c")]),
        &[("user", vec![began]), ("assistant", vec![says("c")]), ("user", vec![says("Continue.")])],
    );
    becomes(json!([user("  "), user("a")]), &[("user", vec![says("a")])]);
    let twice = turns(&ask(json!([
        user("a"),
        call("c 1"),
        output("c 1", "x"),
        call("c 1"),
        output("c 1", "y")
    ])));
    assert_eq!(twice[1].1[0]["id"], "c_1");
    assert_eq!(twice[3].1[0]["id"], "c_1_again");
    assert_eq!(twice[4].1, [result("c_1_again", "y")]);
    assert_eq!(Anthropic.encode(&ask(json!([]))).unwrap_err().code.as_str(), "invalid_request");
    assert_eq!(
        Anthropic.encode(&ask(json!([{"type": "compaction_trigger"}]))).unwrap_err().code.as_str(),
        "invalid_request"
    );
}

#[test]
fn leading_developer_messages_join_the_system_prompt() {
    let developer = |text: &str| json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": text}]});
    let asked = ask(json!([
        developer("Rules."),
        user("a"),
        developer("New rules."),
        assistant("b"),
        user("c")
    ]));
    let mut marked = says("Rules.");
    marked["cache_control"] = json!({"type": "ephemeral"});
    assert_eq!(body(&asked)["system"], json!([says("Be brief."), marked]));
    assert_eq!(
        turns(&asked)[0].1,
        [says("a"), says("<system-reminder>\nNew rules.\n</system-reminder>")]
    );
}

#[test]
fn the_cache_is_marked_at_most_four_times() {
    let sent = body(&ask(json!([
        user("a"),
        call("c1"),
        output("c1", "x"),
        assistant("b"),
        user("c"),
        assistant("d"),
        user("e")
    ])));
    let mark = json!({"type": "ephemeral"});
    assert_eq!(sent["tools"].as_array().unwrap().last().unwrap()["cache_control"], mark);
    assert_eq!(sent["system"][0]["cache_control"], mark);
    let messages = sent["messages"].as_array().unwrap();
    assert_eq!(messages.last().unwrap()["content"][0]["cache_control"], mark);
    assert_eq!(sent.to_string().matches("cache_control").count(), 4);
}

#[test]
fn tools_of_every_kind_become_functions() {
    let sent = body(&ask(json!([user("a")])));
    let names: Vec<&str> = sent["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["shell", "apply_patch", "mcp__mail__send", "mcp__mail__read"]);
    assert_eq!(sent["tools"][0]["input_schema"]["required"], json!(["cmd"]));
    assert!(sent["tools"][1]["description"].as_str().unwrap().ends_with("lark grammar:\nstart: x"));
    assert_eq!(sent["tools"][1]["input_schema"]["required"], json!(["input"]));
    assert_eq!(sent["tools"][2]["description"], "mcp__mail: Mail.\n\nSends.");
    let carried = json!({"type": "additional_tools", "role": "developer", "tools": tools()});
    let mut lite = ask(json!([carried, user("a")]));
    lite["tools"] = Value::Null;
    assert_eq!(body(&lite)["tools"], sent["tools"]);
}

#[test]
fn calls_in_history_use_wire_names() {
    let patch = json!({"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin"});
    let patched = json!({"type": "custom_tool_call_output", "call_id": "c1", "output": "done"});
    let mail = json!({"type": "function_call", "call_id": "c2", "namespace": "mcp__mail", "name": "send", "arguments": ""});
    let odd = json!({"type": "function_call", "call_id": "c3", "name": "gone away", "arguments": "{oops"});
    let shell = json!({"type": "local_shell_call", "call_id": "c4", "status": "completed", "action": {"type": "exec", "command": ["ls"]}});
    let sent = turns(&ask(json!([
        user("a"),
        patch,
        mail,
        odd,
        shell,
        patched,
        output("c2", "sent"),
        output("c3", ""),
        output("c4", "z")
    ])));
    let named = |index: usize| {
        (sent[1].1[index]["name"].as_str().unwrap().to_owned(), sent[1].1[index]["input"].clone())
    };
    assert_eq!(named(0), ("apply_patch".to_owned(), json!({"input": "*** Begin"})));
    assert_eq!(named(1), ("mcp__mail__send".to_owned(), json!({})));
    assert_eq!(named(2).1, json!({"arguments": "{oops"}));
    assert!(named(2).0.starts_with("gone_away_"));
    assert_eq!(
        named(3),
        ("local_shell".to_owned(), json!({"action": {"type": "exec", "command": ["ls"]}}))
    );
    assert_eq!(sent[2].1[2], json!({"type": "tool_result", "tool_use_id": "c3"}));
}

#[test]
fn long_and_colliding_tool_names_stay_apart() {
    let long = "x".repeat(90);
    let tool =
        |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
    let mut asked = ask(json!([user("a")]));
    asked["tools"] = json!([tool(&long), tool(&format!("{long}y")), tool("a__b"), {"type": "namespace", "name": "a", "tools": [tool("b")]}]);
    let sent = body(&asked);
    let names: std::collections::HashSet<&str> = sent["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 4);
    assert!(names.iter().all(|name| name.len() <= 64));
}

#[test]
fn history_with_calls_always_defines_their_tools() {
    let mut asked = ask(json!([user("a"), call("c1"), output("c1", "x"), user("Summarise.")]));
    asked["tools"] = json!([]);
    let sent = body(&asked);
    assert_eq!(sent["tools"][0]["name"], "shell");
    assert_eq!(sent["tool_choice"], json!({"type": "none"}));
    asked["input"] = json!([user("a")]);
    assert!(body(&asked).get("tools").is_none() && body(&asked).get("tool_choice").is_none());
}

#[test]
fn images_are_sent_as_data_or_url() {
    let png =
        json!({"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high"});
    let web = json!({"type": "input_image", "image_url": "https://x.test/a.png"});
    let svg = json!({"type": "input_image", "image_url": "data:image/svg+xml;base64,AAAA"});
    let data = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let address =
        json!({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}});
    let asked = ask(json!([
        {"type": "message", "role": "user", "content": [png, web, svg, {"type": "input_audio", "audio_url": "x"}]},
        call("c1"),
        output("c1", json!([{"type": "input_text", "text": "see"}, png])),
    ]));
    let sent = turns(&asked);
    assert_eq!(sent[0].1[..2], [data.clone(), address]);
    assert!(sent[0].1[2]["text"].as_str().unwrap().contains("image/svg+xml"));
    assert!(sent[0].1[3]["text"].as_str().unwrap().contains("input_audio"));
    assert_eq!(sent[2].1[0]["content"], json!([says("see"), data]));
}

#[test]
fn tool_choice_and_parallel_calls_are_translated() {
    let chosen = |choice: Value, parallel: bool| {
        let mut asked = ask(json!([user("a")]));
        asked["tool_choice"] = choice;
        asked["parallel_tool_calls"] = json!(parallel);
        Anthropic.encode(&asked).map(|sent| sent.body["tool_choice"].clone())
    };
    assert_eq!(chosen(json!("auto"), true).unwrap(), json!({"type": "auto"}));
    assert_eq!(
        chosen(json!("auto"), false).unwrap(),
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    assert_eq!(chosen(json!("none"), false).unwrap(), json!({"type": "none"}));
    assert_eq!(chosen(json!("required"), true).unwrap(), json!({"type": "any"}));
    assert_eq!(
        chosen(json!({"type": "function", "name": "send"}), true).unwrap(),
        json!({"type": "tool", "name": "mcp__mail__send"})
    );
    assert_eq!(
        chosen(json!({"type": "function", "name": "nope"}), true).unwrap_err().code.as_str(),
        "invalid_request"
    );
}

#[test]
fn each_model_thinks_in_its_own_way() {
    let sent = |model: &str, effort: &str, choice: &str| {
        let mut asked = ask(json!([user("a")]));
        asked["model"] = json!(model);
        asked["tool_choice"] = json!(choice);
        asked["reasoning"] = if effort.is_empty() {
            json!({})
        } else {
            json!({"effort": effort, "summary": "auto"})
        };
        let sent = Anthropic.encode(&asked)?.body;
        Ok::<_, WireError>((sent["thinking"].clone(), sent["output_config"]["effort"].clone()))
    };
    let is = |model: &str, effort: &str, choice: &str, thinking: Value, told: Value| {
        assert_eq!(
            sent(model, effort, choice).unwrap(),
            (thinking, told),
            "{model} {effort} {choice}"
        );
    };
    let shown = json!({"type": "adaptive", "display": "summarized"});
    let drop = json!({"prefix_mismatch_behavior": "drop_block"});
    let bound = json!({"type": "adaptive", "display": "summarized", "block_binding": drop});
    let off = json!({"type": "disabled"});
    let none = Value::Null;
    is("claude-3-5-haiku-20241022", "high", "auto", none.clone(), none.clone());
    is(OLD, "", "auto", none.clone(), none.clone());
    is(OLD, "minimal", "auto", json!({"type": "enabled", "budget_tokens": 1024}), none.clone());
    is(OLD, "high", "auto", json!({"type": "enabled", "budget_tokens": 32_000}), none.clone());
    is(OLD, "high", "required", none.clone(), none.clone());
    is("anthropic/claude-sonnet-4.6", "xhigh", "auto", shown.clone(), json!("high"));
    is(NEW, "", "auto", none.clone(), none.clone());
    is(NEW, "none", "auto", none.clone(), none.clone());
    is(NEW, "xhigh", "auto", shown.clone(), json!("xhigh"));
    is(NEW, "ultra", "auto", shown, json!("max"));
    is(NEW, "max", "required", none.clone(), json!("high"));
    is("claude-sonnet-5", "none", "auto", off.clone(), none.clone());
    is("claude-haiku-5-5", "none", "auto", off, none);
    is(BOUND, "", "auto", json!({"type": "adaptive", "block_binding": drop}), Value::Null);
    is(BOUND, "none", "auto", bound.clone(), json!("low"));
    is(BOUND, "high", "auto", bound, json!("high"));
    assert_eq!(sent(BOUND, "high", "required").unwrap_err().code.as_str(), "invalid_request");
}

#[test]
fn thinking_block_returns_unchanged_and_in_place() {
    let both = |model: &str, blocks: &[Value]| {
        let mut asked = ask(json!([
            user("a"),
            reasoning(model, &thought("t1")),
            assistant("b"),
            reasoning(model, &json!({"type": "redacted_thinking", "data": "x"})),
            call("c1"),
            output("c1", "x"),
            reasoning(model, &thought("")),
            call("c2"),
            output("c2", "y"),
        ]));
        asked["model"] = json!(model);
        asked["reasoning"] = json!({"effort": "high", "summary": "auto"});
        let sent = turns(&asked);
        assert_eq!([sent[1].1.clone(), sent[3].1.clone()].concat(), blocks, "{model}");
        body(&asked)["thinking"]["type"].clone()
    };
    let redacted = json!({"type": "redacted_thinking", "data": "x"});
    let all = [thought("t1"), says("b"), redacted, used("c1"), thought(""), used("c2")];
    assert_eq!(both(NEW, &all), "adaptive");
    assert_eq!(both(OLD, &all), "enabled");
    assert_eq!(both("claude-3-5-haiku-latest", &[says("b"), used("c1"), used("c2")]), Value::Null);
}

#[test]
fn unreadable_thinking_is_not_sent() {
    let mut asked = ask(json!([
        user("a"),
        reasoning("claude-opus-4-7", &thought("other model")),
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "gAAAA"},
        reasoning(NEW, &json!({"type": "text", "text": "forged"})),
        assistant("b"),
        user("c"),
        reasoning(NEW, &thought("cut off after this")),
    ]));
    asked["reasoning"] = json!({"effort": "low"});
    let sent = turns(&asked);
    assert_eq!(sent[1].1, [says("b")]);
    assert_eq!(sent.last().unwrap().1, [says("c")]);
}

#[test]
fn budgeted_thinking_never_joins_a_running_tool_loop() {
    let mut asked = ask(json!([user("a"), call("c1"), output("c1", "x")]));
    asked["model"] = json!(OLD);
    asked["reasoning"] = json!({"effort": "high"});
    assert!(body(&asked).get("thinking").is_none());
    asked["input"] = json!([user("a"), call("c1"), output("c1", "x"), assistant("b"), user("c")]);
    assert_eq!(body(&asked)["thinking"]["type"], "enabled");
    asked["max_output_tokens"] = json!(1500);
    assert!(body(&asked).get("thinking").is_none());
}

#[test]
fn bound_model_drops_thinking_that_mismatches() {
    let mut asked = ask(json!([user("a")]));
    asked["model"] = json!(BOUND);
    let sent = Anthropic.encode(&asked).unwrap();
    assert_eq!(
        sent.headers[1],
        ("anthropic-beta", "thinking-binding-controls-2026-08-01".to_owned())
    );
}

#[test]
fn longer_history_extends_the_shorter_one() {
    let items = [
        user("a"),
        reasoning(NEW, &thought("t")),
        call("c1"),
        call("c2"),
        output("c1", "x"),
        output("c2", "y"),
        reasoning(NEW, &thought("u")),
        assistant("b"),
        user("c"),
        assistant("d"),
        user("e"),
    ];
    let sent = |count: usize| {
        let mut asked = ask(json!(items[..count]));
        asked["reasoning"] = json!({"effort": "high"});
        turns(&asked)
    };
    for (short, long) in [(1, 6), (6, 9), (9, 11)] {
        assert_eq!(sent(long)[..sent(short).len()], sent(short));
    }
}

#[test]
fn structured_output_is_a_format_or_an_instruction() {
    let schema = json!({"type": "object", "additionalProperties": true, "required": ["n"], "properties": {
        "n": {"type": "integer", "minimum": 1, "description": "A number."},
        "when": {"type": "string", "format": "date"},
        "odd": {"type": "string", "format": "regex"},
        "all": {"type": "array", "minItems": 2, "items": {"oneOf": [{"type": "object", "properties": {}}, {"type": "null"}]}}}});
    let mut asked = ask(json!([user("a")]));
    asked["text"] = json!({"verbosity": "low", "format": {"type": "json_schema", "strict": true, "name": "x", "schema": schema}});
    let narrow = json!({"type": "object", "additionalProperties": false, "required": ["n"], "properties": {
        "n": {"type": "integer", "description": "A number. (minimum: 1)"},
        "when": {"type": "string", "format": "date"},
        "odd": {"type": "string", "description": "(format: \"regex\")"},
        "all": {"type": "array", "description": "(minItems: 2)", "items": {"anyOf": [{"type": "object", "properties": {}, "additionalProperties": false}, {"type": "null"}]}}}});
    assert_eq!(
        body(&asked)["output_config"],
        json!({"format": {"type": "json_schema", "schema": narrow}})
    );
    asked["model"] = json!("claude-opus-4-1");
    let sent = body(&asked);
    assert!(sent.get("output_config").is_none());
    assert!(sent["system"][1]["text"].as_str().unwrap().contains("\"minimum\":1"));
}

#[test]
fn sampling_is_never_sent() {
    let mut asked = ask(json!([user("a")]));
    for model in [asked["model"].clone(), json!(OLD)] {
        asked["model"] = model;
        asked["temperature"] = json!(1.0);
        asked["top_p"] = json!(0.5);
        let sent = body(&asked);
        assert!(sent.get("temperature").is_none() && sent.get("top_p").is_none(), "{sent}");
    }
}

#[test]
fn errors_have_the_codes_that_core_knows() {
    let said = |status: u16, kind: &str, text: &str| {
        let body = json!({"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}).to_string();
        let failure = Anthropic.error(status, body.as_bytes());
        assert!(
            failure.message.contains("Anthropic") && failure.message.contains(text),
            "{}",
            failure.message
        );
        (failure.code.as_str(), failure.retryable)
    };
    assert_eq!(
        said(400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
        ("context_length", false)
    );
    assert_eq!(
        said(
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 1 + 2 > 3"
        ),
        ("context_length", false)
    );
    assert_eq!(
        said(413, "request_too_large", "Request exceeds the maximum size"),
        ("context_length", false)
    );
    assert_eq!(
        said(400, "invalid_request_error", "messages: roles must alternate"),
        ("invalid_request", false)
    );
    assert_eq!(
        said(400, "invalid_request_error", "Your credit balance is too low"),
        ("quota", false)
    );
    assert_eq!(said(402, "billing_error", "Pay"), ("quota", false));
    assert_eq!(said(401, "authentication_error", "invalid x-api-key"), ("authentication", false));
    assert_eq!(said(403, "permission_error", "No"), ("authentication", false));
    assert_eq!(said(404, "not_found_error", "model: claude-9"), ("model_not_found", false));
    assert_eq!(said(429, "rate_limit_error", "Slow down"), ("rate_limited", true));
    assert_eq!(said(500, "api_error", "Internal server error"), ("server_error", true));
    assert_eq!(said(529, "overloaded_error", "Overloaded"), ("overloaded", true));
    let proxy = Anthropic.error(502, b"<html>Bad gateway \xff</html>");
    assert_eq!((proxy.code.as_str(), proxy.retryable), ("server_error", true));
    assert!(proxy.message.contains("502") && proxy.message.contains("Bad gateway"));
    assert!(Anthropic.error(503, &[0xff; 100_000]).message.len() < 7000);
}

/// One MCP tool with such names would fail every turn.
#[test]
fn refused_property_names_are_renamed_and_mapped_back() {
    let inner = json!({"type": "object", "properties": {"filter[id]": {"type": "string"}}});
    let parameters = json!({"type": "object", "required": ["$filter", "plain"], "properties": {
        "$filter": {"type": "string", "description": "OData."},
        "plain": {"type": "string", "enum": ["$filter"]},
        "list": {"type": "array", "items": inner}}});
    let arguments = json!({"$filter": "a eq 1", "plain": "$filter", "list": [{"filter[id]": "7"}]});
    let call = json!({"type": "function_call", "call_id": "c", "name": "odata", "arguments": arguments.to_string()});
    let mut asked = ask(json!([user("a"), call]));
    asked["tools"] = json!([{"type": "function", "name": "odata", "parameters": parameters}]);
    let sent = body(&asked);
    let schema = &sent["tools"][0]["input_schema"];
    let fits = |name: &str| {
        (1..=64).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert!(names.len() == 3 && names.iter().all(|name| fits(name)), "{names:?}");
    let renamed = schema["required"][0].as_str().unwrap();
    assert!(
        fits(renamed)
            && schema["properties"][renamed]["description"].as_str().unwrap().contains("`$filter`")
    );
    assert_eq!(schema["properties"]["plain"]["enum"], json!(["$filter"]));
    let nested = schema["properties"]["list"]["items"]["properties"].as_object().unwrap();
    assert!(nested.keys().all(|name| fits(name)), "{nested:?}");
    // The history uses the names that are sent, the answer those of the tool.
    let input = &sent["messages"][1]["content"][0]["input"];
    assert_eq!(input[renamed], "a eq 1");
    let mut decoder = Anthropic.decoder(&asked, "p");
    let block = json!({"type": "message", "stop_reason": "tool_use", "content": [
        {"type": "tool_use", "id": "c", "name": "odata", "input": input}]});
    let events = decoder.event("message", &block.to_string()).unwrap();
    let item = events[1].to_value()["item"].clone();
    let told: Value = serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(told, arguments);
}
