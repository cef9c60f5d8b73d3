//! LiteLLM's proxy as the provider, with mock answers: its surface for each wire, as it really is.
//! Over Anthropic's it answers a streaming request with one document. Its Responses surface has no
//! mock answers.

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

use crate::support::Gateway;
use crate::support::client;
use crate::support::dialects::ask;
use crate::support::eventually;
use crate::support::services::clean_command;
use crate::support::services::litellm_venv;
use crate::support::services::report_missing;

const REQUIREMENTS: &str = "tests/gateway/models/litellm.txt";

const CONFIG: &str = "model_list:\n  - model_name: mock\n    litellm_params:\n      model: openai/gpt-4o\n\
                      \x20     api_key: none\n      mock_response: Mock says hello.\n\
                      general_settings:\n  master_key: sk-canary-key\n";

/// A running proxy.
struct LiteLlm {
    address: String,
    _child: Child,
    _home: TempDir,
}

impl LiteLlm {
    /// Returns `None`, after a report, if it is not installed.
    async fn start() -> Option<Self> {
        let venv = litellm_venv();
        let program = venv.join("bin/litellm");
        if !program.exists() {
            report_missing(&format!(
                "LiteLLM is not installed: python3 -m venv {0} && {0}/bin/pip install -r {REQUIREMENTS}",
                venv.display(),
            ));
            return None;
        }
        let home = TempDir::new().unwrap();
        let config = home.path().join("config.yaml");
        std::fs::write(&config, CONFIG).unwrap();
        // The port is free until then; LiteLLM cannot choose one itself.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = clean_command(&program)
            .env("HOME", home.path())
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("LiteLLM is ready", || async {
            tokio::net::TcpStream::connect(address).await.is_ok()
                && client::request(address, "GET", "/health/liveliness", &[], Vec::new())
                    .await
                    .status
                    == 200
        })
        .await;
        Some(Self { address: format!("http://{address}"), _child: child, _home: home })
    }

    fn gateway(&self, wire: &str, base: &str, model: &str) -> Gateway {
        Gateway::config(&format!(
            "model = \"{model}\"\nmodel_provider = \"litellm\"\n[gateway.providers.litellm]\n\
             base_url = \"{}{base}\"\nwire_api = \"{wire}\"\nenv_key = \"LITELLM_WORD\"\n",
            self.address
        ))
        .env("LITELLM_WORD", "sk-canary-key")
        .start()
    }
}

#[tokio::test]
async fn litellm_answers_on_its_surfaces() {
    let Some(litellm) = LiteLlm::start().await else { return };
    for (wire, base) in [
        ("chat", "/v1"),
        ("chat", ""),
        ("anthropic", ""),
        ("anthropic", "/v1"),
        ("gemini", ""),
        ("gemini", "/v1beta"),
    ] {
        let gateway = litellm.gateway(wire, base, "mock");
        for prompt in ["hello", "and again"] {
            let answer = ask(&gateway, prompt).await;
            let summary = &answer["task_result"]["summary"];
            assert_eq!(summary, "Mock says hello.", "{wire} {base}: {answer}");
        }
    }
}

#[tokio::test]
async fn litellm_names_an_unknown_model_once() {
    let Some(litellm) = LiteLlm::start().await else { return };
    let gateway = litellm.gateway("chat", "/v1", "no-such-model");
    let answer = ask(&gateway, "hello").await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!(message.matches("Invalid model name").count(), 1, "{message}");
    let id = answer["conversation_id"].as_str().unwrap();
    let shown = gateway.get(&format!("/api/v1/conversations/{id}")).await.json();
    let calls: &Vec<Value> = shown["model_calls"].as_array().unwrap();
    assert_eq!((calls.len(), &calls[0]["error_code"]), (1, &"model_not_found".into()), "{shown}");
    assert_eq!(calls[0]["attempts"], 1, "{shown}");
}
