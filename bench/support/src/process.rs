//! The measuring process: a child with a codex home of its own.

use std::future::Future;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;

use codex_gateway_engine::arg0::HelperPaths;

use crate::mode::Mode;

/// Marks the measuring process; its value is the mode.
const MODE: &str = "CODEX_GATEWAY_BENCH_MODE";

/// Runs before the measuring process starts: receives its codex home, the mode and its command.
pub type Prepare = fn(&Path, Mode, &mut Command) -> anyhow::Result<()>;

/// Runs `measure` in a child process with a new codex home in the folder that `scratch` returns.
///
/// A child, because core reads CODEX_HOME before `main` could change it.
pub fn run<Fut>(
    mode: Mode,
    scratch: fn() -> anyhow::Result<PathBuf>,
    prepare: Prepare,
    measure: fn(HelperPaths, Mode) -> Fut,
) -> ExitCode
where
    Fut: Future<Output = anyhow::Result<()>> + 'static,
{
    // The arg0 dispatch comes first: core starts this binary as its sandbox helper, with a clean
    // environment, and that must not start the bench again.
    let outcome = codex_gateway_engine::arg0::run(move |helpers| async move {
        match Mode::from_env(MODE)? {
            Some(mode) => measure(helpers, mode).await,
            None => tokio::task::spawn_blocking(move || parent(mode, &scratch()?, prepare)).await?,
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

fn parent(mode: Mode, scratch: &Path, prepare: Prepare) -> anyhow::Result<()> {
    let home = tempfile::Builder::new().prefix("bench-").tempdir_in(scratch)?;
    let mut measuring = Command::new(std::env::current_exe()?);
    prepare(home.path(), mode, &mut measuring)?;
    let status = measuring.env("CODEX_HOME", home.path()).env(MODE, mode.as_str()).status()?;
    anyhow::ensure!(status.success(), "the measuring process failed: {status}");
    Ok(())
}
