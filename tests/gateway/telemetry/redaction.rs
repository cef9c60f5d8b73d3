//! What nobody is told: words that stand in prompts, keys, outputs and files are looked for in all that leaves.

use serde_json::json;

use super::ended;
use crate::support::Gateway;
use crate::support::catalogue::knowing;
use crate::support::collector::Collector;
use crate::support::gateway::Setup;
use crate::support::mcp::HttpServer;
use crate::support::provider::Provider;
use crate::support::provider::status;
use crate::support::wires::Part;
use crate::support::wires::Speaks;
use crate::support::wires::WIRES;
use crate::support::wires::shell;

/// Chat Completions, where a server's tool has one name.
const SPEAKS: &Speaks = &WIRES[1];
/// What is secret always.
const KEYS: [&str; 4] = ["canary-key", "canary-api", "canary-mcp-token", "canary-wrong-key"];
/// What is somebody's own, and leaves only where the operator says so.
const CONTENT: [&str; 9] = [
    "canary-prompt",
    "canary-command",
    "canary-output",
    "canary-answer",
    "canary-thought",
    "canary-file",
    "canary-argument",
    "canary-refused",
    "canary-question",
];

/// Does everything, and says what left: at the collector, in the log, in the metrics.
async fn everything(setup: impl FnOnce(Setup) -> Setup) -> (Collector, String) {
    let patch = "*** Begin Patch\n*** Add File: a.txt\n+canary-file\n*** End Patch\n";
    let mcp = Part::Call {
        id: "call_m",
        name: "mcp__web__variables",
        arguments: json!({ "note": "canary-argument" }),
    };
    let provider = Provider::start([
        SPEAKS.thought(
            "canary-thought",
            "c2VhbA==",
            shell(
                "call_1",
                "echo canary-command; printf 'canary-%s' output; echo canary-output >&2; exit 3",
            ),
        ),
        SPEAKS.patch(patch),
        SPEAKS.say(&[mcp]),
        SPEAKS.text("canary-answer"),
    ])
    .await;
    let server = HttpServer::start("canary-mcp-token");
    let (_catalogue, known) = knowing(SPEAKS.model, SPEAKS.setup(&provider));
    let collector = Collector::start().await;
    let known = known
        .config("[gateway]\nmcp_token_variables = [\"MCP_TOKEN\"]\nallow_mcp_private = true\n")
        // What is logged by default.
        .env("RUST_LOG", "warn,codex_gateway=info,codex_gateway_engine=info")
        .env("GATEWAY_API_KEY", "ci=canary-api")
        .env("MCP_TOKEN", "canary-mcp-token");
    let mut gateway = setup(collector.observes(known)).start();
    let key = [("x-api-key", "canary-api")];
    let rpc = async |method: &str, params| {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        gateway.post_with("/jsonrpc", &key, call).await.json()
    };
    let web = json!({ "name": "web", "url": server.url, "bearer_token_env": "MCP_TOKEN" });
    let answer = rpc("mcp.connect", json!({ "server_config": web })).await;
    assert_eq!(answer["result"]["connected"], true, "{answer}");
    let body = json!({ "prompt": "canary-prompt", "session_id": "s" });
    let answer = gateway.post_with("/api/v1/exec", &key, body).await.json();
    assert_eq!(answer["task_result"]["summary"], "canary-answer", "{answer}");
    assert!(answer["stdout"].to_string().contains("canary-output"), "{answer}");
    assert_eq!(server.heard("tools/call").len(), 1, "{answer}");

    // Refusals and failures quote, too.
    for headers in
        [[("x-api-key", "canary-wrong-key")], [("authorization", "Bearer canary-wrong-key")]]
    {
        assert_eq!(
            gateway.post_with("/exec", &headers, json!({ "prompt": "x" })).await.status,
            401
        );
    }
    gateway.post_with("/exec", &key, json!({ "prompt": "x", "sandbox": "canary-refused" })).await;
    rpc("conversation.prompt", json!({ "prompt": ["canary-prompt"] })).await;
    rpc("exec", json!({ "command": "echo", "args": ["canary-command", "canary-output"] })).await;
    let error = json!({ "error": { "message": "no answer to canary-key", "code": "bad" } });
    provider.now(status(400, &error));
    let body = json!({ "prompt": "canary-prompt", "session_id": "failed" });
    assert_eq!(gateway.post_with("/api/v1/exec", &key, body).await.json()["status"], "failed");
    provider.now(SPEAKS.call("touch canary-question"));
    let body =
        json!({ "prompt": "canary-prompt", "session_id": "asks", "approval_policy": "untrusted" });
    let mut lines = {
        let mut all = vec![("content-type", "application/json")];
        all.extend(key);
        let body = body.to_string().into_bytes();
        crate::support::client::stream(gateway.address, "POST", "/exec", &all, body).await
    };
    lines.until("exec_approval_request").await;
    drop(lines);

    let metrics = gateway.send("GET", "/metrics", &key, b"").await.text();
    assert!(metrics.contains("codex_gateway_turns_ended_total"), "{metrics}");
    gateway.terminate();
    ended(&mut gateway).await;
    for signal in ["traces", "metrics", "logs"] {
        assert!(!collector.exports_of(signal).is_empty(), "no {signal} left at all");
    }
    assert!(collector.kept().named("invoke_agent codex").len() >= 3, "{}", collector.kept().tree());
    let log = gateway.log.lock().unwrap().clone();
    (collector, log + &metrics)
}

/// Where a word was seen, in short.
fn seen(collector: &Collector, printed: &str, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    let kept = collector.kept();
    for span in kept.spans.iter().filter(|span| format!("{span:?}").contains(word)) {
        found.push(format!("the span {}: {:?}", span.name, span.attributes));
    }
    for log in kept.logs.iter().filter(|log| format!("{log:?}").contains(word)) {
        found.push(format!("a record: {log:?}"));
    }
    found.extend(
        printed.lines().filter(|line| line.contains(word)).map(|line| format!("printed: {line}")),
    );
    found.extend(collector.holds(word));
    found
}

#[tokio::test]
async fn content_and_keys_never_leave() {
    let (collector, printed) = everything(|setup| setup).await;
    for word in KEYS.iter().chain(&CONTENT) {
        let seen = seen(&collector, &printed, word);
        assert!(seen.is_empty(), "{word} in {seen:#?}");
    }
}

#[tokio::test]
async fn content_capture_exports_prompts_but_never_keys() {
    let config = "[gateway.telemetry]\ncapture_content = true\n";
    let (collector, printed) = everything(|setup| setup.config(config)).await;
    let kept = collector.kept();
    let agent = kept.named("invoke_agent codex").into_iter().min_by_key(|span| span.start).unwrap();
    assert!(agent.get("gen_ai.input.messages").to_string().contains("canary-prompt"), "{agent:#?}");
    assert!(
        agent.get("gen_ai.output.messages").to_string().contains("canary-answer"),
        "{agent:#?}"
    );
    let tool = kept.span("execute_tool exec_command");
    assert!(
        tool.get("gen_ai.tool.call.arguments").to_string().contains("canary-command"),
        "{tool:#?}"
    );
    assert!(tool.get("gen_ai.tool.call.result").to_string().contains("canary-output"), "{tool:#?}");
    for word in KEYS {
        let seen = seen(&collector, &printed, word);
        assert!(seen.is_empty(), "{word} in {seen:#?}");
    }
    // Spans are where it goes: not lines, not metrics.
    let mut printed = printed.lines().filter(|line| line.contains("canary-"));
    assert_eq!(printed.next(), None);
}

/// However much is logged.
#[tokio::test]
async fn debug_logs_contain_no_keys() {
    let (collector, printed) = everything(|setup: Setup| setup.env("RUST_LOG", "debug")).await;
    for word in KEYS {
        let seen = seen(&collector, &printed, word);
        assert!(seen.is_empty(), "{word} in {seen:#?}");
    }
}

#[tokio::test]
async fn invalid_capture_content_is_refused() {
    let home = crate::support::gateway::new_home();
    let setup = Gateway::config("[gateway.telemetry]\ncapture_content = \"yes\"\n");
    let refused = setup.command(&home).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("capture_content"), "{said}");
}
