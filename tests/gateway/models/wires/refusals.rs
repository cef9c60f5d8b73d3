//! Servers that refuse a part of a request: it is changed once, the answer arrives, and the next
//! request is right from the start.

use serde_json::Value;
use serde_json::json;

use super::endings::assert_failed;
use super::endings::with_core_retries;
use crate::support::Gateway;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::ask;
use crate::support::eventually;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::provider::status;

const CHAT: &Dialect = &DIALECTS[1];
const ANTHROPIC: &Dialect = &DIALECTS[2];

fn refused(words: &str) -> Answer {
    status(400, &json!({ "error": { "message": words } }))
}

fn bodies(provider: &Provider) -> Vec<Value> {
    provider.requests().into_iter().map(|request| request.body).collect()
}

#[tokio::test]
async fn refused_parameter_is_left_out_from_then_on() {
    let refusal = refused("Unknown parameter: 'parallel_tool_calls'");
    let provider = Provider::start([refusal, CHAT.text("Now.")]).await;
    let gateway = CHAT.gateway(&provider);
    assert_eq!(ask(&gateway, "hello").await["task_result"]["summary"], "Now.");
    assert_eq!(ask(&gateway, "again").await["task_result"]["summary"], "Now.");
    let sent = bodies(&provider);
    let has = |body: &Value| body.get("parallel_tool_calls").is_some();
    assert_eq!(sent.iter().map(has).collect::<Vec<_>>(), [true, false, false]);
    let log = gateway.log.lock().unwrap().clone();
    assert!(log.contains("the provider refused a part of a request"), "{log}");
}

#[tokio::test]
async fn quirks_of_the_file_apply_at_once() {
    let provider = Provider::start([CHAT.text("Hello.")]).await;
    let mut setup = CHAT.setup(&provider);
    setup.config.push_str(
        "[gateway.providers.scripted.quirks]\nomit = [\"stream_options\", \"parallel_tool_calls\"]\n\
         max_tokens = 500\n",
    );
    assert_eq!(ask(&setup.start(), "hello").await["task_result"]["summary"], "Hello.");
    let sent = &bodies(&provider)[0];
    assert!(sent.get("stream_options").is_none() && sent.get("parallel_tool_calls").is_none());
    assert_eq!(sent["max_tokens"], 500);
}

#[tokio::test]
async fn unknown_refusal_is_told_after_one_request() {
    let provider = Provider::start([refused("no such thing as a free lunch")]).await;
    let answer = ask(&with_core_retries(CHAT, &provider), "hello").await;
    assert_failed("chat", &answer, "no such thing as a free lunch");
    assert_eq!(provider.requests().len(), 1);
}

/// A conversation that was interrupted amid a tool goes on with Mistral.
#[tokio::test]
async fn mistral_goes_on_after_an_interrupted_tool() {
    let order = json!({ "object": "error", "message": "Unexpected role 'user' after role 'tool'", "code": "3230" });
    let shape = json!({ "object": "error", "code": "3280",
        "message": "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9." });
    let provider = Provider::start([
        CHAT.call("sleep 300"),
        status(400, &order),
        status(400, &shape),
        CHAT.text("Back."),
        CHAT.text("Still."),
    ])
    .await;
    let gateway = CHAT.gateway(&provider);
    let body = json!({ "prompt": "sleep", "session_id": "s" });
    let mut stream = gateway.stream("/exec", &[], body).await;
    stream.until("exec_command_begin").await;
    gateway.rpc("conversation.cancel", json!({ "session_id": "s" })).await;
    assert_eq!(stream.events().await.last().unwrap()["msg"]["type"], "turn_aborted");
    assert_eq!(ask(&gateway, "hi").await["task_result"]["summary"], "Back.");
    assert_eq!(ask(&gateway, "and?").await["task_result"]["summary"], "Still.");
    let sent = bodies(&provider);
    assert_eq!(sent.len(), 5);
    for body in &sent[3..] {
        let messages = body["messages"].as_array().unwrap();
        let tool = messages.iter().position(|message| message["role"] == "tool").unwrap();
        let id = messages[tool]["tool_call_id"].as_str().unwrap();
        assert!(id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
        assert_eq!(messages[tool - 1]["tool_calls"][0]["id"], id);
        let roles: Vec<&Value> = messages.iter().map(|message| &message["role"]).collect();
        assert!(!roles.windows(2).any(|pair| pair[0] == "tool" && pair[1] == "user"), "{roles:?}");
    }
}

#[tokio::test]
async fn small_models_get_fewer_tokens_on_anthropic() {
    let refusal = refused("max_tokens is too large: 32000");
    let provider = Provider::start([refusal, ANTHROPIC.text("Short.")]).await;
    let config = provider.config("anthropic", "qwen");
    let gateway = Gateway::config(&config).env("SCRIPTED_KEY", "k").start();
    assert_eq!(ask(&gateway, "hello").await["task_result"]["summary"], "Short.");
    let asked: Vec<Value> =
        bodies(&provider).into_iter().map(|body| body["max_tokens"].clone()).collect();
    assert_eq!(asked, [32_000, 8192]);
}

#[tokio::test]
async fn base_url_works_with_and_without_version() {
    for (dialect, base, paths) in [
        (CHAT, "", &["/chat/completions", "/v1/chat/completions", "/v1/chat/completions"][..]),
        (CHAT, "/v1/chat/completions", &["/v1/chat/completions"; 2]),
        (&DIALECTS[0], "", &["/responses", "/v1/responses", "/v1/responses"]),
        (ANTHROPIC, "", &["/v1/messages"; 2]),
        (ANTHROPIC, "/v1", &["/v1/messages"; 2]),
        (ANTHROPIC, "/v1/messages", &["/v1/messages"; 2]),
        (&DIALECTS[3], "/v1beta", &[DIALECTS[3].path; 2]),
    ] {
        let missing = status(404, &json!({ "detail": "Not Found" }));
        let text = dialect.text("Found.");
        let script = if paths.len() == 3 { vec![missing, text] } else { vec![text] };
        let provider = Provider::start(script).await;
        let mut setup = dialect.setup(&provider);
        let before = format!("base_url = \"{}", provider.address);
        let rest = setup.config.split(&before).nth(1).unwrap();
        let given = format!("{before}{}", &rest[..=rest.find('"').unwrap()]);
        setup.config = setup.config.replace(&given, &format!("{before}{base}\""));
        let gateway = setup.start();
        for prompt in ["one", "two"] {
            let answer = ask(&gateway, prompt).await;
            assert_eq!(answer["task_result"]["summary"], "Found.", "{base}: {answer}");
        }
        let sent: Vec<String> =
            provider.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(sent, paths, "{} {base}", dialect.wire_api);
    }
}

/// Neither path exists: the first answer is told.
#[tokio::test]
async fn missing_api_is_told_in_its_own_words() {
    let missing = |words: &str| status(404, &json!({ "detail": words }));
    let provider = Provider::start([missing("nothing here"), missing("nor here")]).await;
    let mut setup = CHAT.setup(&provider);
    setup.config = setup.config.replace("/v1\"", "\"");
    let gateway = setup.start();
    let answer = ask(&gateway, "hello").await;
    assert_failed("chat", &answer, "nothing here");
    eventually("two requests", || async { provider.requests().len() == 2 }).await;
}
