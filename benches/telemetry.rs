//! The cost of telemetry: the same turns on four gateways, each in its own process, alternating:
//! without an exporter (twice, to show the noise of the machine), with 1 % of traces, and with
//! everything exported to a receiver in this process.
//!
//! `cargo bench --locked --bench telemetry`. Under `cargo test` it runs everything twice as a smoke
//! test; those figures are meaningless.

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
use bench_support::Client;
use bench_support::Mode;
use bench_support::median;
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

fn main() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(measure(Mode::of_bench_target().rounds()))
}

/// The name and environment of each gateway.
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
    for (index, (name, variables)) in SETTINGS.into_iter().enumerate() {
        let endpoint = (index > 1).then_some(receiver.address);
        gateways.push(
            Gateway::start(name, &home.path().join(index.to_string()), variables, endpoint).await?,
        );
    }
    for (name, prompt, rounds) in [
        ("warm turn", "say: hello there", rounds),
        ("turn with a command", "run: true", rounds),
        ("turn of 10,000 deltas", "deltas: 10000", rounds.div_ceil(2)),
    ] {
        let mut durations = vec![Vec::new(); gateways.len()];
        let mut events = 0;
        for round in 0..=rounds {
            for (gateway, durations) in gateways.iter_mut().zip(&mut durations) {
                let turn = gateway.client.turn(prompt, Some("warm")).await?;
                events = turn.events;
                // Round 0 warms up.
                if round > 0 {
                    durations.push(turn.last);
                }
            }
        }
        println!("{name} ({rounds} rounds, medians)");
        let off = durations.first_mut().map(|off| median(off)).unwrap_or_default();
        for (gateway, durations) in gateways.iter().zip(&mut durations) {
            let median = median(durations);
            println!(
                "  {:<14} {median:>9.2?}   {:+5.1} %   {:>7.0} events per second",
                gateway.name,
                (median.as_secs_f64() / off.as_secs_f64() - 1.0) * 100.0,
                events as f64 / median.as_secs_f64()
            );
        }
    }
    println!("resident memory at the end");
    for gateway in &gateways {
        println!("  {:<14} {:>6.1} MB", gateway.name, gateway.resident_kib()? as f64 / 1024.0);
    }
    println!("the receiver accepted {} exports", receiver.exports.load(Ordering::Relaxed));
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
            .context("the gateway printed no address")?;
        Ok(Self { name, child, client: Client::connect(address).await? })
    }

    /// The resident set size in KiB.
    fn resident_kib(&self) -> anyhow::Result<u64> {
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

/// Accepts and counts every export.
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
        let counter = Arc::clone(&exports);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                let service = service_fn(move |request| accept(request, Arc::clone(&counter)));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                connections.spawn(async move { drop(serving.await) });
            }
        });
        Ok(Self { address, exports, _accepting: accepting })
    }
}

async fn accept(
    request: Request<Incoming>,
    exports: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    exports.fetch_add(1, Ordering::Relaxed);
    Ok(Response::new(Full::default()))
}
