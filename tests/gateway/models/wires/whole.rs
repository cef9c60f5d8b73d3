//! Answers that come whole instead of streamed, and streams that end oddly, with the real core.

use serde_json::json;

use super::endings::assert_failed;
use super::endings::with_core_retries;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::ask;
use crate::support::provider::Answer;
use crate::support::provider::End;
use crate::support::provider::Provider;

/// Returns a whole answer of a wire, as a server that does not stream sends it.
fn whole(dialect: &Dialect, text: &str) -> Answer {
    let body = match dialect.wire_api {
        "chat" => json!({ "object": "chat.completion", "choices": [{
            "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": text } }] }),
        "responses" => json!({ "object": "response", "id": "r", "status": "completed", "output": [{
            "type": "message", "id": "m", "role": "assistant", "content": [{ "type": "output_text", "text": text }] }] }),
        "anthropic" => {
            json!({ "type": "message", "id": "m", "role": "assistant", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": text }] })
        }
        _ => json!({ "candidates": [{ "finishReason": "STOP",
            "content": { "role": "model", "parts": [{ "text": text }] } }] }),
    };
    Answer { body: body.to_string(), ..dialect.text("x") }
}

#[tokio::test]
async fn whole_answer_ends_the_turn_on_each_wire() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        for kind in ["application/json", "text/event-stream", "text/plain"] {
            let answer =
                Answer { headers: vec![("content-type", kind)], ..whole(dialect, "All at once.") };
            let provider = Provider::start([answer]).await;
            let answer = ask(&dialect.gateway(&provider), "hello").await;
            assert_eq!(
                answer["task_result"]["summary"], "All at once.",
                "{wire}, {kind}: {answer}"
            );
            assert_eq!(provider.requests().len(), 1, "{wire}, {kind}");
        }
    }
}

#[tokio::test]
async fn whole_error_is_told_once_and_not_repeated() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let error = json!({ "error": "Unexpected endpoint or method" });
        let answer = Answer {
            headers: vec![("content-type", "application/json")],
            body: error.to_string(),
            ..dialect.text("x")
        };
        let provider = Provider::start([answer]).await;
        let answer = ask(&with_core_retries(dialect, &provider), "hello").await;
        assert_failed(&wire, &answer, "Unexpected endpoint or method");
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(message.matches("Unexpected endpoint").count(), 1, "{wire}: {message}");
        assert_eq!(provider.requests().len(), 1, "{wire}");
    }
}

/// Returns a stream that says why it ends, without its last event.
pub fn unended(dialect: &Dialect) -> String {
    let body = dialect.text("Finished.").body.replace("data: [DONE]\n\n", "");
    let end = body.find("event: message_stop").unwrap_or(body.len());
    body[..end].to_owned()
}

/// The reason for the end has come; the end of the stream has not.
#[tokio::test]
async fn finished_answer_does_not_wait_for_its_connection() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let answer = Answer { end: End::Hang, body: unended(dialect), ..dialect.text("x") };
        let provider = Provider::start([answer]).await;
        let answer = ask(&with_core_retries(dialect, &provider), "hello").await;
        assert_eq!(answer["task_result"]["summary"], "Finished.", "{wire}: {answer}");
        assert_eq!(provider.requests().len(), 1, "{wire}");
    }
}
