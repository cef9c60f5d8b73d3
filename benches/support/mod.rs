//! What the benches of whole turns share: a process with a codex home of its own, and turns on core
//! driven directly.

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use codex_gateway_engine::Engine;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Submission;
use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadSpec;
use codex_gateway_engine::arg0::HelperPaths;
use codex_gateway_engine::protocol::EventMsg;

/// Set in the process that measures: core reads CODEX_HOME before `main` could change it. Its value is
/// the number of rounds.
const CHILD: &str = "CODEX_GATEWAY_BENCH_CHILD";

/// How often a thing is measured by `cargo bench`.
const ROUNDS: usize = 40;

/// What is done first, in the process that does not measure: it is shown the codex home, the number of
/// rounds, and the command that will measure.
pub(crate) type Before = fn(&Path, usize, &mut Command) -> anyhow::Result<()>;

/// Makes a codex home, shows it to `before`, and runs `measure` in a process that has it. Both are
/// told the number of rounds: two, unless `cargo bench` runs this without `--quick`.
pub(crate) fn run<Fut>(before: Before, measure: fn(HelperPaths, usize) -> Fut) -> ExitCode
where
    Fut: Future<Output = anyhow::Result<()>> + 'static,
{
    // Dispatched first of all: core starts this very binary as its sandbox helper, with an environment
    // of its own, and that must not start the bench again.
    let outcome = codex_gateway_engine::arg0::run(move |helpers| async move {
        match std::env::var(CHILD) {
            Ok(rounds) => measure(helpers, rounds.parse()?).await,
            Err(_) => tokio::task::spawn_blocking(move || with_a_home_of_its_own(before)).await?,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn with_a_home_of_its_own(before: Before) -> anyhow::Result<()> {
    let home = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    // `cargo bench` says so; `cargo test` does not.
    let said = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let rounds = if said("--bench") && !said("--quick") { ROUNDS } else { 2 };
    let mut measuring = Command::new(std::env::current_exe()?);
    before(home.path(), rounds, &mut measuring)?;
    let status =
        measuring.env("CODEX_HOME", home.path()).env(CHILD, rounds.to_string()).status()?;
    anyhow::ensure!(status.success(), "the measuring process failed");
    Ok(())
}

/// A new conversation on core.
pub(crate) async fn start(engine: &dyn Engine, cwd: &Path) -> anyhow::Result<Arc<dyn Thread>> {
    Ok(engine.start(ThreadSpec { cwd: cwd.to_owned(), ..ThreadSpec::default() }).await?)
}

/// A turn on core. `saw` is shown every event as it comes, up to the turn's end.
pub(crate) async fn turn(
    thread: &dyn Thread,
    prompt: &str,
    mut saw: impl FnMut(&EventMsg),
) -> anyhow::Result<()> {
    let id = uuid::Uuid::now_v7().to_string();
    let prompt = Prompt { text: prompt.to_owned(), ..Prompt::default() };
    thread.submit(id, Submission::Prompt(prompt), None).await?;
    loop {
        let event = thread.next_event().await.context("core ended")?;
        saw(&event.msg);
        match event.msg {
            EventMsg::TurnComplete(_) => return Ok(()),
            EventMsg::Error(error) => anyhow::bail!("the turn failed: {}", error.message),
            EventMsg::TurnAborted(_) => anyhow::bail!("the turn was stopped"),
            _ => {}
        }
    }
}
