//! The command line: `serve` (default), `exec` and `check`.

mod check;
mod exec;
mod exit;
mod output;
mod serve;
mod signals;
mod terminal;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use codex_gateway_engine::arg0::HelperPaths;

pub use self::output::eprint_lossy;
use crate::config::Config;
use crate::config::Overrides;
use crate::telemetry;
use crate::telemetry::logs::Destination;

/// The time limit for exporting telemetry when a command has finished.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// The time limit for writing the log when a command has finished.
const LOG_TIMEOUT: Duration = Duration::from_millis(500);
/// The time that the process has to end after that.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// OpenAI's Codex agent as an HTTP service, in one process
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
    /// Configuration file [env: CODEX_CONFIG_PATH] [default: $CODEX_HOME/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on [env: HOST] [default: 127.0.0.1]
    #[arg(long, global = true, value_name = "IP")]
    host: Option<IpAddr>,
    /// Port to listen on; 0 lets the system choose [env: PORT] [default: 8080]
    #[arg(long, global = true)]
    port: Option<u16>,
    /// Folder for the working directories of conversations [default: $CODEX_HOME/workspaces]
    #[arg(long, global = true, value_name = "FOLDER")]
    workspace_root: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP (default)
    Serve,
    /// Run one prompt without a server
    Exec(exec::Exec),
    /// Validate the configuration and print the resolved values
    Check,
}

/// Runs a command. Returns the exit code of the process.
///
/// # Errors
/// The reason why the command cannot run, as a message for the operator.
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
    let ended = match command {
        Command::Serve => Box::pin(serve::run(config, helpers, telemetry)).await,
        Command::Exec(exec) => {
            let ended = exec::run(exec, config, helpers).await;
            telemetry.shutdown(EXPORT_TIMEOUT).await;
            ended
        }
        Command::Check => check::run(&config, helpers).await,
    };
    telemetry::flush_log(LOG_TIMEOUT);
    match &ended {
        Ok(code) => exit::within(EXIT_TIMEOUT, *code, None),
        Err(error) => exit::within(EXIT_TIMEOUT, 1, Some(format!("{error:#}"))),
    }
    ended
}
