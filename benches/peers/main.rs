//! The gateway beside the programs that people use today, and beside the least that could be done, in
//! one run, on one scripted model; the result is `benches/RESULTS.md`.
//!
//! `cargo bench --locked --bench peers`: about ten minutes, and nothing else should run meanwhile. It
//! installs the peers from npm into cargo's target folder. `cargo test --locked --bench peers`, or
//! `-- --quick`, does everything a few times in under a minute, with the peers that are there already,
//! measures nothing worth reading and writes its result into cargo's target folder.
//!
//! Reading order: [`system`] is what is compared; [`which`] are the systems, a file each; [`turns`],
//! [`crowd`], [`idle`] and [`fanout`] are what they do; [`report`] writes it down and [`targets`] says
//! what was wanted.

mod app_server;
mod bare;
mod child;
mod crowd;
mod exec;
mod fanout;
mod floor;
mod gateway;
mod http;
mod idle;
mod install;
mod memory;
mod model;
mod opencode;
mod plan;
mod report;
mod seen;
#[path = "../support/mod.rs"]
mod support;
mod system;
mod targets;
mod turns;
mod which;

use std::path::Path;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Context;
use codex_gateway_engine::arg0::HelperPaths;
use tokio::time::Instant;

use self::plan::Plan;
use self::system::Site;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Core starts this very binary as its helper too, but never with these.
    let served = match arguments.first().map(String::as_str) {
        Some(model::ROLE) => model::serve(),
        Some(bare::ROLE) => bare::serve(Path::new(arguments.get(1).map_or(".", String::as_str))),
        _ => return support::run(prepare, measure),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Installs the peers, and gives the process that measures an environment like theirs.
fn prepare(home: &Path, rounds: usize, measuring: &mut Command) -> anyhow::Result<()> {
    if Plan::new(rounds > 2).full {
        install::install();
    }
    let user = home.join("user");
    std::fs::create_dir_all(&user)?;
    measuring.env_clear().envs(child::environment()).env("HOME", user);
    Ok(())
}

async fn measure(helpers: HelperPaths, rounds: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    let plan = Plan::new(rounds > 2);
    let home = codex_gateway_engine::arg0::codex_home()?;
    let mut site = Site { home, model_url: String::new(), peers: install::find() };
    let (_model, address) = bare::role(model::ROLE, None, &site).await.context("the model")?;
    site.model_url = format!("http://{address}/v1");

    let field = which::start(&site, helpers, &plan).await?;
    let turns = turns::measure(&field, &plan).await?;
    let fanout = fanout::measure(&field, &plan).await?;
    let crowds = crowd::measure(&field, &plan).await?;
    drop(field);
    let idle = idle::measure(&site, &plan).await?;

    let results = report::Results { turns, crowds, idle, fanout, took: begun.elapsed() };
    let path = report::write(&results, &plan)?;
    if plan.full {
        println!("{}", targets::table(&results));
    }
    println!("written to {}", path.display());
    Ok(())
}
