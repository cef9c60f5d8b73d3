//! Whatever a server or core may send: no panic, no hang, always an answer.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("choices"),
        Just("delta"),
        Just("content"),
        Just("reasoning"),
        Just("reasoning_details"),
        Just("tool_calls"),
        Just("function"),
        Just("name"),
        Just("arguments"),
        Just("index"),
        Just("id"),
        Just("usage"),
        Just("type"),
        Just("prompt_tokens"),
        Just("finish_reason"),
        Just("error"),
        Just("message"),
        Just("text"),
        Just("thinking"),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|fields| fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

/// Pieces of real streams, whole, cut or strange.
fn event() -> impl Strategy<Value = String> {
    let text =
        prop_oneof![Just("content"), Just("reasoning"), Just("reasoning_content"), Just("refusal")];
    let fragment = (0_u64..3, ".{0,3}", prop::option::of("[a-c]{0,2}"), "[{}\":a1]{0,4}").prop_map(|(index, id, name, arguments)| {
        chunk(json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}))
    });
    let whole = prop_oneof![
        (text, ".{0,6}").prop_map(|(field, text)| chunk(json!({field: text}))),
        fragment,
        json_value().prop_map(|details| chunk(json!({"reasoning_details": [details]}))),
        prop_oneof![Just("stop"), Just("length"), Just("tool_calls")].prop_map(finish),
        json_value().prop_map(chunk),
        json_value(),
    ];
    prop_oneof![
        8 => whole.clone().prop_map(|event| event.to_string()),
        1 => (whole, any::<prop::sample::Index>()).prop_map(|(event, at)| {
            let text = event.to_string();
            text.chars().take(at.index(text.len())).collect()
        }),
        1 => Just("[DONE]".to_owned()),
        1 => ".{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_order_of_events_breaks_the_decoder(events in prop::collection::vec(event(), 0..16)) {
        let mut decoder = Chat.decoder(&ask(json!("hi")), "p");
        let mut out = Vec::new();
        let mut failed = false;
        for data in &events {
            let told = match data.as_str() {
                "[DONE]" => decoder.done(),
                data => decoder.event("message", data),
            };
            match told {
                Ok(more) => out.extend(values(&more)),
                Err(failure) => {
                    prop_assert!(failure.message.starts_with("Chat Completions provider"));
                    failed = true;
                }
            }
        }
        match decoder.end() {
            Ok(more) => {
                prop_assert!(!failed);
                out.extend(values(&more));
                let last = out.last().and_then(|event| event["type"].as_str()).unwrap_or_default();
                prop_assert!(matches!(last, "response.completed" | "response.failed"), "{}", last);
            }
            Err(failure) => prop_assert!(failure.message.starts_with("Chat Completions provider")),
        }
        // Items are closed one at a time, and core can send them back.
        let open = |event: &&Value| event["type"] == "response.output_item.added";
        prop_assert!(failed || out.iter().filter(open).count() <= done_items(&out).len() + 1);
        prop_assert!(Chat.encode(&ask(Value::Array(done_items(&out)))).is_ok());
    }

    #[test]
    fn no_request_breaks_the_encoder(input in json_value(), tools in json_value(), kind in 0_usize..9) {
        let kinds = ["message", "reasoning", "function_call", "function_call_output", "custom_tool_call",
            "tool_search_output", "local_shell_call", "agent_message", "compaction"];
        let mut item = input.clone();
        if item.is_object() {
            item["type"] = json!(kinds[kind]);
            item["call_id"] = json!("c");
        }
        let ask = json!({"model": "m", "input": [item.clone(), user("hi"), item], "tools": tools, "tool_choice": input,
            "text": input, "reasoning": input});
        if let Ok(out) = Chat.encode(&ask) {
            let messages = out.body["messages"].as_array().expect("messages");
            let called = messages.iter().flat_map(|m| m["tool_calls"].as_array().cloned().unwrap_or_default()).count();
            prop_assert_eq!(called, messages.iter().filter(|m| m["role"] == "tool").count());
        }
    }

    #[test]
    fn any_error_body_names_the_provider(status in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..64), value in json_value()) {
        prop_assert!(Chat.error(status, &body).message.starts_with("Chat Completions provider"));
        prop_assert!(Chat.error(status, value.to_string().as_bytes()).message.starts_with("Chat Completions provider"));
    }
}
