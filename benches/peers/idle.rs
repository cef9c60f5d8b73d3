//! What a system costs that does nothing: start to ready, the idle process, an idle live conversation,
//! an open stream. Each in processes of their own.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::memory;
use crate::plan::Plan;
use crate::plan::SHORT;
use crate::seen::Figures;
use crate::seen::millis;
use crate::system::Site;
use crate::system::System;
use crate::system::close;
use crate::system::first_turn;
use crate::which;
use crate::which::Which;

/// What is paid once: by the first conversations and streams.
const FIRST: usize = 5;

/// Of one system.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) which: Which,
    /// In milliseconds.
    pub(crate) ready: Figures,
    /// Of the process, in MB.
    pub(crate) process: f64,
    /// In KB.
    pub(crate) conversation: f64,
    /// In KB; of the gateway only.
    pub(crate) stream: Option<f64>,
}

/// Measures it.
///
/// # Errors
/// The gateway fails.
pub(crate) async fn measure(site: &Site, plan: &Plan) -> anyhow::Result<Vec<Idle>> {
    let contenders = [Which::Gateway, Which::Kept, Which::Tuned, Which::Opencode];
    println!("start to ready, and what idles");
    let mut ready = vec![Vec::new(); contenders.len()];
    for _ in 0..plan.starts {
        for (which, took) in contenders.iter().zip(&mut ready) {
            let begun = Instant::now();
            if let Ok(system) = which::peer(*which, site).await {
                took.push(millis(begun.elapsed()));
                drop(system);
            }
        }
    }
    let mut measured = Vec::new();
    for (which, took) in contenders.into_iter().zip(ready) {
        if took.is_empty() {
            continue;
        }
        match one(site, plan, which).await {
            Ok((process, conversation)) => {
                let stream = match which {
                    Which::Gateway => Some(stream(site, plan).await?),
                    _ => None,
                };
                let ready: Figures = took.into_iter().collect();
                println!(
                    "  {:<34} {:>7.1} ms   {process:>7.1} MB   {conversation:>8.1} KB   {:>6.1} KB",
                    which.name(),
                    ready.median(),
                    stream.unwrap_or(f64::NAN)
                );
                measured.push(Idle { which, ready, process, conversation, stream });
            }
            Err(error) => {
                anyhow::ensure!(which != Which::Gateway, "the gateway: {error:#}");
                eprintln!("OUT: {}: idle: {error:#}", which.name());
            }
        }
    }
    Ok(measured)
}

/// The process in MB, a conversation in KB.
async fn one(site: &Site, plan: &Plan, which: Which) -> anyhow::Result<(f64, f64)> {
    let system = which::peer(which, site).await?;
    let cost = async || {
        tokio::time::sleep(plan.calm).await;
        memory::of(&system.processes())
    };
    let process = cost().await;
    let mut live = Vec::new();
    for _ in 0..FIRST {
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

/// An open stream, in KB: on a connection of its own, following a conversation in which nothing happens.
async fn stream(site: &Site, plan: &Plan) -> anyhow::Result<f64> {
    let gateway = Gateway::start(site).await?;
    let started = gateway.http.call(Method::POST, "/api/v1/conversations", None).await?;
    let started: serde_json::Value = serde_json::from_slice(&started)?;
    let id = started.get("conversation_id").and_then(serde_json::Value::as_str).unwrap_or_default();
    let path = format!("/api/v1/conversations/{id}/events?follow=true");
    let mut open = Vec::new();
    let mut before = 0.0;
    for number in 0..FIRST + plan.idle {
        if number == FIRST {
            tokio::time::sleep(plan.calm).await;
            before = memory::of(&gateway.processes());
        }
        let mut connection = gateway.http.connection().await?;
        let mut body = connection.send(Method::GET, &path, None).await?.into_body();
        // What has happened so far, so that it idles afterwards.
        let _ = tokio::time::timeout(Duration::from_millis(5), body.frame()).await;
        open.push((connection, body));
    }
    tokio::time::sleep(plan.calm).await;
    Ok((memory::of(&gateway.processes()) - before) * 1e3 / plan.idle as f64)
}
