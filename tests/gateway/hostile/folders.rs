//! Folders of clients: nothing begins inside one that a command could write.

use serde_json::json;

use super::shell;
use crate::support::Gateway;

#[tokio::test]
async fn nothing_begins_inside_a_commands_folder() {
    let gateway = Gateway::start();
    shell(&gateway, Some("by-exec"), "mkdir -p sub/deep").await;
    let started =
        gateway.rpc("interactive.start", json!({ "cwd": "by-terminal", "detached": true }));
    let id = started.await["result"]["terminal_id"].clone();
    gateway.rpc("interactive.stop", json!({ "terminal_id": id })).await;
    gateway.post("/api/v1/exec", json!({ "prompt": "hi", "cwd": "by-agent" })).await;
    let gateway = gateway.kill_and_restart();
    for outer in ["by-exec", "by-terminal", "by-agent"] {
        for inner in ["sub", "sub/deep"] {
            let cwd = format!("{outer}/{inner}");
            let prompt = gateway.post("/exec", json!({ "prompt": "hi", "cwd": cwd })).await;
            assert_eq!(prompt.status, 400, "{cwd}");
            for method in ["exec", "interactive.start"] {
                let params = match method {
                    "exec" => json!({ "command": "id", "cwd": cwd }),
                    _ => json!({ "cwd": cwd }),
                };
                gateway.assert_rpc_error(method, params, -32602, "not inside").await;
            }
        }
        assert_eq!(shell(&gateway, Some(outer), "pwd").await["exit_code"], 0);
    }
}

#[tokio::test]
async fn no_command_works_in_a_protected_folder() {
    let gateway = Gateway::start();
    for cwd in [".codex", "w/.git", "w/.agents/skills", ".git/x"] {
        let params = json!({ "command": "id", "cwd": cwd });
        gateway.assert_rpc_error("exec", params, -32602, ".git, .agents or .codex").await;
        assert!(!gateway.workspaces().join(cwd).exists(), "{cwd}");
    }
}
