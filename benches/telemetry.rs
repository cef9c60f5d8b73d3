//! What telemetry costs: the same turns on four gateways, each a process of its own, turn and turn about:
//! without an exporter (twice, which shows what the machine's noise is), with one trace in a hundred, and
//! with everything, sent to a receiver in this process.
//!
//! `cargo bench --locked --bench telemetry`. Run by `cargo test`, it does each thing twice and measures
//! nothing worth reading.

#[path = "support/client.rs"]
mod client;
#[path = "support/median.rs"]
mod median;

use std::convert::Infallible;
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::client::Client;
use self::median::median;

/// How often a thing is measured by `cargo bench`.
const ROUNDS: usize = 40;

fn main() -> anyhow::Result<()> {
    // `cargo bench` says so; `cargo test` does not.
    let full = std::env::args().any(|argument| argument == "--bench");
    tokio::runtime::Runtime::new()?.block_on(measure(if full { ROUNDS } else { 2 }))
}

/// What each gateway is told.
const SETTINGS: [(&str, &[(&str, &str)]); 4] = [
    ("off", &[]),
    ("off, again", &[]),
    (
        "1 % of traces",
        &[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.01")],
    ),
    ("everything", &[("OTEL_METRIC_EXPORT_INTERVAL", "1000")]),
];

async fn measure(rounds: usize) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let home = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut gateways = Vec::new();
    for (at, (name, variables)) in SETTINGS.into_iter().enumerate() {
        let endpoint = (at > 1).then_some(receiver.address);
        gateways.push(
            Gateway::start(name, &home.path().join(at.to_string()), variables, endpoint).await?,
        );
    }
    for (what, prompt, rounds) in [
        ("warm turn", "say: hello there", rounds),
        ("turn with a command", "run: true", rounds),
        ("turn of 10,000 deltas", "deltas: 10000", rounds.div_ceil(2)),
    ] {
        let mut took = vec![Vec::new(); gateways.len()];
        let mut events = 0;
        for round in 0..=rounds {
            for (gateway, took) in gateways.iter_mut().zip(&mut took) {
                let turn = gateway.client.turn(prompt, Some("warm")).await?;
                events = turn.events;
                // The first is the conversation's first.
                if round > 0 {
                    took.push(turn.last);
                }
            }
        }
        println!("{what} ({rounds} rounds, medians)");
        let off = took.first_mut().map(|off| median(off)).unwrap_or_default();
        for (gateway, took) in gateways.iter().zip(&mut took) {
            let median = median(took);
            println!(
                "  {:<14} {median:>9.2?}   {:+5.1} %   {:>7.0} events a second",
                gateway.name,
                (median.as_secs_f64() / off.as_secs_f64() - 1.0) * 100.0,
                events as f64 / median.as_secs_f64()
            );
        }
    }
    println!("resident memory at the end");
    for gateway in &gateways {
        println!("  {:<14} {:>6.1} MB", gateway.name, gateway.resident()? as f64 / 1024.0);
    }
    println!("the receiver took {} exports", receiver.exports.load(Ordering::Relaxed));
    Ok(())
}

/// A gateway with the demo model.
struct Gateway {
    name: &'static str,
    child: Child,
    client: Client,
}

impl Gateway {
    async fn start(
        name: &'static str,
        home: &Path,
        variables: &[(&str, &str)],
        endpoint: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(home)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_codex-gateway"));
        command.env("CODEX_HOME", home).env("PORT", "0").envs(variables.iter().copied());
        if let Some(endpoint) = endpoint {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"));
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("stderr")?;
        let mut lines = std::io::BufReader::new(stderr).lines();
        let address = lines
            .find_map(|line| {
                let line = line.ok()?;
                let (_, rest) = line.split_once(" on http://")?;
                rest.split_whitespace().next()?.parse().ok()
            })
            .context("the gateway did not say where it listens")?;
        Ok(Self { name, child, client: Client::connect(address).await? })
    }

    /// KiB.
    fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        size.context("VmRSS")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Takes whatever it is sent.
struct Receiver {
    address: SocketAddr,
    exports: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Receiver {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let exports = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&exports);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                let service = service_fn(move |request| take(request, Arc::clone(&counted)));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                connections.spawn(async move { drop(serving.await) });
            }
        });
        Ok(Self { address, exports, _accepting: accepting })
    }
}

async fn take(
    request: Request<Incoming>,
    exports: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    exports.fetch_add(1, Ordering::Relaxed);
    Ok(Response::new(Full::default()))
}
