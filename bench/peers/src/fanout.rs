//! One event of core to many subscribers. The model puts its send time into each delta; a subscriber
//! computes the age on arrival. The age includes the way through core, which is also measured alone.

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::contender::Contenders;
use crate::http::Connection;
use crate::http::Lines;
use crate::http::between;
use crate::plan::Plan;
use crate::timing::Samples;
use crate::timing::now_nanos;

/// Milliseconds between two events: longer than a thousand clients need to read one.
const PAUSE_MS: usize = 50;

#[derive(Debug)]
pub(crate) struct Fanout {
    /// Milliseconds up to core's event.
    pub(crate) core: Samples,
    /// Milliseconds up to each subscriber, by the number of subscribers.
    pub(crate) subscribers: Vec<(usize, Samples)>,
}

/// Measures the fan-out.
///
/// # Errors
/// If a turn fails, or a subscriber misses an event.
pub(crate) async fn measure(contenders: &Contenders, plan: &Plan) -> anyhow::Result<Fanout> {
    println!("one event to many subscribers");
    let prompt = format!("stamped: {} {PAUSE_MS}", plan.stamped_deltas);
    let core: Samples = contenders.core.ages(&prompt).await?.into_iter().collect();
    println!("  core alone        {:>8.3} ms", core.median());
    let mut subscribers = Vec::new();
    for &count in &plan.subscribers {
        let ages = subscriber_ages(contenders, plan, &prompt, count).await?;
        println!("  to {count:<5} p50 {:>8.3} ms   p99 {:>8.3} ms", ages.median(), ages.p99());
        subscribers.push((count, ages));
    }
    Ok(Fanout { core, subscribers })
}

/// Measures the ages at `count` subscribers of one conversation.
async fn subscriber_ages(
    contenders: &Contenders,
    plan: &Plan,
    prompt: &str,
    count: usize,
) -> anyhow::Result<Samples> {
    let http = &contenders.gateway.http;
    let started = http.call(Method::POST, "/api/v1/conversations", None).await?;
    let started: Value = serde_json::from_slice(&started)?;
    let id = started.get("conversation_id").and_then(Value::as_str).unwrap_or_default();
    let path = format!("/api/v1/conversations/{id}/events?follow=true");
    let mut readers = JoinSet::new();
    for _ in 0..count {
        let mut connection = http.connection().await?;
        let body = connection.send(Method::GET, &path, None).await?.into_body();
        readers.spawn(ages(connection, body, plan.stamped_deltas));
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

/// Reads `count` deltas and returns their ages in milliseconds.
async fn ages(
    _connection: Connection,
    mut body: Incoming,
    count: usize,
) -> anyhow::Result<Vec<f64>> {
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
