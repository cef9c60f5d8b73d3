//! Reasoning, over every wire: streamed to the client, and sent back to the provider unchanged.

use serde_json::Value;
use serde_json::json;

use crate::support::client::kinds;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::Part;
use crate::support::dialects::ask;
use crate::support::dialects::shell;
use crate::support::provider::Provider;

/// Signatures in base64 with characters that a wrong re-encoding would change.
const SEAL: &str = "+/+/c2VhbC1vZi10aGUtZmlyc3Q=";
const SECOND_SEAL: &str = "/+/+c2VhbC1vZi10aGUtc2Vjb25k";

/// Returns the texts of a member in the events of a type.
fn texts<'a>(events: &'a [Value], kind: &str, member: &str) -> Vec<&'a str> {
    let of_kind = events.iter().filter(|event| event["msg"]["type"] == kind);
    of_kind.map(|event| event["msg"][member].as_str().unwrap()).collect()
}

/// Returns the signature and the summary of the reasoning at this place in a request. Gemini gets
/// no summary back.
fn returned_reasoning(dialect: &Dialect, body: &Value, place: usize) -> Option<(Value, Value)> {
    match dialect.wire_api {
        "responses" => body["input"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["type"] == "reasoning")
            .nth(place)
            .map(|item| (item["encrypted_content"].clone(), item["summary"][0]["text"].clone())),
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
            // It must be the first block of its turn.
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
    }
}

#[tokio::test]
async fn reasoning_is_shown_and_sent_back() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider = Provider::start([
            dialect.thought("**Weighing** the options", SEAL, shell("call_1", "echo tool-ran")),
            dialect.thought(
                "**Summing** up",
                SECOND_SEAL,
                Part::Text(vec!["Thought through.".into()]),
            ),
            dialect.text("Still here."),
        ])
        .await;
        let mut setup = dialect.setup(&provider);
        setup.config = format!(
            "model_reasoning_effort = \"high\"\nmodel_reasoning_summary = \"detailed\"\n{}",
            setup.config
        );
        let gateway = setup.start();
        let events = gateway.exec(json!({ "prompt": "think", "session_id": "s" })).await;
        let thoughts = texts(&events, "agent_reasoning", "text");
        assert_eq!(
            thoughts,
            ["**Weighing** the options", "**Summing** up"],
            "{wire}: {:?}",
            kinds(&events)
        );
        let deltas = texts(&events, "reasoning_content_delta", "delta").concat();
        assert_eq!(deltas, "**Weighing** the options**Summing** up", "{wire}");
        let again = ask(&gateway, "and now?").await;
        assert_eq!(again["task_result"]["summary"], "Still here.", "{wire}: {again}");

        let requests = provider.requests();
        for (seal, place, request) in [(SEAL, 0, 1), (SEAL, 0, 2), (SECOND_SEAL, 1, 2)] {
            let body = &requests[request].body;
            let (found, summary) = returned_reasoning(dialect, body, place)
                .unwrap_or_else(|| panic!("{wire}: no {seal} in request {request}: {body}"));
            assert_eq!(found, seal, "{wire}: request {request}");
            if !summary.is_null() {
                assert_eq!(summary, thoughts[place], "{wire}: request {request}");
            }
        }
    }
}
