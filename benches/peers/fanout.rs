//! One event of core's to many subscribers. The model stamps each piece with the time, a subscriber
//! says how old it is when it is read: the way through core is part of the age, so it is measured
//! alone too.

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::http::Connection;
use crate::http::Lines;
use crate::http::between;
use crate::plan::Plan;
use crate::seen::Figures;
use crate::seen::now_nanos;
use crate::which::Field;

/// Between two events, in milliseconds: longer than a thousand clients need to read one.
const PAUSE: usize = 50;

#[derive(Debug)]
pub(crate) struct Fanout {
    /// At core's own event, in milliseconds.
    pub(crate) core: Figures,
    /// At subscribers, by their number.
    pub(crate) subscribers: Vec<(usize, Figures)>,
}

/// Measures it.
///
/// # Errors
/// A turn fails, or a subscriber misses an event.
pub(crate) async fn measure(field: &Field, plan: &Plan) -> anyhow::Result<Fanout> {
    println!("one event to many subscribers");
    let prompt = format!("stamped: {} {PAUSE}", plan.stamps);
    let core: Figures = field.floor.ages(&prompt).await?.into_iter().collect();
    println!("  core alone        {:>8.3} ms", core.median());
    let mut subscribers = Vec::new();
    for &count in &plan.subscribers {
        let ages = to(field, plan, &prompt, count).await?;
        println!("  to {count:<5} p50 {:>8.3} ms   p99 {:>8.3} ms", ages.median(), ages.p99());
        subscribers.push((count, ages));
    }
    Ok(Fanout { core, subscribers })
}

async fn to(field: &Field, plan: &Plan, prompt: &str, count: usize) -> anyhow::Result<Figures> {
    let http = &field.gateway.http;
    let started = http.call(Method::POST, "/api/v1/conversations", None).await?;
    let started: Value = serde_json::from_slice(&started)?;
    let id = started.get("conversation_id").and_then(Value::as_str).unwrap_or_default();
    let path = format!("/api/v1/conversations/{id}/events?follow=true");
    let mut readers = JoinSet::new();
    for _ in 0..count {
        let mut connection = http.connection().await?;
        let body = connection.send(Method::GET, &path, None).await?.into_body();
        readers.spawn(ages(connection, body, plan.stamps));
    }
    let turn = json!({ "prompt": prompt });
    http.call(Method::POST, &format!("/api/v1/conversations/{id}/turns"), Some(&turn)).await?;
    let mut all = Vec::new();
    while let Some(read) = readers.join_next().await {
        all.extend(read??);
    }
    http.call(Method::DELETE, &format!("/api/v1/conversations/{id}"), None).await?;
    Ok(all.into_iter().collect())
}

/// The ages of so many pieces, in milliseconds.
async fn ages(_held: Connection, mut body: Incoming, count: usize) -> anyhow::Result<Vec<f64>> {
    let (mut lines, mut ages) = (Lines::default(), Vec::with_capacity(count));
    while ages.len() < count {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame?.into_data() else { continue };
        let now = now_nanos();
        lines.push(&data, |line| {
            let sent: Option<u64> = between(line, "\"delta\":\"", '"').trim().parse().ok();
            ages.extend(sent.map(|sent| now.saturating_sub(sent) as f64 / 1e6));
            Ok(())
        })?;
    }
    anyhow::ensure!(ages.len() == count, "a subscriber got {} of {count} events", ages.len());
    Ok(ages)
}
