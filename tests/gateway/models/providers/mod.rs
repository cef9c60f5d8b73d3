//! Configured providers, with the real core: definitions, aliases, fallbacks, and failures.

mod built_in;
mod codex_login;

use std::sync::atomic::Ordering;

use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::Gateway;
use crate::support::dialects::ask;
use crate::support::eventually;
use crate::support::gateway::Setup;
use crate::support::gateway::new_home;
use crate::support::merged;
use crate::support::provider::Answer;
use crate::support::provider::End;
use crate::support::provider::Provider;
use crate::support::provider::sse;
use crate::support::provider::status;

fn created() -> Value {
    json!({ "type": "response.created", "response": { "id": "r" } })
}

fn item_done(item: Value) -> Value {
    json!({ "type": "response.output_item.done", "output_index": 0, "item": item })
}

fn delta(text: &str) -> [Value; 2] {
    let message = json!({ "type": "message", "role": "assistant", "id": "msg_1", "content": [] });
    [
        json!({ "type": "response.output_item.added", "output_index": 0, "item": message }),
        json!({ "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
                "content_index": 0, "delta": text }),
    ]
}

/// Returns a Responses answer of these items.
fn item_answer(item_answer: &[Value]) -> Answer {
    let mut events = vec![created()];
    events.extend(item_answer.iter().cloned().map(item_done));
    events.push(json!({ "type": "response.completed", "response": { "id": "r", "usage": {
        "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4 }, "output_tokens": 3,
        "output_tokens_details": { "reasoning_tokens": 1 }, "total_tokens": 13 } } }));
    sse(&events)
}

fn message(text: &str) -> Value {
    json!({ "type": "message", "role": "assistant", "id": "msg_1",
            "content": [{ "type": "output_text", "text": text }] })
}

fn thought(secret: &str) -> Value {
    json!({ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": secret })
}

fn text_answer(text: &str) -> Answer {
    item_answer(&[message(text)])
}

fn chat_answer(thought: &str, text: &str) -> Answer {
    let chunk = |delta: Value, finish: Value| {
        json!({ "id": "c", "object": "chat.completion.chunk",
                "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
    };
    let mut answer = sse(&[
        chunk(json!({ "role": "assistant", "reasoning_content": thought }), Value::Null),
        chunk(json!({ "content": text }), Value::Null),
        chunk(json!({}), json!("stop")),
    ]);
    answer.body.push_str("data: [DONE]\n\n");
    answer
}

fn unavailable() -> Answer {
    status(503, &json!({ "error": { "message": "closed for lunch" } }))
}

/// Returns the configuration of a provider without retries.
fn table(id: &str, wire_api: &str, address: &str) -> String {
    format!(
        "[gateway.providers.{id}]\nbase_url = \"{address}/v1\"\nwire_api = \"{wire_api}\"\n\
         request_max_retries = 0\nstream_max_retries = 0\n"
    )
}

/// Returns a set-up whose default model `best` is `a` with the fallback `b`.
fn ordered(a: &str, b: (&str, &str)) -> Setup {
    Gateway::config(&format!(
        "model = \"best\"\n{}{}[gateway.models.best]\nprimary = \"a/big\"\nfallback = [\"b/small\"]\n",
        table("a", "responses", a),
        table("b", b.0, b.1),
    ))
}

/// Returns `provider/model status` of the last calls, newest first.
async fn calls(gateway: &Gateway, answer: &Value) -> Vec<String> {
    let id = answer["conversation_id"].as_str().unwrap();
    let shown = gateway.get(&format!("/api/v1/conversations/{id}")).await.json();
    let calls = shown["model_calls"].as_array().unwrap().iter();
    let text = |call: &Value, member: &str| call[member].as_str().unwrap().to_owned();
    calls
        .map(|call| {
            format!("{}/{} {}", text(call, "provider"), text(call, "model"), text(call, "status"))
        })
        .collect()
}

#[tokio::test]
async fn gateway_provider_answers_and_keeps_its_key_secret() {
    let call = json!({ "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell_command",
                       "arguments": json!({ "command": "env" }).to_string() });
    let provider = Provider::start([item_answer(&[call]), text_answer("Done.")]).await;
    let gateway = Gateway::config(&format!(
        "model = \"m\"\nmodel_provider = \"azure\"\n[gateway.providers.azure]\nbase_url = \"{}/openai\"\n\
         query_params = {{ api-version = \"1\" }}\nenv_http_headers = {{ api-key = \"AZURE_WORD\" }}\n",
        provider.address
    ))
    .env("AZURE_WORD", "canary-word")
    .env("OTHER_WORD", "seen")
    .start();
    let answer = ask(&gateway, "print the environment").await;
    assert_eq!(answer["task_result"]["summary"], "Done.", "{answer}");
    let stdout = answer["stdout"].as_str().unwrap();
    assert!(stdout.contains("PATH=") && !stdout.contains("canary"), "{stdout}");
    // Commands get an allow-list of variables.
    assert!(!stdout.contains("OTHER_WORD"), "{stdout}");
    let requests = provider.requests();
    assert_eq!(requests[0].path, "/openai/responses?api%2Dversion=1");
    assert_eq!(requests[0].headers["api-key"], "canary-word");
    assert!(!gateway.log.lock().unwrap().contains("canary"));

    let id = answer["conversation_id"].as_str().unwrap();
    let shown = gateway.get(&format!("/api/v1/conversations/{id}")).await.json();
    let [newest, oldest] = &shown["model_calls"].as_array().unwrap()[..] else { panic!("{shown}") };
    for (member, expected) in [
        ("provider", json!("azure")),
        ("model", json!("m")),
        ("conversation_id", json!(id)),
        ("turn_id", answer["turn_id"].clone()),
        ("attempts", json!(1)),
        ("status", json!("completed")),
        ("http_status", json!(200)),
        ("error_code", Value::Null),
        ("error_message", Value::Null),
        ("retryable", Value::Null),
        ("input_tokens", json!(10)),
        ("cached_input_tokens", json!(4)),
        ("output_tokens", json!(3)),
        ("reasoning_tokens", json!(1)),
    ] {
        assert_eq!(newest[member], expected, "{member}: {newest}");
    }
    for time in ["queued_ms", "first_byte_ms", "first_token_ms", "last_byte_ms"] {
        assert!(newest[time].is_u64(), "{time}: {newest}");
    }
    assert!(newest["started_at"].as_str() >= oldest["started_at"].as_str(), "{shown}");
}

#[tokio::test]
async fn demo_model_calls_are_recorded() {
    let gateway = Gateway::start();
    let answer = ask(&gateway, "say: hello").await;
    assert_eq!(calls(&gateway, &answer).await, ["demo/demo completed"]);
}

#[tokio::test]
async fn alias_resolves_to_the_real_model_everywhere() {
    let (a, b) =
        (Provider::start([text_answer("A.")]).await, Provider::start([text_answer("B.")]).await);
    let gateway = Gateway::config(&format!(
        "model = \"m\"\nmodel_provider = \"a\"\n{}{}[gateway.models]\nfast = \"b/tiny/one\"\n",
        table("a", "responses", &a.address),
        table("b", "responses", &b.address),
    ))
    .start();
    let prompt = |extra: Value| merged(json!({ "prompt": "hello" }), extra);
    let answer = gateway
        .post("/api/v1/exec", prompt(json!({ "model": "fast", "session_id": "fast" })))
        .await
        .json();
    assert_eq!(answer["task_result"]["summary"], "B.", "{answer}");
    assert_eq!(b.requests()[0].body["model"], "tiny/one");
    assert_eq!(calls(&gateway, &answer).await, ["b/tiny/one completed"]);
    let id = answer["conversation_id"].as_str().unwrap();
    let shown = gateway.get(&format!("/api/v1/conversations/{id}")).await.json();
    assert_eq!((&shown["model"], &shown["model_provider"]), (&json!("tiny/one"), &json!("b")));

    let both = json!({ "model": "fast", "model_provider": "a" });
    let refused = gateway.post("/api/v1/exec", prompt(both)).await;
    assert_eq!(refused.status, 400);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("\"fast\" stands for b/tiny/one"), "{detail}");

    ask(&gateway, "in a conversation with a").await;
    let late =
        gateway.post("/api/v1/exec", prompt(json!({ "model": "fast", "session_id": "s" }))).await;
    assert_eq!(late.status, 400);
    let detail = late.json()["detail"].as_str().unwrap().to_owned();
    let expected = "\"fast\" stands for b/tiny/one, and the conversation already uses a";
    assert!(detail.contains(expected), "{detail}");
}

#[tokio::test]
async fn outage_before_first_output_uses_the_fallback() {
    let failed = json!({ "type": "response.failed", "response": { "id": "r",
                         "error": { "code": "server_is_overloaded", "message": "busy" } } });
    let reported = json!({ "type": "error", "code": "server_error", "message": "oh" });
    let begun = sse(&[created(), delta("x")[0].clone()]);
    for (what, fails) in [
        ("503", unavailable()),
        ("529", status(529, &json!({}))),
        ("500", status(500, &json!({}))),
        ("429", status(429, &json!({ "error": { "message": "slow down" } }))),
        ("a stream that breaks", Answer { end: End::Cut, ..begun.clone() }),
        ("a stream that ends", begun),
        ("a failure in the stream", sse(&[created(), failed])),
        ("an error in the stream", sse(&[created(), reported])),
    ] {
        let a = Provider::start([fails]).await;
        let b = Provider::start([chat_answer("hm", "From the fallback.")]).await;
        let gateway = ordered(&a.address, ("chat", &b.address)).start();
        let answer = ask(&gateway, "hello").await;
        assert_eq!(answer["task_result"]["summary"], "From the fallback.", "{what}: {answer}");
        assert_eq!((a.requests().len(), b.requests().len()), (1, 1), "{what}");
        assert_eq!(a.requests()[0].body["model"], "big", "{what}");
        assert_eq!(b.requests()[0].body["model"], "small", "{what}");
        assert_eq!(b.requests()[0].path, "/v1/chat/completions", "{what}");
        let expected = ["b/small completed", "a/big failed"];
        assert_eq!(calls(&gateway, &answer).await, expected, "{what}");
        gateway.logged("falling back").await;
    }
}

#[tokio::test]
async fn unreachable_provider_uses_the_fallback() {
    let b = Provider::start([text_answer("From the fallback.")]).await;
    let gateway = ordered("http://127.0.0.1:9", ("responses", &b.address)).start();
    let answer = ask(&gateway, "hello").await;
    assert_eq!(answer["task_result"]["summary"], "From the fallback.", "{answer}");
}

#[tokio::test]
async fn no_fallback_after_first_output() {
    let [added, first] = delta("One word");
    // The stream ends without its last event.
    let a = Provider::start([sse(&[created(), added, first])]).await;
    let b = Provider::start([text_answer("From the fallback.")]).await;
    let gateway = ordered(&a.address, ("responses", &b.address)).start();
    let answer = ask(&gateway, "hello").await;
    assert_eq!(answer["status"], "failed", "{answer}");
    assert!(b.requests().is_empty());
}

#[tokio::test]
async fn invalid_request_never_uses_the_fallback() {
    for (code, error) in [(400, "bad"), (401, "no"), (404, "none")] {
        let a = Provider::start([status(code, &json!({ "error": { "message": error } }))]).await;
        let b = Provider::start([text_answer("From the fallback.")]).await;
        let gateway = ordered(&a.address, ("responses", &b.address)).start();
        let answer = ask(&gateway, "hello").await;
        assert_eq!(answer["status"], "failed", "{answer}");
        assert!(b.requests().is_empty(), "{code}");
    }
}

#[tokio::test]
async fn when_all_fail_every_error_is_reported() {
    for (wire, expected) in [("responses", "(401): "), ("chat", "who?")] {
        let a = Provider::start([unavailable()]).await;
        let b = Provider::start([status(401, &json!({ "error": { "message": "who?" } }))]).await;
        let gateway = ordered(&a.address, (wire, &b.address)).start();
        let answer = ask(&gateway, "hello").await;
        let said = model_failure(&answer);
        assert!(said.contains("closed for lunch") && said.contains("b/small: "), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn full_queue_uses_the_fallback() {
    let hangs = Answer { end: End::Hang, ..sse(&[created()]) };
    let a = Provider::start([hangs]).await;
    let b = Provider::start([text_answer("From the fallback.")]).await;
    let setup = ordered(&a.address, ("responses", &b.address));
    let full = setup.config.replace(
        "[gateway.providers.a]\n",
        "[gateway.providers.a]\nmax_concurrent = 1\nmax_waiting = 0\n",
    );
    let gateway = Gateway::config(&full).start();
    let first =
        gateway.stream("/exec", &[], json!({ "prompt": "hello", "session_id": "first" })).await;
    eventually("the provider has the request", || async { a.open.load(Ordering::SeqCst) == 1 })
        .await;
    let answer = ask(&gateway, "hello").await;
    assert_eq!(answer["task_result"]["summary"], "From the fallback.", "{answer}");
    assert_eq!(a.requests().len(), 1);
    drop(first);
}

#[tokio::test]
async fn opaque_items_return_only_to_their_provider() {
    for wire in ["responses", "chat"] {
        let from_b = match wire {
            "chat" => chat_answer("secret-of-b", "B."),
            _ => item_answer(&[thought("secret-of-b"), message("B.")]),
        };
        let again = item_answer(&[thought("second-of-a"), message("A2.")]);
        let a = Provider::start([
            item_answer(&[thought("secret-of-a"), message("A1.")]),
            unavailable(),
            again,
        ])
        .await;
        let b = Provider::start([from_b]).await;
        let gateway = ordered(&a.address, (wire, &b.address)).start();
        for (prompt, expected) in [("one", "A1."), ("two", "B."), ("three", "A2.")] {
            let answer = ask(&gateway, prompt).await;
            assert_eq!(answer["task_result"]["summary"], expected, "{wire}: {answer}");
        }
        let sent = |provider: &Provider, at: usize| provider.requests()[at].body.to_string();
        let third = sent(&a, 2);
        assert!(third.contains("secret-of-a") && third.contains("B."), "{wire}: {third}");
        // The mark of a wire is JSON within JSON.
        let mark = r#"\"wire\""#;
        assert!(!third.contains("secret-of-b") && !third.contains(mark), "{wire}: {third}");
        assert!(sent(&a, 1).contains("secret-of-a"), "{wire}");
        let to_b = sent(&b, 0);
        assert!(to_b.contains("A1.") && !to_b.contains("secret-of-a"), "{wire}: {to_b}");

        // The restarted bridge knows no provenance: marks and the conversation's provider remain.
        let gateway = gateway.kill_and_restart();
        a.respond_with(unavailable());
        let answer = ask(&gateway, "four").await;
        assert_eq!(answer["task_result"]["summary"], "B.", "{wire}: {answer}");
        let (to_a, to_b) = (sent(&a, 3), sent(&b, 1));
        assert!(to_a.contains("secret-of-a") && to_a.contains("second-of-a"), "{wire}: {to_a}");
        assert!(!to_b.contains("secret-of-a") && to_b.contains("A2."), "{wire}: {to_b}");
    }
}

/// Some servers refuse the reasoning of others, even of their own API.
#[tokio::test]
async fn chat_reasoning_survives_a_restart_apart() {
    let a = Provider::start([chat_answer("thought-of-a", "A1."), unavailable()]).await;
    let b = Provider::start([chat_answer("thought-of-b", "B1.")]).await;
    let gateway = Gateway::config(&format!(
        "model = \"best\"\n{}{}[gateway.models.best]\nprimary = \"a/big\"\nfallback = [\"b/small\"]\n",
        table("a", "chat", &a.address),
        table("b", "chat", &b.address),
    ))
    .start();
    assert_eq!(ask(&gateway, "one").await["task_result"]["summary"], "A1.");
    let gateway = gateway.kill_and_restart();
    assert_eq!(ask(&gateway, "two").await["task_result"]["summary"], "B1.");
    let sent = |provider: &Provider, at: usize| provider.requests()[at].body.to_string();
    assert!(sent(&a, 1).contains("thought-of-a"), "its maker gets it back");
    let to_b = sent(&b, 0);
    assert!(to_b.contains("A1.") && !to_b.contains("thought-of-a"), "{to_b}");
    a.respond_with(chat_answer("more-of-a", "A2."));
    assert_eq!(ask(&gateway, "three").await["task_result"]["summary"], "A2.");
    let to_a = sent(&a, 2);
    assert!(to_a.contains("thought-of-a") && !to_a.contains("thought-of-b"), "{to_a}");
}

/// Asserts that the turn failed because of the model. Returns the message.
fn model_failure(answer: &Value) -> &str {
    assert_eq!(
        (&answer["status"], &answer["error"]["source"]),
        (&json!("failed"), &json!("model")),
        "{answer}"
    );
    answer["error"]["message"].as_str().unwrap()
}

/// Accepts connections and never answers.
async fn silent() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let kept = tokio::spawn(async move {
        let mut sockets = Vec::new();
        loop {
            sockets.push(listener.accept().await.unwrap());
        }
    });
    (address, kept)
}

#[tokio::test]
async fn hanging_provider_fails_the_turn_in_time() {
    for wire in ["responses", "chat"] {
        let (address, silent) = silent().await;
        let config = |address: &str, limit: &str| {
            let table = table("a", wire, address);
            format!("model = \"m\"\nmodel_provider = \"a\"\n{table}{limit} = 300\n")
        };
        let gateway = Gateway::config(&config(&address, "first_byte_timeout_ms")).start();
        let answer = ask(&gateway, "hello").await;
        silent.abort();
        let said = model_failure(&answer);
        assert!(said.contains("a: no answer within 300 ms"), "{wire}: {said}");

        let mut begun = match wire {
            "chat" => chat_answer("hm", "One word"),
            _ => sse(&[created(), delta("One word")[0].clone(), delta("One word")[1].clone()]),
        };
        let half = begun
            .body
            .find("\"stop\"")
            .map_or(begun.body.len(), |stop| begun.body[..stop].rfind("data:").unwrap());
        begun.body.truncate(half);
        begun.end = End::Hang;
        let provider = Provider::start([begun]).await;
        let gateway = Gateway::config(&config(&provider.address, "stream_idle_timeout_ms")).start();
        let answer = ask(&gateway, "hello").await;
        let said = model_failure(&answer);
        assert!(said.contains("stood still for 300 ms"), "{wire}: {said}");
        eventually("the connection is closed", || async {
            provider.open.load(Ordering::SeqCst) == 0
        })
        .await;
    }
}

#[tokio::test]
async fn unfinished_body_holds_nothing_up() {
    let call = json!({ "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell_command",
                       "arguments": json!({ "command": "echo hi" }).to_string() });
    let open = |answer: Answer| Answer { end: End::Hang, ..answer };
    let provider = Provider::start([open(item_answer(&[call])), open(text_answer("Done."))]).await;
    let gateway = Gateway::config(&format!(
        "model = \"m\"\nmodel_provider = \"a\"\n{}max_concurrent = 1\n",
        table("a", "responses", &provider.address)
    ))
    .start();
    for prompt in ["one", "two"] {
        let answer = ask(&gateway, prompt).await;
        assert_eq!(answer["task_result"]["summary"], "Done.", "{answer}");
    }
    eventually("the connection is closed", || async { provider.open.load(Ordering::SeqCst) == 0 })
        .await;
}

#[tokio::test]
async fn recovered_provider_is_used_again() {
    // Dropping its own runtime closes the listener and connections.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first = runtime.spawn(Provider::start([text_answer("Here.")])).await.unwrap();
    let gateway = Gateway::config(&format!(
        "model = \"m\"\nmodel_provider = \"a\"\n{}",
        table("a", "responses", &first.address)
    ))
    .start();
    assert_eq!(ask(&gateway, "one").await["task_result"]["summary"], "Here.");
    runtime.shutdown_background();
    let answer = ask(&gateway, "two").await;
    assert_eq!(
        (&answer["status"], &answer["error"]["source"]),
        (&json!("failed"), &json!("model")),
        "{answer}"
    );
    let port = first.address.strip_prefix("http://").unwrap();
    let listener = TcpListener::bind(port).await.unwrap();
    let second = Provider::on(listener, [text_answer("Back.")]);
    let answer = ask(&gateway, "three").await;
    assert_eq!(answer["task_result"]["summary"], "Back.", "{answer}");
    assert!(second.requests()[0].body.to_string().contains("Here."));
}

#[test]
fn check_prints_providers_and_aliases_without_keys() {
    let setup = ordered("http://a.example", ("chat", "http://b.example"))
        .env("OPENAI_API_KEY", "canary-key");
    let output = setup.command(&new_home()).arg("check").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    for line in [
        "model                big, provider a",
        "provider             b (chat at http://b.example/v1, at most 64 concurrent calls)",
        "provider             openai (responses at https://api.openai.com/v1",
        "model alias          best = a/big, fallback b/small",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    assert!(!printed.contains("canary"));
}
