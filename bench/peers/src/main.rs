//! Measures the gateway beside its peers (`codex app-server`, `codex exec`, `opencode serve`) and two
//! baselines, in one run on one scripted model. Writes `bench/peers/RESULTS.md`.
//!
//! `cargo run --release --locked -p codex-gateway-peers` takes about ten minutes on an otherwise idle
//! machine. It installs the peers from npm into cargo's target folder, and builds the gateway.
//!
//! With `-- --quick` it runs everything a few times as a smoke test in under a minute, with the peers
//! that are installed. Those figures are meaningless and go to cargo's target folder.
//!
//! Reading order: [`system`] is the interface of the compared systems; [`contender`] lists them, one
//! file each; [`turns`], [`burst`], [`idle`] and [`fanout`] are the measurements; [`report`] and
//! [`targets`] write the results.

mod app_server;
mod bare_hyper;
mod burst;
mod codex_exec;
mod contender;
mod direct_core;
mod fanout;
mod gateway;
mod http;
mod idle;
mod install;
mod memory;
mod model;
mod opencode;
mod paths;
mod plan;
mod process;
mod report;
mod results;
mod system;
mod targets;
mod timing;
mod turns;

use std::path::Path;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Context;
use bench_support::Mode;
use codex_gateway_engine::arg0::HelperPaths;
use tokio::time::Instant;

use self::plan::Plan;
use self::results::Results;
use self::system::Setup;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Core also starts this binary as its helper, but never with these roles.
    let outcome = match arguments.first().map(String::as_str) {
        Some(model::ROLE) => model::serve(),
        Some(bare_hyper::ROLE) => {
            bare_hyper::serve(Path::new(arguments.get(1).map_or(".", String::as_str)))
        }
        argument => {
            let mode = if argument == Some("--quick") { Mode::Quick } else { Mode::Full };
            return bench_support::run(mode, paths::scratch, prepare, measure);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the gateway, installs the peers, and gives the measuring process their environment.
fn prepare(home: &Path, mode: Mode, measuring: &mut Command) -> anyhow::Result<()> {
    if mode.is_full() {
        anyhow::ensure!(!cfg!(debug_assertions), "a full run needs --release; or pass -- --quick");
        install::install()?;
    }
    gateway::build()?;
    let user = home.join("user");
    std::fs::create_dir_all(&user)?;
    measuring.env_clear().envs(process::environment()).env("HOME", user);
    Ok(())
}

async fn measure(helpers: HelperPaths, mode: Mode) -> anyhow::Result<()> {
    let begun = Instant::now();
    let plan = Plan::new(mode);
    let home = codex_gateway_engine::arg0::codex_home()?;
    let mut setup = Setup { home, model_url: String::new(), peers: install::find()? };
    let (_model, address) =
        bare_hyper::role(model::ROLE, None, &setup).await.context("the model")?;
    setup.model_url = format!("http://{address}/v1");

    let contenders = contender::start(&setup, helpers, &plan).await?;
    let turns = turns::measure(&contenders, &plan).await?;
    let fanout = fanout::measure(&contenders, &plan).await?;
    let bursts = burst::measure(&contenders, &plan).await?;
    drop(contenders);
    let idle = idle::measure(&setup, &plan).await?;

    let results = Results { turns, bursts, idle, fanout, took: begun.elapsed() };
    let path = report::write(&results, &plan)?;
    if mode.is_full() {
        println!("{}", targets::table(&results));
    }
    println!("written to {}", path.display());
    Ok(())
}
