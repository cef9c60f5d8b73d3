//! What the tests stand on: the real binary as a process, a client that reads streams line by line,
//! and a scripted model that records what core sends it.

pub mod asking;
pub mod catalogue;
pub mod client;
pub mod collector;
pub mod gateway;
pub mod mcp;
pub mod model;
pub mod provider;
pub mod scrape;
pub mod socket;
pub mod wires;

pub use gateway::Gateway;
pub use socket::Socket;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

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

/// Turns a hang into a failure.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(120), future).await {
        Ok(value) => value,
        Err(_) => panic!("took too long: {what}"),
    }
}

/// A port that is taken, and where nobody listens, for as long as the socket lives.
pub fn deaf_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Whether a process with this argument is running.
pub fn runs(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        // The command itself, not the gateway, bwrap or a shell that has it in a longer argument.
        command.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
}

/// A duration that no other test sleeps for.
pub fn marker() -> String {
    use std::time::SystemTime;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("86{}", now.as_nanos() % 1_000_000_000)
}
