//! What a hostile client, web page, repository or agent tries, on the real core in the real sandbox: each
//! attack is cut off, and others are served.

mod approvals;
mod bounds;
mod commands;
mod connections;
mod damage;
mod environment;
mod floods;
mod folders;
mod http2;
mod isolation;
mod logs;
mod origins;
mod orphans;
mod patches;
mod project_files;
mod records;
mod repositories;
mod secrets;
mod shutdown;
mod strangers;
mod stray_files;
mod unread;

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

use crate::support::Gateway;
use crate::support::scrape::Scrape;
use crate::support::soon;

/// The key of a gateway under attack, as a header.
const KEY: (&str, &str) = ("x-api-key", "k");

/// Lets this process open as many sockets as it may. Returns their number.
fn raise_file_limit() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(usize::MAX, |files| files.try_into().unwrap())
}

/// Connects from an address of this machine.
async fn connect_from(address: IpAddr, gateway: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    soon("a connection", socket.connect(gateway)).await.unwrap()
}

/// Sends `GET path` on a new connection. Returns the status, and how long it took.
async fn probe(gateway: &Gateway, path: &str) -> (u16, Duration) {
    let begun = Instant::now();
    let status = soon(path, async {
        let socket = TcpStream::connect(gateway.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        let request = http::Request::get(path).header("host", "localhost");
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = async {
            let response = sender.send_request(request).await.unwrap();
            let status = response.status().as_u16();
            response.into_body().collect().await.unwrap();
            status
        };
        tokio::select! {
            status = answer => status,
            _ = connection => panic!("{path}: the connection ended without a response"),
        }
    })
    .await;
    (status, begun.elapsed())
}

/// The median of a probe while others crowd. Generous: it tells a lockout from a slow machine.
const LIVE_WITHIN: Duration = Duration::from_secs(2);

/// Asserts that probes are answered. Returns the median time.
async fn assert_live(gateway: &Gateway, probes: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..probes {
        let (status, took) = probe(gateway, "/health/live").await;
        assert_eq!(status, 200);
        times.push(took);
    }
    times.sort();
    let median = times[times.len() / 2];
    assert!(median < LIVE_WITHIN, "the median is {median:?}, the longest {:?}", times.last());
    median
}

async fn metrics(gateway: &Gateway) -> Scrape {
    let reply = gateway.send("GET", "/metrics", &[KEY], b"").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Scrape::read(reply.text())
}

/// Returns how many connections the gateway closed for a reason.
async fn closed(gateway: &Gateway, reason: &str) -> f64 {
    let labels = [("codex_gateway_connection_close_reason", reason)];
    metrics(gateway).await.total("codex_gateway_connections_closed_total", &labels)
}

/// Returns the CPU time of a process so far.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Sends a signal to a process.
fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits for a process to end, at most `limit`. Returns its exit code, and how long it took.
async fn wait_for_exit(child: &mut Child, limit: Duration) -> (i32, Duration) {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code().unwrap_or(-1), begun.elapsed());
        }
        assert!(begun.elapsed() < limit, "the process did not end within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the soft limit of open files of a process.
fn file_limit(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("limits"));
    let limits = limits.unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

/// Runs a line in a shell with `exec`. Returns its result.
async fn shell(gateway: &Gateway, cwd: Option<&str>, line: &str) -> Value {
    let answer = gateway.rpc("exec", json!({ "command": line, "shell": true, "cwd": cwd })).await;
    assert!(answer["error"].is_null(), "{answer}");
    answer["result"].clone()
}

/// Has the agent run a line. Returns what the line printed.
async fn agent(gateway: &Gateway, cwd: &str, line: &str) -> String {
    let body = json!({ "prompt": format!("run: {line}"), "cwd": cwd });
    let answer = gateway.post("/api/v1/exec", body).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()["stdout"].as_str().unwrap_or_default().to_owned()
}
