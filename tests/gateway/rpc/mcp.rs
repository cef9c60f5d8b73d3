//! Tool servers: `mcp.connect`, `mcp.list`, `mcp.disconnect`, with real servers in Python.

use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::client;
use crate::support::eventually;
use crate::support::mcp::HttpServer;
use crate::support::mcp::script;

/// Returns the configuration of a stdio server that appends its process id to a file of the
/// gateway's home.
fn stdio(gateway: &Gateway, name: &str, mode: &str) -> Value {
    json!({
        "name": name,
        "command": "python3",
        "args": [script(), mode],
        "env": { "MCP_TEST_PIDS": pids_file(gateway), "GIVEN": "1" },
        "startup_timeout_ms": 20_000,
    })
}

fn pids_file(gateway: &Gateway) -> PathBuf {
    gateway.home.path().join("pids")
}

/// Returns the process ids of the servers that are still running.
fn running(gateway: &Gateway) -> Vec<String> {
    let started = std::fs::read_to_string(pids_file(gateway)).unwrap_or_default();
    started
        .lines()
        .filter(|pid| {
            // A zombie has ended.
            let status = Path::new("/proc").join(pid).join("status");
            std::fs::read_to_string(status).is_ok_and(|status| !status.contains("State:\tZ"))
        })
        .map(str::to_owned)
        .collect()
}

async fn wait_until_none_runs(gateway: &Gateway) {
    eventually("the servers end", || async { running(gateway).is_empty() }).await;
}

async fn connect(gateway: &Gateway, server: Value, session: Option<&str>) -> Value {
    let mut params = json!({ "server_config": server });
    if let Some(session) = session {
        params["session_id"] = session.into();
    }
    gateway.rpc("mcp.connect", params).await
}

/// Runs a prompt. Returns its events and the agent's last message.
async fn ask(gateway: &Gateway, session: &str, prompt: &str) -> (Vec<Value>, String) {
    let events = gateway.exec(json!({ "prompt": prompt, "session_id": session })).await;
    let last = events.last().unwrap()["msg"]["last_agent_message"].as_str();
    let last = last.unwrap_or_else(|| panic!("{events:#?}")).to_owned();
    (events, last)
}

async fn states(gateway: &Gateway, session: &str) -> Vec<(String, String)> {
    let listed = gateway.rpc("mcp.list", json!({ "session_id": session })).await;
    let servers = listed["result"]["servers"].as_array().unwrap_or_else(|| panic!("{listed}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    servers.iter().map(|server| (text(&server["name"]), text(&server["state"]))).collect()
}

#[tokio::test]
async fn next_turn_uses_a_newly_connected_server() {
    let gateway = Gateway::start();
    ask(&gateway, "m", "say: hi").await;
    let answer = connect(&gateway, stdio(&gateway, "calc", "stdio"), Some("m")).await;
    let result = &answer["result"];
    assert_eq!((&result["connected"], &result["name"]), (&json!(true), &json!("calc")), "{answer}");
    assert_eq!(result["tools"][0], json!({ "name": "add", "description": "Adds two numbers." }));
    assert_eq!(states(&gateway, "m").await, [("calc".to_owned(), "connected".to_owned())]);
    wait_until_none_runs(&gateway).await;

    let (events, said) = ask(&gateway, "m", "call: calc add {\"a\":2,\"b\":3}").await;
    let kinds = client::kinds(&events);
    assert!(
        client::in_order(&kinds, &["task_started", "mcp_tool_call_begin", "mcp_tool_call_end"]),
        "{kinds:?}: {said}"
    );
    let end = events.iter().find(|event| event["msg"]["type"] == "mcp_tool_call_end").unwrap();
    let end = &end["msg"];
    assert_eq!(end["invocation"]["server"], "calc");
    assert_eq!(end["result"]["Ok"]["content"][0]["text"], "5", "{end}");
    assert!(said.contains('5'), "{said}");
    assert_eq!(states(&gateway, "m").await, [("calc".to_owned(), "ready".to_owned())]);
    assert_eq!(running(&gateway).len(), 1);

    // The server gets only the configured environment.
    let (_, said) = ask(&gateway, "m", "call: calc variables {}").await;
    assert!(said.contains("GIVEN") && said.contains("PATH"), "{said}");
    assert!(!said.contains("CODEX_HOME") && !said.contains("RUST_LOG"), "{said}");

    // Another conversation does not see the server.
    let (_, said) = ask(&gateway, "other", "call: calc add {\"a\":2,\"b\":3}").await;
    assert!(said.contains("no tool `add`"), "{said}");

    let gone = json!({ "name": "calc", "session_id": "m" });
    let answer = gateway.rpc("mcp.disconnect", gone.clone()).await;
    assert_eq!(answer["result"], json!({ "disconnected": true, "name": "calc" }));
    let (_, said) = ask(&gateway, "m", "call: calc add {\"a\":2,\"b\":3}").await;
    assert!(said.contains("no tool `add`"), "{said}");
    wait_until_none_runs(&gateway).await;
    assert_eq!(gateway.rpc("mcp.disconnect", gone).await["error"]["code"], -32004);
}

#[tokio::test]
async fn global_server_serves_only_later_conversations() {
    let server = HttpServer::start("http-canary");
    let gateway = Gateway::config("[gateway]\nmcp_token_variables = [\"MCP_TOKEN\"]\n")
        .env("MCP_TOKEN", "http-canary")
        .start();
    ask(&gateway, "before", "say: hi").await;
    let config = json!({ "name": "web", "url": server.url, "bearer_token_env": "MCP_TOKEN" });
    let answer = connect(&gateway, config, None).await;
    assert_eq!(answer["result"]["tools"][0]["name"], "add", "{answer}");
    let listed = gateway.rpc("mcp.list", json!({})).await;
    assert_eq!(listed["result"]["servers"][0]["transport"], "http", "{listed}");

    let (events, said) = ask(&gateway, "after", "call: web add {\"a\":20,\"b\":3}").await;
    assert!(client::kinds(&events).contains(&"mcp_tool_call_end"), "{said}");
    assert!(said.contains("23"), "{said}");
    let (_, said) = ask(&gateway, "before", "call: web add {\"a\":20,\"b\":3}").await;
    assert!(said.contains("no tool `add`"), "{said}");

    // A global disconnect also affects conversations that started with the server.
    gateway.rpc("mcp.disconnect", json!({ "name": "web" })).await;
    let (_, said) = ask(&gateway, "after", "call: web add {\"a\":20,\"b\":3}").await;
    assert!(said.contains("no tool `add`"), "{said}");

    let wrong = json!({ "name": "web", "url": server.url });
    let answer = connect(&gateway, wrong, None).await;
    assert_eq!(answer["error"]["data"]["source"], "tool", "{answer}");
    assert!(!answer.to_string().contains("http-canary"));
    assert_eq!(gateway.rpc("mcp.list", json!({})).await["result"]["servers"], json!([]));
}

#[tokio::test]
async fn resumed_conversation_keeps_its_servers() {
    let gateway = Gateway::config("[gateway]\nconversation_idle_ms = 1\n").start();
    ask(&gateway, "m", "say: hi").await;
    let answer = connect(&gateway, stdio(&gateway, "calc", "stdio"), Some("m")).await;
    assert_eq!(answer["result"]["connected"], true, "{answer}");
    for turn in 0..2 {
        eventually("the conversation is evicted", || async {
            gateway.load().await["conversations"] == 0
        })
        .await;
        // Its servers end on eviction.
        wait_until_none_runs(&gateway).await;
        let (_, said) = ask(&gateway, "m", "call: calc add {\"a\":2,\"b\":3}").await;
        assert!(said.contains('5'), "{turn}: {said}");
    }
}

#[tokio::test]
async fn failed_connection_leaves_nothing_behind() {
    let gateway = Gateway::start();
    ask(&gateway, "m", "say: hi").await;
    for (mode, limit, code, says) in [
        ("dies", 20_000, -32006, "exited with code 3 before its tools were listed"),
        ("dies", 20_000, -32006, "no configuration found"),
        ("dies-later", 20_000, -32006, "exited with code 4"),
        ("hangs", 1_000, -32005, "did not list its tools within 1000 ms"),
        ("prints", 5_000, -32005, "its output is not MCP: Welcome"),
        ("lies", 5_000, -32006, "sent an invalid MCP message"),
    ] {
        for session in [Some("m"), None] {
            let mut server = stdio(&gateway, "bad", mode);
            server["startup_timeout_ms"] = limit.into();
            let answer = connect(&gateway, server, session).await;
            let error = &answer["error"];
            assert_eq!(error["code"], code, "{mode}: {answer}");
            assert!(error["message"].as_str().unwrap().contains(says), "{mode}: {answer}");
        }
    }
    for (server, says) in [
        (json!({ "name": "bad", "command": "/does/not/exist" }), "cannot be started"),
        (json!({ "name": "bad", "url": "http://127.0.0.1:1/mcp" }), "does not answer"),
        (
            json!({ "name": "bad", "url": format!("http://{}/health", gateway.address) }),
            "does not answer as an MCP server: HTTP status 405",
        ),
    ] {
        let answer = connect(&gateway, server, Some("m")).await;
        assert_eq!(answer["error"]["code"], -32006, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(says), "{answer}");
    }
    wait_until_none_runs(&gateway).await;
    assert!(states(&gateway, "m").await.is_empty());
    assert_eq!(gateway.rpc("mcp.list", json!({})).await["result"]["servers"], json!([]));
    let (events, said) = ask(&gateway, "m", "say: still here").await;
    assert_eq!(said, "still here");
    assert!(!client::kinds(&events).contains(&"mcp_startup_update"));
}

#[tokio::test]
async fn crashed_server_fails_the_call_and_restarts() {
    let gateway = Gateway::start();
    ask(&gateway, "m", "say: hi").await;
    connect(&gateway, stdio(&gateway, "calc", "stdio"), Some("m")).await;
    let (events, _) = ask(&gateway, "m", "call: calc die {}").await;
    let end = events.iter().find(|event| event["msg"]["type"] == "mcp_tool_call_end").unwrap();
    assert!(end["msg"]["result"]["Err"].is_string(), "{end}");
    assert_eq!(events.last().unwrap()["msg"]["type"], "task_complete");
    assert_eq!(states(&gateway, "m").await, [("calc".to_owned(), "failed".to_owned())]);
    let (_, said) = ask(&gateway, "m", "call: calc add {\"a\":2,\"b\":3}").await;
    assert!(said.contains('5'), "{said}");
    assert_eq!(states(&gateway, "m").await, [("calc".to_owned(), "ready".to_owned())]);
}

#[tokio::test]
async fn shutdown_ends_every_server() {
    let mut gateway = Gateway::start();
    ask(&gateway, "m", "say: hi").await;
    connect(&gateway, stdio(&gateway, "calc", "stdio"), Some("m")).await;
    ask(&gateway, "m", "call: calc add {\"a\":2,\"b\":3}").await;
    assert_eq!(running(&gateway).len(), 1);
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
    wait_until_none_runs(&gateway).await;
}

/// Returns invalid server configurations, with the code and a part of the detail of their refusal.
fn invalid_configs(url: &str) -> Vec<(Value, i32, &'static str)> {
    vec![
        (json!(7), -32602, "server_config"),
        (json!({}), -32602, "name"),
        (json!({ "name": "a b", "url": url }), -32602, "server_config.name: expected 1 to 64"),
        (json!({ "name": "a" }), -32602, "either command"),
        (json!({ "name": "a", "command": "x", "url": url }), -32602, "either command"),
        (json!({ "name": "a", "command": 7 }), -32602, "server_config.command"),
        (json!({ "name": "a", "command": "" }), -32602, "server_config.command: expected"),
        (json!({ "name": "a", "command": "x", "args": "y" }), -32602, "server_config.args"),
        (json!({ "name": "a", "command": "x", "env": { "A": 1 } }), -32602, "server_config.env"),
        (
            json!({ "name": "a", "command": "x", "env": { "A=B": "1" } }),
            -32602,
            "server_config.env: expected names without",
        ),
        (
            json!({ "name": "a", "command": "x", "bearer_token_env": "T" }),
            -32602,
            "bearer_token_env: expected it beside url",
        ),
        (json!({ "name": "a", "url": "ftp://x/" }), -32602, "server_config.url: expected"),
        (json!({ "name": "a", "url": url, "args": [] }), -32602, "beside command only"),
        (
            json!({ "name": "a", "url": url, "startup_timeout_ms": 1 }),
            -32602,
            "startup_timeout_ms: expected a whole number of 100 to 60000",
        ),
        (
            json!({ "name": "taken", "url": url }),
            -32602,
            "belongs to a server of the gateway's configuration",
        ),
        (json!({ "name": "codex_apps", "url": url }), -32602, "expected another name"),
        (
            json!({ "name": "a", "url": url, "bearer_token_env": "OPENAI_BASE" }),
            -32003,
            "gateway.mcp_token_variables",
        ),
    ]
}

#[tokio::test]
async fn invalid_param_names_field_and_expectation() {
    let gateway = Gateway::config(
        "[mcp_servers.taken]\ncommand = \"true\"\nenabled = false\n[gateway]\nmcp_token_variables = []\n",
    )
    .env("OPENAI_BASE", "x")
    .start();
    let url = "http://127.0.0.1:1/";
    for (config, code, expected) in invalid_configs(url) {
        let params = json!({ "server_config": config });
        gateway.assert_rpc_error("mcp.connect", params, code, expected).await;
    }
    let unknown = json!({ "server_config": { "name": "a", "url": url }, "session_id": "nobody" });
    for (method, params, code, expected) in [
        ("mcp.connect", json!({}), -32602, "server_config"),
        ("mcp.connect", unknown, -32004, "nobody"),
        ("mcp.list", json!({ "conversation_id": "x" }), -32602, "conversation_id"),
        ("mcp.list", json!({ "session_id": "nobody" }), -32004, "nobody"),
        ("mcp.disconnect", json!({}), -32602, "name"),
        ("mcp.disconnect", json!({ "name": "/" }), -32602, "name: expected"),
        ("mcp.disconnect", json!({ "name": "a" }), -32004, "mcp.list"),
    ] {
        gateway.assert_rpc_error(method, params, code, expected).await;
    }
}

#[tokio::test]
async fn keyed_gateway_starts_programs_only_with_permission() {
    for (allow, code) in [("", json!(-32003)), ("allow_mcp_stdio = true\n", Value::Null)] {
        let gateway =
            Gateway::config(&format!("[gateway]\n{allow}")).env("GATEWAY_API_KEY", "ci=k1").start();
        let params = json!({ "server_config": stdio(&gateway, "calc", "stdio") });
        let answer = gateway.rpc_with(&[("x-api-key", "k1")], "mcp.connect", params).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(answer["result"]["connected"] == true, code.is_null(), "{answer}");
        wait_until_none_runs(&gateway).await;
        assert_eq!(pids_file(&gateway).exists(), code.is_null());
    }
}

#[tokio::test]
async fn keyed_gateway_reaches_private_addresses_only_with_permission() {
    let server = HttpServer::start("t");
    for (allow, code) in [("", json!(-32003)), ("allow_mcp_private = true\n", Value::Null)] {
        let tokens = "mcp_token_variables = [\"MCP_TOKEN\"]\n";
        let gateway = Gateway::config(&format!("[gateway]\n{tokens}{allow}"))
            .env("GATEWAY_API_KEY", "ci=k1")
            .env("MCP_TOKEN", "t")
            .start();
        for host in ["127.0.0.1", "localhost"] {
            let url = server.url.replace("127.0.0.1", host);
            let config = json!({ "name": "far", "url": url, "bearer_token_env": "MCP_TOKEN" });
            let params = json!({ "server_config": config });
            let answer = gateway.rpc_with(&[("x-api-key", "k1")], "mcp.connect", params).await;
            assert_eq!(answer["error"]["code"], code, "{host}: {answer}");
            let said = answer["error"]["message"].as_str().unwrap_or_default();
            assert_eq!(said.contains("gateway.allow_mcp_private"), !code.is_null(), "{answer}");
            assert_eq!(answer["result"]["connected"] == true, code.is_null(), "{answer}");
        }
    }
}
