//! Connections that do nothing, or little, in any number: probes and holders of a key are served.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::KEY;
use super::assert_live;
use super::closed;
use super::connect_from;
use super::cpu_time;
use super::file_limit;
use super::http2::Client;
use super::http2::GOAWAY;
use super::metrics;
use super::probe;
use super::raise_file_limit;
use crate::support::Gateway;
use crate::support::Socket;
use crate::support::client::kinds;
use crate::support::eventually;
use crate::support::gateway::new_home;
use crate::support::soon;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of this machine.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Opens connections that send nothing.
async fn silent(gateway: &Gateway, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(connect_from(LOCAL, gateway.address).await);
    }
    sockets
}

/// Keeps HTTP/2 connections open without a stream: they answer pings, and are opened again when the
/// gateway closes them.
async fn idle_http_2(gateway: &Gateway, count: usize) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for n in 0..count {
        let address = gateway.address;
        let first = Client::connect(address, 65_535).await.unwrap();
        clients.spawn(async move {
            let mut client = Some(first);
            loop {
                if let Some(client) = &mut client {
                    client.closed().await;
                }
                tokio::time::sleep(Duration::from_millis(500 + n as u64 % 500)).await;
                client = Client::connect(address, 65_535).await.ok();
            }
        });
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowd_of_idle_connections_locks_nobody_out() {
    let files = raise_file_limit();
    let crowd = 2000.min(files.saturating_sub(500) / 2);
    let gateway = Gateway::env("GATEWAY_API_KEY", "k").start();
    let turn = json!({ "prompt": "slow: 60" });
    let mut turn = gateway.stream("/exec", &[KEY], turn).await;
    turn.until("agent_message_content_delta").await;

    let http_2 = idle_http_2(&gateway, crowd).await;
    assert_live(&gateway, 20).await;
    let silent = silent(&gateway, crowd).await;
    assert_live(&gateway, 50).await;
    // Another holder of a key gets in, from the same address.
    let answer = gateway.post_with("/api/v1/exec", &[KEY], json!({ "prompt": "say: in" })).await;
    assert_eq!((answer.status, &answer.json()["task_result"]["summary"]), (200, &json!("in")));
    let mut socket = Socket::connect(&gateway, &[KEY]).await;
    let answer = socket.call("conversation.status", json!({ "session_id": "x" })).await;
    assert_eq!(answer["result"]["status"], "not_found");
    let median = assert_live(&gateway, 50).await;
    println!("/health/live under {crowd} idle h2 and {crowd} silent connections: {median:?}");

    // The turn saw nothing of it.
    let events = turn.events().await;
    assert_eq!(kinds(&events).last(), Some(&"task_complete"));
    let shown = metrics(&gateway).await;
    let open = shown.total("codex_gateway_connections", &[]);
    // The limit, its reserve, and those that are being closed.
    assert!(open <= 1024.0 + 64.0 + 64.0, "{open} connections");
    let unauthenticated = shown.total("codex_gateway_connections_unauthenticated", &[]);
    assert!((1.0..1024.0 + 64.0).contains(&unauthenticated), "{unauthenticated} without a key");
    assert!(closed(&gateway, "address_limit").await > 0.0);
    drop((http_2, silent, socket));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowd_of_one_address_spares_another() {
    raise_file_limit();
    let config = "[gateway]\nmax_connections = 64\nmax_connections_per_address = 1000\n";
    let gateway = Gateway::config(config).env("GATEWAY_API_KEY", "k").start();
    // An unauthenticated client that keeps its connections alive.
    let mut others = Vec::new();
    for _ in 0..5 {
        let mut other = connect_from(OTHER, gateway.address).await;
        assert_eq!(health_on(&mut other).await, "HTTP/1.1 200 OK");
        others.push(other);
    }
    let crowd = silent(&gateway, 300).await;
    eventually("the crowd is cut", || async { closed(&gateway, "pressure").await >= 200.0 }).await;
    for other in &mut others {
        assert_eq!(health_on(other).await, "HTTP/1.1 200 OK");
    }
    drop(crowd);
}

/// Sends a probe on an open connection and returns the status line; empty if it is closed.
async fn health_on(socket: &mut TcpStream) -> String {
    let request = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    soon("a response", async {
        let mut buffer = [0; 1024];
        while !answer.windows(4).any(|end| end == b"\"}".as_slice() || end == b"live") {
            match socket.read(&mut buffer).await {
                Ok(read) if read > 0 => answer.extend_from_slice(&buffer[..read]),
                _ => break,
            }
        }
    })
    .await;
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn idle_http2_connection_closes_although_it_answers_pings() {
    let config = "[gateway]\nkeep_alive_timeout_ms = 700\n";
    let gateway = Gateway::config(config).env("GATEWAY_API_KEY", "k").start();
    let begun = Instant::now();
    let mut client = Client::connect(gateway.address, 65_535).await.unwrap();
    let kinds = soon("it is closed", client.closed()).await;
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    assert!(begun.elapsed() >= Duration::from_millis(700));

    // A stream keeps the connection open, for a holder of a key.
    let started = gateway.post_with("/api/v1/conversations", &[KEY], json!({})).await.json();
    let id = started["conversation_id"].as_str().unwrap();
    let mut client = Client::connect(gateway.address, 65_535).await.unwrap();
    let stream =
        client.get(&format!("/api/v1/conversations/{id}/events?follow=true"), Some("k")).await;
    let quiet = tokio::time::timeout(Duration::from_millis(2500), client.closed()).await;
    assert!(quiet.is_err(), "closed with {stream} open: {quiet:?}");
    assert_eq!(closed(&gateway, "idle").await, 1.0);
}

#[tokio::test]
async fn kept_connection_outlives_the_header_timeout() {
    let config = "[gateway]\nheader_timeout_ms = 300\n";
    let gateway = Gateway::config(config).start();
    let mut socket = connect_from(LOCAL, gateway.address).await;
    assert_eq!(health_on(&mut socket).await, "HTTP/1.1 200 OK");
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(health_on(&mut socket).await, "HTTP/1.1 200 OK");
    // The next head has begun, so that it must be complete in time.
    let begun = Instant::now();
    socket.write_all(b"GET /health").await.unwrap();
    let mut rest = Vec::new();
    let _ = soon("the gateway closes", socket.read_to_end(&mut rest)).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn first_byte_of_a_preface_costs_no_time() {
    raise_file_limit();
    let config = "[gateway]\nheader_timeout_ms = 60000\n";
    let gateway = Gateway::config(config).start();
    let mut sockets = silent(&gateway, 200).await;
    for socket in &mut sockets {
        socket.write_all(b"P").await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = cpu_time(gateway.child.id());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let took = cpu_time(gateway.child.id()) - before;
    assert!(took < Duration::from_millis(500), "{took:?} of CPU time in 2 s");
    // The byte is not lost.
    let socket = &mut sockets[7];
    socket.write_all(b"OST /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    soon("a response", socket.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 405");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unauthenticated_sockets_lock_no_key_out() {
    raise_file_limit();
    let config = "[gateway]\nmax_connections = 8\n";
    let gateway = Gateway::config(config).env("GATEWAY_API_KEY", "k").start();
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(Socket::connect(&gateway, &[]).await);
    }
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let mut socket = Socket::connect(&gateway, &[]).await;
        let answer = socket.call("auth", json!({ "api_key": "k" })).await;
        assert_eq!(answer["result"]["authenticated"], true);
        sockets.push(socket);
    }
    for _ in 0..60 {
        crowd.push(Socket::connect(&gateway, &[]).await);
    }
    for socket in &mut sockets {
        let answer = socket.call("conversation.status", json!({ "session_id": "x" })).await;
        assert_eq!(answer["result"]["status"], "not_found");
    }
    // All eight are in use: a ninth is refused in words, and probes go on.
    let refused = gateway.send("GET", "/api/v1/conversations", &[KEY], b"").await;
    assert_eq!(refused.json()["code"], "overloaded", "{}", refused.text());
    assert!(refused.json()["detail"].as_str().unwrap().contains("max_connections"));
    assert_live(&gateway, 20).await;
    sockets.pop();
    eventually("a place is free", || async {
        gateway.send("GET", "/api/v1/conversations", &[KEY], b"").await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_key_locks_no_other_key_out() {
    let config = "[gateway]\nmax_connections = 8\n";
    let gateway = Gateway::config(config).env("GATEWAY_API_KEY", "greedy=k,other=o").start();
    let started = gateway.post_with("/api/v1/conversations", &[KEY], json!({})).await.json();
    let events = format!(
        "/api/v1/conversations/{}/events?follow=true",
        started["conversation_id"].as_str().unwrap()
    );
    let mut held = Vec::new();
    for _ in 0..6 {
        let stream = gateway.follow(&events, &[KEY]).await;
        assert_eq!(stream.status, 200);
        held.push(stream);
    }
    let refused = gateway.send("GET", &events, &[KEY], b"").await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    let problem = refused.json();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("\"greedy\"") && detail.contains("max_connections_per_key"),
        "{detail}"
    );
    assert!(!refused.header("retry-after").is_empty());
    // A socket of the same key is closed with a reason.
    let mut socket = Socket::connect(&gateway, &[]).await;
    let call = json!({ "jsonrpc": "2.0", "method": "auth", "params": { "api_key": "k" } });
    socket.raw(&call.to_string()).await;
    assert!(socket.closed().await.1.contains("of this key"));

    let other = ("x-api-key", "o");
    for _ in 0..20 {
        let answer = gateway.send("GET", "/api/v1/conversations", &[other], b"").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    held.pop();
    eventually("a place is free", || async {
        gateway.send("GET", "/api/v1/conversations", &[KEY], b"").await.status == 200
    })
    .await;
}

/// Starts a gateway with limits of open files, as `ulimit` sets them.
fn limited(ulimit: &str) -> Gateway {
    let home = new_home();
    let direct = Gateway::env("GATEWAY_API_KEY", "k").command(&home);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("{ulimit} && exec \"$0\"")]).arg(direct.get_program());
    command.env_clear();
    command.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Gateway::spawned(command.spawn().unwrap(), home)
}

#[tokio::test]
async fn soft_limit_of_files_is_raised() {
    let gateway = limited("ulimit -Sn 200");
    let limit = file_limit(gateway.child.id());
    assert!(limit > 200, "{limit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn low_limit_of_files_locks_nobody_out() {
    raise_file_limit();
    let gateway = limited("ulimit -n 400");
    let crowd = silent(&gateway, 1500).await;
    assert_live(&gateway, 20).await;
    let answer = gateway.post_with("/api/v1/exec", &[KEY], json!({ "prompt": "say: in" })).await;
    assert_eq!((answer.status, &answer.json()["task_result"]["summary"]), (200, &json!("in")));
    assert_eq!(probe(&gateway, "/health").await.0, 200);
    gateway.logged("the limit of open files is too low for max_connections").await;
    drop(crowd);
}
