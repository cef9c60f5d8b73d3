//! The gain and the cost of the model bridge: core with the bridge beside core pointed at the same
//! scripted model with Codex's default settings, in one process, alternating (A B A B). Also the
//! delay that the bridge adds to a delta.
//!
//! Both sides link the same core with the same stand-ins. `bench/peers` compares the gateway with
//! the published Codex.
//!
//! `cargo bench --locked --bench bridge`. Figures with a target print whether it is met; the exit
//! code does not depend on it. Under `cargo test` it runs everything twice as a smoke test; those
//! figures are meaningless.

mod client;
mod model;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bench_support::Mode;
use bench_support::median;
use bench_support::start;
use bench_support::turn;
use codex_gateway::app;
use codex_gateway::app::Assembly;
use codex_gateway::bridge;
use codex_gateway::bridge::Endpoint;
use codex_gateway::bridge::call_log::CallLog;
use codex_gateway::bridge::credentials::Credentials;
use codex_gateway::bridge::in_flight::InFlight;
use codex_gateway::config::Config;
use codex_gateway::config::Overrides;
use codex_gateway::shutdown::Shutdown;
use codex_gateway_engine::Engine;
use codex_gateway_engine::Thread;
use codex_gateway_engine::arg0::HelperPaths;
use codex_gateway_engine::children::CommandLimits;
use codex_gateway_engine::codex::CodexEngine;
use codex_gateway_engine::codex::Options;
use codex_gateway_engine::protocol::EventMsg;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::client::BridgeClient;
use self::client::DirectClient;
use self::model::Clock;

/// The provider id of the scripted model.
const PROVIDER: &str = "scripted";
const SHORT: &str = "deltas: 2";
const LONG: &str = "deltas: 10000";

fn main() -> ExitCode {
    let scratch = || Ok(env!("CARGO_TARGET_TMPDIR").into());
    bench_support::run(Mode::of_bench_target(), scratch, |_, _, _| Ok(()), measure)
}

/// One of the two cores, and the working folder of its conversations.
#[derive(Clone)]
struct Side {
    engine: Arc<dyn Engine>,
    cwd: PathBuf,
}

async fn measure(helpers: HelperPaths, mode: Mode) -> anyhow::Result<()> {
    let (rounds, full) = (mode.rounds(), mode.is_full());
    let clock = Clock::new();
    let base_url = model::start(clock)?;
    let direct = direct_side(helpers.clone(), &base_url).await?;
    let (bridged, config, shutdown) = bridged_side(helpers, &base_url).await?;

    warm_turns(&direct, &bridged, rounds).await?;
    long_turns(&direct, &bridged, rounds.div_ceil(4)).await?;
    new_conversations(&direct, &bridged, rounds).await?;
    delays_to_plain_clients(&base_url, &config, clock, full).await?;
    delays_to_core(&direct, &bridged, clock, full).await?;
    if full {
        many_at_once(&bridged, 16, 256, 5).await?;
    } else {
        many_at_once(&bridged, 2, 4, 2).await?;
    }

    shutdown.drain.cancel();
    for side in [direct, bridged] {
        side.engine.shutdown(Duration::from_secs(5)).await;
    }
    shutdown.force.cancel();
    Ok(())
}

/// The configuration of both sides.
fn settings(base_url: &str) -> String {
    format!(
        "model = \"scripted\"\nmodel_provider = \"{PROVIDER}\"\n[model_providers.{PROVIDER}]\n\
         name = \"Scripted\"\nbase_url = \"{base_url}\"\nwire_api = \"responses\"\n"
    )
}

/// Starts core with Codex's default settings.
async fn direct_side(helpers: HelperPaths, base_url: &str) -> anyhow::Result<Side> {
    let codex_home = codex_gateway_engine::arg0::codex_home()?.join("direct");
    let cwd = codex_home.join("workspace");
    std::fs::create_dir_all(&cwd)?;
    std::fs::write(codex_home.join("config.toml"), settings(base_url))?;
    let engine = CodexEngine::open(Options {
        secret_files: Vec::new(),
        limits: CommandLimits::default(),
        codex_home,
        config_path: None,
        workspace_root: cwd.clone(),
        overrides: Vec::new(),
        demo_model: false,
        bridge: None,
        allow_no_sandbox: false,
        helpers,
    });
    Ok(Side { engine: Arc::new(engine.await?), cwd })
}

/// Starts core as the gateway does.
async fn bridged_side(
    helpers: HelperPaths,
    base_url: &str,
) -> anyhow::Result<(Side, Config, Shutdown)> {
    let codex_home = codex_gateway_engine::arg0::codex_home()?;
    std::fs::write(codex_home.join("config.toml"), settings(base_url))?;
    let assembly = Assembly::open(Config::load(&Overrides::default())?, helpers).await?;
    let cwd = assembly.config.workspace_root.join("bridged");
    std::fs::create_dir_all(&cwd)?;
    let (config, shutdown) = (assembly.config.clone(), assembly.shutdown.clone());
    let (_app, engine) = assembly.into_app();
    Ok((Side { engine, cwd }, config, shutdown))
}

#[derive(Clone, Copy)]
struct TurnTiming {
    turn: Duration,
    /// From the recorded prompt to the first delta: the wait for the model.
    model: Duration,
}

/// Times a turn, and checks that it brings the requested number of deltas.
async fn whole_turn(thread: &dyn Thread, prompt: &str) -> anyhow::Result<TurnTiming> {
    let begun = Instant::now();
    let (mut prompted, mut answered) = (None, None);
    let mut deltas = 0_usize;
    turn(thread, prompt, |event| match event {
        EventMsg::UserMessage(_) => prompted = Some(begun.elapsed()),
        EventMsg::AgentMessageContentDelta(_) => {
            answered.get_or_insert_with(|| begun.elapsed());
            deltas += 1;
        }
        _ => {}
    })
    .await?;
    let turn = begun.elapsed();
    anyhow::ensure!(prompt == format!("deltas: {deltas}"), "{prompt:?} brought {deltas} deltas");
    let (prompted, answered) =
        prompted.zip(answered).context("no recorded prompt, or no answer")?;
    Ok(TurnTiming { turn, model: answered.saturating_sub(prompted) })
}

impl Side {
    /// Starts a conversation and runs its first turn, untimed.
    async fn warm(&self) -> anyhow::Result<Arc<dyn Thread>> {
        let thread = start(&*self.engine, &self.cwd).await?;
        whole_turn(&*thread, SHORT).await?;
        Ok(thread)
    }

    /// Times a new conversation up to the end of its first turn.
    async fn new_conversation(&self) -> anyhow::Result<(Duration, Arc<dyn Thread>)> {
        let begun = Instant::now();
        let thread = start(&*self.engine, &self.cwd).await?;
        whole_turn(&*thread, SHORT).await?;
        Ok((begun.elapsed(), thread))
    }
}

async fn warm_turns(direct: &Side, bridged: &Side, rounds: usize) -> anyhow::Result<()> {
    let (a, b) = (direct.warm().await?, bridged.warm().await?);
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        pairs.push((whole_turn(&*a, SHORT).await?, whole_turn(&*b, SHORT).await?));
    }
    a.close().await;
    b.close().await;
    let turns: Vec<_> = pairs.iter().map(|(a, b)| (a.turn, b.turn)).collect();
    report("warm turn", &turns);
    let model = |of: fn(&(TurnTiming, TurnTiming)) -> Duration| {
        median(&mut pairs.iter().map(of).collect::<Vec<_>>())
    };
    let (direct, bridged) = (model(|pair| pair.0.model), model(|pair| pair.1.model));
    println!(
        "  from prompt to first delta: directly {direct:.2?}, through the bridge {bridged:.2?}; \
         the remainder of the turn is core itself, on both sides"
    );
    Ok(())
}

/// Each turn has its own conversation, so that the history stays equally short.
async fn long_turns(direct: &Side, bridged: &Side, rounds: usize) -> anyhow::Result<()> {
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        let (a, b) = (direct.warm().await?, bridged.warm().await?);
        pairs.push((whole_turn(&*a, LONG).await?.turn, whole_turn(&*b, LONG).await?.turn));
        a.close().await;
        b.close().await;
    }
    report("warm turn of 10,000 deltas", &pairs);
    Ok(())
}

async fn new_conversations(direct: &Side, bridged: &Side, rounds: usize) -> anyhow::Result<()> {
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        let (a, thread) = direct.new_conversation().await?;
        thread.close().await;
        let (b, thread) = bridged.new_conversation().await?;
        thread.close().await;
        pairs.push((a, b));
    }
    report("new conversation and its first turn", &pairs);
    Ok(())
}

fn report(name: &str, pairs: &[(Duration, Duration)]) {
    let of = |pick: fn(&(Duration, Duration)) -> Duration| {
        median(&mut pairs.iter().map(pick).collect::<Vec<_>>())
    };
    let (direct, bridged) = (of(|pair| pair.0), of(|pair| pair.1));
    let times = direct.as_secs_f64() / bridged.as_secs_f64();
    println!("{name} ({} pairs, medians)", pairs.len());
    println!("  directly {direct:>9.2?}   through the bridge {bridged:>9.2?}");
    println!("  {times:.2} times as fast");
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// The delay that the bridge itself adds: a plain client of the model beside one of a bridge.
async fn delays_to_plain_clients(
    base_url: &str,
    config: &Config,
    clock: Clock,
    full: bool,
) -> anyhow::Result<()> {
    let tasks = Shutdown::default();
    let endpoint = another_bridge(config, &tasks).await?;
    let mut direct = DirectClient::open(base_url, &tasks).await?;
    let mut bridged = BridgeClient::open(&endpoint, PROVIDER).await?;
    let (prompt, blocks) = stamped(full);
    let mut ages = (Vec::new(), Vec::new());
    for _ in 0..blocks {
        ages.0.extend(direct.ages(&prompt, clock).await?);
        ages.1.extend(bridged.ages(&prompt, clock).await?);
    }
    tasks.force.cancel();
    report_delays("from the model to a plain client", ages)
}

/// The prompt for stamped deltas, and how often it is sent.
fn stamped(full: bool) -> (String, usize) {
    if full { ("stamped: 500".to_owned(), 4) } else { ("stamped: 20".to_owned(), 2) }
}

/// Starts a second bridge: the address of the first is private to core.
async fn another_bridge(config: &Config, tasks: &Shutdown) -> anyhow::Result<Endpoint> {
    let backends = app::providers::backends(config, &CallLog::default(), &Credentials::default())?;
    Ok(bridge::start(backends, InFlight::default(), tasks).await?)
}

/// The delay up to core's event.
async fn delays_to_core(
    direct: &Side,
    bridged: &Side,
    clock: Clock,
    full: bool,
) -> anyhow::Result<()> {
    let (a, b) = (direct.warm().await?, bridged.warm().await?);
    let (prompt, blocks) = stamped(full);
    let mut ages = (Vec::new(), Vec::new());
    for _ in 0..blocks {
        for (thread, ages) in [(&a, &mut ages.0), (&b, &mut ages.1)] {
            turn(&**thread, &prompt, |event| {
                if let EventMsg::AgentMessageContentDelta(piece) = event {
                    ages.extend(clock.age(&piece.delta));
                }
            })
            .await?;
        }
    }
    a.close().await;
    b.close().await;
    report_delays("from the model to core's event", ages)
}

/// Prints the ages, and the delay that the bridge adds at the 99th percentile.
fn report_delays(
    name: &str,
    (mut direct, mut bridged): (Vec<Duration>, Vec<Duration>),
) -> anyhow::Result<()> {
    let deltas = direct.len();
    anyhow::ensure!(
        deltas > 0 && deltas == bridged.len(),
        "{deltas} deltas directly, {} through the bridge",
        bridged.len()
    );
    println!("{name} ({deltas} deltas each way, one at a time)");
    let p99 = |path: &str, ages: &mut [Duration]| {
        let middle = median(ages);
        let p99 = ages.get(deltas * 99 / 100).copied().unwrap_or_default();
        println!("  {path:<18} median {middle:>9.2?}   p99 {p99:>9.2?}");
        p99
    };
    let directly = p99("directly", &mut direct);
    let added = p99("through the bridge", &mut bridged).saturating_sub(directly);
    let met = verdict(added < Duration::from_micros(500));
    println!("  {added:.2?} later at p99; target under 500µs: {met}");
    Ok(())
}

/// The time per conversation when many start at once.
async fn many_at_once(side: &Side, few: usize, many: usize, rounds: usize) -> anyhow::Result<()> {
    let mut each = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        each.0.push(at_once(side, few).await?);
        each.1.push(at_once(side, many).await?);
    }
    let (at_few, at_many) = (median(&mut each.0), median(&mut each.1));
    let times = at_many.as_secs_f64() / at_few.as_secs_f64();
    println!("new conversations at once, time of each ({rounds} rounds, medians)");
    println!("  of {few} {at_few:>9.2?}   of {many} {at_many:>9.2?}");
    println!("  {times:.2} times as long; target 1.3 or less: {}", verdict(times <= 1.3));
    Ok(())
}

/// Measures the time from the first start to the end of the last turn, per conversation.
async fn at_once(side: &Side, count: usize) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let side = side.clone();
        tasks.spawn(async move { side.new_conversation().await });
    }
    let mut threads = Vec::new();
    while let Some(done) = tasks.join_next().await {
        threads.push(done??.1);
    }
    let took = begun.elapsed();
    for thread in threads {
        thread.close().await;
    }
    Ok(took / u32::try_from(count)?)
}
