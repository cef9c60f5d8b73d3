//! Requests in the form that Gemini accepts.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;

#[test]
fn a_text_becomes_a_whole_request() {
    let sent = Gemini.encode(&ask(NEW, json!([user("hi")]))).unwrap();
    assert_eq!(sent.path, "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse");
    let expected = json!({"systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    assert_eq!(sent.body, expected);
}

#[test]
fn a_model_name_cannot_lead_to_another_path() {
    for slug in ["", "../x", "a?b", "/x", "a b"] {
        assert_eq!(
            Gemini.encode(&ask(slug, json!([user("hi")]))).unwrap_err().code.as_str(),
            "invalid_request",
            "{slug}"
        );
    }
    let tuned = Gemini.encode(&ask("tunedModels/mine", json!([user("hi")]))).unwrap();
    assert_eq!(tuned.path, "/v1beta/tunedModels/mine:streamGenerateContent?alt=sse");
}

#[test]
fn history_alternates_and_neighbours_are_merged() {
    let developer = |text: &str| json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": text}]});
    let input = json!([
        developer("first"),
        user("a"),
        user("b"),
        assistant("c"),
        assistant(""),
        developer("late"),
        user("d")
    ]);
    let sent = body(&ask(NEW, input));
    assert_eq!(
        sent["systemInstruction"]["parts"],
        json!([{"text": "Be brief."}, {"text": "first"}])
    );
    let late = "<developer_message>\nlate\n</developer_message>";
    assert_eq!(
        sent["contents"],
        json!([
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}]},
        {"role": "user", "parts": [{"text": late}, {"text": "d"}]}])
    );
}

#[test]
fn user_has_first_and_last_turn() {
    contents(
        OLD,
        json!([assistant("a")]),
        json!([
        {"role": "user", "parts": [{"text": "(The beginning was not kept.)"}]},
        {"role": "model", "parts": [{"text": "a"}]},
        {"role": "user", "parts": [{"text": "Continue."}]}]),
    );
    assert!(Gemini.encode(&ask(OLD, json!([]))).unwrap_err().message.contains("no message"));
}

#[test]
fn a_call_is_followed_by_its_response() {
    let input = json!([
        user("?"),
        call("c1", "{\"city\":\"Rome\"}"),
        output("c1", json!("sunny")),
        assistant("Sun."),
        user("!")
    ]);
    contents(
        OLD,
        input,
        json!([
        {"role": "user", "parts": [{"text": "?"}]},
        {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "sunny"}}}]},
        {"role": "model", "parts": [{"text": "Sun."}]},
        {"role": "user", "parts": [{"text": "!"}]}]),
    );
}

#[test]
fn parallel_calls_are_answered_together_in_order() {
    let input = json!([
        user("?"),
        call("c1", "{}"),
        call("c2", ""),
        output("c2", json!("two")),
        output("c1", json!("one"))
    ]);
    contents(
        OLD,
        input,
        json!([
        {"role": "user", "parts": [{"text": "?"}]},
        {"role": "model", "parts": [
            {"functionCall": {"id": "c1", "name": "weather", "args": {}}},
            {"functionCall": {"id": "c2", "name": "weather", "args": {}}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "one"}}},
            {"functionResponse": {"id": "c2", "name": "weather", "response": {"output": "two"}}}]}]),
    );
}

#[test]
fn orphans_do_not_break_the_pairing() {
    let input =
        json!([user("?"), output("c0", json!("lost")), call("c1", "not json"), user("go on")]);
    contents(
        OLD,
        input,
        json!([
        {"role": "user", "parts": [{"text": "?"}, {"text": "A tool call that is no longer known returned:"}, {"text": "lost"}]},
        {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "weather", "args": {"arguments": "not json"}}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "c1", "name": "weather", "response": {"error": "no result of this call was kept"}}},
            {"text": "go on"}]}]),
    );
}

#[test]
fn repeated_call_id_gets_outputs_in_order() {
    let input = json!([
        user("?"),
        call("c", "{}"),
        output("c", json!("1")),
        call("c", "{}"),
        output("c", json!("2"))
    ]);
    let sent = body(&ask(OLD, input));
    let said = |turn: usize| {
        sent["contents"][turn]["parts"][0]["functionResponse"]["response"]["output"].clone()
    };
    assert_eq!((said(2), said(4)), (json!("1"), json!("2")));
}

#[test]
fn a_custom_tool_is_a_function_both_ways() {
    let history = json!([user("?"),
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin", "call_id": "c1"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"}]);
    let ask = with(ask(OLD, history), "tools", json!([patch(), {"type": "web_search"}]));
    let sent = body(&ask);
    assert_eq!(
        sent["contents"][1]["parts"][0]["functionCall"]["args"],
        json!({"input": "*** Begin"})
    );
    let declared = &sent["tools"][0]["functionDeclarations"];
    assert_eq!(declared.as_array().unwrap().len(), 1);
    assert!(declared[0]["description"].as_str().unwrap().ends_with("lark grammar:\nstart: \"*\""));
    assert_eq!(declared[0]["parametersJsonSchema"]["required"], json!(["input"]));

    let part = json!([{"functionCall": {"name": "apply_patch", "args": {"input": "*** End"}, "id": "g1"}}]);
    let done = items(&decode(&ask, &[chunk(part), stop("STOP")]).unwrap());
    let expected = json!([{"type": "custom_tool_call", "id": "ctc_r1_0", "call_id": "g1", "name": "apply_patch", "input": "*** End"}]);
    assert_eq!(json!(done), expected);
}

#[test]
fn a_namespace_is_flattened_and_split_again() {
    let space = json!({"type": "namespace", "name": "mcp__maps__", "description": "Maps.", "tools": [weather()]});
    let old = json!({"type": "function_call", "namespace": "mcp__maps__", "name": "weather", "arguments": "{}", "call_id": "c1"});
    let ask = with(ask(OLD, json!([user("?"), old])), "tools", json!([space, weather()]));
    let sent = body(&ask);
    let names: Vec<&Value> = sent["tools"][0]["functionDeclarations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["name"])
        .collect();
    assert_eq!(names, ["mcp__maps__weather", "weather"]);
    assert_eq!(sent["systemInstruction"]["parts"][1]["text"], "Tools named mcp__maps__*: Maps.");
    assert_eq!(sent["contents"][1]["parts"][0]["functionCall"]["name"], "mcp__maps__weather");
    let part = json!([{"functionCall": {"name": "mcp__maps__weather", "args": {}}}]);
    let done = items(&decode(&ask, &[chunk(part), stop("STOP")]).unwrap());
    assert_eq!(
        (&done[0]["namespace"], &done[0]["name"]),
        (&json!("mcp__maps__"), &json!("weather"))
    );
}

#[test]
fn rejected_names_are_replaced_and_found_again() {
    let tool = |name: &str| json!({"type": "function", "name": name, "parameters": {}});
    let long = "x".repeat(200);
    let space = json!({"type": "namespace", "name": "a", "tools": [tool("b")]});
    let ask = with(
        ask(OLD, json!([user("?")])),
        "tools",
        json!([tool("ä/1"), tool(&long), space, tool("a__b"), tool("a__b")]),
    );
    let sent = body(&ask);
    let declared = sent["tools"][0]["functionDeclarations"].as_array().unwrap();
    assert_eq!(declared.len(), 4);
    for (declared, original) in declared.iter().zip(["ä/1", &long, "b", "a__b"]) {
        let name = declared["name"].as_str().unwrap();
        assert!(name.len() <= 128 && name.is_ascii());
        let done = items(
            &decode(&ask, &[chunk(json!([{"functionCall": {"name": name}}])), stop("STOP")])
                .unwrap(),
        );
        assert_eq!((&done[0]["name"], &done[0]["arguments"]), (&json!(original), &json!("{}")));
    }
}

#[test]
fn schemas_keep_what_gemini_accepts() {
    let parameters = json!({"$schema": "x", "type": "object", "additionalProperties": false,
        "properties": {"$ref": {"type": "string"}, "a": {"$ref": "#/$defs/A", "description": "no"}},
        "$defs": {"A": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/A", "title": "no"}]}}});
    let tool =
        json!({"type": "function", "name": "f", "description": "", "parameters": parameters});
    let sent = body(&with(ask(OLD, json!([user("?")])), "tools", json!([tool])));
    assert_eq!(
        sent["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"],
        json!({
        "type": "object", "additionalProperties": false,
        "properties": {"$ref": {"type": "string"}, "a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/A"}]}}})
    );
}

#[test]
fn parameters_are_always_an_object() {
    for parameters in [json!({}), json!(null), json!({"properties": {}})] {
        let tool = json!({"type": "function", "name": "f", "parameters": parameters});
        let sent = body(&with(ask(OLD, json!([user("?")])), "tools", json!([tool])));
        let declared = &sent["tools"][0]["functionDeclarations"][0];
        assert_eq!(declared["parametersJsonSchema"]["type"], "object");
    }
}

#[test]
fn images_are_sent_as_data_or_url() {
    let image = |url: &str| json!([{"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": url}]}]);
    contents(
        OLD,
        image("data:image/png;base64,AAAA"),
        json!([{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}]),
    );
    contents(
        OLD,
        image("https://x.test/a.JPG?b=c.d"),
        json!([{"role": "user", "parts": [{"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.test/a.JPG?b=c.d"}}]}]),
    );
    for url in [
        "data:image/svg+xml,<svg/>",
        "data:;base64,AA",
        "https://x.test/a",
        "file:///etc/a.png",
        "",
    ] {
        assert_eq!(
            Gemini.encode(&ask(OLD, image(url))).unwrap_err().code.as_str(),
            "invalid_request",
            "{url}"
        );
    }
}

#[test]
fn result_image_is_nested_if_the_model_accepts() {
    let result = json!([{"type": "input_text", "text": "seen"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]);
    let input = json!([user("?"), call("c1", "{}"), output("c1", result)]);
    let image = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let response = |parts: Option<Value>| {
        let mut response = json!({"id": "c1", "name": "weather", "response": {"output": "seen"}});
        crate::json::set(&mut response, "parts", parts);
        json!({"functionResponse": response})
    };
    let last = |model: &str| body(&ask(model, input.clone()))["contents"][2]["parts"].clone();
    assert_eq!(last(NEW), json!([response(Some(json!([image])))]));
    assert_eq!(last(OLD), json!([response(None), {"text": "Returned by weather (c1):"}, image]));
}

#[test]
fn structured_output_is_a_schema_or_an_instruction() {
    let format = json!({"format": {"type": "json_schema", "name": "x", "strict": true, "schema": {"type": "object"}}});
    let plain = |model| with(ask(model, json!([user("?")])), "text", format.clone());
    let config =
        json!({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}});
    assert_eq!(body(&plain(OLD))["generationConfig"], config);
    assert_eq!(body(&with(plain(NEW), "tools", json!([weather()])))["generationConfig"], config);
    let worded = body(&with(plain(OLD), "tools", json!([weather()])));
    assert!(worded["generationConfig"].is_null());
    assert!(
        worded["systemInstruction"]["parts"][1]["text"]
            .as_str()
            .unwrap()
            .ends_with(r#"{"type":"object"}"#)
    );
}

#[test]
fn effort_becomes_a_level_or_a_budget() {
    let cases = [
        (NEW, "none", json!("LOW"), Value::Null),
        (NEW, "xhigh", json!("HIGH"), Value::Null),
        ("gemini-3-flash-preview", "minimal", json!("MINIMAL"), Value::Null),
        ("gemini-flash-latest", "medium", json!("MEDIUM"), Value::Null),
        (OLD, "none", Value::Null, json!(128)),
        (OLD, "max", Value::Null, json!(32768)),
        ("gemini-2.5-flash", "none", Value::Null, json!(0)),
        ("gemini-2.5-flash", "medium", Value::Null, json!(8192)),
        ("gemini-2.0-flash", "high", Value::Null, Value::Null),
    ];
    for (model, effort, level, budget) in cases {
        let sent = body(&with(
            ask(model, json!([user("?")])),
            "reasoning",
            json!({"effort": effort, "summary": "auto"}),
        ));
        let config = &sent["generationConfig"]["thinkingConfig"];
        assert_eq!(
            (&config["thinkingLevel"], &config["thinkingBudget"]),
            (&level, &budget),
            "{model} {effort}"
        );
        assert_eq!(config["includeThoughts"].is_null(), model == "gemini-2.0-flash");
    }
}

#[test]
fn tool_choice_becomes_a_mode() {
    let cases = [
        (json!("auto"), Value::Null),
        (json!("none"), json!({"mode": "NONE"})),
        (json!("required"), json!({"mode": "ANY"})),
        (
            json!({"type": "function", "name": "weather"}),
            json!({"mode": "ANY", "allowedFunctionNames": ["weather"]}),
        ),
        (
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]}),
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["weather"]}),
        ),
    ];
    for (choice, expected) in cases {
        let ask = with(
            with(ask(NEW, json!([user("?")])), "tools", json!([weather()])),
            "tool_choice",
            choice,
        );
        assert_eq!(body(&ask)["toolConfig"]["functionCallingConfig"], expected);
    }
}

#[test]
fn signature_returns_to_its_call_and_model_only() {
    let blocks = json!([{"thought": true, "text": "hm", "thoughtSignature": "t"}, {"call": "c1", "thoughtSignature": "s"}]);
    let sent = |by: &str, model: &str| {
        let input =
            json!([user("?"), carried(by, blocks.clone()), call("c1", "{}"), call("c2", "{}")]);
        body(&ask(model, input))["contents"][1]["parts"].clone()
    };
    let function = |id: &str| json!({"id": id, "name": "weather", "args": {}});
    assert_eq!(
        sent(NEW, NEW),
        json!([{"thought": true, "text": "hm", "thoughtSignature": "t"},
        {"functionCall": function("c1"), "thoughtSignature": "s"}, {"functionCall": function("c2")}])
    );
    assert_eq!(
        sent(OLD, NEW),
        json!([
        {"functionCall": function("c1"), "thoughtSignature": "skip_thought_signature_validator"},
        {"functionCall": function("c2")}])
    );
    assert_eq!(
        sent(NEW, OLD),
        json!([{"functionCall": function("c1")}, {"functionCall": function("c2")}])
    );
}

#[test]
fn reasoning_of_another_wire_is_dropped() {
    let other = json!({"type": "reasoning", "summary": [], "encrypted_content": "{\"wire\":\"anthropic\",\"blocks\":[1]}"});
    let opaque = json!({"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"});
    contents(
        NEW,
        json!([user("?"), other, opaque]),
        json!([{"role": "user", "parts": [{"text": "?"}]}]),
    );
}

#[test]
fn decoded_parts_are_encoded_unchanged() {
    let parts = json!([{"text": "It is ", "thoughtSignature": "a"}, {"text": "fair"}, {"text": "é."}, {"text": "", "thoughtSignature": "b"},
        {"functionCall": {"name": "weather", "args": {"city": "X"}, "id": "g1"}, "thoughtSignature": "c"},
        {"functionCall": {"name": "weather", "args": {}, "id": "g2"}}, {"text": "", "thoughtSignature": "d"}]);
    let ask = with(ask(NEW, json!([user("?")])), "tools", json!([weather()]));
    let chunks: Vec<Value> = parts
        .as_array()
        .unwrap()
        .iter()
        .map(|part| chunk(json!([part])))
        .chain([stop("STOP")])
        .collect();
    let mut input = vec![user("?")];
    input.extend(items(&decode(&ask, &chunks).unwrap()));
    let sent = body(&with(ask, "input", json!(input)));
    assert_eq!(
        sent["contents"][1]["parts"],
        json!([{"text": "It is ", "thoughtSignature": "a"}, {"text": "fairé."}, {"text": "", "thoughtSignature": "b"},
        {"functionCall": {"name": "weather", "args": {"city": "X"}, "id": "g1"}, "thoughtSignature": "c"},
        {"functionCall": {"name": "weather", "args": {}, "id": "g2"}}, {"text": "", "thoughtSignature": "d"}])
    );
}

#[test]
fn signatures_of_changed_text_follow_it() {
    let blocks = json!([{"at": 3, "text": "xyz", "thoughtSignature": "a"}]);
    let sent =
        body(&ask(NEW, json!([user("?"), assistant("new text"), carried(NEW, blocks), user("!")])));
    assert_eq!(
        sent["contents"][1]["parts"],
        json!([{"text": "new text"}, {"text": "", "thoughtSignature": "a"}])
    );
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules_of_gemini(order in prop::collection::vec(0..9_usize, 0..14)) {
        let kinds = [user("u"), assistant("a"), call("c1", "{}"), call("c2", "{}"), output("c1", json!("1")), output("c2", json!("2")),
            carried(NEW, json!([{"call": "c1", "thoughtSignature": "s"}])), carried(NEW, json!([{"at": 0, "text": "a", "thoughtSignature": "s"}])),
            json!({"type": "web_search_call"})];
        let input: Vec<Value> = order.iter().map(|kind| kinds[*kind].clone()).collect();
        let Ok(sent) = Gemini.encode(&ask(NEW, json!(input))) else { return Ok(()) };
        let contents = sent.body["contents"].as_array().unwrap();
        prop_assert_eq!(&contents[contents.len() - 1]["role"], "user");
        let mut calls = Vec::new();
        for (place, turn) in contents.iter().enumerate() {
            prop_assert_eq!(&turn["role"], if place % 2 == 0 { "user" } else { "model" });
            let ids = |kind: &str| -> Vec<Value> {
                turn["parts"].as_array().unwrap().iter().filter_map(|part| part.get(kind)).map(|inner| inner["id"].clone()).collect()
            };
            prop_assert_eq!(&ids("functionResponse"), &calls);
            calls = ids("functionCall");
            let first = turn["parts"].as_array().unwrap().iter().find(|part| part["functionCall"].is_object());
            prop_assert!(first.is_none_or(|part| part["thoughtSignature"].is_string()));
        }
    }
}
