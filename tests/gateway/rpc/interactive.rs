//! `interactive.*`: terminals with a shell.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;
use crate::support::path_without_sandbox;
use crate::support::process::marker;
use crate::support::process::process_continues;
use crate::support::process::process_runs;

/// A terminal whose output a socket receives.
struct Shell {
    socket: Socket,
    id: Value,
    printed: String,
}

impl Shell {
    async fn start(gateway: &Gateway, params: Value) -> Self {
        let mut socket = Socket::connect(gateway, &[]).await;
        let answer = socket.call("interactive.start", params).await;
        let id = answer["result"]["terminal_id"].clone();
        assert!(id.is_string(), "{answer}");
        Self { socket, id, printed: String::new() }
    }

    async fn type_in(&mut self, text: &str) {
        let params = json!({ "terminal_id": self.id, "data": STANDARD.encode(text) });
        let answer = self.socket.call("interactive.input", params).await;
        assert_eq!(answer["result"]["accepted"], text.len(), "{answer}");
    }

    async fn output(&mut self) -> Option<Value> {
        let notification = self.socket.notification().await;
        let params = &notification["params"];
        assert_eq!(params["terminal_id"], self.id);
        if notification["method"] == "interactive.output" {
            let data = STANDARD.decode(params["data"].as_str().unwrap()).unwrap();
            self.printed.push_str(&String::from_utf8_lossy(&data));
        }
        Some(notification)
    }

    /// Reads until this text has been printed.
    async fn until(&mut self, text: &str) {
        let printed = async {
            while !self.printed.contains(text) {
                let more = self.output().await;
                if more.is_none_or(|more| more["method"] == "interactive.exited") {
                    return false;
                }
            }
            true
        };
        let printed = tokio::time::timeout(Duration::from_secs(60), printed).await;
        assert!(printed == Ok(true), "{text:?} never came: {:?}", self.printed);
    }

    /// Reads until the terminal has ended. Returns its last notification.
    async fn end(&mut self) -> Value {
        loop {
            let notification = self.output().await.expect("a last notification");
            if notification["method"] == "interactive.exited" {
                return notification["params"].clone();
            }
        }
    }
}

/// Reads over HTTP until this text has been printed or the terminal has ended.
async fn read_until(gateway: &Gateway, id: &Value, text: &str) -> (String, Value) {
    let (mut printed, mut after) = (String::new(), json!(0));
    loop {
        let params = json!({ "terminal_id": id, "after": after });
        let result = gateway.rpc("interactive.read", params).await["result"].clone();
        let data = STANDARD.decode(result["data"].as_str().expect("data")).unwrap();
        printed.push_str(&String::from_utf8_lossy(&data));
        after = result["next"].clone();
        if printed.contains(text) || result["exited"] == true {
            return (printed, result);
        }
    }
}

async fn type_over_http(gateway: &Gateway, id: &Value, text: &str) {
    let params = json!({ "terminal_id": id, "data": STANDARD.encode(text) });
    let answer = gateway.rpc("interactive.input", params).await;
    assert_eq!(answer["result"]["accepted"], text.len(), "{answer}");
}

#[tokio::test]
async fn shell_takes_input_and_reports_its_exit() {
    let gateway = Gateway::start();
    let mut shell = Shell::start(&gateway, json!({ "cwd": "w" })).await;
    // The terminal echoes its input: only the output holds the unquoted text.
    shell.type_in("echo sum-$((40+2)); pwd\n").await;
    shell.until("sum-42").await;
    shell.until("/workspaces/w").await;
    // One letter per call, without waiting for the answers.
    let mut calls = Vec::new();
    for letter in "echo in-ord''er-abcdefghijklmnopqrstuvwxyz0123456789\n".chars() {
        let params =
            json!({ "terminal_id": shell.id, "data": STANDARD.encode(letter.to_string()) });
        calls.push(shell.socket.send("interactive.input", params).await);
    }
    for call in calls {
        assert_eq!(shell.socket.answer(call).await["result"]["accepted"], 1);
    }
    shell.until("in-order-abcdefghijklmnopqrstuvwxyz0123456789").await;
    shell.type_in("exit 7\n").await;
    let end = shell.end().await;
    assert_eq!((&end["exit_code"], &end["reason"]), (&json!(7), &json!("exited")));

    // A finished terminal can be read but takes no input.
    let (printed, last) = read_until(&gateway, &shell.id, "never printed").await;
    assert!(printed.contains("sum-42"));
    assert_eq!((&last["exit_code"], &last["reason"]), (&json!(7), &json!("exited")));
    let params = json!({ "terminal_id": shell.id, "data": "" });
    let late = gateway.rpc("interactive.input", params).await;
    assert_eq!(late["error"]["code"], -32004, "{late}");
    let stopped = gateway.rpc("interactive.stop", json!({ "terminal_id": shell.id })).await;
    assert_eq!(
        (&stopped["result"]["stopped"], &stopped["result"]["exit_code"]),
        (&json!(false), &json!(7))
    );
}

#[tokio::test]
async fn ctrl_c_ends_only_the_foreground_program() {
    let gateway = Gateway::start();
    let mut shell = Shell::start(&gateway, json!({})).await;
    let marker = marker();
    shell.type_in(&format!("sleep {marker}\n")).await;
    eventually("the command runs", || async { process_runs(&marker) }).await;
    shell.type_in("\x03").await;
    eventually("the command is gone", || async { !process_runs(&marker) }).await;
    shell.type_in("echo code-$?\n").await;
    shell.until("code-130").await;
    // Ctrl-Z and job control need a controlling terminal.
    shell.type_in(&format!("sleep {marker}\n")).await;
    eventually("the command runs again", || async { process_runs(&marker) }).await;
    shell.type_in("\x1a").await;
    shell.until("Stopped").await;
    shell.type_in("fg\n").await;
    eventually("it goes on", || async { process_continues(&marker) }).await;
    shell.type_in("\x03").await;
    eventually("the command is gone again", || async { !process_runs(&marker) }).await;
    shell.type_in("exit 0\n").await;
    shell.end().await;
}

#[tokio::test]
async fn terminal_has_the_requested_size() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    let start = json!({ "cols": 100, "rows": 30, "shell": "sh" });
    let answer = socket.call("interactive.start", start).await;
    let result = &answer["result"];
    assert_eq!((&result["cols"], &result["rows"]), (&json!(100), &json!(30)));
    assert!(result["pid"].as_u64().unwrap() > 0);
    let id = result["terminal_id"].clone();
    let mut shell = Shell { socket, id, printed: String::new() };
    shell.type_in("stty size\n").await;
    shell.until("30 100").await;
    let size = json!({ "terminal_id": shell.id, "cols": 132, "rows": 50 });
    let resized = shell.socket.call("interactive.resize", size.clone()).await;
    assert_eq!(resized["result"], size);
    shell.type_in("stty size\n").await;
    shell.until("50 132").await;
}

#[tokio::test]
async fn terminal_is_confined_and_sees_no_secrets() {
    let gateway = Gateway::env("GITHUB_TOKEN", "canary-1").env("MY_SETTING", "canary-2").start();
    let mut shell = Shell::start(&gateway, json!({ "cwd": "w" })).await;
    let outside = gateway.home.path().join("outside");
    shell.type_in(&format!("echo x > inside; echo x > {}\n", outside.display())).await;
    shell.until("Read-only file system").await;
    assert!(gateway.workspaces().join("w/inside").exists());
    assert!(!outside.exists());
    shell
        .type_in(&format!("cat {}/config.toml; env; echo en''d\n", gateway.home.path().display()))
        .await;
    shell.until("end").await;
    assert!(shell.printed.contains("TERM=xterm-256color"), "{}", shell.printed);
    assert!(shell.printed.contains("HOME=") && !shell.printed.contains("canary"));
    assert!(!shell.printed.contains("CODEX_HOME"), "{}", shell.printed);

    let mut reader = Shell::start(&gateway, json!({ "cwd": "r", "sandbox": "read-only" })).await;
    reader.type_in("echo x > inside; echo en''d\n").await;
    reader.until("end").await;
    assert!(!gateway.workspaces().join("r/inside").exists());
}

#[tokio::test]
async fn session_terminal_uses_its_folder_and_sandbox() {
    let gateway = Gateway::start();
    let prompt =
        json!({ "prompt": "say: hi", "session_id": "s", "cwd": "c", "sandbox": "read-only" });
    gateway.post("/api/v1/exec", prompt).await;
    let mut shell = Shell::start(&gateway, json!({ "session_id": "s" })).await;
    shell.type_in("pwd; echo x > inside; echo en''d\n").await;
    shell.until("end").await;
    assert!(shell.printed.contains("/workspaces/c\r\n"), "{}", shell.printed);
    assert!(!gateway.workspaces().join("c/inside").exists());
    let elsewhere = json!({ "session_id": "s", "cwd": "d" });
    let refused = gateway.rpc("interactive.start", elsewhere).await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let gateway = gateway.kill_and_restart();
    let mut shell = Shell::start(&gateway, json!({ "session_id": "s" })).await;
    shell.type_in("pwd; echo en''d\n").await;
    shell.until("end").await;
    assert!(shell.printed.contains("/workspaces/c\r\n"), "{}", shell.printed);
}

#[tokio::test]
async fn closing_a_socket_ends_only_attached_terminals() {
    let gateway = Gateway::start();
    let (tied, free) = (marker(), marker());
    let mut shell = Shell::start(&gateway, json!({})).await;
    shell.type_in(&format!("sleep {tied}\n")).await;
    let mut detached = Shell::start(&gateway, json!({ "detached": true })).await;
    detached.type_in(&format!("sleep {free} &\n")).await;
    eventually("both run", || async { process_runs(&tied) && process_runs(&free) }).await;
    let (shell_id, id) = (shell.id.clone(), detached.id.clone());
    drop(shell);
    drop(detached);
    eventually("the attached one is gone", || async { !process_runs(&tied) }).await;
    let (_, last) = read_until(&gateway, &shell_id, "never printed").await;
    assert_eq!(last["reason"], "disconnected");

    type_over_http(&gateway, &id, "echo still-$((1+1))\n").await;
    let (printed, last) = read_until(&gateway, &id, "still-2").await;
    assert!(printed.contains("still-2") && last["exited"] == false);
    assert!(process_runs(&free));

    // Another socket can attach from any offset.
    let mut socket = Socket::connect(&gateway, &[]).await;
    let attach = json!({ "terminal_id": id, "after": last["next"] });
    let attached = socket.call("interactive.attach", attach).await;
    assert_eq!(
        (&attached["result"]["cols"], &attached["result"]["detached"]),
        (&json!(80), &json!(true))
    );
    let mut shell = Shell { socket, id: id.clone(), printed: String::new() };
    shell.type_in("echo again-$((1+2))\n").await;
    shell.until("again-3").await;
    assert!(!shell.printed.contains("still-2"));

    let stopped = gateway.rpc("interactive.stop", json!({ "terminal_id": id })).await;
    assert_eq!(
        (&stopped["result"]["stopped"], &stopped["result"]["reason"]),
        (&json!(true), &json!("stopped"))
    );
    assert_eq!(shell.end().await["reason"], "stopped");
    eventually("the job is gone", || async { !process_runs(&free) }).await;
}

#[tokio::test]
async fn stop_ends_background_jobs_without_a_sandbox_too() {
    let gateway = Gateway::config("[gateway]\nallow_danger_full_access = true\n").start();
    let marker = marker();
    let start = json!({ "sandbox": "danger-full-access", "cwd": "full" });
    let mut shell = Shell::start(&gateway, start).await;
    let (outside, printed) = (gateway.home.path().join("outside"), "job-started");
    shell
        .type_in(&format!(
            "echo x > {}; (trap '' HUP; sleep {marker}) & echo job-star''ted\n",
            outside.display()
        ))
        .await;
    shell.until(printed).await;
    eventually("it runs", || async { process_runs(&marker) }).await;
    assert!(outside.exists());
    shell.socket.call("interactive.stop", json!({ "terminal_id": shell.id })).await;
    eventually("the job is gone", || async { !process_runs(&marker) }).await;

    let mut shell = Shell::start(&gateway, json!({ "sandbox": "danger-full-access" })).await;
    shell.type_in(&format!("sleep {marker} & exit 3\n")).await;
    assert_eq!(shell.end().await["exit_code"], 3);
    eventually("the job is gone with its shell", || async { !process_runs(&marker) }).await;
}

#[tokio::test]
async fn slow_reader_learns_how_much_it_missed() {
    let gateway = Gateway::start();
    let answer = gateway.rpc("interactive.start", json!({ "shell": "sh" })).await;
    assert_eq!(answer["result"]["detached"], true, "without a socket");
    let id = answer["result"]["terminal_id"].clone();
    type_over_http(&gateway, &id, "head -c 500000 /dev/zero | tr '\\0' x; exit 0\n").await;
    let ended = || async {
        let read = json!({ "terminal_id": id, "after": 500_000, "timeout_ms": 1000 });
        gateway.rpc("interactive.read", read).await["result"]["exited"] == true
    };
    eventually("it ended", ended).await;
    let read = json!({ "terminal_id": id, "after": 0 });
    let first = gateway.rpc("interactive.read", read).await["result"].clone();
    let lost = first["lost"].as_u64().unwrap();
    assert!(lost >= 500_000 - (256 << 10) && first["offset"] == lost, "{lost}");
    assert_eq!(first["exited"], false, "there is more");
    let (rest, _) = read_until(&gateway, &id, "never printed").await;
    assert_eq!(rest.len(), 256 << 10);
}

#[tokio::test]
async fn unread_input_is_bounded_and_blocks_nothing() {
    let gateway = Gateway::start();
    let mut shell = Shell::start(&gateway, json!({})).await;
    let marker = marker();
    shell.type_in(&format!("stty raw -echo; sleep {marker}\n")).await;
    eventually("it runs", || async { process_runs(&marker) }).await;
    let data = STANDARD.encode("x".repeat(100_000));
    let mut refusal = Value::Null;
    for _ in 0..10 {
        let params = json!({ "terminal_id": shell.id, "data": data });
        let answer = shell.socket.call("interactive.input", params).await;
        if answer.get("error").is_some() {
            refusal = answer["error"].clone();
            break;
        }
    }
    assert_eq!(refusal["code"], -32001, "{refusal}");
    assert_eq!(refusal["data"]["retry"], "after");
    assert_eq!(gateway.get("/health").await.status, 200);
    let stopped = shell.socket.call("interactive.stop", json!({ "terminal_id": shell.id })).await;
    assert_eq!(stopped["result"]["stopped"], true);
    eventually("it is gone", || async { !process_runs(&marker) }).await;
}

#[tokio::test]
async fn terminals_are_bounded_in_number_and_time() {
    let gateway =
        Gateway::config("[gateway]\nmax_terminals = 1\nterminal_idle_ms = 1500\n").start();
    let mut shell = Shell::start(&gateway, json!({})).await;
    let full = gateway.rpc("interactive.start", json!({})).await;
    assert_eq!(full["error"]["code"], -32001);
    assert!(full["error"]["message"].as_str().unwrap().contains("gateway.max_terminals"));
    assert_eq!(shell.end().await["reason"], "idle");
    eventually("its place is free", || async {
        gateway.rpc("interactive.start", json!({})).await.get("result").is_some()
    })
    .await;

    let gateway = Gateway::config("[gateway]\nterminal_lifetime_ms = 2000\n").start();
    let mut shell = Shell::start(&gateway, json!({})).await;
    shell.type_in("while sleep 0.1; do echo x; done\n").await;
    let end = shell.end().await;
    assert_eq!(end["reason"], "lifetime");
    assert_ne!(end["exit_code"], 0);
}

#[tokio::test]
async fn terminal_is_invisible_to_other_callers() {
    let gateway = Gateway::env("GATEWAY_API_KEY", "one=key-1,two=key-2").start();
    let mut owner = Socket::connect(&gateway, &[("x-api-key", "key-1")]).await;
    let mut other = Socket::connect(&gateway, &[("x-api-key", "key-2")]).await;
    let started = owner.call("interactive.start", json!({})).await;
    let id = &started["result"]["terminal_id"];
    for (method, params) in [
        ("interactive.input", json!({ "terminal_id": id, "data": "" })),
        ("interactive.resize", json!({ "terminal_id": id, "cols": 1, "rows": 1 })),
        ("interactive.stop", json!({ "terminal_id": id })),
        ("interactive.read", json!({ "terminal_id": id })),
        ("interactive.attach", json!({ "terminal_id": id })),
    ] {
        let answer = other.call(method, params.clone()).await;
        assert_eq!(answer["error"]["code"], -32004, "{method}: {answer}");
        let own = owner.call(method, params).await;
        // A stopped terminal still belongs to its owner.
        assert!(own.get("result").is_some(), "{method}: {own}");
    }
}

#[tokio::test]
async fn shutdown_ends_every_terminal() {
    let mut gateway = Gateway::start();
    let marker = marker();
    let mut shell = Shell::start(&gateway, json!({})).await;
    shell.type_in(&format!("sleep {marker}\n")).await;
    let answer = gateway.rpc("interactive.start", json!({})).await;
    type_over_http(&gateway, &answer["result"]["terminal_id"], &format!("sleep {marker}\n")).await;
    eventually("it runs", || async { process_runs(&marker) }).await;
    gateway.terminate();
    assert_eq!(shell.end().await["reason"], "shutdown");
    assert_eq!(gateway.exit_code().await, 0);
    eventually("they are gone", || async { !process_runs(&marker) }).await;
}

#[tokio::test]
async fn missing_sandbox_refuses_terminals_and_names_fix() {
    let path = path_without_sandbox();
    let gateway = Gateway::env("PATH", path.path().to_str().unwrap()).start();
    let refused = gateway.rpc("interactive.start", json!({})).await;
    assert_eq!(refused["error"]["code"], -32003, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("apt-get install bubblewrap"));
}

#[tokio::test]
async fn invalid_call_names_field_and_expectation() {
    let gateway = Gateway::start();
    let started = gateway.rpc("interactive.start", json!({})).await;
    let id = &started["result"]["terminal_id"];
    let nobody = "00000000-0000-4000-8000-000000000000";
    let big = STANDARD.encode("x".repeat(300_000));
    for (method, params, code, says) in [
        (
            "start",
            json!({ "cols": 0 }),
            -32602,
            "cols: expected a whole number of 1 to 1000, got 0",
        ),
        ("start", json!({ "rows": 1001 }), -32602, "rows: expected a whole number of 1 to 1000"),
        ("start", json!({ "cols": "80" }), -32602, "cols"),
        ("start", json!({ "rows": 70000 }), -32602, "rows"),
        ("start", json!({ "shell": "no-such-shell" }), -32602, "shell: expected"),
        ("start", json!({ "shell": "../sh" }), -32602, "shell: expected"),
        ("start", json!({ "shell": 7 }), -32602, "shell"),
        ("start", json!({ "cwd": "/etc" }), -32602, "cwd: expected a folder inside"),
        ("start", json!({ "cwd": "../x" }), -32602, "cwd: expected a folder inside"),
        ("start", json!({ "cwd": 7 }), -32602, "cwd"),
        ("start", json!({ "session_id": "a b" }), -32602, "session_id: expected"),
        ("start", json!({ "conversation_id": nobody }), -32004, "no conversation"),
        ("start", json!({ "sandbox": "none" }), -32602, "read-only"),
        ("start", json!({ "sandbox": "danger-full-access" }), -32003, "allow_danger_full_access"),
        ("start", json!({ "detached": "yes" }), -32602, "detached"),
        ("input", json!({}), -32602, "terminal_id"),
        ("input", json!({ "terminal_id": id }), -32602, "data"),
        ("input", json!({ "terminal_id": 7, "data": "" }), -32602, "terminal_id"),
        ("input", json!({ "terminal_id": id, "data": 7 }), -32602, "data"),
        ("input", json!({ "terminal_id": id, "data": "§" }), -32602, "data: expected base64"),
        ("input", json!({ "terminal_id": id, "data": big }), -32602, "data: expected at most"),
        ("input", json!({ "terminal_id": nobody, "data": "" }), -32004, "terminal_id: expected"),
        ("resize", json!({ "terminal_id": id }), -32602, "cols"),
        ("resize", json!({ "terminal_id": id, "cols": 80 }), -32602, "rows"),
        ("resize", json!({ "terminal_id": id, "cols": 0, "rows": 1 }), -32602, "cols: expected"),
        ("resize", json!({ "terminal_id": id, "cols": -1, "rows": 1 }), -32602, "cols"),
        ("resize", json!({ "terminal_id": nobody, "cols": 1, "rows": 1 }), -32004, "terminal_id"),
        ("stop", json!({}), -32602, "terminal_id"),
        ("stop", json!({ "terminal_id": [] }), -32602, "terminal_id"),
        ("stop", json!({ "terminal_id": nobody }), -32004, "terminal_id: expected"),
        ("read", json!({}), -32602, "terminal_id"),
        ("read", json!({ "terminal_id": nobody }), -32004, "terminal_id: expected"),
        ("read", json!({ "terminal_id": id, "after": -1 }), -32602, "after"),
        ("read", json!({ "terminal_id": id, "after": 1_000_000 }), -32602, "after: expected"),
        (
            "read",
            json!({ "terminal_id": id, "timeout_ms": 60001 }),
            -32602,
            "timeout_ms: expected a whole number of 0 to",
        ),
        ("attach", json!({ "terminal_id": id }), -32003, "GET /ws"),
    ] {
        gateway.assert_rpc_error(&format!("interactive.{method}"), params, code, says).await;
    }
}
