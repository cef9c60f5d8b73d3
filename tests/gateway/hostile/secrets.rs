//! Secrets of the operator: from files, and out of the reach of commands, also without a sandbox.

use serde_json::json;

use crate::support::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::new_home;
use crate::support::path_without_sandbox;

const KEY: (&str, &str) = ("x-api-key", "canary-api-key");

/// Whatever `/proc` shows of processes that this one could be told by.
const LOOK: &str = "grep -a -o -h 'can[a]ry[-a-z]*' /proc/[0-9]*/environ /proc/[0-9]*/cmdline \
                    /proc/[0-9]*/task/*/environ; cat /proc/1/environ; echo looked; id -u";

#[tokio::test]
async fn unsandboxed_command_finds_no_secret_in_proc() {
    let path = path_without_sandbox();
    let gateway = Setup::default()
        .env("PATH", path.path().to_str().unwrap())
        .env("CODEX_UNSAFE_ALLOW_NO_SANDBOX", "1")
        .env("GATEWAY_API_KEY", KEY.1)
        .env("MY_DSN", "canary-dsn");
    let line = format!("PATH=/usr/bin:/bin; {LOOK}");
    // As in the image: process 1, which no other process of its user may look into.
    let gateway = gateway.unprivileged_process_1();
    let gateway = gateway.config("[gateway]\nallow_danger_full_access = true\n").start();
    let body = json!({ "prompt": format!("run: {line}") });
    let answer = gateway.post_with("/api/v1/exec", &[KEY], body).await.json();
    let printed = answer["stdout"].as_str().unwrap();
    assert_eq!(answer["tools"], "unsandboxed", "{answer}");
    assert!(printed.contains("looked\n1000") && !printed.contains("canary"), "{printed}");
    let params = json!({ "command": line, "shell": true });
    let result = gateway.rpc_with(&[KEY], "exec", params).await["result"].clone();
    let printed = result["stdout"].as_str().unwrap();
    assert!(printed.contains("looked\n1000") && !printed.contains("canary"), "{result}");
}

#[tokio::test]
async fn keys_come_from_files_that_commands_cannot_read() {
    let folder = new_home();
    let file = folder.path().join("key");
    std::fs::write(&file, format!("{}\n", KEY.1)).unwrap();
    let file = file.display().to_string();
    let gateway = Gateway::env("GATEWAY_API_KEY_FILE", &file).start();
    let line = format!("cat {file}; cat /proc/[0-9]*/environ | tr '\\0' '\\n'; echo looked");
    let body = json!({ "prompt": format!("run: {line}") });
    assert_eq!(gateway.post("/api/v1/exec", body.clone()).await.status, 401);
    let answer = gateway.post_with("/api/v1/exec", &[KEY], body).await.json();
    let printed = answer["stdout"].as_str().unwrap();
    assert!(printed.contains("looked") && !printed.contains("canary"), "{printed}");
}

#[tokio::test]
async fn unusable_secret_file_stops_the_start() {
    for (variables, says) in [
        (vec![("GATEWAY_API_KEY_FILE", "/nowhere")], "GATEWAY_API_KEY_FILE: cannot read /nowhere"),
        (vec![("OPENAI_API_KEY_FILE", "/dev/null")], "OPENAI_API_KEY_FILE: expected a file"),
        (
            vec![("GATEWAY_API_KEY_FILE", "/etc/hostname"), ("GATEWAY_API_KEY", "x")],
            "GATEWAY_API_KEY and GATEWAY_API_KEY_FILE: expected one of the two, got both",
        ),
    ] {
        let home = new_home();
        let mut setup = Setup::default();
        for (name, value) in variables {
            setup = setup.env(name, value);
        }
        let output = setup.command(&home).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(says), "{error}");
    }
}
