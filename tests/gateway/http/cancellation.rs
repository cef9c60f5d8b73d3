//! Ends of turns: cancellation, time limits, disconnects, shutdown.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::eventually;
use crate::support::process::marker;
use crate::support::process::process_runs;
use crate::support::soon;

#[tokio::test]
async fn cancel_from_another_connection_ends_the_stream() {
    let gateway = Gateway::start();
    let marker = marker();
    let body = json!({ "prompt": format!("run: sleep {marker}"), "session_id": "c" });
    let mut lines = gateway.stream("/exec", &[], body).await;
    lines.until("exec_command_begin").await;
    eventually("the command runs", || async { process_runs(&marker) }).await;
    let status = gateway.rpc("conversation.status", json!({ "session_id": "c" })).await;
    assert_eq!(status["result"]["status"], "running");

    let cancelled = gateway.rpc("conversation.cancel", json!({ "session_id": "c" })).await;
    assert_eq!(cancelled["result"]["cancelled"], true);
    assert_eq!(cancelled["result"]["session_id"], "c");
    let rest = lines.events().await;
    assert_eq!(rest.last().unwrap()["msg"]["type"], "turn_aborted");
    eventually("the command is gone", || async { !process_runs(&marker) }).await;

    let again = gateway.rpc("conversation.cancel", json!({ "session_id": "c" })).await;
    assert_eq!(again["result"]["cancelled"], false);
    let answer =
        gateway.post("/api/v1/exec", json!({ "prompt": "say: on", "session_id": "c" })).await;
    assert_eq!(answer.json()["status"], "completed", "the conversation continues");
}

#[tokio::test]
async fn timeout_interrupts_turn_and_kills_command() {
    let gateway = Gateway::start();
    let marker = marker();
    let prompt = format!("run: echo partial; sleep {marker}");
    let body = json!({ "prompt": prompt, "timeout_ms": 8000, "session_id": "t" });
    let answer = gateway.post("/api/v1/exec", body).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["status"], "timed_out");
    assert_eq!(answer["exit_code"], 124);
    assert_eq!(answer["task_result"]["success"], false);
    assert!(answer["stdout"].as_str().unwrap().contains("partial"), "{answer}");
    assert!(answer["task_result"]["next_steps"][0].as_str().unwrap().contains("timeout_ms"));
    eventually("the command is gone", || async { !process_runs(&marker) }).await;

    let body = json!({ "prompt": "slow: 10000", "timeout_ms": 5000, "session_id": "t" });
    let timed_out = gateway.rpc("conversation.prompt", body).await;
    assert_eq!(timed_out["error"]["code"], -32005);
    assert_eq!(timed_out["error"]["data"]["partial"]["status"], "timed_out");
    assert!(timed_out["error"]["data"]["partial"]["content"].as_str().unwrap().starts_with("0 1 "));
}

#[tokio::test]
async fn turn_outlives_its_client_unless_tied() {
    let gateway = Gateway::start();
    let status = |session: &'static str| {
        let gateway = &gateway;
        async move {
            gateway.rpc("conversation.status", json!({ "session_id": session })).await["result"]["status"]
                .clone()
        }
    };
    let free = json!({ "prompt": "slow: 30", "session_id": "free" });
    let mut lines = gateway.stream("/exec", &[], free).await;
    lines.until("task_started").await;
    drop(lines);
    assert_eq!(status("free").await, "running");

    let tied = json!({ "prompt": "slow: 3000", "session_id": "tied" });
    for path in ["/exec", "/api/v1/exec/stream"] {
        let header = [("x-cancel-on-disconnect", "true")];
        let mut lines = gateway.stream(path, &header, tied.clone()).await;
        lines.next().await.unwrap();
        assert_eq!(status("tied").await, "running");
        drop(lines);
        eventually("the tied turn stops", || async { status("tied").await == "idle" }).await;
    }
    eventually("the free turn ends by itself", || async { status("free").await == "idle" }).await;
    let free = gateway.rpc("conversation.status", json!({ "session_id": "free" })).await;
    let id = free["result"]["conversation_id"].as_str().unwrap();
    let events =
        gateway.follow(&format!("/api/v1/conversations/{id}/events"), &[]).await.events().await;
    assert!(events.iter().any(|event| event["msg"]["type"] == "task_complete"));
}

#[tokio::test]
async fn disconnected_waiter_cancels_its_tied_turn() {
    let gateway = Gateway::start();
    for (path, body) in [
        ("/api/v1/exec", json!({ "prompt": "slow: 3000", "session_id": "w" })),
        (
            "/jsonrpc",
            json!({ "jsonrpc": "2.0", "id": 1, "method": "conversation.prompt",
                    "params": { "prompt": "slow: 3000", "session_id": "w" } }),
        ),
    ] {
        let header = [("x-cancel-on-disconnect", "true")];
        {
            let waiting = gateway.post_with(path, &header, body);
            tokio::pin!(waiting);
            let running =
                eventually("the turn runs", || async { gateway.load().await["turns"] == 1 });
            tokio::select! {
                answer = waiting.as_mut() => panic!("answered: {answer:?}"),
                () = running => {}
            }
        }
        eventually("the turn stops", || async { gateway.load().await["turns"] == 0 }).await;
    }
}

#[tokio::test]
async fn two_hundred_disconnects_leak_nothing() {
    let gateway = Gateway::start();
    let body = json!({ "prompt": "slow: 100000", "session_id": "d" });
    let mut running = gateway.stream("/exec", &[], body).await;
    // After the first delta, core's connection to the model is counted too.
    let delta = running.until("agent_message_content_delta").await;
    let id = delta["conversation_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/conversations/{id}/events?follow=true");
    let before = gateway.load().await;
    assert_eq!((&before["streams"], &before["turns"]), (&json!(1), &json!(1)));
    for n in 0..200 {
        // Some disconnect at once, some after the head, some after a line.
        if n % 4 == 0 {
            drop(tokio::net::TcpStream::connect(gateway.address).await.unwrap());
            continue;
        }
        if n % 20 == 1 {
            // Disconnects while its conversation or turn is starting.
            let tied = [("x-cancel-on-disconnect", "true")];
            let body = json!({ "prompt": "slow: 100000", "session_id": format!("d{n}") });
            let starting = gateway.post_with("/exec", &tied, body);
            let _ = tokio::time::timeout(Duration::from_micros(n * 100), starting).await;
            continue;
        }
        let mut lines = gateway.follow(&path, &[]).await;
        if n % 3 == 1 {
            lines.next().await.unwrap();
        }
    }
    eventually("no more than before is left", || async {
        let now = gateway.load().await;
        let left = |name: &str| now[name].as_u64() <= before[name].as_u64();
        // Tasks are not compared: conversations that were started stay live.
        ["connections", "streams", "turns"].into_iter().all(left)
    })
    .await;
    drop(running);
    gateway.rpc("conversation.cancel", json!({ "session_id": "d" })).await;
    eventually("nothing runs", || async {
        let load = gateway.load().await;
        load["streams"] == 0 && load["turns"] == 0
    })
    .await;
}

#[tokio::test]
async fn sigterm_interrupts_turns_and_announces_drain() {
    let mut gateway = Gateway::start();
    let marker = marker();
    let body = json!({ "prompt": format!("run: sleep {marker}"), "session_id": "g" });
    let mut turn = gateway.stream("/exec", &[], body).await;
    let id = turn.until("exec_command_begin").await["conversation_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/conversations/{id}/events?follow=true");
    let mut follower = gateway.follow(&path, &[]).await;
    follower.until("exec_command_begin").await;

    gateway.terminate();
    let rest = turn.events().await;
    assert_eq!(rest.last().unwrap()["msg"]["type"], "turn_aborted");
    let rest = follower.events().await;
    assert_eq!(rest.last().unwrap()["msg"]["type"], "gateway_draining");
    assert_eq!(soon("the process ends", gateway.exit_code()).await, 0);
    assert!(!process_runs(&marker));
    let log = gateway.log.lock().unwrap().clone();
    assert!(!log.contains("not everything ended in time"), "{log}");
    eventually("the log is read", || async { gateway.log.lock().unwrap().contains("stopped") })
        .await;

    // The interrupted turn is recorded: the conversation continues after a restart.
    let gateway = gateway.kill_and_restart();
    let body = json!({ "prompt": "what did I say before?", "session_id": "g" });
    let answer: Value = gateway.post("/api/v1/exec", body).await.json();
    assert!(answer["task_result"]["summary"].as_str().unwrap().contains(&marker), "{answer}");
}

#[tokio::test]
async fn non_reading_client_never_delays_shutdown() {
    let mut gateway = Gateway::config("[gateway]\ndrain_timeout_ms = 3000\n").start();
    let body = json!({ "prompt": "deltas: 200000", "session_id": "n" });
    let mut stuck = gateway.stream("/exec", &[], body).await;
    stuck.until("task_started").await;
    gateway.terminate();
    assert_eq!(soon("the process ends", gateway.exit_code()).await, 0);
}
