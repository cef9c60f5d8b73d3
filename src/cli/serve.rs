//! `codex-gateway serve`: binds, prints a summary, serves, leaves and drains.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineFacts;
use codex_gateway_engine::arg0::HelperPaths;
use codex_gateway_engine::sandbox::Tools;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::output::eprint_lossy;
use super::signals::Signals;
use crate::app::Assembly;
use crate::config::Config;
use crate::server;
use crate::server::files;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::web::Limits;

/// The part of the drain time that is reserved for core to flush its histories.
const FLUSH: Duration = Duration::from_secs(2);
/// The part of the drain time that is reserved for exporting the last spans.
const EXPORT: Duration = Duration::from_secs(2);

pub(super) async fn run(
    mut config: Config,
    helpers: HelperPaths,
    telemetry: Telemetry,
) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let mut signals = Signals::listen().context("cannot receive signals")?;
    files::raise_limit(&mut config.server);
    let address = SocketAddr::from((config.host, config.port));
    // Binds before starting core: an occupied port fails at once, and early clients wait.
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;

    let assembly = tokio::select! {
        assembly = Assembly::open(config, helpers) => assembly?,
        name = signals.first() => {
            tracing::info!(signal = name, "stopped before the start was complete");
            telemetry.shutdown(EXPORT).await;
            return Ok(0);
        }
    };
    announce(&assembly.config, &assembly.facts, address, begun.elapsed());
    let (app, engine) = assembly.into_app();
    let shutdown = app.shutdown().clone();
    let Limits { drain_delay, drain_timeout: limit, .. } = app.config().server;
    shutdown.spawn(server::run(listener, app));

    let name = signals.first().await;
    let end = Instant::now() + limit;
    tracing::info!(
        signal = name,
        limit_ms = limit.as_millis(),
        delay_ms = u64::try_from(drain_delay.as_millis()).unwrap_or(u64::MAX),
        "draining"
    );
    shutdown.leaving.cancel();
    tokio::time::sleep(drain_delay).await;
    let limit = limit.saturating_sub(drain_delay);
    let export = if telemetry.exports() { EXPORT.min(limit / 4) } else { Duration::ZERO };
    drain(&shutdown, &*engine, end - export, limit).await;
    tracing::info!("stopped");
    telemetry.shutdown(end.saturating_duration_since(Instant::now())).await;
    Ok(0)
}

/// Ends turns, streams, connections and core by `deadline`, which is about `limit` away.
async fn drain(shutdown: &Shutdown, engine: &dyn Engine, deadline: Instant, limit: Duration) {
    shutdown.drain.cancel();
    let flush = FLUSH.min(limit / 2);
    // First turns are interrupted, streams end and connections close. Then core ends its threads,
    // which ends the tasks that read from them.
    let closed = async {
        while shutdown.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout_at(deadline - flush, closed).await;
    let remaining = deadline.saturating_duration_since(Instant::now());
    // Leaves time for the tasks that read from core's threads.
    let unfinished = engine.shutdown(remaining.saturating_sub(flush / 4)).await;
    shutdown.force.cancel();
    let left = shutdown.wait(deadline.saturating_duration_since(Instant::now())).await;
    if unfinished + left > 0 {
        tracing::warn!(conversations = unfinished, tasks = left, "not everything ended in time");
    }
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
