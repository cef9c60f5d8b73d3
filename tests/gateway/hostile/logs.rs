//! A log that is not read: requests are served, and lines that are lost are counted.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;
use std::time::Duration;

use super::assert_live;
use super::kill;
use super::metrics;
use super::wait_for_exit;
use crate::support::Gateway;
use crate::support::eventually;
use crate::support::gateway::new_home;

/// Starts a gateway whose standard output is read only when the test reads it.
fn unread() -> (Gateway, std::process::ChildStdout) {
    let home = new_home();
    let mut command = Gateway::env("GATEWAY_API_KEY", "k").env("RUST_LOG", "trace").command(&home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    (Gateway::spawned(child, home), stdout)
}

/// Has the gateway log long lines until some are dropped.
async fn overflow(gateway: &Gateway) {
    let path = format!("/{}", "x".repeat(30_000));
    eventually("the queue is full", || async {
        for _ in 0..50 {
            assert_eq!(gateway.get(&path).await.status, 404);
        }
        let shown = metrics(gateway).await;
        shown.total("codex_gateway_log_lines_dropped_total", &[]) > 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_log_stalls_no_request() {
    let (gateway, stdout) = unread();
    overflow(&gateway).await;
    assert_live(&gateway, 20).await;

    // Once it is read again, it says how much is missing.
    let (sender, report) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.contains("log lines were dropped") {
                let _ = sender.send(line);
            }
        }
    });
    let report = report.recv_timeout(Duration::from_secs(60)).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["severity"], "WARNING");
    assert!(report["lines"].as_u64().unwrap() > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_log_never_delays_the_exit() {
    let (mut gateway, stdout) = unread();
    overflow(&gateway).await;
    kill(gateway.child.id(), "-TERM");
    let (code, _) = wait_for_exit(&mut gateway.child, Duration::from_secs(12)).await;
    assert_eq!(code, 0);
    drop(stdout);
}

#[tokio::test]
async fn log_is_complete_at_exit() {
    let mut gateway = Gateway::start();
    for _ in 0..20 {
        gateway.get("/health").await;
    }
    gateway.terminate();
    let (code, _) = wait_for_exit(&mut gateway.child, Duration::from_secs(12)).await;
    assert_eq!(code, 0);
    let last = || gateway.stdout.lock().unwrap().lines().last().unwrap_or_default().to_owned();
    eventually("the last line", || async { last().contains("\"stopped\"") }).await;
}
