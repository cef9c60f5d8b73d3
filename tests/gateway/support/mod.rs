//! Test support: the real binary as a process, clients that read streams message by message, and
//! scripted peers (model providers, tool servers, a telemetry collector) that record requests.

pub mod approvals;
pub mod catalogue;
pub mod client;
pub mod collector;
pub mod dialects;
pub mod gateway;
pub mod mcp;
pub mod model;
pub mod process;
pub mod provider;
pub mod scrape;
pub mod services;
pub mod socket;

pub use gateway::Gateway;
pub use socket::Socket;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// A PNG of one red pixel, in base64.
pub const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

/// Waits until `condition` holds. The limit only turns a hang into a failure.
pub async fn eventually<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    for _ in 0..1200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never happened: {what}");
}

/// Waits for `future`. The limit only turns a hang into a failure.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(120), future).await {
        Ok(value) => value,
        Err(_) => panic!("took too long: {what}"),
    }
}

/// Returns a port that refuses connections for as long as the socket lives.
pub fn closed_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Returns a folder to use as `PATH`, so that bubblewrap is not found.
pub fn path_without_sandbox() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Adds the members of one JSON object to another.
pub fn merged(mut object: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("expected an object, got {members}") };
    object.as_object_mut().unwrap().extend(members);
    object
}
