//! Requests: health, request ids, keys, and refusals of invalid bodies, heads and bytes.

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Gateway;
use crate::support::soon;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn health_reports_model_and_sandbox() {
    let gateway = Gateway::start();
    let health = gateway.get("/health").await;
    assert_eq!(health.status, 200);
    assert!(!health.header("x-request-id").is_empty());
    let health = health.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["engine"], "codex-core, about 0.145 (republished 2026-07-22)");
    assert_eq!(health["model"], "demo");
    assert!(health["model_reason"].as_str().unwrap().contains("demo model"));
    assert_eq!(health["sandbox"], "bubblewrap");
    assert_eq!(health["tools"], "on");

    let plain = gateway.send("GET", "/health", &[("accept", "text/plain")], b"").await;
    assert_eq!((plain.status, plain.text().as_str()), (200, "OK"));
    assert_eq!(gateway.get("/health/live").await.status, 200);
    assert_eq!(gateway.get("/health/ready").await.status, 200);
}

#[tokio::test]
async fn valid_request_id_is_kept() {
    let gateway = Gateway::start();
    let sent = [("x-request-id", "trace-7.a:b")];
    assert_eq!(
        gateway.send("GET", "/health", &sent, b"").await.header("x-request-id"),
        "trace-7.a:b"
    );
    let long = "x".repeat(129);
    let made = gateway.send("GET", "/health", &[("x-request-id", long.as_str())], b"").await;
    assert_ne!(made.header("x-request-id"), long);
    let refused = gateway.send("GET", "/nowhere", &sent, b"").await.json();
    assert_eq!(refused["request_id"], "trace-7.a:b");
}

#[tokio::test]
async fn http2_works_without_tls() {
    let gateway = Gateway::start();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<http_body_util::Empty<bytes::Bytes>>();
    let uri = format!("http://{}/health", gateway.address).parse().unwrap();
    let response = client.get(uri).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.version(), http::Version::HTTP_2);
}

/// Bodies of a prompt, with the status and a part of the detail of their refusal.
const INVALID_BODIES: &[(&[u8], u16, &str)] = &[
    (b"", 400, "expected JSON, got nothing"),
    (b"{\"prompt\": \"hi\"", 400, "expected JSON: EOF"),
    (b"{\"prompt\": \"hi\"} {}", 400, "trailing"),
    (b"[1]", 400, "expected an object, got a list"),
    (b"\"hi\"", 400, "expected an object, got"),
    (b"{}", 400, "prompt: expected a value, got nothing"),
    (b"{\"prompt\": 7}", 400, "expected a string"),
    (b"{\"prompt\": null}", 400, "expected a string"),
    (b"{\"prompt\": \"\"}", 400, "prompt: expected text that is not blank"),
    (b"{\"prompt\": \" \\n\"}", 400, "prompt: expected text that is not blank"),
    (b"{\"prompt\": \"\xff\xfe\"}", 400, "expected JSON: invalid unicode"),
    (b"{\"prompt\":\"x\",\"session_id\":\"a b\"}", 400, "session_id: expected 1 to 128"),
    (b"{\"prompt\":\"x\",\"session_id\":\"\"}", 400, "session_id: expected 1 to 128"),
    (b"{\"prompt\":\"x\",\"session_id\":7}", 400, "expected a string"),
    (b"{\"prompt\":\"x\",\"conversation_id\":\"7\"}", 400, "conversation_id: expected a UUID"),
    (
        b"{\"prompt\":\"x\",\"timeout_ms\":999}",
        400,
        "timeout_ms: expected a whole number of 1000 to 3600000",
    ),
    (
        b"{\"prompt\":\"x\",\"timeout_ms\":-1}",
        400,
        "timeout_ms: expected a whole number of 1000 to",
    ),
    (b"{\"prompt\":\"x\",\"sandbox\":\"none\"}", 400, "read-only"),
    (b"{\"prompt\":\"x\",\"approval_policy\":\"always\"}", 400, "on-request"),
    (b"{\"prompt\":\"x\",\"if_busy\":\"wait\"}", 400, "queue"),
    (b"{\"prompt\":\"x\",\"if_busy\":\"steer\",\"model\":\"m\"}", 400, "steer adds prompt"),
    (b"{\"prompt\":\"x\",\"cwd\":\".\"}", 400, "got the root"),
    (
        b"{\"prompt\":\"x\",\"images\":[\"http://x/y.png\"]}",
        400,
        "images[0]: expected `data:image/",
    ),
    (b"{\"prompt\":\"x\",\"output_schema\":7}", 400, "output_schema: expected"),
    (b"{\"prompt\":\"x\",\"model\":\"\"}", 400, "model: expected"),
    (
        b"{\"prompt\":\"x\",\"model\":\"m\",\"model_provider\":\"nowhere\"}",
        400,
        "is not configured; known are",
    ),
    (b"{\"prompt\":\"x\",\"cwd\":\"..\"}", 400, "cwd: expected a folder inside"),
    (b"{\"prompt\":\"x\",\"cwd\":\"a/../../b\"}", 400, "cwd: expected a folder inside"),
    (b"{\"prompt\":\"x\",\"cwd\":\"/etc\"}", 400, "cwd: expected a folder inside"),
    (b"{\"prompt\":\"x\",\"cwd\":\"out\"}", 400, "cwd: expected a folder inside"),
    (b"{\"prompt\":\"x\",\"cwd\":\"out/deeper\"}", 400, "cwd: expected a folder inside"),
];

#[tokio::test]
async fn invalid_body_names_expectation() {
    let gateway =
        Gateway::config("[gateway]\nprompt_limit_chars = 1000\nbody_limit_bytes = 4096\n").start();
    let outside = gateway.workspaces().join("out");
    std::fs::create_dir_all(gateway.workspaces()).unwrap();
    std::os::unix::fs::symlink("/tmp", &outside).unwrap();
    let long = json!({ "prompt": "x".repeat(1001) }).to_string();
    let huge = json!({ "prompt": "x".repeat(5000) }).to_string();
    let too_large = [
        (long.as_bytes(), 413, "prompt: expected at most 1000 characters"),
        (huge.as_bytes(), 413, "at most 4096 bytes"),
    ];
    for path in ["/exec", "/api/v1/exec", "/api/v1/exec/stream"] {
        for (body, status, says) in INVALID_BODIES.iter().chain(&too_large) {
            let reply = gateway.send("POST", path, &[JSON], body).await;
            let shown = String::from_utf8_lossy(body);
            assert_eq!(reply.status, *status, "{path} {shown}: {}", reply.text());
            assert_eq!(reply.header("content-type"), "application/problem+json");
            let problem = reply.json();
            assert!(problem["detail"].as_str().unwrap().contains(says), "{shown}: {problem}");
            assert_eq!(problem["status"], *status);
            assert_eq!(problem["instance"], path);
            assert_eq!(problem["source"], "gateway");
            assert_eq!(problem["request_id"], reply.header("x-request-id"));
        }
    }
    let load = gateway.load().await;
    assert_eq!((&load["turns"], &load["conversations"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn invalid_head_names_expectation() {
    let gateway = Gateway::start();
    let body = br#"{"prompt":"x"}"#;
    let text = [("content-type", "text/plain")];
    for (method, path, headers, status, says) in [
        ("POST", "/exec", &text[..], 415, "application/json"),
        ("POST", "/exec", &[], 415, "application/json"),
        ("GET", "/exec", &[JSON], 405, "expected POST /exec"),
        ("DELETE", "/health", &[JSON], 405, "expected GET, HEAD /health"),
        ("POST", "/nowhere", &[JSON], 404, "/nowhere"),
        ("GET", "/api/v1/conversations/nonsense", &[], 400, "UUID"),
        (
            "GET",
            "/api/v1/conversations/01234567-89ab-7def-8123-456789abcdef",
            &[],
            404,
            "no conversation",
        ),
        (
            "GET",
            "/api/v1/conversations/01234567-89ab-7def-8123-456789abcdef/events?after=x",
            &[],
            400,
            "after: expected",
        ),
        (
            "GET",
            "/api/v1/conversations/01234567-89ab-7def-8123-456789abcdef/events?follow=perhaps",
            &[],
            400,
            "follow: expected",
        ),
        (
            "GET",
            "/api/v1/conversations/01234567-89ab-7def-8123-456789abcdef/events?since=1",
            &[],
            400,
            "since: expected a known field, got an unknown one; known are after, follow",
        ),
        ("POST", "/exec", &[("host", "evil.example"), JSON], 403, "localhost"),
    ] {
        let reply = gateway.send(method, path, headers, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        let problem = reply.json();
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    let wrong = gateway.send("GET", "/exec", &[], b"").await;
    assert_eq!(wrong.header("allow"), "POST");
}

#[tokio::test]
async fn configured_keys_are_required() {
    let gateway = Gateway::env("GATEWAY_API_KEY", "alpha,ci=beta").start();
    let body = json!({ "prompt": "say: in" });
    for (header, status) in [
        (None, 401),
        (Some(("x-api-key", "gamma")), 401),
        (Some(("x-api-key", "")), 401),
        (Some(("authorization", "Basic alpha")), 401),
        (Some(("x-api-key", "alpha")), 200),
        (Some(("authorization", "Bearer beta")), 200),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let reply = gateway.post_with("/api/v1/exec", &headers, body.clone()).await;
        assert_eq!(reply.status, status, "{header:?}");
        if status == 401 {
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
            assert!(reply.json()["detail"].as_str().unwrap().contains("X-API-Key"));
        }
    }
    assert_eq!(gateway.get("/health").await.json()["mode"], "production");
    let log = gateway.log.lock().unwrap().clone();
    assert!(!log.contains("alpha") && !log.contains("gamma"), "{log}");
}

/// Sends bytes, then reads until the gateway closes the connection.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    soon("the gateway answers or closes", async {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        let _ = socket.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
}

#[tokio::test]
async fn malformed_or_stalled_requests_are_cut_off() {
    let hasty =
        Gateway::config("[gateway]\nheader_timeout_ms = 300\nbody_timeout_ms = 300\n").start();
    // Without short time limits, for the other answers.
    let patient = Gateway::start();
    let many: String = (0..200).map(|n| format!("h{n}: x\r\n")).collect();
    let wide =
        format!("GET /health HTTP/1.1\r\nhost: localhost\r\nbig: {}\r\n\r\n", "x".repeat(100_000));
    for (bytes, expected) in [
        ("", ""),
        ("GET /health HT", ""),
        ("GET /health HTTP/1.1\r\nhost: localhost\r\n", ""),
        ("PRI * HTTP/2.0\r\n", ""),
        ("nonsense\r\n\r\n", "HTTP/1.1 400"),
        (&format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), "HTTP/1.1 431"),
        (&wide, "HTTP/1.1 431"),
        (
            "POST /exec HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
            "HTTP/1.1 408",
        ),
        (
            "POST /exec HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n",
            "HTTP/1.1 413",
        ),
        ("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n\x01\x02garbage\r\n\r\n", "HTTP/1.1 200"),
    ] {
        let waits = expected.is_empty() || expected.ends_with("408");
        let answer = raw(if waits { &hasty } else { &patient }, bytes.as_bytes()).await;
        let start: String = bytes.chars().take(60).collect();
        assert!(answer.starts_with(expected), "{start:?} got {answer:?}");
        if expected.is_empty() {
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
                "{start:?} got {answer:?}"
            );
        }
    }
    for gateway in [&hasty, &patient] {
        assert_eq!(gateway.get("/health").await.status, 200);
    }
}
