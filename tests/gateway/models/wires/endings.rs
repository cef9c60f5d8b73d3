//! Answers that end early, over every wire: refused, cut at the token limit, or too long a prompt.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::ask;
use crate::support::dialects::gemini_blocked;
use crate::support::dialects::responses_too_long_in_stream;
use crate::support::provider::Provider;

const WHY: &str = "I can't help with that.";

#[tokio::test]
async fn refusal_is_shown_and_ends_the_turn() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider = Provider::start([dialect.refusal(WHY), dialect.text("Gladly.")]).await;
        let gateway = with_core_retries(dialect, &provider);
        let answer = ask(&gateway, "do something forbidden").await;
        if dialect.wire_api == "gemini" {
            assert_failed(&wire, &answer, "SAFETY");
        } else {
            assert_eq!(answer["status"], "completed", "{wire}: {answer}");
            let shown = answer["task_result"]["summary"].as_str().unwrap();
            assert!(shown.contains(WHY), "{wire}: {answer}");
        }
        assert_eq!(provider.requests().len(), 1, "{wire}: a refusal is not retried");
        let next = ask(&gateway, "something else").await;
        assert_eq!(next["task_result"]["summary"], "Gladly.", "{wire}: {next}");
    }
}

#[tokio::test]
async fn blocked_prompt_is_not_retried() {
    let dialect = &DIALECTS[3];
    let provider = Provider::start([gemini_blocked(), dialect.text("Gladly.")]).await;
    let gateway = with_core_retries(dialect, &provider);
    let answer = ask(&gateway, "something forbidden").await;
    assert_failed("gemini", &answer, "PROHIBITED_CONTENT");
    assert_eq!(provider.requests().len(), 1);
    assert_eq!(ask(&gateway, "else").await["task_result"]["summary"], "Gladly.");
}

#[tokio::test]
async fn oversized_prompt_fails_once_with_reason() {
    for dialect in &DIALECTS {
        let mut forms = vec![dialect.too_long()];
        if dialect.wire_api == "responses" {
            forms.push(responses_too_long_in_stream());
        }
        for form in forms {
            let wire = dialect.name();
            let provider = Provider::start([form]).await;
            let gateway = with_core_retries(dialect, &provider);
            let answer = ask(&gateway, "a long story").await;
            assert_failed(&wire, &answer, "context window");
            assert_eq!(provider.requests().len(), 1, "{wire}: {answer}");
        }
    }
}

#[tokio::test]
async fn truncated_answer_fails_with_reason_and_is_kept() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider =
            Provider::start([dialect.truncated("Half a sent"), dialect.text("ence.")]).await;
        let gateway = with_core_retries(dialect, &provider);
        let answer = ask(&gateway, "a long answer, please").await;
        assert_failed(&wire, &answer, "limit of output tokens");
        assert_eq!(answer["task_result"]["summary"], "Half a sent", "{wire}: {answer}");
        assert_eq!(provider.requests().len(), 1, "{wire}: a retry would be cut too");
        let next = ask(&gateway, "go on").await;
        assert_eq!(next["task_result"]["summary"], "ence.", "{wire}: {next}");
        let history = provider.requests()[1].body.to_string();
        assert_eq!(history.matches("Half a sent").count(), 1, "{wire}: {history}");
    }
}

/// Starts a gateway whose core retries broken streams, as it does by default.
pub fn with_core_retries(dialect: &Dialect, provider: &Provider) -> Gateway {
    let mut setup = dialect.setup(provider);
    setup.config = setup.config.replace("stream_max_retries = 0\n", "");
    setup.start()
}

pub fn assert_failed(wire: &str, answer: &Value, why: &str) {
    let error = &answer["error"];
    assert_eq!(
        (&answer["status"], &error["source"]),
        (&json!("failed"), &json!("model")),
        "{wire}: {answer}"
    );
    assert!(error["message"].as_str().unwrap().contains(why), "{wire}: {answer}");
}
