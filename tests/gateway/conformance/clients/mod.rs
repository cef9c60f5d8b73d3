//! Clients in other languages that use only the public contract, and the published schemas of
//! OpenAPI and OpenRPC, which judge the documents of the gateway.

use std::path::PathBuf;
use std::process::Stdio;

use codex_gateway::gateway::route::Route;
use codex_gateway::rpc::Method;
use serde_json::Value;
use serde_json::json;
use tokio::process::Command;

use crate::support::Gateway;
use crate::support::services::clean_command;
use crate::support::services::node;
use crate::support::services::node_modules;
use crate::support::services::python_venv;
use crate::support::services::report_missing;
use crate::support::services::test_file;
use crate::support::soon;

/// The language of a client.
enum Language {
    Python,
    Node,
}

impl Language {
    /// Returns the folder of the packages: a venv, or a node_modules.
    fn packages(&self) -> PathBuf {
        match self {
            Self::Python => python_venv(),
            Self::Node => node_modules(),
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Python => {
                let mut command = clean_command(self.packages().join("bin/python"));
                // -B: no __pycache__ beside the scripts.
                command.arg("-B");
                command
            }
            Self::Node => node(),
        }
    }

    /// Whether the packages are installed.
    async fn is_installed(&self) -> bool {
        let (probe, hint) = match self {
            Self::Python => (
                [
                    "-c",
                    "import websockets, requests, jsonschema, openapi_spec_validator, grpc_tools",
                ],
                "python3 -m venv VENV && VENV/bin/pip install -r tests/gateway/conformance/clients/requirements.txt",
            ),
            Self::Node => (["-e", "require('ws')"], "npm install --prefix FOLDER ws"),
        };
        let probe = self.command().args(probe).stderr(Stdio::null()).status().await;
        if probe.is_ok_and(|status| status.success()) {
            return true;
        }
        let packages = self.packages();
        report_missing(&format!("clients' packages are not in {}: {hint}", packages.display()));
        false
    }

    /// Runs a client. Returns the JSON lines it printed.
    async fn run(&self, gateway: &Gateway, file: &str) -> Vec<Value> {
        let mut command = self.command();
        command
            .arg(test_file("conformance/clients").join(file))
            .env("GATEWAY_URL", format!("http://{}", gateway.address))
            .env("GATEWAY_KEY", "secret");
        let output = soon(file, command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{file}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn start() -> Gateway {
    let setup = Gateway::config("[gateway]\nallow_approvals = true\n");
    setup.env("GATEWAY_API_KEY", "secret").start()
}

#[tokio::test]
async fn python_and_node_clients_get_answers() {
    let gateway = start();
    for (language, name, files) in [
        (Language::Python, "python", ["call_over_ws.py", "exec_over_ws.py", "calls_over_http.py"]),
        (Language::Node, "node", ["call_over_ws.js", "exec_over_ws.js", "calls_over_http.js"]),
    ] {
        if !language.is_installed().await {
            continue;
        }
        let [over_socket, exec, over_http] = files;
        let content = format!("hello from {name}");
        let answers = language.run(&gateway, over_socket).await;
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0]["result"]["content"], content);
        assert_eq!(answers[0]["result"]["session_id"], format!("{name}-ws"));

        let answers = language.run(&gateway, exec).await;
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0]["id"], 1);
        let result = &answers[0]["result"];
        let printed = (&result["stdout"], &result["exit_code"]);
        assert_eq!(printed, (&json!(format!("{content}\n")), &json!(0)), "{}", answers[0]);

        let answers = language.run(&gateway, over_http).await;
        let [prompt, status, cancel, unknown] = answers.as_slice() else { panic!("{answers:?}") };
        let session = format!("{name}-http");
        assert_eq!(prompt["result"]["type"], "ai_response");
        assert_eq!(prompt["result"]["content"], content);
        assert_eq!(status["result"]["status"], "idle");
        assert_eq!(status["result"]["conversation_id"], prompt["result"]["conversation_id"]);
        assert_eq!(cancel["result"]["cancelled"], false);
        assert_eq!(cancel["result"]["session_id"], session);
        assert_eq!(unknown["result"]["status"], "not_found");
    }
}

#[tokio::test]
async fn documents_are_valid_openapi_and_openrpc() {
    let gateway = start();
    let document = gateway.get("/openapi.json").await;
    assert_eq!(document.status, 200, "open without a key");
    if !Language::Python.is_installed().await {
        return;
    }
    let said = Language::Python.run(&gateway, "documents.py").await;
    let said = said.last().unwrap();
    let methods: Vec<&str> = Method::ALL.iter().map(|method| method.spec().name).collect();
    assert_eq!(said["methods"], json!(methods));
    for path in Route::TABLE.iter().map(|route| route.template) {
        assert!(said["paths"].as_array().unwrap().iter().any(|said| said == path), "{path}");
    }
}

#[tokio::test]
async fn proto_file_matches_gateway() {
    let gateway = start();
    if !Language::Python.is_installed().await {
        return;
    }
    let said = Language::Python.run(&gateway, "proto.py").await;
    assert_eq!(said[0]["last"], "hello from protobuf");
    assert!(said[0]["events"].as_u64().unwrap() > 5, "{said:?}");
}
