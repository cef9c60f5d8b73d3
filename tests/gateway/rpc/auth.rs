//! `auth.login`, `auth.logout`: sessions with their own keys.

use std::path::Path;

use base64::Engine;
use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::eventually;
use crate::support::gateway::Setup;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::provider::sse;
use crate::support::provider::status;

fn usage() -> Value {
    json!({ "input_tokens": 1, "input_tokens_details": { "cached_tokens": 0 }, "output_tokens": 1,
            "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 2 })
}

fn answer_with(item: &Value) -> Answer {
    sse(&[
        json!({ "type": "response.created", "response": { "id": "r" } }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": item }),
        json!({ "type": "response.completed", "response": { "id": "r", "usage": usage() } }),
    ])
}

fn text(text: &str) -> Answer {
    answer_with(&json!({ "type": "message", "role": "assistant", "id": "m",
                  "content": [{ "type": "output_text", "text": text }] }))
}

/// Returns a set-up with `openai` at the scripted provider and no key of the operator.
fn setup(provider: &Provider) -> Setup {
    Gateway::config(&format!(
        "[gateway.providers.openai]\nbase_url = \"{}/v1\"\nrequest_max_retries = 0\n",
        provider.address
    ))
}

async fn rpc(gateway: &Gateway, key: &str, method: &str, params: &Value) -> Value {
    gateway.rpc_with(&[("x-api-key", key)], method, params.clone()).await
}

async fn login(gateway: &Gateway, session: &str, key: &str) -> Value {
    let params = json!({
        "provider": "openai", "credentials": { "api_key": key }, "session_id": session,
    });
    gateway.rpc("auth.login", params).await
}

async fn prompt(gateway: &Gateway, session: &str) -> Value {
    let params = json!({ "prompt": "hello", "session_id": session });
    gateway.rpc("conversation.prompt", params).await
}

/// Returns the keys that the provider received, in order.
fn keys(provider: &Provider) -> Vec<String> {
    let of = |headers: &http::HeaderMap| {
        headers.get("authorization").map_or("none", |key| key.to_str().unwrap()).to_owned()
    };
    provider.requests().iter().map(|request| of(&request.headers)).collect()
}

#[tokio::test]
async fn each_session_uses_its_own_key() {
    let provider = Provider::start([text("hi")]).await;
    let gateway = setup(&provider).start();
    assert_eq!(gateway.get("/health").await.json()["model"], "demo");
    for (session, key) in [("a", "sk-canary-of-a"), ("b", "sk-canary-of-b")] {
        let answer = login(&gateway, session, key).await;
        let result = &answer["result"];
        assert_eq!((&result["logged_in"], &result["session_id"]), (&json!(true), &json!(session)));
        assert_eq!(result["provider"], "openai");
        assert!(result["account"].as_str().unwrap().starts_with("sha256:"), "{answer}");
    }
    // A logged-in session uses that provider and its default model.
    for session in ["a", "b", "a"] {
        let answer = prompt(&gateway, session).await;
        assert_eq!(answer["result"]["content"], "hi", "{answer}");
        assert_eq!(answer["result"]["model"], "gpt-5.1-codex");
    }
    let (a, b) = ("Bearer sk-canary-of-a", "Bearer sk-canary-of-b");
    assert_eq!(keys(&provider), [a, b, a]);
    // Other sessions are unaffected.
    assert_eq!(prompt(&gateway, "c").await["result"]["model"], "demo");
    assert_eq!(keys(&provider).len(), 3);

    let answer = gateway.rpc("auth.logout", json!({ "session_id": "a" })).await;
    assert_eq!(answer["result"]["logged_out"], true, "{answer}");
    // Without a key nothing is sent, and the error names the fix.
    let answer = prompt(&gateway, "a").await;
    assert_eq!(answer["error"]["code"], -32006, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("no key for openai: auth.login or set OPENAI_API_KEY"), "{message}");
    assert_eq!(keys(&provider).len(), 3);
    assert_eq!(prompt(&gateway, "b").await["result"]["content"], "hi");
    assert_eq!(keys(&provider).last().unwrap(), b);
}

#[tokio::test]
async fn logout_restores_operator_key() {
    let provider = Provider::start([text("hi")]).await;
    let gateway = setup(&provider).env("OPENAI_API_KEY", "sk-operator").start();
    prompt(&gateway, "a").await;
    login(&gateway, "a", "sk-of-a").await;
    prompt(&gateway, "a").await;
    gateway.rpc("auth.logout", json!({ "session_id": "a" })).await;
    prompt(&gateway, "a").await;
    let (operator, own) = ("Bearer sk-operator", "Bearer sk-of-a");
    assert_eq!(keys(&provider), [operator, own, operator]);
}

#[tokio::test]
async fn sub_agent_uses_session_key() {
    let spawn = json!({ "type": "function_call", "id": "f", "call_id": "c", "name": "spawn_agent",
                        "namespace": "multi_agent_v1",
                        "arguments": json!({ "message": "help me" }).to_string() });
    let provider = Provider::start([answer_with(&spawn), text("hi")]).await;
    let gateway = setup(&provider).env("OPENAI_API_KEY", "sk-operator").start();
    login(&gateway, "a", "sk-of-a").await;
    let answer = prompt(&gateway, "a").await;
    assert!(answer["result"].is_object(), "{answer}");
    let of_sub_agent = |body: &Value| {
        let input = body["input"].as_array().unwrap();
        let last = input.iter().rev().find(|item| item["role"] == "user");
        last.is_some_and(|item| item["content"].to_string().contains("help me"))
    };
    eventually("the sub-agent calls the model", || async {
        provider.requests().iter().any(|request| of_sub_agent(&request.body))
    })
    .await;
    assert!(keys(&provider).iter().all(|key| key == "Bearer sk-of-a"), "{:?}", keys(&provider));
}

#[tokio::test]
async fn login_belongs_to_its_caller() {
    let provider = Provider::start([text("hi")]).await;
    let gateway = setup(&provider).env("GATEWAY_API_KEY", "ann=k1,bob=k2").start();
    let credentials = json!({ "provider": "openai", "credentials": { "api_key": "sk-of-ann" },
                              "session_id": "a" });
    let answer = rpc(&gateway, "k1", "auth.login", &credentials).await;
    assert_eq!(answer["result"]["logged_in"], true, "{answer}");
    let prompt = json!({ "prompt": "hello", "session_id": "a" });
    for (method, params) in [
        ("auth.login", &credentials),
        ("auth.logout", &json!({ "session_id": "a" })),
        ("conversation.prompt", &prompt),
    ] {
        let answer = rpc(&gateway, "k2", method, params).await;
        assert_eq!(answer["error"]["code"], -32003, "{method}: {answer}");
        assert!(
            answer["error"]["message"].as_str().unwrap().contains("another caller"),
            "{answer}"
        );
    }
    for path in ["/exec", "/api/v1/exec", "/api/v1/exec/stream"] {
        let reply = gateway.post_with(path, &[("x-api-key", "k2")], prompt.clone()).await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text());
    }
    assert!(keys(&provider).is_empty());
    let answer = rpc(&gateway, "k1", "conversation.prompt", &prompt).await;
    assert_eq!(answer["result"]["content"], "hi", "{answer}");
    // Also by conversation id.
    let by_id =
        json!({ "prompt": "hello", "conversation_id": answer["result"]["conversation_id"] });
    // The conversation is known by then, and another caller's.
    assert_eq!(rpc(&gateway, "k2", "conversation.prompt", &by_id).await["error"]["code"], -32004);
    assert_eq!(keys(&provider), ["Bearer sk-of-ann"]);
}

#[tokio::test]
async fn chatgpt_token_is_sent_with_its_account() {
    let provider = Provider::start([text("hi")]).await;
    let gateway = Gateway::config(&format!(
        "[gateway.providers.chatgpt]\nbase_url = \"{}/codex\"\n",
        provider.address
    ))
    .start();
    let claims = json!({ "https://api.openai.com/auth": { "chatgpt_account_id": "acc-1" },
                         "https://api.openai.com/profile": { "email": "ann@x.example" },
                         "exp": 4_000_000_000_u64 });
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let token = format!("e30.{}.sig", engine.encode(claims.to_string()));
    let params = json!({ "provider": "chatgpt", "credentials": { "token": token } });
    let answer = gateway.rpc("auth.login", params).await;
    let result = &answer["result"];
    assert_eq!(result["account"], "ann@x.example", "{answer}");
    assert_eq!(result["expires_at"], "2096-10-02T07:06:40.000Z");
    let answer = prompt(&gateway, result["session_id"].as_str().unwrap()).await;
    assert_eq!(answer["result"]["content"], "hi", "{answer}");
    let request = &provider.requests()[0];
    assert_eq!(request.path, "/codex/responses");
    for (name, expected) in [
        ("authorization", format!("Bearer {token}")),
        ("chatgpt-account-id", "acc-1".to_owned()),
        ("originator", "codex_cli_rs".to_owned()),
    ] {
        assert_eq!(request.headers.get(name).unwrap().to_str().unwrap(), expected);
    }
}

/// Returns the files below a folder that hold a text.
fn files_holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_holding(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn key_never_reaches_logs_files_or_answers() {
    let canary = "sk-canary-0123456789";
    let echo =
        json!({ "error": { "message": format!("Incorrect API key: {canary}"), "code": "x" } });
    let refusal = status(401, &echo);
    let provider = Provider::start([text("hi"), refusal]).await;
    let gateway = setup(&provider).env("RUST_LOG", "trace").start();
    let mut answers = login(&gateway, "a", canary).await.to_string();
    assert!(answers.contains("logged_in"), "{answers}");
    for _ in 0..2 {
        answers += &prompt(&gateway, "a").await.to_string();
        answers += &String::from_utf8_lossy(
            &gateway.post("/exec", json!({ "prompt": "hi", "session_id": "a" })).await.body,
        );
    }
    assert!(answers.contains("Incorrect API key: ****"), "{answers}");
    // Invalid calls do not echo it either.
    for credentials in [json!(canary), json!([canary]), json!({ "key": canary })] {
        let params = json!({ "provider": "openai", "credentials": credentials });
        answers += &gateway.rpc("auth.login", params).await.to_string();
    }
    assert!(keys(&provider).contains(&format!("Bearer {canary}")));
    gateway.logged("logged in").await;
    let log = gateway.logged("DEBUG").await;
    assert!(!log.contains(canary), "{:?}", log.lines().find(|line| line.contains(canary)));
    assert!(!answers.contains(canary));
    assert_eq!(files_holding(gateway.home.path(), canary), Vec::<String>::new());
}

#[tokio::test]
async fn invalid_param_names_field_and_expectation() {
    let gateway = Gateway::start();
    let good = json!({ "api_key": "sk-x" });
    for (params, expected) in [
        (json!({}), "provider"),
        (json!({ "provider": "openai" }), "credentials"),
        (json!({ "provider": 7, "credentials": good }), "provider"),
        (
            json!({ "provider": "nobody", "credentials": good }),
            "provider: expected one of openai, anthropic, openrouter, google, chatgpt",
        ),
        (json!({ "provider": "demo", "credentials": good }), "provider"),
        (json!({ "provider": "openai", "credentials": "sk-x" }), "credentials: expected an object"),
        (
            json!({ "provider": "openai", "credentials": { "api_key": 7 } }),
            "credentials.api_key: expected a string",
        ),
        (
            json!({ "provider": "openai", "credentials": { "api_key": "a\nb" } }),
            "credentials.api_key: expected 1 to",
        ),
        (
            json!({ "provider": "chatgpt", "credentials": good }),
            "credentials.token: expected a string",
        ),
        (
            json!({ "provider": "openai", "credentials": { "api_key": "x", "expires_at": "1999-01-01T00:00:00Z" } }),
            "already expired",
        ),
        (json!({ "provider": "openai", "credentials": good, "session_id": "a b" }), "session_id"),
    ] {
        gateway.assert_rpc_error("auth.login", params, -32602, expected).await;
    }
    for (params, code, expected) in [
        (json!({}), -32602, "session_id"),
        (json!({ "session_id": 7 }), -32602, "session_id"),
        (json!({ "session_id": "nobody" }), -32004, "nobody is not logged in"),
    ] {
        gateway.assert_rpc_error("auth.logout", params, code, expected).await;
    }
    // Without a session_id, the gateway generates one.
    let answer =
        gateway.rpc("auth.login", json!({ "provider": "google", "credentials": good })).await;
    assert!(answer["result"]["session_id"].as_str().unwrap().len() > 8, "{answer}");
}
