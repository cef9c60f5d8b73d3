//! Web pages that call a gateway on the reader's machine, and requests that slip past a rule by
//! their form.

use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;

#[tokio::test]
async fn foreign_page_changes_nothing() {
    let gateway = Gateway::start();
    let (own, host) = (format!("http://{}", gateway.address), gateway.address.to_string());
    let host = ("host", host.as_str());
    for foreign in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:3000"),
        ("origin", "http://evil.localhost"),
        ("sec-fetch-site", "cross-site"),
    ] {
        // What `fetch(…, { method: 'POST', mode: 'no-cors' })` sends: no body, no content type.
        let started = gateway.send("POST", "/api/v1/conversations", &[host, foreign], b"").await;
        assert_eq!(started.status, 403, "{foreign:?}: {}", started.text());
        let detail = started.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(foreign.1) && detail.contains("GATEWAY_API_KEY"), "{detail}");
        let read = gateway.send("GET", "/api/v1/conversations", &[host, foreign], b"").await;
        assert_eq!(read.json()["conversations"], json!([]), "{foreign:?}");
        let id = "01234567-89ab-7def-8123-456789abcdef";
        for (method, path) in [
            ("DELETE", format!("/api/v1/conversations/{id}")),
            ("POST", format!("/api/v1/conversations/{id}/interrupt")),
            ("POST", "/jsonrpc".to_owned()),
        ] {
            let reply = gateway.send(method, &path, &[host, foreign], b"").await;
            assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text());
        }
        assert!(Socket::open(gateway.address, &[foreign]).await.is_err(), "{foreign:?}");
    }
    let own = [host, ("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    let started = gateway.send("POST", "/api/v1/conversations", &own, b"").await;
    assert_eq!(started.status, 201, "{}", started.text());
    let mut socket = Socket::connect(&gateway, &own[1..]).await;
    let answer = socket.call("conversation.status", json!({ "session_id": "x" })).await;
    assert_eq!(answer["result"]["status"], "not_found");
}

#[tokio::test]
async fn empty_key_hides_no_bearer_token() {
    let gateway = Gateway::env("GATEWAY_API_KEY", "k").start();
    for (key, token, status) in [
        ("", "Bearer k", 200),
        ("  ", "bearer k", 200),
        ("", "Bearer wrong", 401),
        ("wrong", "Bearer k", 401),
        ("", "Bearer ", 401),
    ] {
        let headers = [("x-api-key", key), ("authorization", token)];
        let reply = gateway.send("GET", "/api/v1/conversations", &headers, b"").await;
        assert_eq!(reply.status, status, "{headers:?}: {}", reply.text());
    }
}

#[tokio::test]
async fn path_with_other_slashes_is_another_path() {
    let gateway = Gateway::config("[gateway.telemetry]\nmetrics_open = true\n").start();
    assert_eq!(gateway.get("/metrics").await.status, 200);
    for path in ["//metrics", "/metrics/", "/metrics//", "/./metrics", "/health//live", "//health"]
    {
        assert_eq!(gateway.get(path).await.status, 404, "{path}");
    }
}
