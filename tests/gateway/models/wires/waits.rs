//! Retries: as often and as late as the provider and the operator say, and not where they are
//! useless.

use std::time::Duration;
use std::time::SystemTime;

use serde_json::Value;
use serde_json::json;

use super::endings::assert_failed;
use super::endings::with_core_retries;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::ask;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::provider::status;

/// Returns the time from the first request to the end of a turn with two requests.
async fn waited(dialect: &Dialect, busy: Answer) -> Duration {
    let provider = Provider::start([busy, dialect.text("At last.")]).await;
    let gateway = dialect.gateway(&provider);
    let start = SystemTime::now();
    let answer = ask(&gateway, "hello").await;
    assert_eq!(answer["task_result"]["summary"], "At last.", "{}: {answer}", dialect.name());
    assert_eq!(provider.requests().len(), 2, "{}", dialect.name());
    start.elapsed().unwrap()
}

fn busy(error: &Value) -> Answer {
    status(429, &json!({ "error": error }))
}

#[tokio::test]
async fn retry_waits_as_the_provider_asks() {
    let info = json!({ "code": 429, "message": "slow", "details": [
        { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s" }] });
    let words = json!({ "message": "Please try again in 3s." });
    let plain = json!({ "message": "slow" });
    let with =
        |header: (&'static str, &'static str)| Answer { headers: vec![header], ..busy(&plain) };
    let date: &'static str = {
        let until = chrono::Utc::now() + chrono::Duration::seconds(3600);
        // The provider's own clock is an hour ahead, less three seconds.
        Box::leak(until.format("%a, %d %b %Y %H:%M:%S GMT").to_string().into_boxed_str())
    };
    let clock: &'static str = {
        let now = chrono::Utc::now() + chrono::Duration::seconds(3597);
        Box::leak(now.format("%a, %d %b %Y %H:%M:%S GMT").to_string().into_boxed_str())
    };
    let dated = Answer { headers: vec![("date", clock), ("retry-after", date)], ..busy(&plain) };
    let (chat, gemini) = (&DIALECTS[1], &DIALECTS[3]);
    let waits = futures::future::join_all([
        waited(gemini, busy(&info)),
        waited(chat, busy(&words)),
        waited(chat, with(("retry-after", "3"))),
        waited(chat, with(("retry-after", "2.9"))),
        waited(chat, with(("retry-after-ms", "2900"))),
        waited(chat, dated),
    ])
    .await;
    for (at, wait) in waits.into_iter().enumerate() {
        // Less than the provider asked for would be wrong; more is a slow machine.
        assert!(wait >= Duration::from_millis(1900), "{at}: {wait:?}");
    }
}

#[tokio::test]
async fn useless_retries_are_not_made() {
    let error = |code: u16, error: Value| status(code, &json!({ "error": error }));
    for (what, refusal, words) in [
        (
            "spent quota",
            error(429, json!({ "code": "insufficient_quota", "message": "no money" })),
            "uota",
        ),
        (
            "too long",
            error(500, json!({ "message": "Context size has been exceeded." })),
            "context window",
        ),
        (
            "too long, xAI",
            error(
                400,
                json!({ "message": "This model's maximum prompt length is 1 but the request contains 2 tokens" }),
            ),
            "context window",
        ),
        ("long wait", error(429, json!({ "message": "Try again in 2h0m0s" })), "in 2h0m0s"),
    ] {
        for dialect in &DIALECTS {
            let wire = format!("{}, {what}", dialect.name());
            let provider = Provider::start([refusal.clone()]).await;
            let answer = ask(&with_core_retries(dialect, &provider), "hello").await;
            assert_failed(&wire, &answer, words);
            assert_eq!(provider.requests().len(), 1, "{wire}: {answer}");
        }
    }
}

/// The code of a failed call is one of a list, on every wire.
#[tokio::test]
async fn failed_call_is_recorded_with_a_code() {
    for (code, error, expected) in [
        (401, json!({ "message": "no" }), "authentication"),
        (
            404,
            json!({ "code": "model_not_found", "message": "The model `m` does not exist" }),
            "model_not_found",
        ),
        (429, json!({ "code": "insufficient_quota", "message": "no money" }), "quota"),
        (400, json!({ "message": "prompt is too long" }), "context_length"),
    ] {
        for dialect in &DIALECTS[..4] {
            let provider = Provider::start([status(code, &json!({ "error": error }))]).await;
            let gateway = dialect.gateway(&provider);
            let answer = ask(&gateway, "hello").await;
            let id = answer["conversation_id"].as_str().unwrap();
            let shown = gateway.get(&format!("/api/v1/conversations/{id}")).await.json();
            let call = &shown["model_calls"][0];
            assert_eq!(call["error_code"], expected, "{}: {call}", dialect.name());
            assert_eq!(call["retryable"], false, "{}: {call}", dialect.name());
            let words = error["message"].as_str().unwrap();
            assert!(call["error_message"].as_str().unwrap().contains(words), "{call}");
            assert_eq!(call["http_status"], code, "{}: {call}", dialect.name());
        }
    }
}

/// Core counts its retries twice, over its WebSocket and then over HTTP.
#[tokio::test]
async fn broken_streams_are_repeated_as_often_as_set() {
    for (set, requests) in [("stream_max_retries = 0", 1), ("stream_max_retries = 1", 2), ("", 3)] {
        for dialect in &DIALECTS[..4] {
            let wire = format!("{}, {set}", dialect.name());
            let provider = Provider::start([dialect.partial("Half")]).await;
            let mut setup = dialect.setup(&provider);
            setup.config = setup.config.replace("stream_max_retries = 0", set);
            let gateway = setup.start();
            let events = gateway.exec(json!({ "prompt": "hello" })).await;
            assert_eq!(provider.requests().len(), requests, "{wire}");
            let errors = events.iter().filter(|event| event["msg"]["type"] == "error");
            let errors: Vec<&str> =
                errors.map(|event| event["msg"]["message"].as_str().unwrap()).collect();
            assert!(matches!(errors[..], [error] if error.starts_with("scripted: ")), "{errors:?}");
            let fell_back = events.iter().any(|event| event.to_string().contains("Falling back"));
            assert!(!fell_back, "{wire}");
        }
    }
}

/// A provider that is too slow to begin is not asked again: it may still be at work.
#[tokio::test]
async fn slow_prompt_is_evaluated_once() {
    for dialect in &DIALECTS[..4] {
        let wire = dialect.name();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let opened = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&opened);
        let kept = tokio::spawn(async move {
            let mut sockets = Vec::new();
            loop {
                sockets.push(listener.accept().await.unwrap());
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let provider = Provider::start([dialect.text("x")]).await;
        let mut setup = dialect.setup(&provider);
        let config = setup.config.replace(&provider.address, &address);
        setup.config = format!("{config}first_byte_timeout_ms = 400\n");
        let answer = ask(&setup.start(), "hello").await;
        assert_failed(&wire, &answer, "no answer within 400 ms");
        assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), 1, "{wire}");
        kept.abort();
    }
}
