//! Requests of the agent beside commands and patches, decided over another connection: user input
//! (`request_user_input`), permissions (`request_permissions`), and elicitation of tool servers.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::approvals::decide;
use crate::support::approvals::waiting_turn;
use crate::support::client::Lines;
use crate::support::client::kinds;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Part;
use crate::support::dialects::shell;
use crate::support::gateway::Setup;
use crate::support::gateway::new_home;
use crate::support::mcp::script;
use crate::support::provider::Answer;
use crate::support::provider::Provider;

/// A turn that waits for a decision.
struct Waiting {
    stream: Lines,
    path: String,
    request: Value,
}

impl Waiting {
    /// Starts a turn and waits for its request.
    async fn start(gateway: &Gateway, prompt: &str) -> Self {
        let body = json!({ "prompt": prompt, "session_id": "s", "approval_policy": "on-request" });
        let (stream, path, request) = waiting_turn(gateway, body).await;
        Self { stream, path, request }
    }

    fn kind(&self) -> &str {
        self.request["request"]["type"].as_str().unwrap()
    }

    async fn decide(&self, gateway: &Gateway, answer: Value) -> Value {
        decide(gateway, &self.path, &self.request, answer).await
    }

    /// Returns the remaining events of the turn.
    async fn end(mut self) -> Vec<Value> {
        self.stream.events().await
    }
}

fn last(events: &[Value]) -> &Value {
    &events.last().unwrap()["msg"]
}

/// Returns the result of the call in the given request to the model.
fn result_of_call(provider: &Provider, request: usize) -> String {
    DIALECTS[0].answered_calls(&provider.requests()[request].body)[0].result.clone()
}

fn with_feature(provider: &Provider, feature: &str) -> Setup {
    let mut setup = DIALECTS[0].setup(provider);
    setup.config.push_str(&format!("[features]\n{feature} = true\n"));
    setup
}

fn colour_question() -> Answer {
    let option = |label: &str| json!({ "label": label, "description": "A colour." });
    let question = json!({ "id": "colour", "header": "Colour", "question": "Which colour?",
                           "options": [option("red"), option("blue")] });
    DIALECTS[0].say(&[Part::Call {
        id: "call_q",
        name: "request_user_input",
        arguments: json!({ "questions": [question] }),
    }])
}

#[tokio::test]
async fn user_input_request_follows_each_decision() {
    let text = || DIALECTS[0].text("Noted.");
    let feature = "default_mode_request_user_input";
    for (decision, expected) in [
        (json!({ "decision": "approved", "answers": { "colour": ["blue"] } }), "blue"),
        (json!({ "decision": "approved_for_session", "answers": { "colour": ["red"] } }), "red"),
        (json!({ "decision": "denied" }), "\"answers\":{}"),
    ] {
        let provider = Provider::start([colour_question(), text()]).await;
        let gateway = with_feature(&provider, feature).start();
        let waiting = Waiting::start(&gateway, "paint it").await;
        assert_eq!(waiting.kind(), "request_user_input", "{}", waiting.request);
        assert_eq!(waiting.request["request"]["questions"][0]["id"], "colour");
        if decision["decision"] == "approved" {
            let bare = waiting.decide(&gateway, json!({ "decision": "approved" })).await;
            assert_eq!(bare["status"], 400, "{bare}");
            assert!(
                bare["detail"].as_str().unwrap().contains("answers.colour: expected"),
                "{bare}"
            );
        }
        let decided = waiting.decide(&gateway, decision.clone()).await;
        assert_eq!(decided["decided"], true, "{decided}");
        assert_eq!(last(&waiting.end().await)["last_agent_message"], "Noted.");
        assert!(
            result_of_call(&provider, 1).contains(expected),
            "{decision}: {}",
            result_of_call(&provider, 1)
        );
    }

    let provider = Provider::start([colour_question(), text()]).await;
    let gateway = with_feature(&provider, feature).start();
    let waiting = Waiting::start(&gateway, "paint it").await;
    waiting.decide(&gateway, json!({ "decision": "abort" })).await;
    assert_eq!(last(&waiting.end().await)["type"], "turn_aborted");
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn permissions_last_as_long_as_granted() {
    let feature = "request_permissions_tool";
    for (decision, first, second) in
        [("approved", true, false), ("approved_for_session", true, true), ("denied", false, false)]
    {
        let outside = new_home();
        let write = |name: &str| {
            let file = outside.path().join(name);
            DIALECTS[0].call(&format!("echo x > {}", file.display()))
        };
        let ask = DIALECTS[0].say(&[Part::Call {
            id: "call_p",
            name: "request_permissions",
            arguments: json!({ "reason": "to write there",
                               "permissions": { "file_system": { "write": [outside.path()] } } }),
        }]);
        let text = |text| DIALECTS[0].text(text);
        let script = [ask, write("first"), text("One."), write("second"), text("Two.")];
        let provider = Provider::start(script).await;
        let permitted = "[gateway]\nallow_approvals_outside_workspace = true\n";
        let gateway = with_feature(&provider, feature).config(permitted).start();
        let waiting = Waiting::start(&gateway, "write there").await;
        assert_eq!(waiting.kind(), "request_permissions", "{}", waiting.request);
        waiting.decide(&gateway, json!({ "decision": decision })).await;
        let events = waiting.end().await;
        assert_eq!(last(&events)["last_agent_message"], "One.", "{decision}: {events:#?}");
        let body = json!({ "prompt": "and again", "session_id": "s" });
        let events = gateway.exec(body).await;
        assert_eq!(last(&events)["last_agent_message"], "Two.", "{decision}");
        let there = |name: &str| outside.path().join(name).exists();
        assert_eq!(
            (there("first"), there("second")),
            (first, second),
            "{decision}: {}",
            result_of_call(&provider, 2)
        );
    }

    let ask = DIALECTS[0].say(&[
        Part::Call {
            id: "call_p",
            name: "request_permissions",
            arguments: json!({ "permissions": { "network": { "enabled": true } } }),
        },
        shell("call_s", "true"),
    ]);
    let provider = Provider::start([ask, DIALECTS[0].text("Never.")]).await;
    let gateway = with_feature(&provider, feature).start();
    let waiting = Waiting::start(&gateway, "write there").await;
    let refused = waiting.decide(&gateway, json!({ "decision": "approved" })).await;
    assert_eq!(refused["status"], 403, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("network access"), "{refused}");
    waiting.decide(&gateway, json!({ "decision": "abort" })).await;
    assert_eq!(last(&waiting.end().await)["type"], "turn_aborted");
}

/// Starts a gateway that configures a tool server.
fn with_server(more: &str) -> Gateway {
    Gateway::config(&format!(
        "[mcp_servers.calc]\ncommand = \"python3\"\nargs = [\"{}\", \"stdio\"]\n{more}\n",
        script()
    ))
    .start()
}

/// Runs the tools of the server without approval.
const APPROVED: &str = "default_tools_approval_mode = \"approve\"";

#[tokio::test]
async fn elicitation_follows_each_decision() {
    for (decision, expected) in [
        (
            json!({ "decision": "approved", "content": { "colour": "blue" } }),
            "\\\"colour\\\": \\\"blue\\\"",
        ),
        (json!({ "decision": "denied" }), "decline"),
    ] {
        let gateway = with_server(APPROVED);
        let waiting = Waiting::start(&gateway, "call: calc ask {}").await;
        assert_eq!(waiting.kind(), "elicitation_request", "{}", waiting.request);
        assert!(waiting.request.to_string().contains("Which colour?"), "{}", waiting.request);
        waiting.decide(&gateway, decision.clone()).await;
        let events = waiting.end().await;
        let said = last(&events).to_string();
        assert!(
            said.contains(expected) || said.replace("\\\\\\", "\\").contains(expected),
            "{decision}: {said}"
        );
    }
    let gateway = with_server(APPROVED);
    let waiting = Waiting::start(&gateway, "call: calc ask {}").await;
    waiting.decide(&gateway, json!({ "decision": "abort" })).await;
    assert_eq!(last(&waiting.end().await)["type"], "turn_aborted");
}

#[tokio::test]
async fn configured_tool_runs_only_when_approved() {
    let add = "call: calc add {\"a\":2,\"b\":3}";
    for (decision, ran) in [("approved", true), ("approved_for_session", true), ("denied", false)] {
        let gateway = with_server("");
        let waiting = Waiting::start(&gateway, add).await;
        assert_eq!(waiting.kind(), "elicitation_request", "{}", waiting.request);
        waiting.decide(&gateway, json!({ "decision": decision })).await;
        let events = waiting.end().await;
        let said = last(&events)["last_agent_message"].as_str().unwrap().to_owned();
        assert_eq!(said.contains(r#""text":"5""#), ran, "{decision}: {said}");
        if decision == "approved_for_session" {
            let body = json!({ "prompt": add, "session_id": "s", "approval_policy": "on-request" });
            let events = gateway.exec(body).await;
            assert!(!kinds(&events).contains(&"elicitation_request"), "{:?}", kinds(&events));
            assert!(
                last(&events)["last_agent_message"].as_str().unwrap().contains(r#""text":"5""#)
            );
        }
    }
}

/// Core requests approval for these tools whatever the policy is. The gateway decides at once, as a
/// turn without approvals would otherwise wait for its time limit.
#[tokio::test]
async fn without_approvals_configuration_decides_tool_use() {
    let add = json!({ "prompt": "call: calc add {\"a\":2,\"b\":3}", "session_id": "s" });
    let events = with_server(APPROVED).exec(add.clone()).await;
    assert!(
        last(&events)["last_agent_message"].as_str().unwrap().contains(r#""text":"5""#),
        "{events:#?}"
    );
    assert!(!kinds(&events).contains(&"elicitation_request"), "{:?}", kinds(&events));

    let gateway = with_server("");
    let events = gateway.exec(add).await;
    let kinds = kinds(&events);
    let position = kinds.iter().position(|kind| *kind == "elicitation_request").unwrap();
    let decided =
        events[position..].iter().find(|event| event["msg"]["type"] == "gateway_approval_decided");
    let decided = &decided.unwrap()["msg"];
    assert_eq!((&decided["decision"], &decided["by"]), (&json!("denied"), &json!("gateway")));
    assert!(
        decided["reason"].as_str().unwrap().contains("default_tools_approval_mode"),
        "{decided}"
    );
    assert_eq!(last(&events)["type"], "task_complete");
    assert!(
        !last(&events)["last_agent_message"].as_str().unwrap().contains(r#""text":"5""#),
        "{events:#?}"
    );
}
