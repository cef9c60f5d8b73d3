//! What was wanted, beside what was seen.

use std::fmt::Write;

use crate::report::Results;
use crate::turns::Rounds;
use crate::which::Which;

/// One line of the table.
struct Target {
    what: &'static str,
    wanted: String,
    seen: Option<f64>,
    limit: f64,
    /// Whether more is better.
    more: bool,
    unit: &'static str,
}

/// The table, in Markdown.
pub(crate) fn table(results: &Results) -> String {
    let mut text = "| what | wanted | seen | |\n|---|---|---:|---|\n".to_owned();
    for Target { what, wanted, seen, limit, more, unit } in targets(results) {
        let (figure, verdict) = match seen {
            Some(seen) if seen.is_finite() => {
                let met = if more { seen >= limit } else { seen <= limit };
                let figure = if seen.abs() < 10.0 {
                    format!("{seen:.2} {unit}")
                } else {
                    format!("{seen:.0} {unit}")
                };
                (figure, if met { "met" } else { "**missed**" })
            }
            _ => ("not measured".to_owned(), ""),
        };
        let _ = writeln!(text, "| {what} | {wanted} | {figure} | {verdict} |");
    }
    text
}

fn targets(results: &Results) -> Vec<Target> {
    let Results { turns, crowds, idle, .. } = results;
    let times = |what, limit: f64, seen| Target {
        what,
        wanted: format!("at least {limit}×"),
        seen,
        limit,
        more: true,
        unit: "×",
    };
    let below = |what, limit: f64, unit, seen| Target {
        what,
        wanted: format!("at most {limit} {unit}"),
        seen,
        limit,
        more: false,
        unit,
    };
    let faster = |rounds: &Rounds, than| {
        Some(rounds.median(than, |seen| seen.last)? / rounds.median(Which::Gateway, |s| s.last)?)
    };
    let first = |than| {
        let rounds = &turns.cold;
        Some(rounds.median(than, |seen| seen.first)? / rounds.median(Which::Gateway, |s| s.first)?)
    };
    let crowd =
        |which, size| crowds.iter().find(|crowd| crowd.which == which && crowd.size == size);
    let throughput =
        || Some(crowd(Which::Gateway, 64)?.a_second() / crowd(Which::Spawned, 64)?.a_second());
    let memory = || Some(crowd(Which::Spawned, 64)?.memory? / crowd(Which::Gateway, 64)?.memory?);
    let growth =
        || Some(crowd(Which::Gateway, 16)?.a_second() / crowd(Which::Gateway, 256)?.a_second());
    let a_second = |which| {
        let seen = turns.long.0.get(&which)?.first()?;
        Some(seen.events as f64 / turns.long.median(which, |seen| seen.last)?)
    };
    let events = || Some(a_second(Which::Gateway)? / a_second(Which::Kept)?);
    let share = |rounds: &Rounds| rounds.share(Which::Gateway, Which::Floor);
    let percent =
        |rounds: &Rounds| Some(share(rounds)? / rounds.median(Which::Floor, |s| s.last)? * 100.0);
    // Core with the bridge in between is the floor; app-server points core at the model itself.
    let bridged = |rounds: &Rounds| {
        Some(rounds.median(Which::Kept, |s| s.last)? / rounds.median(Which::Floor, |s| s.last)?)
    };
    let idle = idle.iter().find(|idle| idle.which == Which::Gateway);
    let cold = &turns.cold;
    vec![
        times(
            "new conversation, to completion: app-server spawned",
            8.0,
            faster(cold, Which::Spawned),
        ),
        times("the same: app-server kept alive", 4.0, faster(cold, Which::Kept)),
        times("the same: codex exec --json", 11.0, faster(cold, Which::Exec)),
        times("the same: opencode serve", 11.0, faster(cold, Which::Opencode)),
        times("new conversation, to first event: app-server spawned", 25.0, first(Which::Spawned)),
        times("warm turn: app-server kept alive", 7.0, faster(&turns.warm, Which::Kept)),
        times("warm turn: opencode serve", 20.0, faster(&turns.warm, Which::Opencode)),
        times("64 at once, throughput: app-server spawned", 8.0, throughput()),
        times("64 at once, memory: app-server spawned", 20.0, memory()),
        below("time of a conversation, of 256 beside of 16", 1.3, "×", growth()),
        times("10,000 deltas, events a second: app-server kept alive", 6.0, events()),
        below("10,000 deltas, over core directly", 10.0, "%", percent(&turns.long)),
        below("new conversation, over core directly", 2.0, "ms", share(cold)),
        below("new conversation, over core directly", 5.0, "%", percent(cold)),
        below("warm turn, over core directly", 2.0, "ms", share(&turns.warm)),
        below("warm turn, over core directly", 5.0, "%", percent(&turns.warm)),
        times("core with the model bridge, warm turn: app-server", 6.0, bridged(&turns.warm)),
        times("the same, 10,000 deltas", 1.8, bridged(&turns.long)),
        times("the same, new conversation", 1.5, bridged(cold)),
        below("idle live conversation", 500.0, "KB", idle.map(|idle| idle.conversation)),
        below("open stream", 50.0, "KB", idle.and_then(|idle| idle.stream)),
        below("start to ready", 150.0, "ms", idle.map(|idle| idle.ready.median())),
        below("idle process", 80.0, "MB", idle.map(|idle| idle.process)),
    ]
}
