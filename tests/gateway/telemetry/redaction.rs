//! Redaction: canaries in prompts, keys, outputs and files must not be exported or logged.

use serde_json::json;

use super::wait_for_exit;
use crate::support::Gateway;
use crate::support::catalogue::with_catalogue;
use crate::support::collector::Collector;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::Part;
use crate::support::dialects::shell;
use crate::support::gateway::Setup;
use crate::support::gateway::new_home;
use crate::support::mcp::HttpServer;
use crate::support::provider::Provider;
use crate::support::provider::status;

/// Chat Completions, where the tools of a server have flat names.
const DIALECT: &Dialect = &DIALECTS[1];
/// Keys, which are always secret.
const KEYS: [&str; 4] = ["canary-key", "canary-api", "canary-mcp-token", "canary-wrong-key"];
/// Content, which is exported only with `capture_content`.
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

const KEY: (&str, &str) = ("x-api-key", "canary-api");

/// Returns a provider whose answers hold canaries: reasoning with a command, a patch, a call of a
/// tool server, and text.
async fn start_provider() -> Provider {
    let patch = "*** Begin Patch\n*** Add File: a.txt\n+canary-file\n*** End Patch\n";
    let mcp = Part::Call {
        id: "call_m",
        name: "mcp__web__variables",
        arguments: json!({ "note": "canary-argument" }),
    };
    Provider::start([
        DIALECT.thought(
            "canary-thought",
            "c2VhbA==",
            shell(
                "call_1",
                "echo canary-command; printf 'canary-%s' output; echo canary-output >&2; exit 3",
            ),
        ),
        DIALECT.patch(patch),
        DIALECT.say(&[mcp]),
        DIALECT.text("canary-answer"),
    ])
    .await
}

/// Runs a turn with every kind of content.
async fn run_turn(gateway: &Gateway, server: &HttpServer) {
    let web = json!({ "name": "web", "url": server.url, "bearer_token_env": "MCP_TOKEN" });
    let answer = gateway.rpc_with(&[KEY], "mcp.connect", json!({ "server_config": web })).await;
    assert_eq!(answer["result"]["connected"], true, "{answer}");
    let body = json!({ "prompt": "canary-prompt", "session_id": "s" });
    let answer = gateway.post_with("/api/v1/exec", &[KEY], body).await.json();
    assert_eq!(answer["task_result"]["summary"], "canary-answer", "{answer}");
    assert!(answer["stdout"].to_string().contains("canary-output"), "{answer}");
    assert_eq!(server.requests("tools/call").len(), 1, "{answer}");
}

/// Causes refusals and failures, whose messages quote content.
async fn run_refusals(gateway: &Gateway, provider: &Provider) {
    for headers in
        [[("x-api-key", "canary-wrong-key")], [("authorization", "Bearer canary-wrong-key")]]
    {
        assert_eq!(
            gateway.post_with("/exec", &headers, json!({ "prompt": "x" })).await.status,
            401
        );
    }
    let refused = json!({ "prompt": "x", "sandbox": "canary-refused" });
    gateway.post_with("/exec", &[KEY], refused).await;
    gateway.rpc_with(&[KEY], "conversation.prompt", json!({ "prompt": ["canary-prompt"] })).await;
    let command = json!({ "command": "echo", "args": ["canary-command", "canary-output"] });
    gateway.rpc_with(&[KEY], "exec", command).await;
    let error = json!({ "error": { "message": "no answer to canary-key", "code": "bad" } });
    provider.respond_with(status(400, &error));
    let body = json!({ "prompt": "canary-prompt", "session_id": "failed" });
    assert_eq!(gateway.post_with("/api/v1/exec", &[KEY], body).await.json()["status"], "failed");
    provider.respond_with(DIALECT.call("touch canary-question"));
    let body =
        json!({ "prompt": "canary-prompt", "session_id": "asks", "approval_policy": "untrusted" });
    let mut lines = gateway.stream("/exec", &[KEY], body).await;
    lines.until("exec_approval_request").await;
}

/// Runs turns, refusals and failures. Returns the collector, and the log with the metrics.
async fn run_scenario(setup: impl FnOnce(Setup) -> Setup) -> (Collector, String) {
    let provider = start_provider().await;
    let server = HttpServer::start("canary-mcp-token");
    let (_catalogue, known) = with_catalogue(DIALECT.model, DIALECT.setup(&provider));
    let collector = Collector::start().await;
    let known = known
        .config(
            "[gateway]\nmcp_token_variables = [\"MCP_TOKEN\"]\nallow_mcp_private = true\n\
                 allow_approvals = true\n",
        )
        // The default log level.
        .env("RUST_LOG", "warn,codex_gateway=info,codex_gateway_engine=info")
        .env("GATEWAY_API_KEY", "ci=canary-api")
        .env("MCP_TOKEN", "canary-mcp-token");
    let mut gateway = setup(collector.exporting(known)).start();
    run_turn(&gateway, &server).await;
    run_refusals(&gateway, &provider).await;

    let metrics = gateway.send("GET", "/metrics", &[KEY], b"").await.text();
    assert!(metrics.contains("codex_gateway_turns_ended_total"), "{metrics}");
    gateway.terminate();
    wait_for_exit(&mut gateway).await;
    for signal in ["traces", "metrics", "logs"] {
        assert!(!collector.exports_of(signal).is_empty(), "no {signal} were exported");
    }
    let received = collector.received();
    assert!(received.named("invoke_agent codex").len() >= 3, "{}", received.tree());
    let log = gateway.log.lock().unwrap().clone();
    (collector, log + &metrics)
}

/// Returns excerpts of everything exported or printed that holds a word.
fn occurrences(collector: &Collector, printed: &str, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    let received = collector.received();
    for span in received.spans.iter().filter(|span| format!("{span:?}").contains(word)) {
        found.push(format!("the span {}: {:?}", span.name, span.attributes));
    }
    for log in received.logs.iter().filter(|log| format!("{log:?}").contains(word)) {
        found.push(format!("a record: {log:?}"));
    }
    found.extend(
        printed.lines().filter(|line| line.contains(word)).map(|line| format!("printed: {line}")),
    );
    found.extend(collector.excerpts(word));
    found
}

#[tokio::test]
async fn content_and_keys_never_leave() {
    let (collector, printed) = run_scenario(|setup| setup).await;
    for word in KEYS.iter().chain(&CONTENT) {
        let occurrences = occurrences(&collector, &printed, word);
        assert!(occurrences.is_empty(), "{word} in {occurrences:#?}");
    }
}

#[tokio::test]
async fn content_capture_exports_prompts_but_never_keys() {
    let config = "[gateway.telemetry]\ncapture_content = true\n";
    let (collector, printed) = run_scenario(|setup| setup.config(config)).await;
    let received = collector.received();
    let agent =
        received.named("invoke_agent codex").into_iter().min_by_key(|span| span.start).unwrap();
    assert!(agent.get("gen_ai.input.messages").to_string().contains("canary-prompt"), "{agent:#?}");
    assert!(
        agent.get("gen_ai.output.messages").to_string().contains("canary-answer"),
        "{agent:#?}"
    );
    let tool = received.span("execute_tool exec_command");
    assert!(
        tool.get("gen_ai.tool.call.arguments").to_string().contains("canary-command"),
        "{tool:#?}"
    );
    assert!(tool.get("gen_ai.tool.call.result").to_string().contains("canary-output"), "{tool:#?}");
    for word in KEYS {
        let occurrences = occurrences(&collector, &printed, word);
        assert!(occurrences.is_empty(), "{word} in {occurrences:#?}");
    }
    // Content goes to spans only, not to log lines or metrics.
    let mut printed = printed.lines().filter(|line| line.contains("canary-"));
    assert_eq!(printed.next(), None);
}

#[tokio::test]
async fn debug_logs_contain_no_keys() {
    let (collector, printed) = run_scenario(|setup: Setup| setup.env("RUST_LOG", "debug")).await;
    for word in KEYS {
        let occurrences = occurrences(&collector, &printed, word);
        assert!(occurrences.is_empty(), "{word} in {occurrences:#?}");
    }
}

#[tokio::test]
async fn invalid_capture_content_is_refused() {
    let home = new_home();
    let setup = Gateway::config("[gateway.telemetry]\ncapture_content = \"yes\"\n");
    let refused = setup.command(&home).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("capture_content"), "{said}");
}
