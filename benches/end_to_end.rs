//! Turns through HTTP beside the same turns on codex-core driven directly, in one process, turn and
//! turn about (A B A B), on the demo model; and how long the process takes to be ready.
//!
//! `cargo bench --locked --bench end_to_end`. Run by `cargo test`, it does each thing twice and
//! measures nothing worth reading.

#[path = "support/client.rs"]
mod client;
#[path = "support/median.rs"]
mod median;
mod support;

use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use codex_gateway::app::Assembly;
use codex_gateway::config::Config;
use codex_gateway::config::Overrides;
use codex_gateway::server;
use codex_gateway_engine::Thread;
use codex_gateway_engine::arg0::HelperPaths;
use tokio::net::TcpListener;
use tokio::time::Instant;

use self::client::Client;
use self::client::Took;
use self::median::median;
use self::support::start;
use self::support::turn;

fn main() -> ExitCode {
    support::run(readiness, measure)
}

fn readiness(home: &Path, rounds: usize, _measuring: &mut Command) -> anyhow::Result<()> {
    println!("start to ready ({} runs)", rounds / 4 + 1);
    let mut ready =
        (0..=rounds / 4).map(|_| start_to_ready(home)).collect::<Result<Vec<_>, _>>()?;
    println!("  median {:>9.2?}   slowest {:>9.2?}", median(&mut ready), ready.last());
    Ok(())
}

/// From spawn until the gateway says where it listens.
fn start_to_ready(home: &Path) -> anyhow::Result<Duration> {
    use std::io::BufRead;

    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_codex-gateway"))
        .env("CODEX_HOME", home)
        .env("PORT", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().context("stderr")?;
    let mut lines = std::io::BufReader::new(stderr).lines();
    let ready = lines.any(|line| line.is_ok_and(|line| line.contains(" on http://")));
    let took = begun.elapsed();
    child.kill()?;
    child.wait()?;
    anyhow::ensure!(ready, "it did not start");
    Ok(took)
}

async fn measure(helpers: HelperPaths, rounds: usize) -> anyhow::Result<()> {
    let config = Config::load(&Overrides::default())?;
    let workspace = config.workspace_root.clone();
    let (gateway, engine) = Assembly::open(config, helpers).await?.into_app();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    gateway.shutdown().spawn({
        let gateway = Arc::clone(&gateway);
        async move { drop(server::run(listener, gateway).await) }
    });
    let mut client = Client::connect(address).await?;
    let direct_cwd = workspace.join("direct");
    std::fs::create_dir_all(&direct_cwd)?;

    let hello = "say: hello there";
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        let thread = start(&*engine, &direct_cwd).await?;
        let direct = drive(&*thread, hello, begun).await?;
        let http = client.turn(hello, None).await?;
        pairs.push((direct, http));
    }
    report("new conversation and its first turn", &pairs);

    let thread = start(&*engine, &direct_cwd).await?;
    drive(&*thread, hello, Instant::now()).await?;
    client.turn(hello, Some("warm")).await?;
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        let direct = drive(&*thread, hello, Instant::now()).await?;
        pairs.push((direct, client.turn(hello, Some("warm")).await?));
    }
    report("warm turn", &pairs);

    let mut pairs = Vec::new();
    for _ in 0..rounds.div_ceil(4) {
        let direct = drive(&*thread, "deltas: 10000", Instant::now()).await?;
        pairs.push((direct, client.turn("deltas: 10000", Some("warm")).await?));
    }
    report("turn of 10,000 deltas", &pairs);

    gateway.shutdown().drain.cancel();
    engine.shutdown(Duration::from_secs(5)).await;
    gateway.shutdown().force.cancel();
    Ok(())
}

fn report(name: &str, pairs: &[(Took, Took)]) {
    let of = |pick: fn(&(Took, Took)) -> Duration| {
        median(&mut pairs.iter().map(pick).collect::<Vec<_>>())
    };
    let (direct, http) = (of(|pair| pair.0.last), of(|pair| pair.1.last));
    // Of each pair, so that a machine that slows down on the way does not count.
    let mut shares: Vec<f64> = pairs
        .iter()
        .map(|(direct, http)| http.last.as_secs_f64() - direct.last.as_secs_f64())
        .collect();
    shares.sort_by(f64::total_cmp);
    let share = shares.get(shares.len() / 2).copied().unwrap_or_default();
    println!("{name} ({} pairs, medians)", pairs.len());
    println!(
        "  core directly   first event {:>9.2?}   last {direct:>9.2?}",
        of(|pair| pair.0.first)
    );
    println!("  through HTTP    first event {:>9.2?}   last {http:>9.2?}", of(|pair| pair.1.first));
    println!(
        "  gateway's share {:+.3} ms, {:+.1} %",
        share * 1e3,
        share / direct.as_secs_f64() * 100.0
    );
    if let Some((direct_, http_)) = pairs.first().filter(|pair| pair.0.events > 1000) {
        println!(
            "  events a second {:.0} directly, {:.0} through HTTP",
            direct_.events as f64 / direct.as_secs_f64(),
            http_.events as f64 / http.as_secs_f64()
        );
    }
}

/// A turn on core, without HTTP.
async fn drive(thread: &dyn Thread, prompt: &str, begun: Instant) -> anyhow::Result<Took> {
    let mut took = Took { first: Duration::ZERO, last: Duration::ZERO, events: 0 };
    turn(thread, prompt, |_| {
        if took.events == 0 {
            took.first = begun.elapsed();
        }
        took.events += 1;
    })
    .await?;
    took.last = begun.elapsed();
    Ok(took)
}
