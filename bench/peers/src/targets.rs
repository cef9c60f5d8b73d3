//! The targets, with the measured results.

use std::fmt::Write;

use crate::contender::Contender;
use crate::results::Results;
use crate::turns::Rounds;

struct Target {
    name: &'static str,
    target: String,
    result: Option<f64>,
    limit: f64,
    higher_is_better: bool,
    unit: &'static str,
}

/// Formats the table in Markdown.
pub(crate) fn table(results: &Results) -> String {
    let mut text = "| measurement | target | result | |\n|---|---|---:|---|\n".to_owned();
    for Target { name, target, result, limit, higher_is_better, unit } in targets(results) {
        let (figure, verdict) = match result {
            Some(result) if result.is_finite() => {
                let met = if higher_is_better { result >= limit } else { result <= limit };
                let figure = if result.abs() < 10.0 {
                    format!("{result:.2} {unit}")
                } else {
                    format!("{result:.0} {unit}")
                };
                (figure, if met { "met" } else { "**missed**" })
            }
            _ => ("not measured".to_owned(), ""),
        };
        let _ = writeln!(text, "| {name} | {target} | {figure} | {verdict} |");
    }
    text
}

// Long, because it is a table: first the derived figures, then one entry per target.
// Long: a table.
fn targets(results: &Results) -> Vec<Target> {
    let Results { turns, bursts, idle, .. } = results;
    let times = |name, limit: f64, result| Target {
        name,
        target: format!("at least {limit}×"),
        result,
        limit,
        higher_is_better: true,
        unit: "×",
    };
    let below = |name, limit: f64, unit, result| Target {
        name,
        target: format!("at most {limit} {unit}"),
        result,
        limit,
        higher_is_better: false,
        unit,
    };
    let faster = |rounds: &Rounds, than| {
        Some(
            rounds.median(than, |timing| timing.completed)?
                / rounds.median(Contender::Gateway, |timing| timing.completed)?,
        )
    };
    let first = |than| {
        let rounds = &turns.cold;
        Some(
            rounds.median(than, |timing| timing.started)?
                / rounds.median(Contender::Gateway, |timing| timing.started)?,
        )
    };
    let burst = |contender, size| {
        bursts.iter().find(|burst| burst.contender == contender && burst.size == size)
    };
    let throughput = || {
        Some(
            burst(Contender::Gateway, 64)?.per_second()
                / burst(Contender::AppServerSpawned, 64)?.per_second(),
        )
    };
    let memory = || {
        Some(
            burst(Contender::AppServerSpawned, 64)?.memory?
                / burst(Contender::Gateway, 64)?.memory?,
        )
    };
    let growth = || {
        Some(
            burst(Contender::Gateway, 16)?.per_second()
                / burst(Contender::Gateway, 256)?.per_second(),
        )
    };
    let per_second = |contender| {
        let timing = turns.long.0.get(&contender)?.first()?;
        Some(timing.events as f64 / turns.long.median(contender, |timing| timing.completed)?)
    };
    let events = || Some(per_second(Contender::Gateway)? / per_second(Contender::AppServerKept)?);
    let overhead = |rounds: &Rounds| rounds.overhead(Contender::Gateway, Contender::DirectCore);
    let percent = |rounds: &Rounds| {
        Some(
            overhead(rounds)? / rounds.median(Contender::DirectCore, |timing| timing.completed)?
                * 100.0,
        )
    };
    // The baseline is core with the bridge; app-server is core pointed at the model itself.
    let bridged = |rounds: &Rounds| {
        Some(
            rounds.median(Contender::AppServerKept, |timing| timing.completed)?
                / rounds.median(Contender::DirectCore, |timing| timing.completed)?,
        )
    };
    let idle = idle.iter().find(|idle| idle.contender == Contender::Gateway);
    let cold = &turns.cold;
    vec![
        times(
            "new conversation, to completion: app-server spawned",
            8.0,
            faster(cold, Contender::AppServerSpawned),
        ),
        times("the same: app-server kept alive", 4.0, faster(cold, Contender::AppServerKept)),
        times("the same: codex exec --json", 11.0, faster(cold, Contender::CodexExec)),
        times("the same: opencode serve", 11.0, faster(cold, Contender::Opencode)),
        times(
            "new conversation, to first event: app-server spawned",
            25.0,
            first(Contender::AppServerSpawned),
        ),
        times(
            "warm turn: app-server kept alive",
            7.0,
            faster(&turns.warm, Contender::AppServerKept),
        ),
        times("warm turn: opencode serve", 20.0, faster(&turns.warm, Contender::Opencode)),
        times("64 at once, throughput: app-server spawned", 8.0, throughput()),
        times("64 at once, memory: app-server spawned", 20.0, memory()),
        below("time per conversation, 256 at once against 16", 1.3, "×", growth()),
        times("10,000 deltas, events per second: app-server kept alive", 6.0, events()),
        below("10,000 deltas, above core directly", 10.0, "%", percent(&turns.long)),
        below("new conversation, above core directly", 2.0, "ms", overhead(cold)),
        below("new conversation, above core directly", 5.0, "%", percent(cold)),
        below("warm turn, above core directly", 2.0, "ms", overhead(&turns.warm)),
        below("warm turn, above core directly", 5.0, "%", percent(&turns.warm)),
        times("core with the model bridge, warm turn: app-server", 6.0, bridged(&turns.warm)),
        times("the same, 10,000 deltas", 1.8, bridged(&turns.long)),
        times("the same, new conversation", 1.5, bridged(cold)),
        below("idle live conversation", 500.0, "KB", idle.map(|idle| idle.conversation)),
        below("open stream", 50.0, "KB", idle.and_then(|idle| idle.stream)),
        below("start to ready", 150.0, "ms", idle.map(|idle| idle.ready.median())),
        below("idle process", 80.0, "MB", idle.map(|idle| idle.process)),
    ]
}
