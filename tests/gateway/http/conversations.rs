//! Conversations over REST and `conversation.*`, which share their functions.

use futures::future::join;
use futures::future::join_all;
use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::eventually;
use crate::support::soon;

async fn call(gateway: &Gateway, method: &str, params: Value) -> Value {
    let answer = gateway.rpc(&format!("conversation.{method}"), params).await;
    assert!(answer["error"].is_null(), "{method}: {answer}");
    answer["result"].clone()
}

#[tokio::test]
async fn conversation_starts_with_or_without_a_turn() {
    let gateway = Gateway::start();
    let body = json!({ "session_id": "a", "sandbox": "read-only" });
    let started = gateway.post("/api/v1/conversations", body).await;
    assert_eq!(started.status, 201);
    let started = started.json();
    assert_eq!((&started["status"], &started["sandbox"]), (&json!("idle"), &json!("read-only")));
    // Core may already have sent its first event.
    assert!(started["last_seq"].is_u64(), "{started}");
    let answer = gateway.ask("a", "run: touch made").await;
    assert_eq!(answer["conversation_id"], started["conversation_id"]);
    assert!(answer.to_string().contains("Read-only file system"), "{answer}");

    let begun = call(&gateway, "start", json!({ "session_id": "b", "prompt": "slow: 30" })).await;
    assert_eq!(begun["status"], "running");
    eventually("the turn ends", || async {
        call(&gateway, "status", json!({ "session_id": "b" })).await["status"] == "idle"
    })
    .await;
}

#[tokio::test]
async fn list_is_paged_newest_first() {
    let gateway = Gateway::start();
    for session in ["one", "two", "three"] {
        gateway.post("/api/v1/conversations", json!({ "session_id": session })).await;
    }
    let names = |page: &Value| -> Vec<String> {
        let page = page["conversations"].as_array().unwrap().iter();
        page.map(|one| one["session_id"].as_str().unwrap().to_owned()).collect()
    };
    let first = gateway.get("/api/v1/conversations?limit=2").await.json();
    assert_eq!(names(&first), ["three", "two"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = call(&gateway, "list", json!({ "limit": 2, "cursor": cursor })).await;
    assert_eq!((names(&rest), &rest["next_cursor"]), (vec!["one".to_owned()], &Value::Null));
    for query in ["limit=0", "limit=x", "limit=101", "cursor=x", "status=asleep", "page=2"] {
        let refused = gateway.get(&format!("/api/v1/conversations?{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("expected"), "{query}");
    }
    // The list survives a restart.
    let gateway = gateway.kill_and_restart();
    let all = gateway.get("/api/v1/conversations").await.json();
    assert_eq!(names(&all), ["three", "two", "one"]);
}

#[tokio::test]
async fn fork_keeps_history_up_to_its_turn() {
    let gateway = Gateway::start();
    let first = gateway.ask("a", "say: pear").await;
    gateway.ask("a", "say: plum").await;
    let fork = json!({ "session_id": "a", "after_turn": first["turn_id"], "new_session_id": "b" });
    let forked = call(&gateway, "fork", fork.clone()).await;
    assert_ne!(forked["conversation_id"], first["conversation_id"]);
    let answer = gateway.ask("b", "what did I say before?").await["task_result"]["summary"].clone();
    assert!(
        answer.to_string().contains("pear") && !answer.to_string().contains("plum"),
        "{answer}"
    );
    let whole = call(&gateway, "fork", json!({ "session_id": "a" })).await;
    let history =
        call(&gateway, "history", json!({ "conversation_id": whole["conversation_id"] })).await;
    assert_eq!(history["turns"].as_array().unwrap().len(), 2);

    let taken = gateway.rpc("conversation.fork", fork).await;
    assert_eq!(taken["error"]["code"], -32602, "{taken}");
    let params = json!({ "session_id": "a", "after_turn": "nothing" });
    let unknown = gateway.rpc("conversation.fork", params).await;
    assert!(unknown["error"]["message"].as_str().unwrap().contains("after_turn"), "{unknown}");
}

#[tokio::test]
async fn history_lists_items_and_rollback_removes_turns() {
    let gateway = Gateway::start();
    gateway.ask("a", "say: pear").await;
    let id =
        gateway.ask("a", "run: echo out").await["conversation_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/conversations/{id}");
    let history = gateway.get(&format!("{path}/history")).await.json();
    let items = &history["turns"][1]["items"];
    assert_eq!(
        (&items[0]["type"], &items[0]["text"]),
        (&json!("user_message"), &json!("run: echo out"))
    );
    assert_eq!(items[1]["type"], "tool_call");
    assert!(items[1]["output"].to_string().contains("out"), "{items}");
    assert_eq!(history["turns"][1]["status"], "completed");

    let back = gateway.post(&format!("{path}/rollback"), json!({ "turns": 1 })).await.json();
    assert_eq!(back["rolled_back"], true, "{back}");
    let history = gateway.get(&format!("{path}/history")).await.json();
    assert_eq!(history["turns"].as_array().unwrap().len(), 1);
    let answer = gateway.ask("a", "what did I say before?").await;
    assert!(!answer["task_result"]["summary"].to_string().contains("echo out"), "{answer}");
    let zero = gateway.post(&format!("{path}/rollback"), json!({ "turns": 0 })).await;
    assert_eq!(zero.status, 400);

    let empty = gateway.post("/api/v1/conversations", json!({})).await.json();
    let path = format!("/api/v1/conversations/{}", empty["conversation_id"].as_str().unwrap());
    let nothing = gateway.post(&format!("{path}/rollback"), json!({ "turns": 1 })).await;
    assert_eq!((nothing.status, &nothing.json()["rolled_back"]), (200, &json!(false)));
}

#[tokio::test]
async fn steering_prompts_wait_for_a_rollback() {
    let gateway = Gateway::start();
    let body = json!({ "prompt": "say: plum", "session_id": "a", "if_busy": "steer" });
    for _ in 0..3 {
        gateway.ask("a", "say: pear").await;
        let back = json!({ "session_id": "a", "turns": 1 });
        let back = gateway.rpc("conversation.rollback", back);
        let prompts = join_all((0..8).map(|_| gateway.post("/api/v1/exec", body.clone())));
        let (_, answers) = soon("the prompts are answered", join(back, prompts)).await;
        for answer in answers {
            assert_eq!(answer.json()["status"], "completed");
        }
    }
}

#[tokio::test]
async fn archived_conversation_is_closed_until_resumed() {
    let gateway = Gateway::start();
    let id = gateway.ask("a", "say: pear").await["conversation_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/conversations/{id}");
    let running =
        gateway.stream("/exec", &[], json!({ "prompt": "slow: 600", "session_id": "a" })).await;
    assert_eq!(gateway.send("DELETE", &path, &[], b"").await.json()["archived"], true);
    drop(running);
    assert_eq!(gateway.get(&path).await.json()["status"], "closed");
    let refused = gateway.post(&format!("{path}/turns"), json!({ "prompt": "x" })).await;
    assert_eq!(refused.status, 404);
    assert!(
        refused.json()["detail"].as_str().unwrap().contains("is in the archive: resume it first")
    );
    let listed = gateway.get("/api/v1/conversations").await.json();
    assert_eq!(listed["conversations"], json!([]));
    let closed = gateway.get("/api/v1/conversations?status=closed").await.json();
    assert_eq!(closed["conversations"][0]["conversation_id"], id.as_str());

    let resumed = gateway.send("POST", &format!("{path}/resume"), &[], b"").await.json();
    assert_eq!(resumed["status"], "idle", "{resumed}");
    let answer = gateway.ask("a", "what did I say before?").await;
    assert_eq!(answer["conversation_id"], id.as_str());
    assert!(answer["task_result"]["summary"].to_string().contains("pear"), "{answer}");
}

#[tokio::test]
async fn conversation_without_turns_can_be_archived() {
    let gateway = Gateway::start();
    let started = gateway.post("/api/v1/conversations", json!({ "session_id": "a" })).await.json();
    let path = format!("/api/v1/conversations/{}", started["conversation_id"].as_str().unwrap());
    let archived = gateway.send("DELETE", &path, &[], b"").await;
    assert_eq!((archived.status, &archived.json()["archived"]), (200, &json!(true)));
    assert_eq!(gateway.get(&path).await.json()["status"], "closed");
    assert_eq!(gateway.send("POST", &format!("{path}/resume"), &[], b"").await.status, 404);
}

#[tokio::test]
async fn archived_conversation_without_prompts_resumes() {
    let gateway = Gateway::start();
    let started = gateway.post("/api/v1/conversations", json!({})).await.json();
    let path = format!("/api/v1/conversations/{}", started["conversation_id"].as_str().unwrap());
    let compacted = gateway.send("POST", &format!("{path}/compact"), &[], b"").await;
    assert_eq!(compacted.json()["status"], "completed");
    assert_eq!(gateway.send("DELETE", &path, &[], b"").await.status, 200);
    let resumed = gateway.send("POST", &format!("{path}/resume"), &[], b"").await;
    assert_eq!(resumed.json()["status"], "idle", "{}", resumed.text());
}

#[tokio::test]
async fn steer_interrupt_compact_review_and_diff_work() {
    let gateway = Gateway::start();
    let made = gateway.ask("a", "create a python script that prints hello").await;
    let path = format!("/api/v1/conversations/{}", made["conversation_id"].as_str().unwrap());
    let diff = gateway.get(&format!("{path}/diff")).await.json();
    assert_eq!(diff["turn_id"], made["turn_id"]);
    assert!(diff["diff"].as_str().unwrap().contains("+print(\"hello\")"), "{diff}");

    let nothing = gateway.post(&format!("{path}/steer"), json!({ "prompt": "more" })).await.json();
    assert_eq!(nothing["steered"], false);
    let mut running =
        gateway.stream(&format!("{path}/turns"), &[], json!({ "prompt": "slow: 600" })).await;
    eventually("the turn can be steered", || async {
        gateway.post(&format!("{path}/steer"), json!({ "prompt": "more" })).await.json()["steered"]
            == true
    })
    .await;
    let busy = gateway.post(&format!("{path}/rollback"), json!({ "turns": 1 })).await;
    assert_eq!(busy.status, 409);
    let stopped = gateway.send("POST", &format!("{path}/interrupt"), &[], b"").await.json();
    assert_eq!(stopped["cancelled"], true, "{stopped}");
    assert_eq!(running.events().await.last().unwrap()["msg"]["type"], "turn_aborted");

    let compacted = gateway.send("POST", &format!("{path}/compact"), &[], b"").await.json();
    assert_eq!(compacted["status"], "completed", "{compacted}");
    let target = json!({ "type": "custom", "instructions": "read hello.py" });
    let review = call(&gateway, "review", json!({ "session_id": "a", "target": target })).await;
    assert_eq!(review["status"], "completed", "{review}");
    assert!(review["review"]["findings"].is_array(), "{review}");
}

#[tokio::test]
async fn invalid_call_names_field_and_expectation() {
    let gateway = Gateway::start();
    gateway.ask("s", "say: x").await;
    for (method, params, code, expected) in [
        ("start", json!({ "session_id": 7 }), -32602, "session_id: "),
        ("start", json!({ "session_id": "a b" }), -32602, "session_id: expected 1 to 128"),
        ("start", json!({ "sandbox": "danger-full-access" }), -32003, "allow_danger_full_access"),
        ("start", json!({ "cwd": "../x" }), -32602, "cwd: expected a folder inside"),
        ("list", json!({ "limit": "x" }), -32602, "limit: "),
        ("list", json!({ "status": "x" }), -32602, "status: expected idle, running,"),
        ("resume", json!({}), -32602, "expected session_id or conversation_id"),
        ("resume", json!({ "session_id": "nobody" }), -32004, "nobody"),
        ("fork", json!({ "session_id": "nobody" }), -32004, "nobody"),
        ("fork", json!({ "session_id": "s", "after_turn": 7 }), -32602, "after_turn: "),
        ("archive", json!({ "conversation_id": "x" }), -32602, "conversation_id: expected a UUID"),
        ("history", json!({ "session_id": "nobody" }), -32004, "nobody"),
        ("steer", json!({ "session_id": "s" }), -32602, "prompt: expected a value, got nothing"),
        ("steer", json!({ "session_id": "s", "prompt": " " }), -32602, "prompt: expected"),
        (
            "steer",
            json!({ "session_id": "s", "prompt": "x", "images": ["http://x"] }),
            -32602,
            "images[0]: expected",
        ),
        ("compact", json!({ "session_id": [] }), -32602, "session_id: "),
        ("rollback", json!({ "session_id": "s" }), -32602, "turns: expected a value, got nothing"),
        ("rollback", json!({ "session_id": "s", "turns": -1 }), -32602, "turns: "),
        ("rollback", json!({ "session_id": "s", "turns": 0 }), -32602, "turns: expected a whole"),
        ("review", json!({ "session_id": "s" }), -32602, "target: expected a value, got nothing"),
        ("review", json!({ "session_id": "s", "target": { "type": "x" } }), -32602, "target"),
        (
            "review",
            json!({ "session_id": "s", "target": { "type": "uncommitted_changes" }, "timeout_ms": 1 }),
            -32602,
            "timeout_ms: expected",
        ),
        (
            "approve",
            json!({ "session_id": "s", "decision": "approved" }),
            -32602,
            "approval_id: expected a value, got nothing",
        ),
        (
            "approve",
            json!({ "session_id": "s", "approval_id": "x", "decision": "approved" }),
            -32004,
            "approval_id: expected one of",
        ),
        ("subscribe", json!({ "session_id": "s" }), -32003, "GET /ws"),
        ("unsubscribe", json!({ "session_id": "s" }), -32003, "GET /ws"),
    ] {
        gateway.assert_rpc_error(&format!("conversation.{method}"), params, code, expected).await;
    }
}

#[tokio::test]
async fn known_name_returns_its_conversation_as_it_is() {
    let gateway = Gateway::start();
    let start = async |body: Value| gateway.post("/api/v1/conversations", body).await;
    let first = start(json!({ "session_id": "a", "sandbox": "read-only" })).await;
    let again = start(json!({ "session_id": "a", "sandbox": "read-only" })).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json()["conversation_id"], again.json()["conversation_id"]);
    for (body, says) in [
        (json!({ "session_id": "a", "sandbox": "workspace-write" }), "sandbox: expected"),
        (json!({ "session_id": "a", "approval_policy": "on-request" }), "approval_policy: exp"),
        (json!({ "session_id": "a", "cwd": "other" }), "cwd: "),
        (json!({ "session_id": "a", "model_provider": "openai" }), "model_provider: "),
    ] {
        let refused = start(body).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    let prompted = start(json!({ "session_id": "a", "prompt": "say: x" })).await;
    assert_eq!(prompted.status, 200, "{}", prompted.text());
}

#[tokio::test]
async fn errors_name_what_the_request_has() {
    let gateway = Gateway::start();
    let made = gateway.ask("a", "say: x").await;
    let path = format!("/api/v1/conversations/{}", made["conversation_id"].as_str().unwrap());
    let post =
        async |suffix: &str, body: Value| gateway.post(&format!("{path}/{suffix}"), body).await;
    let detail =
        |reply: &crate::support::client::Reply| reply.json()["detail"].as_str().unwrap().to_owned();

    let taken = post("fork", json!({ "new_session_id": "a" })).await;
    assert!(detail(&taken).starts_with("new_session_id: expected"), "{}", taken.text());
    let beyond = [("last-event-id", "99999")];
    let beyond = gateway.send("GET", &format!("{path}/events"), &beyond, b"").await;
    assert!(detail(&beyond).starts_with("Last-Event-ID: expected"), "{}", beyond.text());
    let malformed = gateway.get("/api/v1/conversations/x").await;
    assert!(detail(&malformed).starts_with("id: expected a UUID"), "{}", malformed.text());
    let too_many = post("rollback", json!({ "turns": 7 })).await;
    assert_eq!(too_many.status, 400);
    assert!(detail(&too_many).starts_with("turns: expected at most 1"), "{}", too_many.text());

    let _running =
        gateway.stream(&format!("{path}/turns"), &[], json!({ "prompt": "slow: 600" })).await;
    let busy = post("rollback", json!({ "turns": 1 })).await;
    assert_eq!((busy.status, detail(&busy).contains("if_busy")), (409, false), "{}", busy.text());
    let busy = post("turns", json!({ "prompt": "x" })).await;
    assert_eq!((busy.status, detail(&busy).contains("if_busy")), (409, true), "{}", busy.text());

    gateway.send("DELETE", &path, &[], b"").await;
    let archived = post("fork", json!({})).await;
    assert_eq!(archived.status, 404);
    assert!(
        detail(&archived).contains("is in the archive: resume it first"),
        "{}",
        archived.text()
    );
    gateway.ask("a", "say: y").await;
    let taken = post("resume", json!({})).await;
    assert_eq!((taken.status, &taken.json()["code"]), (409, &json!("conflict")));
}
