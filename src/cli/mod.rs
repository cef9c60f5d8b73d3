//! The command line: `serve` (the default), `exec`, `check`.

mod check;
mod exec;
mod serve;
mod terminal;

use std::fmt;
use std::io;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use codex_gateway_engine::arg0::HelperPaths;

use crate::config::Config;
use crate::config::Overrides;
use crate::telemetry;
use crate::telemetry::logs::Destination;

/// How long a command waits for the collector when it has done its work.
const EXPORT_WITHIN: Duration = Duration::from_secs(3);

/// OpenAI's Codex agent behind HTTP, in one process.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Global {
    /// The configuration file [default: $CODEX_HOME/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long, global = true, value_name = "IP")]
    host: Option<IpAddr>,
    /// The port to listen on; 0 lets the system choose [default: 8080]
    #[arg(long, global = true)]
    port: Option<u16>,
    /// The folder under which conversations work [default: $CODEX_HOME/workspaces]
    #[arg(long, global = true, value_name = "FOLDER")]
    workspace_root: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP (the default)
    Serve,
    /// Run one prompt in this process, without a server
    Exec(exec::Exec),
    /// Validate the configuration and print what it resolved to
    Check,
}

/// Runs a command. Returns the process's exit code.
///
/// # Errors
/// What stopped it, for people.
pub async fn run(arguments: Arguments, helpers: HelperPaths) -> anyhow::Result<u8> {
    let Arguments { global, command } = arguments;
    let overrides = Overrides {
        config_path: global.config,
        host: global.host,
        port: global.port,
        workspace_root: global.workspace_root,
    };
    let config = Config::load(&overrides)?;
    let command = command.unwrap_or(Command::Serve);
    let destination = match command {
        Command::Serve => Destination::Stdout,
        Command::Exec(_) | Command::Check => Destination::Stderr,
    };
    let telemetry = telemetry::start(config.telemetry, destination)?;
    match command {
        Command::Serve => serve::run(config, helpers, telemetry).await,
        Command::Exec(exec) => {
            let ended = exec::run(exec, config, helpers).await;
            telemetry.shutdown(EXPORT_WITHIN).await;
            ended
        }
        Command::Check => check::run(&config, helpers).await,
    }
}

/// Writes a line on standard error. Nobody has to be there to read it: `eprintln!` would panic, and a
/// server would end because the one that started it has stopped listening.
pub fn eprint_lossy(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
