//! The binary: parses the arguments and runs a command of [`codex_gateway::cli`]. It runs inside
//! core's arg0 dispatch, because core re-executes this binary as its helpers.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use clap::Parser;
use codex_gateway::cli;

fn main() -> std::process::ExitCode {
    let code = Arc::new(AtomicU8::new(0));
    let exit_code = Arc::clone(&code);
    let outcome = codex_gateway_engine::arg0::run(move |helpers| async move {
        let arguments = cli::Arguments::parse();
        let run = Box::pin(cli::run(arguments, helpers));
        exit_code.store(run.await?, Ordering::Relaxed);
        Ok(())
    });
    match outcome {
        Ok(()) => code.load(Ordering::Relaxed).into(),
        Err(error) => {
            cli::eprint_lossy(format_args!("codex-gateway: {error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}
