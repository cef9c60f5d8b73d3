//! `codex-gateway serve`: binds, prints a summary, serves and drains.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use codex_gateway_engine::EngineFacts;
use codex_gateway_engine::arg0::HelperPaths;
use codex_gateway_engine::sandbox::Tools;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::time::Instant;

use super::eprint_lossy;
use crate::app::Assembly;
use crate::config::Config;
use crate::server;
use crate::telemetry::Telemetry;

/// The part of the drain time that is reserved for core to flush its histories.
const FLUSH: Duration = Duration::from_secs(2);
/// The part of the drain time that is reserved for exporting the last spans.
const EXPORT: Duration = Duration::from_secs(2);

pub(super) async fn run(
    config: Config,
    helpers: HelperPaths,
    telemetry: Telemetry,
) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = SocketAddr::from((config.host, config.port));
    // Binds before starting core: an occupied port fails at once, and early clients wait.
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;

    let assembly = Assembly::open(config, helpers).await?;
    announce(&assembly.config, &assembly.facts, address, begun.elapsed());
    let (app, engine) = assembly.into_app();
    let shutdown = app.shutdown().clone();
    let limit = app.config().server.drain_timeout;

    let serving = server::run(listener, app);
    tokio::pin!(serving);
    let name = tokio::select! {
        served = serving.as_mut() => return served.map(|()| 0).context("the server stopped"),
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };

    tracing::info!(signal = name, limit_ms = limit.as_millis(), "draining");
    let end = Instant::now() + limit;
    let deadline = if telemetry.exports() { end - EXPORT.min(limit / 4) } else { end };
    shutdown.drain.cancel();
    serving.await?;
    let flush = FLUSH.min(limit / 2);
    // First turns are interrupted, streams end and connections close. Then core ends its threads,
    // which ends the tasks that read from them.
    let closed = async {
        while shutdown.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = tokio::time::timeout_at(deadline - flush, closed) => {}
        _ = terminate.recv() => tracing::warn!("second signal: stopping without waiting"),
        _ = interrupt.recv() => tracing::warn!("second signal: stopping without waiting"),
    }
    let remaining = deadline.saturating_duration_since(Instant::now());
    // Leaves time for the tasks that read from core's threads.
    let unfinished = engine.shutdown(remaining.saturating_sub(flush / 4)).await;
    shutdown.force.cancel();
    let left = shutdown.wait(deadline.saturating_duration_since(Instant::now())).await;
    if unfinished + left > 0 {
        tracing::warn!(conversations = unfinished, tasks = left, "not everything ended in time");
    }
    tracing::info!("stopped");
    telemetry.shutdown(end.saturating_duration_since(Instant::now())).await;
    Ok(0)
}

fn announce(config: &Config, facts: &EngineFacts, address: SocketAddr, took: Duration) {
    let mode = if config.is_development() {
        "development (no API key, loopback only)".to_owned()
    } else {
        format!("API keys: {}", config.keys.names().collect::<Vec<_>>().join(", "))
    };
    let key = if config.is_development() { "" } else { " -H 'x-api-key: KEY'" };
    let sandbox = match facts.sandbox.tools {
        Tools::On => format!("{:?}: {}", facts.sandbox.mechanism, facts.sandbox.detail),
        Tools::Unsandboxed | Tools::Off => {
            format!(
                "NONE: {}\n            fix: {}",
                facts.sandbox.detail,
                facts.sandbox.fix.unwrap_or_default()
            )
        }
    };
    // On standard error, because standard output is the log.
    eprint_lossy(format_args!(
        "codex-gateway {version} on http://{address} (ready in {took} ms)\n  \
         mode      {mode}\n  \
         model     {model} ({reason})\n  \
         sandbox   {sandbox}\n  \
         workspace {workspace}\n\n  \
         curl -N http://{address}/exec{key} -H 'content-type: application/json' -d '{{\"prompt\":\"run: echo hi\"}}'\n",
        version = env!("CARGO_PKG_VERSION"),
        took = took.as_millis(),
        model = facts.model,
        reason = config.model_source.reason(),
        workspace = config.workspace_root.display(),
    ));
    tracing::info!(%address, model = facts.model, sandbox = ?facts.sandbox.mechanism, tools = ?facts.sandbox.tools, "serving");
    if let Some(fix) = facts.sandbox.fix {
        tracing::warn!(detail = facts.sandbox.detail, fix, "no sandbox");
    }
}
