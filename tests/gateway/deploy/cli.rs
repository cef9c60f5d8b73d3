//! The command line: `exec`, `check` and `serve`.

use std::process::Output;
use std::process::Stdio;

use serde_json::Value;

use crate::support::client;
use crate::support::client::kinds;
use crate::support::gateway::Setup;
use crate::support::gateway::new_home;

fn run(setup: Setup, arguments: &[&str]) -> Output {
    setup.command(&new_home()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn exec_prints_answer_to_stdout_progress_to_stderr() {
    let output = run(Setup::default(), &["exec", "run: echo hi"]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("The command printed:"), "{output:?}");
    assert!(text(&output.stderr).contains("$ echo hi"), "{output:?}");
}

#[test]
fn exec_prints_events_as_json_lines() {
    let output = run(Setup::default(), &["exec", "--json", "run: exit 3"]);
    assert!(output.status.success());
    let events: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["msg"]["type"], "task_complete");
    assert!(events.iter().any(|event| event["msg"]["exit_code"] == 3));
}

#[test]
fn exec_exits_with_turn_code() {
    let output = run(Setup::default(), &["exec", "--timeout-ms", "1000", "slow: 1000"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    assert!(!run(Setup::default(), &["exec", ""]).status.success());
}

#[test]
fn check_prints_resolved_config_without_secrets() {
    let setup = Setup::default()
        .config("[gateway]\nport = 1\nbody_limit_bytes = 2048\n")
        .env("GATEWAY_API_KEY", "ci=canary-secret")
        .env("PORT", "7777");
    let output = run(setup, &["check"]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(printed.contains("127.0.0.1:7777") && printed.contains("ci=****"), "{printed}");
    assert!(printed.contains("2048 bytes") && printed.contains("demo"), "{printed}");
    assert!(!printed.contains("canary") && !text(&output.stderr).contains("canary"));
}

#[test]
fn startup_errors_are_one_sentence() {
    for (setup, arguments, says) in [
        (Setup::default().env("HOST", "0.0.0.0"), &["serve"][..], "without an API key"),
        (Setup::default().config("[gateway]\nprot = 1\n"), &["check"], "unknown field `prot`"),
        (Setup::default().config("approval_policy = 7\n"), &["check"], "approval_policy"),
        (Setup::default(), &["--config", "/nowhere.toml", "check"], "cannot read /nowhere.toml"),
        (Setup::default(), &["dance"], "unrecognized subcommand"),
        (Setup::default().env("PORT", "99999"), &["serve"], "PORT: expected a port number"),
    ] {
        let output = run(setup, arguments);
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// Returns the writing end of a pipe whose reader is closed.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

#[test]
fn exec_with_closed_stderr_keeps_its_exit_code() {
    for (arguments, code) in [(["exec", ""], 1), (["exec", "run: exit 3"], 0)] {
        let mut command = Setup::default().command(&new_home());
        let status =
            command.args(arguments).stdout(Stdio::null()).stderr(closed_pipe()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

/// A supervisor may stop reading the output once the server is ready.
#[tokio::test]
async fn server_with_closed_output_still_serves() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = new_home();
    let command = Setup::default().env("PORT", &port.to_string()).command(&home);
    let mut command = tokio::process::Command::from(command);
    let mut child =
        command.stdout(closed_pipe()).stderr(closed_pipe()).kill_on_drop(true).spawn().unwrap();
    let address = ([127, 0, 0, 1], port).into();
    while std::net::TcpStream::connect(address).is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "the server ended");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let body = serde_json::json!({ "prompt": "run: echo hi" }).to_string().into_bytes();
    let headers = [("content-type", "application/json")];
    let events = client::stream(address, "POST", "/exec", &headers, body).await.events().await;
    assert_eq!(kinds(&events).last(), Some(&"task_complete"));
    child.kill().await.unwrap();
}
