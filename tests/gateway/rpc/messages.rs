//! Messages: results, errors, batches and notifications.

use serde_json::Value;
use serde_json::json;

use super::send;
use crate::support::Gateway;

#[tokio::test]
async fn prompt_result_lists_named_events() {
    let gateway = Gateway::start();
    let params = json!({ "prompt": "run: echo hi", "session_id": "r" });
    let answer = gateway.rpc("conversation.prompt", params).await;
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(1)));
    let result = &answer["result"];
    assert_eq!(result["type"], "ai_response");
    assert_eq!(result["session_id"], "r");
    assert_eq!(result["model"], "demo");
    assert!(result["content"].as_str().unwrap().contains("hi"));
    let timestamp = result["timestamp"].as_str().unwrap();
    assert!(timestamp.ends_with('Z') && timestamp.len() == "2026-01-01T00:00:00.000Z".len());
    assert!(chrono::DateTime::parse_from_rfc3339(timestamp).is_ok());
    assert!(result["usage"]["total_tokens"].as_u64().unwrap() > 0);
    let events = result["events"].as_array().unwrap();
    let find = |name: &str| {
        events.iter().find_map(|event| event.get(name)).unwrap_or_else(|| panic!("no {name}"))
    };
    assert!(find("TaskStarted").is_object());
    assert!(find("ExecCommandEnd")["stdout"].as_str().unwrap().contains("hi"));
    assert!(find("AgentMessage")["message"].as_str().unwrap().contains("hi"));
    assert!(find("TaskComplete")["last_agent_message"].is_string());
    assert!(events.last().unwrap().get("TaskComplete").is_some());
    assert!(events.iter().all(|event| event.as_object().unwrap().len() == 1));

    let status = gateway.rpc("conversation.status", json!({ "session_id": "r" })).await;
    let status = &status["result"];
    assert_eq!(status["conversation_id"], result["conversation_id"]);
    assert_eq!((&status["status"], &status["metadata"]["model"]), (&json!("idle"), &json!("demo")));
    assert!(status["metadata"]["created_at"].is_string());
}

#[tokio::test]
async fn unknown_session_is_a_result() {
    let gateway = Gateway::start();
    let expected = json!({ "status": "not_found", "session_id": "nobody" });
    for method in ["conversation.status", "conversation.cancel"] {
        let answer = gateway.rpc(method, json!({ "session_id": "nobody" })).await;
        assert_eq!(answer["result"], expected);
    }
}

#[tokio::test]
async fn malformed_message_gets_its_code() {
    let gateway = Gateway::start();
    let call = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    };
    let too_many = format!("[{}]", vec!["1"; 101].join(","));
    for (body, code, says) in [
        ("".to_owned(), -32700, "got nothing"),
        ("{\"jsonrpc\"".to_owned(), -32700, "expected JSON"),
        ("[]".to_owned(), -32600, "at least one"),
        (too_many, -32600, "at most 100"),
        ("7".to_owned(), -32600, "expected a JSON-RPC 2.0 call"),
        (r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), -32600, "method: expected a string"),
        (r#"{"id":1,"method":"x"}"#.to_owned(), -32600, "jsonrpc: expected"),
        (call("conversation.dance", "{}"), -32601, "conversation.prompt"),
        (call("conversation.prompt", "{}"), -32602, "prompt"),
        (
            call("conversation.prompt", r#"{"prompt":""}"#),
            -32602,
            "prompt: expected text that is not blank",
        ),
        (call("conversation.prompt", r#"{"prompt":7}"#), -32602, "expected a string"),
        (call("conversation.prompt", r#"["hi"]"#), -32602, "named params"),
        (call("conversation.prompt", r#"{"prompt":"x","timeout_ms":5}"#), -32602, "timeout_ms"),
        (call("conversation.status", "{}"), -32602, "session_id or conversation_id"),
        (call("conversation.status", r#"{"session_id":"a b"}"#), -32602, "session_id"),
        (call("conversation.cancel", r#"{"conversation_id":"x"}"#), -32602, "conversation_id"),
    ] {
        let (status, answer) = send(&gateway, &body).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(answer["error"]["code"], code, "{body}: {answer}");
        let detail = answer["error"]["data"]["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{body}: {detail}");
    }
}

#[tokio::test]
async fn batch_answers_calls_but_not_notifications() {
    let gateway = Gateway::start();
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "conversation.status", "params": { "session_id": "x" } },
        { "jsonrpc": "2.0", "method": "conversation.status", "params": { "session_id": "x" } },
        { "jsonrpc": "2.0", "id": null, "method": "conversation.prompt", "params": { "prompt": "say: hi" } },
        { "foo": "boo" },
    ]);
    let (status, answers) = send(&gateway, &batch.to_string()).await;
    assert_eq!(status, 200);
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["id"], "a");
    assert_eq!(answers[0]["result"]["status"], "not_found");
    assert_eq!((&answers[1]["id"], &answers[1]["result"]["content"]), (&Value::Null, &json!("hi")));
    assert_eq!(answers[2]["error"]["code"], -32600);

    let notification =
        r#"{"jsonrpc":"2.0","method":"conversation.status","params":{"session_id":"x"}}"#;
    assert_eq!(send(&gateway, notification).await, (202, Value::Null));
    assert_eq!(send(&gateway, &format!("[{notification}]")).await, (202, Value::Null));
}
