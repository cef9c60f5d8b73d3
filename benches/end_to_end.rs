//! The overhead of HTTP: the same turns through the gateway and on codex-core directly, in one
//! process, alternating (A B A B), on the demo model. Also the time from start to ready.
//!
//! `cargo bench --locked --bench end_to_end`. Under `cargo test` it runs everything twice as a smoke
//! test; those figures are meaningless.

use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bench_support::Client;
use bench_support::Mode;
use bench_support::TurnTiming;
use bench_support::median;
use bench_support::start;
use bench_support::turn;
use codex_gateway::app::Assembly;
use codex_gateway::config::Config;
use codex_gateway::config::Overrides;
use codex_gateway::server;
use codex_gateway_engine::Thread;
use codex_gateway_engine::arg0::HelperPaths;
use tokio::net::TcpListener;
use tokio::time::Instant;

fn main() -> ExitCode {
    let scratch = || Ok(env!("CARGO_TARGET_TMPDIR").into());
    bench_support::run(Mode::of_bench_target(), scratch, readiness, measure)
}

fn readiness(home: &Path, mode: Mode, _measuring: &mut Command) -> anyhow::Result<()> {
    let runs = mode.rounds() / 4 + 1;
    println!("start to ready ({runs} runs)");
    let mut ready = (0..runs).map(|_| start_to_ready(home)).collect::<Result<Vec<_>, _>>()?;
    println!("  median {:>9.2?}   slowest {:>9.2?}", median(&mut ready), ready.last());
    Ok(())
}

/// Measures the time from spawn until the gateway prints its address.
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
    anyhow::ensure!(ready, "the gateway did not start");
    Ok(took)
}

async fn measure(helpers: HelperPaths, mode: Mode) -> anyhow::Result<()> {
    let rounds = mode.rounds();
    let config = Config::load(&Overrides::default())?;
    let workspace = config.workspace_root.clone();
    let (app, engine) = Assembly::open(config, helpers).await?.into_app();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    app.shutdown().spawn(server::run(listener, Arc::clone(&app)));
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

    app.shutdown().drain.cancel();
    engine.shutdown(Duration::from_secs(5)).await;
    app.shutdown().force.cancel();
    Ok(())
}

fn report(name: &str, pairs: &[(TurnTiming, TurnTiming)]) {
    let of = |pick: fn(&(TurnTiming, TurnTiming)) -> Duration| {
        median(&mut pairs.iter().map(pick).collect::<Vec<_>>())
    };
    let (direct, http) = (of(|pair| pair.0.last), of(|pair| pair.1.last));
    // The difference per pair: it is robust against a machine that slows down during the run.
    let mut overheads: Vec<f64> = pairs
        .iter()
        .map(|(direct, http)| http.last.as_secs_f64() - direct.last.as_secs_f64())
        .collect();
    overheads.sort_by(f64::total_cmp);
    let overhead = overheads.get(overheads.len() / 2).copied().unwrap_or_default();
    println!("{name} ({} pairs, medians)", pairs.len());
    println!(
        "  core directly   first event {:>9.2?}   last {direct:>9.2?}",
        of(|pair| pair.0.first)
    );
    println!("  through HTTP    first event {:>9.2?}   last {http:>9.2?}", of(|pair| pair.1.first));
    println!(
        "  gateway overhead {:+.3} ms, {:+.1} %",
        overhead * 1e3,
        overhead / direct.as_secs_f64() * 100.0
    );
    if let Some((direct_timing, http_timing)) = pairs.first().filter(|pair| pair.0.events > 1000) {
        println!(
            "  events per second {:.0} directly, {:.0} through HTTP",
            direct_timing.events as f64 / direct.as_secs_f64(),
            http_timing.events as f64 / http.as_secs_f64()
        );
    }
}

/// Times a turn on core, without HTTP.
async fn drive(thread: &dyn Thread, prompt: &str, begun: Instant) -> anyhow::Result<TurnTiming> {
    let mut timing = TurnTiming::default();
    turn(thread, prompt, |_| {
        if timing.events == 0 {
            timing.first = begun.elapsed();
        }
        timing.events += 1;
    })
    .await?;
    timing.last = begun.elapsed();
    Ok(timing)
}
