//! Built-in providers, which need no configuration: as targets of an alias, with or without a key.

use serde_json::json;

use super::chat_answer;
use crate::support::Gateway;
use crate::support::dialects::DIALECTS;
use crate::support::provider::Provider;

#[tokio::test]
async fn local_server_alias_needs_no_key() {
    for id in ["ollama", "lmstudio"] {
        let provider = Provider::start([chat_answer("hm", "From this machine.")]).await;
        let gateway = Gateway::config(&format!("[gateway.models]\nlocal = \"{id}/qwen3:8b\"\n"))
            .env("CODEX_OSS_BASE_URL", &format!("{}/v1", provider.address))
            .start();
        let body = json!({ "prompt": "hello", "model": "local" });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        assert_eq!(answer["task_result"]["summary"], "From this machine.", "{id}: {answer}");
        let requests = provider.requests();
        assert_eq!(requests[0].path, "/v1/chat/completions", "{id}");
        assert_eq!(requests[0].body["model"], "qwen3:8b", "{id}");
        assert!(!requests[0].headers.contains_key("authorization"), "{id}");
    }
}

#[tokio::test]
async fn alias_without_a_key_asks_for_login() {
    let gateway =
        Gateway::config("[gateway.models]\nclaude = \"anthropic/claude-opus-4-5\"\n").start();
    let body = json!({ "prompt": "hello", "model": "claude", "session_id": "s" });
    let answer = gateway.post("/api/v1/exec", body).await.json();
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("auth.login or set ANTHROPIC_API_KEY"), "{answer}");
}

#[tokio::test]
async fn demo_model_never_reads_certificates() {
    let gateway = Gateway::config("").env("SSL_CERT_FILE", "/nowhere/at/all.pem").start();
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": "say: hello" })).await.json();
    assert_eq!(answer["task_result"]["summary"], "hello", "{answer}");
    let log = gateway.log.lock().unwrap().clone();
    assert!(!log.contains("root certificates could not be read"), "{log}");
}

#[tokio::test]
async fn operator_can_pin_an_api_version() {
    let dialect = &DIALECTS[2];
    for (headers, version) in [
        ("", "2026-10-21"),
        ("http_headers = { anthropic-version = \"2023-06-01\" }\n", "2023-06-01"),
    ] {
        let provider = Provider::start([dialect.text("Hello.")]).await;
        let mut setup = dialect.setup(&provider);
        setup.config.push_str(headers);
        let gateway = setup.start();
        gateway.post("/api/v1/exec", json!({ "prompt": "hello" })).await.json();
        let requests = provider.requests();
        let sent: Vec<_> = requests[0].headers.get_all("anthropic-version").iter().collect();
        assert_eq!(sent, [version]);
    }
}
