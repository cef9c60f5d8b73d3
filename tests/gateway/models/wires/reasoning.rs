//! Thoughts over every wire: shown as they come, and carried back as the provider gave them.

use serde_json::json;

use crate::support::client::kinds;
use crate::support::provider::Provider;
use crate::support::wires::Part;
use crate::support::wires::WIRES;
use crate::support::wires::ask;
use crate::support::wires::shell;

/// Base64 that no careless hand leaves as it was.
const SEAL: &str = "+/+/c2VhbC1vZi10aGUtZmlyc3Q=";
const SECOND_SEAL: &str = "/+/+c2VhbC1vZi10aGUtc2Vjb25k";

#[tokio::test]
async fn reasoning_is_shown_and_sent_back() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([
            speaks.thought("**Weighing** the options", SEAL, shell("call_1", "echo tool-ran")),
            speaks.thought(
                "**Summing** up",
                SECOND_SEAL,
                Part::Text(vec!["Thought through.".into()]),
            ),
            speaks.text("Still here."),
        ])
        .await;
        let mut setup = speaks.setup(&provider);
        setup.config = format!(
            "model_reasoning_effort = \"high\"\nmodel_reasoning_summary = \"detailed\"\n{}",
            setup.config
        );
        let gateway = setup.start();
        let events = gateway.exec(json!({ "prompt": "think", "session_id": "s" })).await;
        let thoughts: Vec<&str> = events
            .iter()
            .filter(|event| event["msg"]["type"] == "agent_reasoning")
            .map(|event| event["msg"]["text"].as_str().unwrap())
            .collect();
        assert_eq!(
            thoughts,
            ["**Weighing** the options", "**Summing** up"],
            "{wire}: {:?}",
            kinds(&events)
        );
        let deltas: String = events
            .iter()
            .filter(|event| event["msg"]["type"] == "reasoning_content_delta")
            .map(|event| event["msg"]["delta"].as_str().unwrap())
            .collect();
        assert_eq!(deltas, "**Weighing** the options**Summing** up", "{wire}");
        let again = ask(&gateway, "and now?").await;
        assert_eq!(again["task_result"]["summary"], "Still here.", "{wire}: {again}");

        let asked = provider.asked();
        for (seal, place, request) in [(SEAL, 0, 1), (SEAL, 0, 2), (SECOND_SEAL, 1, 2)] {
            let body = &asked[request].body;
            let carried = match speaks.wire_api {
                "responses" => body["input"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|item| item["type"] == "reasoning")
                    .nth(place)
                    .map(|item| {
                        (item["encrypted_content"].clone(), item["summary"][0]["text"].clone())
                    }),
                "chat" => body["messages"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|message| message["reasoning_details"].is_array())
                    .nth(place)
                    .map(|message| &message["reasoning_details"][0])
                    .map(|detail| (detail["signature"].clone(), detail["text"].clone())),
                "anthropic" => body["messages"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|message| message["role"] == "assistant")
                    .nth(place)
                    // It must be the first of its turn.
                    .map(|message| &message["content"][0])
                    .map(|block| (block["signature"].clone(), block["thinking"].clone())),
                "gemini" => body["contents"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|turn| turn["role"] == "model")
                    .flat_map(|turn| turn["parts"].as_array().unwrap())
                    .filter(|part| part["thoughtSignature"].is_string())
                    .nth(place)
                    .inspect(|part| match place {
                        0 => assert_eq!(part["functionCall"]["name"], "shell_command", "{part}"),
                        _ => assert!(part["text"].is_string(), "{part}"),
                    })
                    .map(|part| (part["thoughtSignature"].clone(), json!(null))),
                other => panic!("no such wire: {other}"),
            };
            let (found, summary) =
                carried.unwrap_or_else(|| panic!("{wire}: no {seal} in request {request}: {body}"));
            assert_eq!(found, seal, "{wire}: request {request}");
            if !summary.is_null() {
                assert_eq!(summary, thoughts[place], "{wire}: request {request}");
            }
        }
    }
}
