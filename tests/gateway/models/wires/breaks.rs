//! Streams that are under way, and that break: over every wire.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::endings::retrying;
use crate::support::eventually;
use crate::support::provider::Answer;
use crate::support::provider::End;
use crate::support::provider::Provider;
use crate::support::wires::WIRES;
use crate::support::wires::ask;

#[tokio::test]
async fn delta_is_forwarded_before_the_next_arrives() {
    for speaks in &WIRES {
        let hangs = Answer { end: End::Hang, ..speaks.begun("The first") };
        let provider = Provider::start([hangs]).await;
        let gateway = speaks.gateway(&provider);
        let body = json!({ "prompt": "hello", "session_id": "s" });
        let mut stream = gateway.stream("/exec", &[], body).await;
        let shown = stream.until("agent_message_content_delta").await;
        assert_eq!(shown["msg"]["delta"], "The first", "{}", speaks.name());
        assert_eq!(provider.open.load(Ordering::SeqCst), 1, "the provider has not ended");
        gateway.rpc("conversation.cancel", json!({ "session_id": "s" })).await;
        eventually("the provider is left", || async { provider.open.load(Ordering::SeqCst) == 0 })
            .await;
    }
}

#[tokio::test]
async fn truncated_stream_is_retried_at_once() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([speaks.begun("Half"), speaks.text("Whole.")]).await;
        let answer = ask(&retrying(speaks, &provider), "hello").await;
        assert_eq!(answer["task_result"]["summary"], "Whole.", "{wire}: {answer}");
        assert_eq!(provider.asked().len(), 2, "{wire}");
        // Far below the limit for a stream that stands still.
        assert!(answer["execution_time_ms"].as_u64().unwrap() < 60_000, "{wire}: {answer}");
    }
}

#[tokio::test]
async fn provider_error_in_stream_is_retried() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([speaks.gives_up("Half"), speaks.text("Whole.")]).await;
        let answer = ask(&retrying(speaks, &provider), "hello").await;
        assert_eq!(answer["task_result"]["summary"], "Whole.", "{wire}: {answer}");
        assert_eq!(provider.asked().len(), 2, "{wire}");
        assert!(answer["execution_time_ms"].as_u64().unwrap() < 60_000, "{wire}: {answer}");
    }
}
