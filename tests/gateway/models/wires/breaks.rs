//! Unfinished and broken streams, over every wire.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::endings::with_core_retries;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::ask;
use crate::support::eventually;
use crate::support::provider::Answer;
use crate::support::provider::End;
use crate::support::provider::Provider;

#[tokio::test]
async fn delta_is_forwarded_before_the_next_arrives() {
    for dialect in &DIALECTS {
        let hangs = Answer { end: End::Hang, ..dialect.partial("The first") };
        let provider = Provider::start([hangs]).await;
        let gateway = dialect.gateway(&provider);
        let body = json!({ "prompt": "hello", "session_id": "s" });
        let mut stream = gateway.stream("/exec", &[], body).await;
        let shown = stream.until("agent_message_content_delta").await;
        assert_eq!(shown["msg"]["delta"], "The first", "{}", dialect.name());
        assert_eq!(provider.open.load(Ordering::SeqCst), 1, "the provider has not ended");
        gateway.rpc("conversation.cancel", json!({ "session_id": "s" })).await;
        eventually("the connection is closed", || async {
            provider.open.load(Ordering::SeqCst) == 0
        })
        .await;
    }
}

#[tokio::test]
async fn truncated_stream_is_retried_at_once() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider = Provider::start([dialect.partial("Half"), dialect.text("Whole.")]).await;
        let answer = ask(&with_core_retries(dialect, &provider), "hello").await;
        assert_eq!(answer["task_result"]["summary"], "Whole.", "{wire}: {answer}");
        assert_eq!(provider.requests().len(), 2, "{wire}");
        // Much less than the idle limit of a stream.
        assert!(answer["execution_time_ms"].as_u64().unwrap() < 60_000, "{wire}: {answer}");
    }
}

#[tokio::test]
async fn provider_error_in_stream_is_retried() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider =
            Provider::start([dialect.fails_midway("Half"), dialect.text("Whole.")]).await;
        let answer = ask(&with_core_retries(dialect, &provider), "hello").await;
        assert_eq!(answer["task_result"]["summary"], "Whole.", "{wire}: {answer}");
        assert_eq!(provider.requests().len(), 2, "{wire}");
        assert!(answer["execution_time_ms"].as_u64().unwrap() < 60_000, "{wire}: {answer}");
    }
}
