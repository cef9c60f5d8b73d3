//! The gateway's environment: commands see none of it but an allow-list.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;
use crate::support::gateway::Setup;

/// Secrets under names that no pattern of core's deny-list matches.
const SECRETS: [(&str, &str); 3] = [
    ("DATABASE_URL", "postgres://canary-1"),
    ("MY_DSN", "canary-2"),
    ("INTERNAL_API_AUTHORIZATION", "canary-3"),
];

fn setup() -> Setup {
    SECRETS.iter().fold(Setup::default(), |setup, (name, value)| setup.env(name, value))
}

/// What the agent's `env` prints.
async fn printed_by_agent(gateway: &Gateway) -> String {
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": "run: env" })).await.json();
    answer["stdout"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn no_command_sees_unlisted_variables() {
    let gateway = setup().env("TZ", "Europe/Berlin").start();
    let printed = printed_by_agent(&gateway).await;
    assert!(!printed.contains("canary"), "{printed}");
    for name in ["PATH=", "HOME=", "TZ=Europe/Berlin"] {
        assert!(printed.contains(name), "{name}: {printed}");
    }

    let result = gateway.rpc("exec", json!({ "command": "env" })).await;
    let printed = result["result"]["stdout"].as_str().unwrap();
    assert!(printed.contains("PATH=") && !printed.contains("canary"), "{printed}");

    let mut socket = Socket::connect(&gateway, &[]).await;
    let started = socket.call("interactive.start", json!({})).await;
    let id = &started["result"]["terminal_id"];
    let input = json!({ "terminal_id": id, "data": "ZW52OyBleGl0Cg==" });
    gateway.rpc("interactive.input", input).await;
    let mut printed = String::new();
    loop {
        let notification = socket.notification().await;
        if notification["method"] == "interactive.exited" {
            break;
        }
        printed.push_str(&text(&notification["params"]["data"]));
    }
    assert!(printed.contains("PATH=") && !printed.contains("canary"), "{printed}");
}

fn text(data: &Value) -> String {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap()).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn operator_can_allow_more_variables() {
    let gateway = setup()
        .config("[shell_environment_policy]\ninherit = \"all\"\nset = { GIVEN = \"given\" }\n")
        .env("GITHUB_TOKEN", "canary-token")
        .start();
    let printed = printed_by_agent(&gateway).await;
    assert!(printed.contains("MY_DSN=canary-2") && printed.contains("GIVEN=given"), "{printed}");
    assert!(!printed.contains("canary-token"), "{printed}");
}
