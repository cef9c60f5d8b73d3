//! Closing: protocol violations, clients that disappear, shutdown.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::endless_turn;
use super::status;
use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;
use crate::support::process::resident_memory;
use crate::support::soon;

/// Encodes a client's frame, masked with zeros: the payload is unchanged.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![first, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test]
async fn protocol_breach_gets_its_close_code() {
    let gateway = Gateway::config("[gateway]\nbody_limit_bytes = 4096\n").start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    socket.put(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.closed().await.0, CloseCode::Unsupported);

    let mut socket = Socket::connect(&gateway, &[]).await;
    socket.raw(&format!("\"{}\"", "x".repeat(4094))).await;
    assert_eq!(socket.json().await["error"]["code"], -32600, "exactly the limit");
    socket.raw(&"x".repeat(1 << 20)).await;
    let (code, reason) = socket.closed().await;
    assert_eq!(code, CloseCode::Size);
    assert!(reason.contains("body_limit_bytes"), "{reason}");

    // A message of fragments below the limit.
    let mut socket = Socket::connect(&gateway, &[]).await;
    socket.tcp().write_all(&frame(0x01, &[b'x'; 100])).await.unwrap();
    for _ in 0..41 {
        socket.tcp().write_all(&frame(0x00, &[b'x'; 100])).await.unwrap();
    }
    assert_eq!(socket.closed().await.0, CloseCode::Size);

    for (bytes, code) in [
        (frame(0x81, b"\xff\xfe"), CloseCode::Invalid),
        (frame(0xc1, b"reserved bit"), CloseCode::Protocol),
        (frame(0x80, b"continues nothing"), CloseCode::Protocol),
        (frame(0x83, b"unknown opcode"), CloseCode::Protocol),
        (vec![0x81, 0x02, b'h', b'i'], CloseCode::Protocol),
    ] {
        let mut socket = Socket::connect(&gateway, &[]).await;
        socket.tcp().write_all(&bytes).await.unwrap();
        assert_eq!(socket.closed().await.0, code, "{bytes:x?}");
    }
    eventually("every socket is gone", || async { gateway.load().await["connections"] == 1 }).await;
}

#[tokio::test]
async fn unread_pongs_are_bounded_in_memory() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    let before = resident_memory(gateway.child.id());
    let pings = frame(0x89, &[b'p'; 125]).repeat(1000);
    // Until the gateway reads no more: unread pongs are bounded by the buffers of both sides.
    let limit = std::time::Duration::from_secs(3);
    let mut sent = 0;
    while sent < 256 << 20 {
        // Continues after the last partial write.
        let rest = &pings[sent % pings.len()..];
        match tokio::time::timeout(limit, socket.tcp().write(rest)).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    assert!(sent < 256 << 20, "{sent} bytes of pings were taken from a client that reads nothing");
    let after = resident_memory(gateway.child.id());
    assert!(after < before + (32 << 20), "{sent} bytes of pings took {} bytes", after - before);
    let answer = gateway.get("/health").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn turn_outlives_its_socket_unless_tied() {
    let gateway = Gateway::start();
    let prompt = |session: &str| json!({ "prompt": "slow: 100000", "session_id": session });
    for (session, headers, expected) in
        [("free", &[][..], "running"), ("tied", &[("x-cancel-on-disconnect", "true")], "idle")]
    {
        let mut socket = Socket::connect(&gateway, headers).await;
        socket.send("conversation.prompt", prompt(session)).await;
        eventually("the turn runs", || async {
            status(&gateway, session).await["status"] == "running"
        })
        .await;
        drop(socket);
        eventually("the socket is gone", || async { gateway.load().await["connections"] == 1 })
            .await;
        eventually("the turn has the expected status", || async {
            status(&gateway, session).await["status"] == expected
        })
        .await;
    }
    assert_eq!(status(&gateway, "free").await["status"], "running");
}

#[tokio::test]
async fn drain_answers_calls_and_closes_subscribers() {
    let mut gateway = Gateway::start();
    let mut caller = Socket::connect(&gateway, &[]).await;
    let prompt = json!({ "prompt": "slow: 100000", "session_id": "d" });
    let call = caller.send("conversation.prompt", prompt).await;
    eventually("the turn runs", || async { status(&gateway, "d").await["status"] == "running" })
        .await;
    let mut follower = Socket::connect(&gateway, &[]).await;
    follower.call("conversation.subscribe", json!({ "session_id": "d" })).await;
    let mut idle = Socket::connect(&gateway, &[]).await;

    gateway.terminate();
    let answer = caller.answer(call).await;
    assert_eq!(answer["result"]["status"], "cancelled", "{answer}");
    let mut last = follower.notification().await;
    while last["params"]["msg"]["type"] != "gateway_draining" {
        last = follower.notification().await;
    }
    for socket in [&mut caller, &mut follower, &mut idle] {
        let (code, reason) = socket.closed().await;
        assert_eq!(code, CloseCode::Away);
        assert!(reason.contains("shutting down"), "{reason}");
    }
    assert_eq!(soon("the process ends", gateway.exit_code()).await, 0);
    let log = gateway.log.lock().unwrap().clone();
    assert!(!log.contains("not everything ended in time"), "{log}");
}

#[tokio::test]
async fn drain_never_waits_for_silent_clients() {
    let mut gateway = Gateway::config("[gateway]\ndrain_timeout_ms = 6000\n").start();
    let id = endless_turn(&gateway, "d").await;
    // One never answers the close frame, the other has stopped reading.
    let silent = Socket::connect(&gateway, &[]).await;
    let mut stuck = Socket::connect(&gateway, &[]).await;
    stuck.call("conversation.subscribe", json!({ "conversation_id": id })).await;
    let body = json!({ "prompt": "deltas: 100000", "session_id": "much" });
    let much = gateway.stream("/exec", &[], body).await.until("task_started").await;
    let much = json!({ "conversation_id": much["conversation_id"] });
    stuck.call("conversation.subscribe", much).await;

    gateway.terminate();
    assert_eq!(soon("the process ends", gateway.exit_code()).await, 0);
    drop((silent, stuck));
}
