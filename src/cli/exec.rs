//! `codex-gateway exec "PROMPT"`: one prompt, in this process, without a server.

use std::io::IsTerminal;
use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use codex_gateway_engine::arg0::HelperPaths;
use serde_json::json;

use super::output::eprint_lossy;
use super::terminal::Terminal;
use crate::access::DEVELOPMENT;
use crate::app::Assembly;
use crate::config::Config;
use crate::conversation::Turn;
use crate::input;
use crate::ops::prompt::PromptRequest;
use crate::ops::prompt::StartedTurn;
use crate::ops::prompt::prompt;
use crate::stream;
use crate::stream::EventReader;
use crate::stream::Item;
use crate::stream::ReadOptions;
use crate::stream::StreamEnd;
use crate::stream::span::StreamSpan;

#[derive(Debug, Args)]
pub(super) struct Exec {
    /// What to do
    prompt: String,
    /// Print core's events as JSON lines
    #[arg(long)]
    json: bool,
    /// Go on with this session, or start one under this name
    #[arg(long, value_name = "NAME")]
    session_id: Option<String>,
    /// The model
    #[arg(long)]
    model: Option<String>,
    /// Work in this folder inside the workspace root
    #[arg(long, value_name = "FOLDER")]
    cwd: Option<String>,
    /// Interrupt the turn after this many milliseconds
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
}

pub(super) async fn run(
    exec: Exec,
    mut config: Config,
    helpers: HelperPaths,
) -> anyhow::Result<u8> {
    // One prompt needs one conversation.
    config.turns.prestarted = 0;
    let (app, engine) = Assembly::open(config, helpers).await?.into_app();
    let shutdown = app.shutdown().clone();
    let sandbox = &app.facts().sandbox;
    if let Some(fix) = sandbox.fix {
        eprint_lossy(format_args!("sandbox: {}\n    fix: {fix}", sandbox.detail));
    }
    let request: PromptRequest = input::from_value(&json!({
        "prompt": exec.prompt,
        "session_id": exec.session_id,
        "model": exec.model,
        "cwd": exec.cwd,
        "timeout_ms": exec.timeout_ms,
    }))?;
    let StartedTurn { turn, .. } = prompt(&app, DEVELOPMENT, request, false).await?;

    let following = follow(&turn, exec.json, &shutdown);
    tokio::pin!(following);
    tokio::select! {
        followed = following.as_mut() => followed?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot wait for ctrl-c")?;
            turn.interrupt();
            following.await?;
        }
    }
    let report = turn.report().await?;
    if !exec.json {
        if let Some(error) = &report.error {
            eprint_lossy(format_args!("{}: {}", report.status.as_str(), error.message));
        }
        if std::io::stderr().is_terminal() {
            eprint_lossy(format_args!("session {}", turn.conversation.session_id()));
        }
    }
    engine.shutdown(Duration::from_secs(2)).await;
    shutdown.drain.cancel();
    shutdown.force.cancel();
    shutdown.wait(Duration::from_secs(1)).await;
    Ok(u8::try_from(report.status.exit_code()).unwrap_or(1))
}

async fn follow(
    turn: &Turn,
    json: bool,
    shutdown: &crate::shutdown::Shutdown,
) -> anyhow::Result<()> {
    let mut reader = EventReader::new(ReadOptions {
        cursor: turn.cursor(),
        conversation_id: turn.conversation.id().clone(),
        until: StreamEnd::end_of(turn),
        raw: false,
        heartbeat: Duration::from_secs(3600),
        drain: shutdown.drain.clone(),
        span: StreamSpan::default(),
    });
    let mut terminal = Terminal::new();
    while let Some(item) = reader.next().await {
        if json {
            let mut out = std::io::stdout().lock();
            out.write_all(&stream::jsonl::frame(item))?;
            out.flush()?;
        } else if let Item::Events(entries) = item {
            for entry in &entries {
                terminal.show(entry)?;
            }
        }
    }
    Ok(())
}
