//! Shutdown: load balancers notice it before the listener closes, and nothing delays it beyond its
//! limit.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::kill;
use super::wait_for_exit;
use crate::support::Gateway;
use crate::support::eventually;
use crate::support::gateway::new_home;

/// Opens a stream of events and does not read it: it stays until shutdown forces it to end.
async fn unread_stream(gateway: &Gateway) -> TcpStream {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    // More than the buffers of the way hold.
    let body = json!({ "prompt": "deltas: 20000" });
    let body = body.to_string();
    let head = format!(
        "POST /exec HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    eventually("the turn ends before its reader", || async {
        let load = gateway.load().await;
        load["streams"] == 1 && load["turns"] == 0 && load["conversations"] == 1
    })
    .await;
    socket
}

#[tokio::test]
async fn readiness_ends_before_the_listener_closes() {
    let mut gateway = Gateway::config("[gateway]\ndrain_delay_ms = 2000\n").start();
    assert_eq!(gateway.get("/health/ready").await.status, 200);
    let begun = Instant::now();
    gateway.terminate();
    eventually("it is not ready", || async { gateway.get("/health/ready").await.status == 503 })
        .await;
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    // New connections are accepted, and their requests are served.
    let live = gateway.get("/health/live").await;
    assert_eq!((live.status, live.header("connection")), (200, "close"));
    assert_eq!(gateway.get("/health").await.json()["ready"], false);
    let answer = gateway.ask("s", "say: still here").await;
    assert_eq!(answer["task_result"]["summary"], "still here");
    let (code, _) = wait_for_exit(&mut gateway.child, Duration::from_secs(12)).await;
    assert_eq!(code, 0);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// Cloud Run and Docker kill the process after 10 seconds.
#[tokio::test]
async fn default_shutdown_takes_less_than_ten_seconds() {
    let mut gateway = Gateway::env("K_SERVICE", "gateway").start();
    let _stream = unread_stream(&gateway).await;
    let begun = Instant::now();
    gateway.terminate();
    let (code, took) = wait_for_exit(&mut gateway.child, Duration::from_secs(10)).await;
    assert_eq!(code, 0, "after {took:?}");
    assert!(begun.elapsed() > Duration::from_secs(3), "the drain delay of Cloud Run");
}

#[tokio::test]
async fn second_signal_ends_the_delay() {
    let config = "[gateway]\ndrain_timeout_ms = 60000\ndrain_delay_ms = 50000\n";
    let mut gateway = Gateway::config(config).start();
    gateway.terminate();
    eventually("it is not ready", || async { gateway.get("/health/ready").await.status == 503 })
        .await;
    kill(gateway.child.id(), "-INT");
    let (code, _) = wait_for_exit(&mut gateway.child, Duration::from_secs(5)).await;
    assert_eq!(code, 130);
}

#[tokio::test]
async fn second_signal_ends_the_drain() {
    let mut gateway = Gateway::config("[gateway]\ndrain_timeout_ms = 60000\n").start();
    let _stream = unread_stream(&gateway).await;
    gateway.terminate();
    let draining = || gateway.log.lock().unwrap().contains("\"draining\"");
    eventually("it drains", || async { draining() }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    kill(gateway.child.id(), "-TERM");
    let (code, _) = wait_for_exit(&mut gateway.child, Duration::from_secs(5)).await;
    assert_eq!(code, 143);
    let log = || gateway.log.lock().unwrap().contains("second signal");
    eventually("it is logged", || async { log() }).await;
}

/// Starts a gateway whose start hangs: the sandbox does not answer.
async fn starting() -> (std::process::Child, tempfile::TempDir) {
    let home = new_home();
    let programs = home.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    let bwrap = programs.join("bwrap");
    let started = home.path().join("sandbox");
    let script = format!("#!/bin/sh\necho started >> {}\nexec sleep 60\n", started.display());
    std::fs::write(&bwrap, script).unwrap();
    std::fs::set_permissions(&bwrap, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let setup = Gateway::env("PATH", &format!("{}:{path}", programs.display()));
    let mut command = setup.command(&home);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    eventually("it tries the sandbox", || async { started.exists() }).await;
    (child, home)
}

#[tokio::test]
async fn signal_ends_the_start() {
    let (mut child, _home) = starting().await;
    kill(child.id(), "-TERM");
    let (code, took) = wait_for_exit(&mut child, Duration::from_secs(3)).await;
    assert_eq!(code, 0, "after {took:?}");
}

/// A call that blocks a thread of the runtime: reading a recording that is a pipe.
#[tokio::test]
async fn blocking_call_never_delays_the_exit() {
    let mut gateway = Gateway::config("[gateway]\ndrain_timeout_ms = 1000\n").start();
    gateway.ask("s", "say: hi").await;
    let id =
        gateway.get("/api/v1/conversations").await.json()["conversations"][0]["conversation_id"]
            .as_str()
            .unwrap()
            .to_owned();
    let recording = find(&gateway.home.path().join("sessions"), &id);
    std::fs::remove_file(&recording).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&recording).status().unwrap();
    assert!(made.success());
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let request =
        format!("GET /api/v1/conversations/{id}/history HTTP/1.1\r\nhost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway.terminate();
    let (code, took) = wait_for_exit(&mut gateway.child, Duration::from_secs(5)).await;
    assert_eq!(code, 0, "after {took:?}");
}

/// Returns the file below a folder whose name holds this text.
fn find(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains(name) {
                return entry.path();
            }
        }
    }
    panic!("no file below {} holds {name}", folder.display());
}
