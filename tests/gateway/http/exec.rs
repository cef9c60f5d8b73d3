//! Prompts over `/exec` and `/api/v1/exec`: events as JSON lines and SSE, the task view, answers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::client::in_order;
use crate::support::client::kinds;
use crate::support::gateway::new_home;

#[tokio::test]
async fn events_stream_as_they_happen() {
    let gateway = Gateway::start();
    // The command waits for a file that the test creates after the first output: if events were
    // held back until the end, the turn would never end.
    let prompt = "run: echo first; until [ -e go ]; do sleep 0.05; done; echo second";
    let body = json!({ "prompt": prompt, "cwd": "live" });
    let mut lines = gateway.stream("/exec", &[], body).await;
    assert_eq!(lines.status, 200);
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    assert_eq!(lines.headers["cache-control"], "no-cache, no-transform");

    let mut events = Vec::new();
    while !printed(&events).contains("first") {
        events.push(lines.event().await.expect("the stream has not ended"));
    }
    std::fs::write(gateway.workspaces().join("live/go"), "").unwrap();
    events.extend(lines.events().await);

    let kinds = kinds(&events);
    let expected = [
        "task_started",
        "exec_command_begin",
        "exec_command_output_delta",
        "exec_command_end",
        "agent_message",
        "task_complete",
    ];
    assert!(in_order(&kinds, &expected), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"task_complete"));
    assert!(printed(&events).contains("second"));
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let conversation = &events[0]["conversation_id"];
    assert!(events.iter().all(|event| event["conversation_id"] == *conversation));
    assert_eq!(lines.headers["x-conversation-id"], conversation.as_str().unwrap());
    assert!(!kinds.iter().any(|kind| kind.starts_with("raw_response")), "{kinds:?}");
}

/// Returns the output of commands.
fn printed(events: &[Value]) -> String {
    use base64::Engine;
    events
        .iter()
        .filter(|event| event["msg"]["type"] == "exec_command_output_delta")
        .filter_map(|event| event["msg"]["chunk"].as_str())
        .map(|chunk| base64::engine::general_purpose::STANDARD.decode(chunk).unwrap())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

#[tokio::test]
async fn sse_carries_the_same_numbered_events() {
    let gateway = Gateway::start();
    let accept = [("accept", "text/event-stream")];
    let mut lines = gateway.stream("/exec", &accept, json!({ "prompt": "run: echo hi" })).await;
    assert_eq!(lines.headers["content-type"], "text/event-stream");
    let events = lines.sse().await;
    for (id, name, data) in &events {
        assert_eq!(data["seq"].to_string(), *id);
        assert_eq!(data["msg"]["type"], **name);
    }
    assert_eq!(events.last().unwrap().1, "task_complete");
}

#[tokio::test]
async fn task_view_uses_documented_event_names() {
    let gateway = Gateway::start();
    let body = json!({ "prompt": "run: echo out; echo more", "session_id": "view" });
    let mut lines = gateway.stream("/api/v1/exec/stream", &[], body).await;
    assert_eq!(lines.headers["content-type"], "text/event-stream");
    assert_eq!(lines.headers["x-accel-buffering"], "no");
    let events = lines.sse().await;
    let names: Vec<&str> = events.iter().map(|(_, name, _)| name.as_str()).collect();
    assert!(
        in_order(
            &names,
            &[
                "task_started",
                "task_progress",
                "stdout_line",
                "stdout_line",
                "task_result",
                "task_completed"
            ]
        ),
        "{names:?}"
    );
    let started = &events[0].2;
    assert_eq!(
        (&started["session_id"], &started["status"]),
        (&json!("view"), &json!("initializing"))
    );
    let printed: Vec<&Value> = events
        .iter()
        .filter(|(_, name, _)| name == "stdout_line")
        .map(|(_, _, data)| &data["line"])
        .collect();
    assert_eq!(printed, ["out", "more"]);
    let completed = &events.last().unwrap().2;
    assert_eq!(completed["status"], "completed");
    assert_eq!(completed["exit_code"], 0);
    assert!(completed["execution_time_ms"].is_u64());
    assert!(completed["final_result"].as_str().unwrap().contains("out"));
    let ids: Vec<u64> = events.iter().map(|(id, ..)| id.parse().unwrap()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
}

#[tokio::test]
async fn apply_patch_writes_a_script_that_runs() {
    let gateway = Gateway::start();
    let prompt = "create a python script that prints hello world";
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": prompt, "cwd": "w" })).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["status"], "completed");
    assert_eq!(answer["exit_code"], 0);
    assert_eq!(answer["files_created"], json!(["hello.py"]));
    assert_eq!(answer["steps_completed"], 2);
    assert_eq!(answer["task_result"]["success"], true);
    assert_eq!(answer["task_result"]["artifacts"][0]["path"], "hello.py");
    assert_eq!(answer["task_result"]["artifacts"][0]["content"], "print(\"hello world\")\n");
    assert!(answer["stdout"].as_str().unwrap().contains("hello world\n"));
    assert_eq!(answer["model"], "demo");
    assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 0);
    let written = std::fs::read_to_string(gateway.workspaces().join("w/hello.py")).unwrap();
    assert_eq!(written, "print(\"hello world\")\n");
}

#[tokio::test]
async fn plan_streams_updates_between_commands() {
    let gateway = Gateway::start();
    let events = gateway.exec(json!({ "prompt": "make a plan" })).await;
    let kinds = kinds(&events);
    let expected = [
        "plan_update",
        "exec_command_begin",
        "plan_update",
        "exec_command_begin",
        "plan_update",
        "task_complete",
    ];
    assert!(in_order(&kinds, &expected), "{kinds:?}");
}

#[tokio::test]
async fn ten_thousand_deltas_arrive_complete_and_in_order() {
    let gateway = Gateway::start();
    let events = gateway.exec(json!({ "prompt": "deltas: 10000" })).await;
    let text: String = events
        .iter()
        .filter(|event| event["msg"]["type"] == "agent_message_content_delta")
        .map(|event| event["msg"]["delta"].as_str().unwrap())
        .collect();
    let expected: String = (0..10_000).map(|n| format!("{n} ")).collect();
    assert_eq!(text, expected);
    assert!(!kinds(&events).contains(&"gateway_lagged"));
}

#[tokio::test]
async fn fifty_concurrent_prompts_all_complete() {
    let gateway = Gateway::start();
    let prompts =
        (0..50).map(|n| gateway.post("/api/v1/exec", json!({ "prompt": format!("say: {n}") })));
    let answers = futures::future::join_all(prompts).await;
    let mut conversations = std::collections::HashSet::new();
    for (n, answer) in answers.iter().enumerate() {
        let answer = answer.json();
        assert_eq!(answer["status"], "completed", "{answer}");
        assert_eq!(answer["task_result"]["summary"], n.to_string());
        conversations.insert(answer["conversation_id"].to_string());
    }
    assert_eq!(conversations.len(), 50);
}

/// Core puts the name of the operating system into its user agent. Without the `os-info` stand-in,
/// that takes a dozen processes per conversation.
#[tokio::test]
async fn conversation_start_spawns_no_programs() {
    let programs = new_home();
    let called = programs.path().join("called");
    for name in ["lsb_release", "getconf", "uname"] {
        let program = programs.path().join(name);
        let script = format!("#!/bin/sh\necho $0 >> {}\n", called.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    let gateway = Gateway::env("PATH", &format!("{}:{path}", programs.path().display())).start();
    for _ in 0..3 {
        gateway.exec(json!({ "prompt": "say: hi" })).await;
    }
    assert!(!called.exists(), "{}", std::fs::read_to_string(called).unwrap());
}
