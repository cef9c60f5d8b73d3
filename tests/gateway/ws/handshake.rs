//! The handshake: keys, origins and invalid upgrades.

use serde_json::json;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;

/// Returns the status of a refused handshake.
async fn refused(gateway: &Gateway, headers: &[(&str, &str)]) -> u16 {
    match Socket::open(gateway.address, headers).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the handshake was accepted"),
    }
}

#[tokio::test]
async fn key_is_accepted_by_header_or_first_message() {
    let gateway = Gateway::env("GATEWAY_API_KEY", "ci=secret").start();
    let unknown = json!({ "session_id": "nobody" });
    for headers in [[("x-api-key", "secret")], [("authorization", "Bearer secret")]] {
        let mut socket = Socket::connect(&gateway, &headers).await;
        let answer = socket.call("conversation.status", unknown.clone()).await;
        assert_eq!(answer["result"]["status"], "not_found");
    }
    for headers in [[("x-api-key", "wrong")], [("authorization", "Bearer wrong")]] {
        assert_eq!(refused(&gateway, &headers).await, 401);
    }

    for member in ["api_key", "token"] {
        let mut socket = Socket::connect(&gateway, &[("origin", "https://app.example")]).await;
        let answer = socket.call("auth", json!({ member: "secret" })).await;
        assert_eq!(answer["result"]["authenticated"], true);
        let answer = socket.call("conversation.status", unknown.clone()).await;
        assert_eq!(answer["result"]["status"], "not_found");
    }
    let mut socket = Socket::connect(&gateway, &[]).await;
    let answer = socket.call("auth", json!({ "api_key": "wrong" })).await;
    assert_eq!(answer["error"]["code"], -32003);
    assert!(!answer.to_string().contains("wrong"), "a key is not echoed: {answer}");
    assert_eq!(socket.closed().await.0, CloseCode::Policy);

    for first in [
        r#"{"jsonrpc":"2.0","id":1,"method":"conversation.status","params":{"session_id":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"auth"}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"auth","params":{"api_key":"secret"}}]"#,
        "secret",
        "",
    ] {
        let mut socket = Socket::connect(&gateway, &[]).await;
        socket.raw(first).await;
        let (code, reason) = socket.closed().await;
        assert_eq!(code, CloseCode::Policy, "{first}");
        assert!(reason.contains("\"method\":\"auth\""), "{reason}");
    }
}

#[tokio::test]
async fn unauthenticated_client_is_closed_after_deadline() {
    let gateway = Gateway::env("GATEWAY_API_KEY", "secret").start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    let mut authenticated = Socket::connect(&gateway, &[]).await;
    authenticated.call("auth", json!({ "api_key": "secret" })).await;
    let (code, reason) = socket.closed().await;
    assert_eq!(code, CloseCode::Policy);
    assert!(reason.contains("within 10 s"), "{reason}");
    let answer = authenticated.call("conversation.status", json!({ "session_id": "x" })).await;
    assert_eq!(answer["result"]["status"], "not_found", "an authenticated client stays");
}

#[tokio::test]
async fn development_mode_admits_only_own_pages() {
    let gateway = Gateway::start();
    for origin in ["https://evil.example", "http://localhost.evil.example", "null"] {
        assert_eq!(refused(&gateway, &[("origin", origin)]).await, 403, "{origin}");
    }
    assert_eq!(refused(&gateway, &[("host", "evil.example")]).await, 403);
    let own = format!("http://{}", gateway.address);
    let mut socket = Socket::connect(&gateway, &[("origin", own.as_str())]).await;
    let answer = socket.call("conversation.status", json!({ "session_id": "x" })).await;
    assert_eq!(answer["result"]["status"], "not_found");
}

#[tokio::test]
async fn invalid_handshake_names_expectation() {
    let gateway = Gateway::start();
    let plain = gateway.get("/ws").await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, "websocket"));
    assert_eq!(plain.header("connection"), "upgrade");
    assert_eq!(plain.json()["code"], "upgrade_required");
    let old = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let old = gateway.follow("/ws", &old).await;
    assert_eq!((old.status, &old.headers["sec-websocket-version"]), (426, &"13".parse().unwrap()));
    let keyless =
        [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    assert_eq!(gateway.follow("/ws", &keyless).await.status, 400);
    assert_eq!(gateway.send("POST", "/ws", &[], b"").await.status, 405);
    eventually("only the health request is left", || async {
        gateway.load().await["connections"] == 1
    })
    .await;
}
