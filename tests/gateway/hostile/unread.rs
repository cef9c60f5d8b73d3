//! Clients that ask for responses and do not read them.

use std::time::Duration;

use serde_json::json;

use super::KEY;
use super::assert_live;
use super::closed;
use super::http2::Client;
use super::http2::DATA;
use super::http2::RST_STREAM;
use super::metrics;
use crate::support::Gateway;
use crate::support::eventually;
use crate::support::soon;

/// Returns the bytes that clients have not read.
async fn unread(gateway: &Gateway) -> f64 {
    metrics(gateway).await.total("codex_gateway_responses_unread_bytes", &[])
}

#[tokio::test]
async fn streams_of_a_connection_are_bounded() {
    let gateway = Gateway::env("GATEWAY_API_KEY", "k").start();
    let mut client = Client::connect(gateway.address, 0).await.unwrap();
    for _ in 0..110 {
        client.get("/openapi.json", None).await;
    }
    let refused = client.until(RST_STREAM).await.unwrap();
    assert!(refused.stream > 200, "{refused:?}");
    assert_eq!(client.max_streams, Some(100));
    assert_live(&gateway, 10).await;
}

#[tokio::test]
async fn largest_holder_of_unread_bytes_is_cut() {
    let config = "[gateway]\nmax_unread_bytes = 1048576\n";
    let gateway = Gateway::config(config).env("GATEWAY_API_KEY", "k").start();
    let size = gateway.get("/openapi.json").await.body.len();
    let mut modest = Client::connect(gateway.address, 0).await.unwrap();
    modest.get("/openapi.json", None).await;
    eventually("it is counted", || async { unread(&gateway).await >= size as f64 }).await;
    let mut greedy = Client::connect(gateway.address, 0).await.unwrap();
    for _ in 0..(1 << 20) / size + 1 {
        greedy.get("/openapi.json", Some("k")).await;
    }
    soon("it is cut", greedy.closed()).await;
    assert_eq!(closed(&gateway, "unread").await, 1.0);
    eventually("its bytes are given back", || async { unread(&gateway).await < 100_000.0 }).await;
    // The modest one still gets its response.
    let quiet = tokio::time::timeout(Duration::from_millis(300), modest.closed()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

/// A stream of events is larger than every buffer of the way, and complete.
#[tokio::test]
async fn paused_reader_gets_everything() {
    let gateway = Gateway::env("GATEWAY_API_KEY", "k").start();
    let prompt = json!({ "prompt": format!("say: {}", "x".repeat(400_000)), "session_id": "s" });
    assert_eq!(gateway.post_with("/api/v1/exec", &[KEY], prompt).await.status, 200);
    let shown = gateway.send("GET", "/api/v1/conversations", &[KEY], b"").await.json();
    let id = shown["conversations"][0]["conversation_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/conversations/{id}/events?follow=false");
    let whole = gateway.send("GET", &path, &[KEY], b"").await;
    assert!(whole.body.len() > 800_000, "{}", whole.body.len());

    // The whole response fits into this window, but it is read late.
    let mut client = Client::connect(gateway.address, 60_000).await.unwrap();
    client.get(&path, Some("k")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = unread(&gateway).await;
    assert!(held < 1_000_000.0, "{held} bytes are held for one stream");
    assert!(client.until(DATA).await.is_some());
}
