//! What the head of a request selects: HEAD, and the media type by `Accept`.

use serde_json::json;

use crate::support::Gateway;
use crate::support::eventually;

/// Headers that differ from response to response.
const OWN: [&str; 2] = ["x-request-id", "date"];

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let gateway = Gateway::start();
    let started = gateway.post("/api/v1/conversations", json!({})).await.json();
    let id = started["conversation_id"].as_str().unwrap();
    let conversation = format!("/api/v1/conversations/{id}");
    for (path, status) in [
        ("/health/live".to_owned(), 200),
        ("/openapi.json".to_owned(), 200),
        ("/api/v1/conversations".to_owned(), 200),
        (conversation.clone(), 200),
        (format!("{conversation}/diff"), 200),
        (format!("{conversation}/events"), 200),
        (format!("{conversation}/events?after=x"), 400),
        ("/ws".to_owned(), 426),
        ("/nowhere".to_owned(), 404),
        ("//health/live".to_owned(), 404),
        ("/metrics/".to_owned(), 404),
    ] {
        let get = gateway.get(&path).await;
        let head = gateway.send("HEAD", &path, &[], b"").await;
        assert_eq!((get.status, head.status), (status, status), "{path}");
        assert!(head.body.is_empty() && (!get.body.is_empty() || path.contains("events")));
        let (mut expected, mut headers) = (get.headers.clone(), head.headers.clone());
        if path == "/openapi.json" {
            assert_eq!(headers["content-length"], get.body.len().to_string());
        }
        // Without a body there is nothing to encode (RFC 9112, section 6.1).
        expected.remove("transfer-encoding");
        for name in OWN {
            expected.remove(name);
            headers.remove(name);
        }
        if status >= 400 {
            // The problem holds the id of the request, and its length with it.
            expected.remove("content-length");
            headers.remove("content-length");
        }
        assert_eq!(headers, expected, "{path}");
    }
    // A stream that would not end leaves nothing behind.
    let endless = format!("{conversation}/events?follow=true");
    assert_eq!(gateway.send("HEAD", &endless, &[], b"").await.status, 200);
    eventually("the stream has ended", || async { gateway.load().await["streams"] == 0 }).await;
    let wrong = gateway.send("HEAD", "/exec", &[], b"").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "POST"));
    let wrong = gateway.send("PUT", "/api/v1/conversations", &[], b"").await;
    assert_eq!(wrong.header("allow"), "GET, HEAD, POST");
}

#[tokio::test]
async fn head_over_http2_has_no_body() {
    let gateway = Gateway::start();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<http_body_util::Empty<bytes::Bytes>>();
    for (method, is_empty) in [("GET", false), ("HEAD", true)] {
        let uri = format!("http://{}/openapi.json", gateway.address);
        let request = http::Request::builder().method(method).uri(uri);
        let response = client.request(request.body(Default::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(body.is_empty(), is_empty, "{method}");
        assert!(length > 1000);
    }
}

#[tokio::test]
async fn accept_selects_by_weight() {
    let gateway = Gateway::start();
    let prompt = json!({ "prompt": "say: hi" });
    for (path, accept, expected) in [
        ("/exec", "text/event-stream;q=0", "application/x-ndjson"),
        ("/exec", "text/event-stream;q=0, */*", "application/x-ndjson"),
        ("/exec", "application/jsonl;q=0.9, text/event-stream;q=0.8", "application/jsonl"),
        ("/exec", "application/json", "application/x-ndjson"),
        ("/exec", "application/x-ndjson;q=0.1, text/event-stream", "text/event-stream"),
        ("/api/v1/exec/stream", "application/json", "text/event-stream"),
    ] {
        let mut stream = gateway.stream(path, &[("accept", accept)], prompt.clone()).await;
        assert_eq!(stream.headers["content-type"], expected, "{path} {accept}");
        while stream.next().await.is_some() {}
    }
    let before = gateway.load().await["conversations"].clone();
    for (path, accept) in [("/exec", "*/*;q=0"), ("/api/v1/exec/stream", "text/event-stream;q=0")] {
        let refused = gateway.post_with(path, &[("accept", accept)], prompt.clone()).await;
        assert_eq!(refused.status, 406, "{path} {accept}");
        assert_eq!(refused.json()["code"], "not_acceptable");
    }
    assert_eq!(gateway.load().await["conversations"], before, "no turn was started");
    for (accept, expected) in [
        ("text/plain", "OK"),
        ("text/plain;q=0", "{"),
        ("application/json, text/plain;q=0.9", "{"),
        ("application/json;q=0.5, text/plain", "OK"),
        ("*/*", "{"),
        ("*/*;q=0", "{"),
    ] {
        let health = gateway.send("GET", "/health", &[("accept", accept)], b"").await;
        assert!(health.text().starts_with(expected), "{accept}: {}", health.text());
    }
}
