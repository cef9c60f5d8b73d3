//! Answers that do not end well, over every wire: refused, cut at the limit, or never begun for want of room.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::provider::Provider;
use crate::support::wires::Speaks;
use crate::support::wires::WIRES;
use crate::support::wires::ask;
use crate::support::wires::gemini_blocked;
use crate::support::wires::responses_too_long_in_the_stream;

const WHY: &str = "I can't help with that.";

#[tokio::test]
async fn refusal_is_shown_and_ends_the_turn() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([speaks.refusal(WHY), speaks.text("Gladly.")]).await;
        let gateway = retrying(speaks, &provider);
        let answer = ask(&gateway, "do something forbidden").await;
        if speaks.wire_api == "gemini" {
            assert_failed(&wire, &answer, "SAFETY");
        } else {
            assert_eq!(answer["status"], "completed", "{wire}: {answer}");
            let shown = answer["task_result"]["summary"].as_str().unwrap();
            assert!(shown.contains(WHY), "{wire}: {answer}");
        }
        assert_eq!(provider.asked().len(), 1, "{wire}: a refusal is not asked again");
        let next = ask(&gateway, "something else").await;
        assert_eq!(next["task_result"]["summary"], "Gladly.", "{wire}: {next}");
    }
}

#[tokio::test]
async fn blocked_prompt_is_not_retried() {
    let speaks = &WIRES[3];
    let provider = Provider::start([gemini_blocked(), speaks.text("Gladly.")]).await;
    let gateway = retrying(speaks, &provider);
    let answer = ask(&gateway, "something forbidden").await;
    assert_failed("gemini", &answer, "PROHIBITED_CONTENT");
    assert_eq!(provider.asked().len(), 1);
    assert_eq!(ask(&gateway, "else").await["task_result"]["summary"], "Gladly.");
}

#[tokio::test]
async fn oversized_prompt_fails_once_with_reason() {
    for speaks in &WIRES {
        let mut forms = vec![speaks.too_long()];
        if speaks.wire_api == "responses" {
            forms.push(responses_too_long_in_the_stream());
        }
        for form in forms {
            let wire = speaks.name();
            let provider = Provider::start([form]).await;
            let gateway = retrying(speaks, &provider);
            let answer = ask(&gateway, "a long story").await;
            assert_failed(&wire, &answer, "context window");
            assert_eq!(provider.asked().len(), 1, "{wire}: {answer}");
        }
    }
}

#[tokio::test]
async fn truncated_answer_fails_with_reason_and_is_kept() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([speaks.length("Half a sent"), speaks.text("ence.")]).await;
        let gateway = retrying(speaks, &provider);
        let answer = ask(&gateway, "a long answer, please").await;
        assert_failed(&wire, &answer, "limit of output tokens");
        assert_eq!(answer["task_result"]["summary"], "Half a sent", "{wire}: {answer}");
        assert_eq!(provider.asked().len(), 1, "{wire}: it would only be cut off again");
        let next = ask(&gateway, "go on").await;
        assert_eq!(next["task_result"]["summary"], "ence.", "{wire}: {next}");
        let history = provider.asked()[1].body.to_string();
        assert_eq!(history.matches("Half a sent").count(), 1, "{wire}: {history}");
    }
}

/// A gateway whose core would ask again after a stream that was cut, as it does unless told otherwise.
pub fn retrying(speaks: &Speaks, provider: &Provider) -> Gateway {
    let mut setup = speaks.setup(provider);
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
