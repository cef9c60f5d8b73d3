//! `exec`: one-off commands, their limits and their ends.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;
use crate::support::client;
use crate::support::eventually;
use crate::support::merged;
use crate::support::path_without_sandbox;
use crate::support::process::command_line_holds;
use crate::support::process::marker;
use crate::support::soon;

fn shell(line: &str) -> Value {
    json!({ "command": line, "shell": true })
}

async fn exec(gateway: &Gateway, params: Value) -> Value {
    let answer = gateway.rpc("exec", params).await;
    assert!(answer["error"].is_null(), "{answer}");
    answer["result"].clone()
}

/// Sends an `exec` call under this id.
async fn send(socket: &mut Socket, id: Value, params: &Value) {
    let call = json!({ "jsonrpc": "2.0", "id": id, "method": "exec", "params": params });
    socket.raw(&call.to_string()).await;
}

#[tokio::test]
async fn command_gets_only_its_arguments_and_environment() {
    let gateway =
        Gateway::env("GATEWAY_SECRET_NOTE", "canary-1").env("GITHUB_TOKEN", "canary-2").start();
    let hostile = "a b\n$(touch pwned) \"'`";
    let params = json!({
        "command": "printf", "args": ["%s|", "one two", hostile], "cwd": "w",
        "timeout_ms": 60_000, "sandbox": "workspace-write",
    });
    let result = exec(&gateway, params).await;
    assert_eq!(result["stdout"], format!("one two|{hostile}|"));
    assert_eq!((&result["exit_code"], &result["timed_out"]), (&json!(0), &json!(false)));
    assert_eq!((&result["stderr"], &result["stdout_truncated"]), (&json!(""), &json!(false)));
    assert_eq!(result["sandbox"], "bubblewrap");
    assert!(result["duration_ms"].as_u64().is_some());

    let env = json!({ "GIVEN": hostile, "IFS": "x", "PATH": "/usr/bin:/bin" });
    let result =
        exec(&gateway, json!({ "command": "env", "args": ["-0"], "env": env, "cwd": "w" })).await;
    let stdout = result["stdout"].as_str().unwrap();
    let mut names: Vec<&str> = Vec::new();
    for variable in stdout.split_terminator('\0') {
        let (name, value) = variable.split_once('=').unwrap();
        names.push(name);
        match name {
            "GIVEN" => assert_eq!(value, hostile),
            "PATH" => assert_eq!(value, "/usr/bin:/bin"),
            "HOME" => assert_eq!(value, gateway.workspaces().join("w").display().to_string()),
            _ => assert!(!value.contains("canary"), "{variable}"),
        }
    }
    names.sort_unstable();
    // The shell adds these three.
    names.retain(|name| !["PWD", "SHLVL", "_"].contains(name));
    assert_eq!(names, ["CODEX_SANDBOX_NETWORK_DISABLED", "GIVEN", "HOME", "IFS", "LANG", "PATH"]);
    assert!(!gateway.workspaces().join("w/pwned").exists());

    let result = exec(
        &gateway,
        merged(shell("echo $2-$1; echo oops >&2; exit 3"), json!({ "args": ["a", "b"] })),
    )
    .await;
    assert_eq!((&result["stdout"], &result["stderr"]), (&json!("b-a\n"), &json!("oops\n")));
    assert_eq!(result["exit_code"], 3);
    let result = exec(&gateway, shell("kill -KILL $$")).await;
    assert_eq!(result["exit_code"], 137);
}

#[tokio::test]
async fn command_is_confined_and_reads_no_secrets() {
    let gateway = Gateway::config("[gateway]\nallow_danger_full_access = true\n# canary\n").start();
    std::fs::write(gateway.home.path().join("auth.json"), "{\"canary\": 1}").unwrap();
    let home = gateway.home.path().display().to_string();
    let line =
        format!("echo in > in; echo out > {home}/out; cat {home}/config.toml {home}/auth.json");
    let result = exec(&gateway, merged(shell(&line), json!({ "cwd": "w" }))).await;
    assert!(
        gateway.workspaces().join("w/in").exists() && !gateway.home.path().join("out").exists()
    );
    assert!(!result["stdout"].as_str().unwrap().contains("canary"), "{result}");
    let read_only = merged(shell("echo x > ro"), json!({ "cwd": "w", "sandbox": "read-only" }));
    assert_ne!(exec(&gateway, read_only).await["exit_code"], 0);
    assert!(!gateway.workspaces().join("w/ro").exists());
    let free =
        merged(shell(&format!("echo x > {home}/free")), json!({ "sandbox": "danger-full-access" }));
    assert_eq!(exec(&gateway, free).await["sandbox"], "none");
    assert!(gateway.home.path().join("free").exists());
}

#[tokio::test]
async fn client_environment_never_reaches_sandbox_helper() {
    let gateway = Gateway::start();
    let escaped = gateway.home.path().join("escaped");
    // The helper searches its PATH for bubblewrap outside the sandbox.
    let line = format!(
        "mkdir bin; printf '#!/bin/sh\\necho --argv0 --perms; echo x > {}\\n' > bin/bwrap; chmod +x bin/bwrap",
        escaped.display()
    );
    exec(&gateway, merged(shell(&line), json!({ "cwd": "trap" }))).await;
    let bin = gateway.workspaces().join("trap/bin");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let env = json!({ "PATH": path, "LD_PRELOAD": bin.join("none.so").display().to_string() });
    let result = exec(&gateway, json!({ "command": "id", "env": env, "cwd": "elsewhere" })).await;
    assert_eq!(result["exit_code"], 0, "{result}");
    assert!(result["stdout"].as_str().unwrap().contains("uid="));
    // The loader warns once, for the command itself.
    assert!(result["stderr"].as_str().unwrap().matches("none.so").count() <= 1, "{result}");
    assert!(!escaped.exists());
}

#[tokio::test]
async fn default_folder_is_kept_unless_empty() {
    let gateway = Gateway::start();
    let left = exec(&gateway, shell("echo x > left")).await["cwd"].as_str().unwrap().to_owned();
    let empty = exec(&gateway, shell("true")).await["cwd"].as_str().unwrap().to_owned();
    assert!(std::path::Path::new(&left).join("left").exists());
    // Once the last process of the command has gone.
    eventually("it is gone", || async { !std::path::Path::new(&empty).exists() }).await;
    let result = exec(&gateway, merged(shell("cat left"), json!({ "cwd": left }))).await;
    assert_eq!(result["stdout"], "x\n");
}

// Long: a row per invalid call.
#[tokio::test]
async fn invalid_param_names_field_and_expectation() {
    let gateway = Gateway::start();
    gateway.post("/api/v1/exec", json!({ "prompt": "say: hi", "cwd": "taken" })).await;
    let long = "x".repeat(140_000);
    for (params, code, says) in [
        (json!({}), -32602, "command: expected a value, got nothing"),
        (json!({ "command": 7 }), -32602, "command: expected a string, got 7"),
        (json!({ "command": " " }), -32602, "command: expected text that is not blank"),
        (json!({ "command": "no-such-program" }), -32602, "command: expected a program"),
        (json!({ "command": "echo hi" }), -32602, "\"shell\": true"),
        (json!({ "command": "a\u{0}b" }), -32602, "command: expected a string without NUL"),
        (json!({ "command": long }), -32602, "command: expected at most"),
        (json!({ "command": "id", "args": "x" }), -32602, "args: expected a list, got \"x\""),
        (json!({ "command": "id", "args": ["x", 1] }), -32602, "args[1]: expected a string, got 1"),
        (json!({ "command": "id", "args": [long] }), -32602, "args[0]: expected at most"),
        (json!({ "command": "id", "shell": "yes" }), -32602, "shell: expected true or false"),
        (json!({ "command": "id", "env": [] }), -32602, "env: expected an object, got a list"),
        (json!({ "command": "id", "env": { "A": 1 } }), -32602, "env.A: expected a string, got 1"),
        (json!({ "command": "id", "env": { "A B": "" } }), -32602, "env: expected names"),
        (json!({ "command": "id", "env": { "CODEX_GATEWAY_ENV_1": "" } }), -32602, "env: expected"),
        (json!({ "command": "id", "cwd": "../x" }), -32602, "cwd: expected a folder inside"),
        (json!({ "command": "id", "cwd": "/etc" }), -32602, "cwd: expected a folder inside"),
        (json!({ "command": "id", "cwd": "." }), -32602, "got the root"),
        (json!({ "command": "id", "cwd": "taken/below" }), -32602, "not inside or around"),
        (json!({ "command": "id", "cwd": 1 }), -32602, "cwd: expected a string, got 1"),
        (
            json!({ "command": "id", "timeout_ms": 0 }),
            -32602,
            "timeout_ms: expected a whole number of 1 to 3600000",
        ),
        (
            json!({ "command": "id", "timeout_ms": 3_600_001 }),
            -32602,
            "timeout_ms: expected a whole number",
        ),
        (
            json!({ "command": "id", "timeout_ms": "1s" }),
            -32602,
            "timeout_ms: expected a whole number",
        ),
        (
            json!({ "command": "id", "sandbox": "none" }),
            -32602,
            "sandbox: expected read-only, workspace-write or",
        ),
        (
            json!({ "command": "id", "sandbox": "danger-full-access" }),
            -32003,
            "allow_danger_full_access",
        ),
        (
            json!({ "command": "id", "max_output_bytes": 1 << 30 }),
            -32602,
            "max_output_bytes: expected",
        ),
        (
            json!({ "command": "id", "max_output_bytes": -1 }),
            -32602,
            "max_output_bytes: expected a whole number of 0 to",
        ),
    ] {
        gateway.assert_rpc_error("exec", params, code, says).await;
    }
}

#[tokio::test]
async fn timeout_kills_command_and_background_children() {
    let gateway = Gateway::config("[gateway]\nallow_danger_full_access = true\n").start();
    for sandbox in ["workspace-write", "danger-full-access"] {
        let marker = marker();
        // If only the sleep were killed, its shell would write the file at once.
        let line = format!("(sleep {marker}; echo late > late) & echo begun; sleep {marker}");
        let more = json!({ "timeout_ms": 4000, "cwd": sandbox, "sandbox": sandbox });
        let result = exec(&gateway, merged(shell(&line), more)).await;
        assert_eq!((&result["timed_out"], &result["exit_code"]), (&json!(true), &json!(124)));
        assert_eq!(result["stdout"], "begun\n", "{result}");
        eventually("all of it is gone", || async { !command_line_holds(&marker) }).await;
        assert!(!gateway.workspaces().join(sandbox).join("late").exists());

        // A finished command leaves nothing behind, and its answer does not wait for its children.
        let line = format!("(trap '' INT; sleep {marker}; echo late > late) & echo done");
        let more = json!({ "cwd": sandbox, "sandbox": sandbox });
        let result = exec(&gateway, merged(shell(&line), more)).await;
        assert_eq!((&result["stdout"], &result["exit_code"]), (&json!("done\n"), &json!(0)));
        eventually("all of it is gone", || async { !command_line_holds(&marker) }).await;
        assert!(!gateway.workspaces().join(sandbox).join("late").exists());
    }
}

#[tokio::test]
async fn timeout_during_sandbox_start_leaves_nothing() {
    let gateway = Gateway::start();
    let marker = marker();
    // In the first milliseconds the sandbox does not yet die with its parent.
    for timeout_ms in (1..=60).step_by(2) {
        let more = json!({ "timeout_ms": timeout_ms, "cwd": "w" });
        let result = exec(&gateway, merged(shell(&format!("sleep {marker}")), more)).await;
        assert_eq!(result["timed_out"], true);
    }
    eventually("all of them are gone", || async { !command_line_holds(&marker) }).await;
}

#[tokio::test]
async fn output_is_bounded_text() {
    let gateway = Gateway::start();
    let line = "head -c 3000000 /dev/zero | tr '\\0' x; printf 'short' >&2";
    let result = exec(&gateway, shell(line)).await;
    assert_eq!(result["stdout"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(
        (&result["stdout_truncated"], &result["stderr_truncated"]),
        (&json!(true), &json!(false))
    );
    let result = exec(&gateway, merged(shell(line), json!({ "max_output_bytes": 10 }))).await;
    assert_eq!((&result["stdout"], &result["stderr"]), (&json!("xxxxxxxxxx"), &json!("short")));
    let result = exec(&gateway, shell("printf 'a\\377\\303\\244\\360'")).await;
    assert_eq!(result["stdout"], "a\u{fffd}ä\u{fffd}");
}

#[tokio::test]
async fn socket_receives_output_as_it_is_printed() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    // The second command starts after the first line of the first one has arrived.
    let waits = "echo first; until [ -e go ]; do sleep 0.05; done; printf 'h\\303'; sleep 0.3; printf '\\244'; echo e >&2";
    send(&mut socket, json!("one"), &merged(shell(waits), json!({ "cwd": "w" }))).await;
    let first = socket.json().await;
    assert_eq!((&first["method"], &first["id"]), (&json!("exec.output"), &Value::Null));
    let expected = json!({ "id": "one", "seq": 1, "stream": "stdout", "chunk": "first\n" });
    assert_eq!(first["params"], expected);
    send(&mut socket, json!(2), &merged(shell("echo > go"), json!({ "cwd": "w" }))).await;
    let (mut said, mut results) = (String::new(), Vec::new());
    while results.len() < 2 {
        let message = socket.json().await;
        if message["method"] == "exec.output" {
            assert_eq!(message["params"]["id"], "one");
            if message["params"]["stream"] == "stdout" {
                said.push_str(message["params"]["chunk"].as_str().unwrap());
            }
        } else {
            results.push(message);
        }
    }
    assert_eq!(said, "hä");
    // The second command lets the first one end, so their answers may arrive in either order.
    let one = results.iter().find(|result| result["id"] == "one").unwrap();
    assert!(results.iter().any(|result| result["id"] == 2), "{results:?}");
    assert_eq!(one["result"]["stdout"], "first\nhä");
    assert_eq!(one["result"]["stderr"], "e\n");
}

#[tokio::test]
async fn slow_receiver_applies_backpressure() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    let line = "head -c 40000000 /dev/zero | tr '\\0' x; echo > done";
    send(&mut socket, json!(1), &merged(shell(line), json!({ "cwd": "w", "timeout_ms": 120_000 })))
        .await;
    let mut received = 0;
    let mut seq = 0;
    let result = loop {
        let message = socket.json().await;
        if message["method"] != "exec.output" {
            break message["result"].clone();
        }
        seq += 1;
        assert_eq!(message["params"]["seq"], seq);
        received += message["params"]["chunk"].as_str().unwrap().len();
        if seq == 1 {
            let done = gateway.workspaces().join("w/done");
            assert!(!done.exists(), "40 MB fit in no queue");
        }
    };
    assert_eq!((received, &result["stdout_truncated"]), (40_000_000, &json!(true)));
}

#[tokio::test]
async fn disconnect_kills_the_command() {
    let gateway = Gateway::start();
    let over_socket = marker();
    let mut socket = Socket::connect(&gateway, &[]).await;
    send(&mut socket, json!(1), &shell(&format!("(sleep {over_socket}; :) & sleep {over_socket}")))
        .await;
    eventually("it runs", || async { command_line_holds(&over_socket) }).await;
    drop(socket);
    eventually("it is gone with its socket", || async { !command_line_holds(&over_socket) }).await;

    let over_http = marker();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "exec",
                       "params": shell(&format!("(sleep {over_http}; :) & sleep {over_http}")) });
    {
        let waiting = gateway.post("/jsonrpc", call);
        let mut waiting = std::pin::pin!(waiting);
        loop {
            let tick = tokio::time::sleep(Duration::from_millis(50));
            tokio::select! {
                reply = &mut waiting => panic!("{reply:?}"),
                () = tick => if command_line_holds(&over_http) { break },
            }
        }
    }
    eventually("it is gone with its client", || async { !command_line_holds(&over_http) }).await;
}

#[tokio::test]
async fn drain_kills_commands_and_reports_it() {
    let mut gateway = Gateway::start();
    let marker = marker();
    let address = gateway.address;
    let line =
        merged(shell(&format!("echo begun; echo > begun; sleep {marker}")), json!({ "cwd": "w" }));
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "exec", "params": line }).to_string();
    let waiting = tokio::spawn(async move {
        let json = [("content-type", "application/json")];
        client::request(address, "POST", "/jsonrpc", &json, call.into_bytes()).await
    });
    let begun = gateway.workspaces().join("w/begun");
    eventually("it runs", || async { begun.exists() }).await;
    gateway.terminate();
    let answer = soon("the answer", waiting).await.unwrap().json();
    assert_eq!(answer["error"]["code"], -32006, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("shutting down"));
    assert_eq!(answer["error"]["data"]["partial"]["stdout"], "begun\n");
    assert_eq!(soon("the end", gateway.exit_code()).await, 0);
    assert!(!command_line_holds(&marker));
}

#[tokio::test]
async fn commands_over_the_limit_are_refused() {
    let gateway = Gateway::start();
    let call = |id: usize| {
        json!({ "jsonrpc": "2.0", "id": id, "method": "exec",
        "params": { "command": "sleep", "args": ["600"], "timeout_ms": 4000 } })
    };
    let batch: Vec<Value> = (0..33).map(call).collect();
    let answers = gateway.post("/jsonrpc", batch.into()).await.json();
    let answers = answers.as_array().unwrap();
    let refused: Vec<&Value> =
        answers.iter().filter(|answer| answer["error"]["code"] == -32001).collect();
    assert_eq!((answers.len(), refused.len()), (33, 1));
    assert!(refused[0]["error"]["message"].as_str().unwrap().contains("at most 32"));
    assert_eq!(
        exec(&gateway, json!({ "command": "true" })).await["exit_code"],
        0,
        "slots are free again"
    );
}

#[tokio::test]
async fn missing_sandbox_refuses_commands_and_names_fix() {
    let path = path_without_sandbox();
    let gateway = Gateway::env("PATH", path.path().to_str().unwrap()).start();
    let answer = gateway.rpc("exec", json!({ "command": "id" })).await;
    assert_eq!(answer["error"]["code"], -32003);
    assert!(answer["error"]["message"].as_str().unwrap().contains("apt-get install bubblewrap"));
}
