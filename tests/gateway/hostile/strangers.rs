//! Other keys: what one key has made does not exist for another, through any door.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;
use crate::support::mcp::script;
use crate::support::merged;

const ANN: (&str, &str) = ("x-api-key", "canary-ann");
const BOB: (&str, &str) = ("x-api-key", "canary-bob");

fn two_keys() -> crate::support::gateway::Setup {
    Gateway::env("GATEWAY_API_KEY", "ann=canary-ann,bob=canary-bob")
        .config("[gateway]\nallow_approvals = true\nallow_mcp_stdio = true\n")
}

/// The members that a call needs beside the name of its conversation or terminal.
fn more(name: &str) -> Value {
    match name {
        "prompt" | "conversation.prompt" | "steer" | "conversation.steer" | "turns" => {
            json!({ "prompt": "say: evil" })
        }
        "rollback" | "conversation.rollback" => json!({ "turns": 1 }),
        "review" | "conversation.review" => json!({ "target": { "type": "uncommitted_changes" } }),
        "approvals" => json!({ "decision": "abort" }),
        "conversation.approve" => json!({ "approval_id": "call_1", "decision": "abort" }),
        "mcp.connect" => json!({ "server_config": { "name": "evil", "command": "python3",
                                                    "args": [script(), "stdio"] } }),
        "mcp.disconnect" => json!({ "name": "calc" }),
        "auth.login" => {
            json!({ "provider": "openai", "credentials": { "api_key": "sk-evil" } })
        }
        "interactive.input" => json!({ "data": "ZXhpdAo=" }),
        "interactive.resize" => json!({ "cols": 80, "rows": 24 }),
        _ => json!({}),
    }
}

/// A conversation of Ann's whose turn waits for an approval, and a terminal of hers.
struct Target {
    id: String,
    terminal: Value,
}

impl Target {
    async fn start(gateway: &Gateway) -> Self {
        let body = json!({ "session_id": "anns", "prompt": "run: touch made",
                           "approval_policy": "untrusted" });
        let started = gateway.post_with("/api/v1/conversations", &[ANN], body).await;
        assert_eq!(started.status, 201, "{}", started.text());
        let id = started.json()["conversation_id"].as_str().unwrap().to_owned();
        let start = json!({ "session_id": "anns" });
        let terminal = gateway.rpc_with(&[ANN], "interactive.start", start).await;
        let terminal = terminal["result"]["terminal_id"].clone();
        assert!(terminal.is_string());
        let target = Self { id, terminal };
        eventually("the turn waits", || async {
            target.status(gateway).await == "waiting_approval"
        })
        .await;
        target
    }

    async fn status(&self, gateway: &Gateway) -> Value {
        let path = format!("/api/v1/conversations/{}", self.id);
        gateway.send("GET", &path, &[ANN], b"").await.json()["status"].clone()
    }
}

// Long: one door after another, over the same conversation.
#[tokio::test]
async fn conversation_does_not_exist_for_strangers() {
    let gateway = two_keys().start();
    let target = Target::start(&gateway).await;

    // Every route that names a conversation.
    let document = gateway.get("/openapi.json").await.json();
    let mut routes = 0;
    for (template, methods) in document["paths"].as_object().unwrap() {
        if !template.contains("{id}") {
            continue;
        }
        let path = template.replace("{id}", &target.id).replace("{approval_id}", "call_1");
        let last = template.split('/').rfind(|part| !part.starts_with('{')).unwrap();
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_ascii_uppercase();
            let (headers, body) = match method.as_str() {
                "GET" | "DELETE" => (vec![BOB], String::new()),
                _ => (vec![BOB, ("content-type", "application/json")], more(last).to_string()),
            };
            let reply = gateway.send(&method, &path, &headers, body.as_bytes()).await;
            assert_eq!(reply.status, 404, "{method} {template}: {}", reply.text());
            routes += 1;
        }
    }
    assert!(routes >= 14, "{routes}");
    for (key, count) in [(ANN, 1), (BOB, 0)] {
        let listed = gateway.send("GET", "/api/v1/conversations", &[key], b"").await.json();
        assert_eq!(listed["conversations"].as_array().unwrap().len(), count, "{listed}");
    }
    for path in ["/exec", "/api/v1/exec", "/api/v1/exec/stream", "/api/v1/conversations"] {
        for name in [json!({ "session_id": "anns" }), json!({ "conversation_id": target.id })] {
            if path == "/api/v1/conversations" && name.get("conversation_id").is_some() {
                continue;
            }
            let body = merged(more("prompt"), name);
            let reply = gateway.post_with(path, &[BOB], body.clone()).await;
            assert_eq!(reply.status, 404, "{path} {body}: {}", reply.text());
        }
    }

    // Every method that names a conversation or a terminal.
    let mut socket = Socket::connect(&gateway, &[BOB]).await;
    let methods = socket.call("rpc.discover", json!({})).await["result"]["methods"].clone();
    let mut calls = 0;
    for method in methods.as_array().unwrap() {
        let name = method["name"].as_str().unwrap();
        let takes = |param: &str| {
            method["params"].as_array().unwrap().iter().any(|one| one["name"] == param)
        };
        for (param, value) in [
            ("session_id", json!("anns")),
            ("conversation_id", json!(target.id)),
            ("terminal_id", target.terminal.clone()),
        ] {
            if !takes(param) {
                continue;
            }
            let params = merged(more(name), json!({ param: value }));
            let answer = socket.call(name, params).await;
            let refused =
                answer["error"]["code"] == -32004 || answer["result"]["status"] == "not_found";
            assert!(refused, "{name} {param}: {answer}");
            calls += 1;
        }
    }
    assert!(calls >= 40, "{calls}");
    let listed = socket.call("conversation.list", json!({})).await;
    assert_eq!(listed["result"]["conversations"], json!([]));

    // Nothing has happened to it.
    assert_eq!(target.status(&gateway).await, "waiting_approval");
    let path = format!("/api/v1/conversations/{}", target.id);
    let pending = gateway.send("GET", &format!("{path}/approvals"), &[ANN], b"").await.json();
    let approval = pending["approvals"][0]["approval_id"].as_str().unwrap();
    let approve = format!("{path}/approvals/{approval}");
    let decided = gateway.post_with(&approve, &[ANN], json!({ "decision": "approved" })).await;
    assert_eq!(decided.status, 200, "{}", decided.text());
    eventually("the turn ends", || async { target.status(&gateway).await == "idle" }).await;
    let mut own = Socket::connect(&gateway, &[ANN]).await;
    let stop = own.call("interactive.stop", json!({ "terminal_id": target.terminal })).await;
    assert_eq!(stop["result"]["stopped"], true, "{stop}");
}

#[tokio::test]
async fn owners_outlive_a_restart_and_key_order() {
    let ask = async |gateway: &Gateway, key: &str, session: &str| {
        let body = json!({ "prompt": "say: hi", "session_id": session });
        gateway.post_with("/api/v1/exec", &[("x-api-key", key)], body).await.status
    };
    let with_keys = |keys: &str| Gateway::env("GATEWAY_API_KEY", keys);
    let gateway = with_keys("alpha,beta").start();
    assert_eq!(ask(&gateway, "alpha", "of-alpha").await, 200);
    assert_eq!(ask(&gateway, "beta", "of-beta").await, 200);
    // The second key takes the place of the first.
    let gateway = gateway.restart_with_env("GATEWAY_API_KEY", "beta,gamma");
    assert_eq!(ask(&gateway, "beta", "of-beta").await, 200);
    for (key, session) in [("beta", "of-alpha"), ("gamma", "of-alpha"), ("gamma", "of-beta")] {
        assert_eq!(ask(&gateway, key, session).await, 404, "{key} {session}");
    }
    // A single key is the operator's, whatever it was before.
    let gateway = gateway.restart_with_env("GATEWAY_API_KEY", "delta");
    for session in ["of-alpha", "of-beta"] {
        assert_eq!(ask(&gateway, "delta", session).await, 200, "{session}");
    }
}

#[tokio::test]
async fn connected_tools_reach_own_conversations_only() {
    let gateway = two_keys().start();
    let server = json!({ "name": "calc", "command": "python3", "args": [script(), "stdio"],
                         "startup_timeout_ms": 20_000 });
    let connected =
        gateway.rpc_with(&[ANN], "mcp.connect", json!({ "server_config": server })).await;
    assert_eq!(connected["result"]["connected"], true, "{connected}");
    for (key, expected, servers) in [(BOB, "no tool `add`", 0), (ANN, "5", 1)] {
        let listed = gateway.rpc_with(&[key], "mcp.list", json!({})).await;
        assert_eq!(listed["result"]["servers"].as_array().unwrap().len(), servers, "{listed}");
        let body = json!({ "prompt": "call: calc add {\"a\":2,\"b\":3}", "session_id": key.1 });
        let answer = gateway.post_with("/api/v1/exec", &[key], body).await.json();
        let said = answer["task_result"]["summary"].as_str().unwrap();
        assert!(said.contains(expected), "{said}");
    }
    let disconnect = json!({ "name": "calc" });
    let refused = gateway.rpc_with(&[BOB], "mcp.disconnect", disconnect.clone()).await;
    assert_eq!(refused["error"]["code"], -32004, "{refused}");
    let listed = gateway.rpc_with(&[ANN], "mcp.list", json!({ "session_id": ANN.1 })).await;
    assert_eq!(listed["result"]["servers"].as_array().unwrap().len(), 1, "{listed}");
    let gone = gateway.rpc_with(&[ANN], "mcp.disconnect", disconnect).await;
    assert_eq!(gone["result"]["disconnected"], true, "{gone}");
}
