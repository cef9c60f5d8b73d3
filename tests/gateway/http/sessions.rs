//! Sessions: they outlive the process, and run one turn at a time.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::json;

use crate::support::Gateway;
use crate::support::eventually;
use crate::support::model::Model;

#[tokio::test]
async fn second_prompt_sees_the_first() {
    let model = Model::start(200).await;
    let gateway = Gateway::config(&model.config()).env("SCRIPTED_KEY", "sk-secret").start();
    let first = gateway.ask("talk", "my favourite number is 7331").await;
    assert_eq!(first["task_result"]["summary"], "Noted.");
    assert_eq!(first["model"], "scripted");
    let second = gateway.ask("talk", "what did I say?").await;
    assert_eq!(second["conversation_id"], first["conversation_id"]);
    let sent = model.last_request();
    assert!(sent.contains("my favourite number is 7331") && sent.contains("what did I say?"));

    let other = gateway.ask("other", "hello").await;
    assert_ne!(other["conversation_id"], first["conversation_id"]);
    assert!(!model.last_request().contains("7331"), "sessions do not leak into each other");
    assert!(model.authorizations.lock().unwrap().iter().all(|key| key == "Bearer sk-secret"));
    assert_eq!(gateway.get("/health").await.json()["model_provider"], "scripted");
}

#[tokio::test]
async fn session_survives_sigkill() {
    let model = Model::start(200).await;
    let gateway = Gateway::config(&model.config()).env("SCRIPTED_KEY", "k").start();
    let first = gateway.ask("talk", "remember the word pomegranate").await;
    let gateway = gateway.kill_and_restart();
    let id = first["conversation_id"].as_str().unwrap();
    let recorded = gateway.get(&format!("/api/v1/conversations/{id}")).await.json();
    assert_eq!((&recorded["session_id"], &recorded["status"]), (&json!("talk"), &json!("idle")));
    let second = gateway.ask("talk", "which word?").await;
    assert_eq!(second["conversation_id"], first["conversation_id"]);
    assert!(model.last_request().contains("pomegranate"));
}

#[tokio::test]
async fn conversation_id_selects_the_conversation() {
    let gateway = Gateway::start();
    let first = gateway.ask("s", "say: one").await;
    let id = &first["conversation_id"];
    let body = json!({ "prompt": "what did I say before?", "conversation_id": id });
    let second = gateway.post("/api/v1/exec", body).await.json();
    assert_eq!(second["session_id"], "s");
    assert!(second["task_result"]["summary"].as_str().unwrap().contains("say: one"));

    let mismatch = json!({ "prompt": "x", "conversation_id": id, "session_id": "t" });
    let mismatch = gateway.post("/api/v1/exec", mismatch).await;
    assert_eq!(mismatch.status, 400);
    assert!(mismatch.json()["detail"].as_str().unwrap().contains("belongs to session s"));
    let unknown =
        json!({ "prompt": "x", "conversation_id": "01234567-89ab-7def-8123-456789abcdef" });
    assert_eq!(gateway.post("/api/v1/exec", unknown).await.status, 404);
}

#[tokio::test]
async fn concurrent_prompt_on_a_session_is_refused() {
    let gateway = Gateway::start();
    let body = json!({ "prompt": "slow: 20", "session_id": "one" });
    let mut running = gateway.stream("/exec", &[], body.clone()).await;
    let started = running.until("task_started").await;

    let refused = gateway.post("/api/v1/exec", body).await;
    assert_eq!(refused.status, 409);
    let problem = refused.json();
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(
        (&problem["code"], &problem["retry"]),
        (&json!("conversation_busy"), &json!("after"))
    );
    assert_eq!(problem["turn_id"], started["id"]);
    let refused =
        gateway.rpc("conversation.prompt", json!({ "prompt": "x", "session_id": "one" })).await;
    assert_eq!(refused["error"]["code"], -32002);
    assert_eq!(refused["error"]["message"], "conversation busy");
    assert_eq!(refused["error"]["data"]["turn_id"], started["id"]);

    running.until("task_complete").await;
    // The slot is free once the last event has been sent.
    assert_eq!(gateway.ask("one", "say: again").await["status"], "completed");
}

#[tokio::test]
async fn concurrent_prompts_share_a_new_session() {
    let gateway = Gateway::start();
    let body = json!({ "prompt": "say: x", "session_id": "race", "if_busy": "queue" });
    let answers = join_all((0..4).map(|_| gateway.post("/api/v1/exec", body.clone()))).await;
    let ids: HashSet<String> =
        answers.iter().map(|answer| answer.json()["conversation_id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    assert!(answers.iter().all(|answer| answer.json()["status"] == "completed"));
}

#[tokio::test]
async fn queued_prompt_runs_after_the_turn() {
    let gateway = Gateway::start();
    let mut first =
        gateway.stream("/exec", &[], json!({ "prompt": "slow: 10", "session_id": "q" })).await;
    first.until("task_started").await;
    let queued =
        json!({ "prompt": "what did I say before?", "session_id": "q", "if_busy": "queue" });
    let (first, second) = tokio::join!(first.events(), gateway.post("/api/v1/exec", queued));
    assert_eq!(first.last().unwrap()["msg"]["type"], "task_complete");
    assert!(second.json()["task_result"]["summary"].as_str().unwrap().contains("slow: 10"));
}

#[tokio::test]
async fn steering_prompt_joins_the_turn() {
    let gateway = Gateway::start();
    let mut first =
        gateway.stream("/exec", &[], json!({ "prompt": "slow: 60", "session_id": "st" })).await;
    let started = first.until("agent_message_content_delta").await;
    let steer = json!({ "prompt": "say: steered", "session_id": "st", "if_busy": "steer" });
    let (events, steered) = tokio::join!(first.events(), gateway.stream("/exec", &[], steer));
    assert_eq!(steered.headers["x-turn-id"], started["id"].as_str().unwrap());
    let last = &events.last().unwrap()["msg"];
    assert_eq!(last["type"], "task_complete");
    assert_eq!(last["last_agent_message"], "steered");
}

#[tokio::test]
async fn model_failure_names_the_model_as_source() {
    let model = Model::start(401).await;
    let gateway = Gateway::config(&model.config()).env("SCRIPTED_KEY", "expired").start();
    let answer = gateway.ask("s", "hello").await;
    assert_eq!(answer["status"], "failed");
    assert_eq!(answer["exit_code"], 1);
    assert_eq!(answer["error"]["source"], "model");
    assert!(answer["error"]["message"].as_str().unwrap().contains("401"), "{answer}");
    let failed =
        gateway.rpc("conversation.prompt", json!({ "prompt": "x", "session_id": "s" })).await;
    assert_eq!(failed["error"]["code"], -32006);
    assert_eq!(failed["error"]["data"]["source"], "model");
}

#[tokio::test]
async fn conversation_keeps_its_folder() {
    let gateway = Gateway::start();
    gateway.ask("f", "say: x").await;
    let body = json!({ "prompt": "run: pwd", "session_id": "f", "cwd": "elsewhere" });
    let refused = gateway.post("/api/v1/exec", body).await;
    assert_eq!(refused.status, 400);
    eventually("nothing is left running", || async { gateway.load().await["turns"] == 0 }).await;
}
