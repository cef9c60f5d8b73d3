//! What the agent asks beside commands and patches, answered from another connection: its own questions
//! (`request_user_input`), more permissions (`request_permissions`), and what tool servers want to know or have
//! allowed (elicitation).

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::asking::asking;
use crate::support::asking::decide;
use crate::support::client::Lines;
use crate::support::client::kinds;
use crate::support::gateway::Setup;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::wires::Part;
use crate::support::wires::WIRES;
use crate::support::wires::shell;

/// A turn that waits for an answer.
struct Waiting {
    stream: Lines,
    path: String,
    question: Value,
}

impl Waiting {
    /// Starts a turn, and waits until it asks.
    async fn of(gateway: &Gateway, prompt: &str) -> Self {
        let body = json!({ "prompt": prompt, "session_id": "s", "approval_policy": "on-request" });
        let (stream, path, question) = asking(gateway, body).await;
        Self { stream, path, question }
    }

    fn kind(&self) -> &str {
        self.question["request"]["type"].as_str().unwrap()
    }

    async fn decide(&self, gateway: &Gateway, answer: Value) -> Value {
        decide(gateway, &self.path, &self.question, answer).await
    }

    /// The rest of the turn.
    async fn end(mut self) -> Vec<Value> {
        self.stream.events().await
    }
}

fn last(events: &[Value]) -> &Value {
    &events.last().unwrap()["msg"]
}

/// What the model was told of its call.
fn told(provider: &Provider, request: usize) -> String {
    WIRES[0].called(&provider.asked()[request].body)[0].result.clone()
}

fn with_feature(provider: &Provider, feature: &str) -> Setup {
    let mut setup = WIRES[0].setup(provider);
    setup.config.push_str(&format!("[features]\n{feature} = true\n"));
    setup
}

fn asks_for_a_colour() -> Answer {
    let option = |label: &str| json!({ "label": label, "description": "A colour." });
    let question = json!({ "id": "colour", "header": "Colour", "question": "Which colour?",
                           "options": [option("red"), option("blue")] });
    WIRES[0].say(&[Part::Call {
        id: "call_q",
        name: "request_user_input",
        arguments: json!({ "questions": [question] }),
    }])
}

#[tokio::test]
async fn user_input_request_follows_each_decision() {
    let text = || WIRES[0].text("Noted.");
    let feature = "default_mode_request_user_input";
    for (decision, expected) in [
        (json!({ "decision": "approved", "answers": { "colour": ["blue"] } }), "blue"),
        (json!({ "decision": "approved_for_session", "answers": { "colour": ["red"] } }), "red"),
        (json!({ "decision": "denied" }), "\"answers\":{}"),
    ] {
        let provider = Provider::start([asks_for_a_colour(), text()]).await;
        let gateway = with_feature(&provider, feature).start();
        let waiting = Waiting::of(&gateway, "paint it").await;
        assert_eq!(waiting.kind(), "request_user_input", "{}", waiting.question);
        assert_eq!(waiting.question["request"]["questions"][0]["id"], "colour");
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
        assert!(told(&provider, 1).contains(expected), "{decision}: {}", told(&provider, 1));
    }

    let provider = Provider::start([asks_for_a_colour(), text()]).await;
    let gateway = with_feature(&provider, feature).start();
    let waiting = Waiting::of(&gateway, "paint it").await;
    waiting.decide(&gateway, json!({ "decision": "abort" })).await;
    assert_eq!(last(&waiting.end().await)["type"], "turn_aborted");
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn permissions_last_as_long_as_granted() {
    let feature = "request_permissions_tool";
    for (decision, first, second) in
        [("approved", true, false), ("approved_for_session", true, true), ("denied", false, false)]
    {
        let outside = crate::support::gateway::new_home();
        let write = |name: &str| {
            let file = outside.path().join(name);
            WIRES[0].call(&format!("echo x > {}", file.display()))
        };
        let ask = WIRES[0].say(&[Part::Call {
            id: "call_p",
            name: "request_permissions",
            arguments: json!({ "reason": "to write there",
                               "permissions": { "file_system": { "write": [outside.path()] } } }),
        }]);
        let text = |text| WIRES[0].text(text);
        let script = [ask, write("first"), text("One."), write("second"), text("Two.")];
        let provider = Provider::start(script).await;
        let gateway = with_feature(&provider, feature).start();
        let waiting = Waiting::of(&gateway, "write there").await;
        assert_eq!(waiting.kind(), "request_permissions", "{}", waiting.question);
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
            told(&provider, 2)
        );
    }

    let ask = WIRES[0].say(&[
        Part::Call {
            id: "call_p",
            name: "request_permissions",
            arguments: json!({ "permissions": { "network": { "enabled": true } } }),
        },
        shell("call_s", "true"),
    ]);
    let provider = Provider::start([ask, WIRES[0].text("Never.")]).await;
    let gateway = with_feature(&provider, feature).start();
    let waiting = Waiting::of(&gateway, "write there").await;
    waiting.decide(&gateway, json!({ "decision": "abort" })).await;
    assert_eq!(last(&waiting.end().await)["type"], "turn_aborted");
}

fn server() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/support/mcp_server.py")
}

/// A gateway whose file names a tool server.
fn with_server(more: &str) -> Gateway {
    Gateway::config(&format!(
        "[mcp_servers.calc]\ncommand = \"python3\"\nargs = [\"{}\", \"stdio\"]\n{more}\n",
        server()
    ))
    .start()
}

const USED: &str = "default_tools_approval_mode = \"approve\"";

#[tokio::test]
async fn elicitation_follows_each_decision() {
    for (decision, expected) in [
        (
            json!({ "decision": "approved", "content": { "colour": "blue" } }),
            "\\\"colour\\\": \\\"blue\\\"",
        ),
        (json!({ "decision": "denied" }), "decline"),
    ] {
        let gateway = with_server(USED);
        let waiting = Waiting::of(&gateway, "call: calc ask {}").await;
        assert_eq!(waiting.kind(), "elicitation_request", "{}", waiting.question);
        assert!(waiting.question.to_string().contains("Which colour?"), "{}", waiting.question);
        waiting.decide(&gateway, decision.clone()).await;
        let events = waiting.end().await;
        let said = last(&events).to_string();
        assert!(
            said.contains(expected) || said.replace("\\\\\\", "\\").contains(expected),
            "{decision}: {said}"
        );
    }
    let gateway = with_server(USED);
    let waiting = Waiting::of(&gateway, "call: calc ask {}").await;
    waiting.decide(&gateway, json!({ "decision": "abort" })).await;
    assert_eq!(last(&waiting.end().await)["type"], "turn_aborted");
}

#[tokio::test]
async fn configured_tool_runs_only_when_approved() {
    let add = "call: calc add {\"a\":2,\"b\":3}";
    for (decision, ran) in [("approved", true), ("approved_for_session", true), ("denied", false)] {
        let gateway = with_server("");
        let waiting = Waiting::of(&gateway, add).await;
        assert_eq!(waiting.kind(), "elicitation_request", "{}", waiting.question);
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

/// Core asks before such a tool whatever the policy is; a turn that nobody is to be asked about would wait for its limit.
#[tokio::test]
async fn without_approvals_configuration_decides_tool_use() {
    let add = json!({ "prompt": "call: calc add {\"a\":2,\"b\":3}", "session_id": "s" });
    let events = with_server(USED).exec(add.clone()).await;
    assert!(
        last(&events)["last_agent_message"].as_str().unwrap().contains(r#""text":"5""#),
        "{events:#?}"
    );
    assert!(!kinds(&events).contains(&"elicitation_request"), "{:?}", kinds(&events));

    let gateway = with_server("");
    let events = gateway.exec(add).await;
    let kinds = kinds(&events);
    let asked = kinds.iter().position(|kind| *kind == "elicitation_request").unwrap();
    let decided =
        events[asked..].iter().find(|event| event["msg"]["type"] == "gateway_approval_decided");
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
