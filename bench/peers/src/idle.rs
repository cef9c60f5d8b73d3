//! The cost of an idle system: start to ready, the idle process, an idle live conversation, an open
//! stream. Each is measured in new processes.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::contender;
use crate::contender::Contender;
use crate::gateway::Gateway;
use crate::memory;
use crate::plan::Plan;
use crate::plan::SHORT;
use crate::system::Setup;
use crate::system::System;
use crate::system::close;
use crate::system::first_turn;
use crate::timing::Samples;
use crate::timing::millis;

/// Conversations and streams before the measured ones: they bear the one-time costs.
const WARM_UP: usize = 5;

/// The idle costs of one system.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) contender: Contender,
    /// Milliseconds from start to ready.
    pub(crate) ready: Samples,
    /// MB of the idle process.
    pub(crate) process: f64,
    /// KB per live conversation.
    pub(crate) conversation: f64,
    /// KB per open stream; only for the gateway.
    pub(crate) stream: Option<f64>,
}

/// Measures the idle costs.
///
/// # Errors
/// If the gateway fails.
pub(crate) async fn measure(setup: &Setup, plan: &Plan) -> anyhow::Result<Vec<Idle>> {
    let contenders = [
        Contender::Gateway,
        Contender::AppServerKept,
        Contender::AppServerTuned,
        Contender::Opencode,
    ];
    println!("start to ready, and idle costs");
    let mut ready = vec![Vec::new(); contenders.len()];
    for _ in 0..plan.starts {
        for (contender, samples) in contenders.iter().zip(&mut ready) {
            let begun = Instant::now();
            if let Ok(system) = contender::peer(*contender, setup).await {
                samples.push(millis(begun.elapsed()));
                drop(system);
            }
        }
    }
    let mut measured = Vec::new();
    for (contender, samples) in contenders.into_iter().zip(ready) {
        if samples.is_empty() {
            continue;
        }
        match memory_costs(setup, plan, contender).await {
            Ok((process, conversation)) => {
                let stream = match contender {
                    Contender::Gateway => Some(stream_cost(setup, plan).await?),
                    _ => None,
                };
                let ready: Samples = samples.into_iter().collect();
                println!(
                    "  {:<34} {:>7.1} ms   {process:>7.1} MB   {conversation:>8.1} KB   {:>6.1} KB",
                    contender.name(),
                    ready.median(),
                    stream.unwrap_or(f64::NAN)
                );
                measured.push(Idle { contender, ready, process, conversation, stream });
            }
            Err(error) => {
                anyhow::ensure!(contender != Contender::Gateway, "the gateway: {error:#}");
                eprintln!("FAILED: {}: idle: {error:#}", contender.name());
            }
        }
    }
    Ok(measured)
}

/// Measures the process in MB and a conversation in KB.
async fn memory_costs(
    setup: &Setup,
    plan: &Plan,
    contender: Contender,
) -> anyhow::Result<(f64, f64)> {
    let system = contender::peer(contender, setup).await?;
    let cost = async || {
        tokio::time::sleep(plan.settle).await;
        memory::megabytes(&system.processes())
    };
    let process = cost().await;
    let mut live = Vec::new();
    for _ in 0..WARM_UP {
        live.push(first_turn(&*system, SHORT).await?.1);
    }
    let before = cost().await;
    for _ in 0..plan.idle {
        live.push(first_turn(&*system, SHORT).await?.1);
    }
    let after = cost().await;
    for conversation in live {
        close(conversation).await;
    }
    Ok((process, (after - before) * 1e3 / plan.idle as f64))
}

/// Measures an open stream in KB: its own connection, following an idle conversation.
async fn stream_cost(setup: &Setup, plan: &Plan) -> anyhow::Result<f64> {
    let gateway = Gateway::start(setup).await?;
    let started = gateway.http.call(Method::POST, "/api/v1/conversations", None).await?;
    let started: serde_json::Value = serde_json::from_slice(&started)?;
    let id = started.get("conversation_id").and_then(serde_json::Value::as_str).unwrap_or_default();
    let path = format!("/api/v1/conversations/{id}/events?follow=true");
    let mut open = Vec::new();
    let mut before = 0.0;
    for number in 0..WARM_UP + plan.idle {
        if number == WARM_UP {
            tokio::time::sleep(plan.settle).await;
            before = memory::megabytes(&gateway.processes());
        }
        let mut connection = gateway.http.connection().await?;
        let mut body = connection.send(Method::GET, &path, None).await?.into_body();
        // Reads past events, so that the stream idles afterwards.
        let _ = tokio::time::timeout(Duration::from_millis(5), body.frame()).await;
        open.push((connection, body));
    }
    tokio::time::sleep(plan.settle).await;
    Ok((memory::megabytes(&gateway.processes()) - before) * 1e3 / plan.idle as f64)
}
