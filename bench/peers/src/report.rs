//! The results, as Markdown.

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bench_support::Mode;

use crate::burst::Burst;
use crate::contender::Contender;
use crate::fanout::Fanout;
use crate::idle::Idle;
use crate::install;
use crate::paths;
use crate::plan::Plan;
use crate::results::Results;
use crate::targets;
use crate::timing::TurnTiming;
use crate::turns::Rounds;
use crate::turns::Turns;

const METHOD: &str = include_str!("../METHOD.md");

/// Writes `bench/peers/RESULTS.md`; a quick run writes below cargo's target folder.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write(results: &Results, plan: &Plan) -> anyhow::Result<PathBuf> {
    let path = match plan.mode {
        Mode::Full => paths::package_root().join("RESULTS.md"),
        Mode::Quick => paths::scratch()?.join("RESULTS.md"),
    };
    std::fs::write(&path, text(results, plan, &paths::workspace_root()))?;
    Ok(path)
}

fn text(results: &Results, plan: &Plan, root: &Path) -> String {
    let Results { turns, bursts, idle, fanout, took } = results;
    let mut text = String::from("# The gateway and its peers\n\n");
    if !plan.mode.is_full() {
        text.push_str("A QUICK RUN: these figures are meaningless.\n\n");
    }
    text.push_str(&head(root, *took));
    if plan.mode.is_full() {
        text.push_str(
            "\n## Targets\n\nMedians. × is the factor by which the gateway is better.\n\n",
        );
        text.push_str(&targets::table(results));
    }

    let rounds = plan.rounds;
    let _ = writeln!(text, "\n## A new conversation and its first turn\n\n{rounds} rounds.\n");
    text.push_str(&latencies(&turns.cold));
    let _ = writeln!(text, "\n## A turn in a live conversation\n\n{rounds} rounds.\n");
    text.push_str(&latencies(&turns.warm));
    let rounds = plan.tool_rounds;
    let _ = writeln!(
        text,
        "\n## A turn with a tool call\n\nThe command `true`, {rounds} rounds; in a live conversation \
         if the system keeps one.\n"
    );
    text.push_str(&latencies(&turns.tool));
    let (deltas, rounds) = (plan.long_deltas, plan.long_rounds);
    let _ = writeln!(
        text,
        "\n## A turn of {deltas} deltas\n\nThe second turn of a conversation, {rounds} rounds.\n"
    );
    text.push_str(&latencies(&turns.long));
    text.push('\n');
    text.push_str(&volumes(&turns.long, deltas));
    text.push_str("\n## New conversations at once\n\n");
    text.push_str(&burst_table(bursts));
    text.push_str("\n## Idle costs\n\n");
    text.push_str(&idle_table(idle));
    text.push_str("\n## One event to many subscribers\n\n");
    text.push_str(&fanout_table(fanout));
    text.push_str("\n## Overhead of the gateway\n\n");
    text.push_str(&overhead_table(turns));
    text.push('\n');
    text.push_str(METHOD);
    text
}

fn head(root: &Path, took: Duration) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once([':', '='])).map_or_else(
            || "unknown".to_owned(),
            |(_, value)| value.trim().trim_matches('"').to_owned(),
        )
    };
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    // The measured commit: the results are committed later.
    let product = ["--", "src", "crates", "Cargo.lock"];
    let commit = git(&[&["log", "-1", "--format=%h (%cs), %s"], &product[..]].concat());
    let changed = git(&[&["status", "--porcelain"], &product[..]].concat()).lines().count();
    let changed =
        if changed > 0 { format!(", and {changed} files changed") } else { String::new() };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let gigabytes = field(&read("/proc/meminfo"), "MemTotal")
        .split(' ')
        .next()
        .and_then(|kilobytes| kilobytes.parse::<f64>().ok())
        .map_or(0.0, |kilobytes| kilobytes * 1024.0 / 1e9);
    format!(
        "Written by `cargo run --release --locked -p codex-gateway-peers` in {:.0} minutes.\n\n\
         - commit: {commit}{changed}\n\
         - machine: {cores} cores of {}, {gigabytes:.0} GB, Linux {}, {}\n\
         - peers: `@openai/codex` {}, `opencode-ai` {} from npm, the native programs without Node\n",
        took.as_secs_f64() / 60.0,
        field(&read("/proc/cpuinfo"), "model name"),
        read("/proc/sys/kernel/osrelease").trim(),
        field(&read("/etc/os-release"), "PRETTY_NAME"),
        install::CODEX,
        install::OPENCODE,
    )
}

fn latencies(rounds: &Rounds) -> String {
    let mut text =
        "| milliseconds until | start | first delta | end: median | p90 | p99 | × gateway |\n\
                    |---|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
    let gateway = rounds.median(Contender::Gateway, |timing| timing.completed).unwrap_or(f64::NAN);
    for contender in rounds.0.keys().copied() {
        let median = |pick: fn(&TurnTiming) -> Duration| match rounds
            .median(contender, pick)
            .filter(|millis| *millis > 0.0)
        {
            Some(millis) => format!("{millis:.2}"),
            None => "–".to_owned(),
        };
        let Some(last) = rounds.samples(contender, |timing| timing.completed) else { continue };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            contender.name(),
            median(|timing| timing.started),
            median(|timing| timing.first_delta),
            last.median(),
            last.p90(),
            last.p99(),
            last.median() / gateway,
        );
    }
    text
}

fn volumes(rounds: &Rounds, deltas: usize) -> String {
    let mut text = "| in this turn | model deltas per second | events received | events per second | MB per second |\n\
                    |---|---:|---:|---:|---:|\n"
        .to_owned();
    for (contender, timing) in &rounds.0 {
        let (Some(millis), Some(one)) =
            (rounds.median(*contender, |timing| timing.completed), timing.last())
        else {
            continue;
        };
        let seconds = millis / 1e3;
        let bytes = match one.bytes {
            0 => "–".to_owned(),
            bytes => format!("{:.1}", bytes as f64 / 1e6 / seconds),
        };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {:.0} | {bytes} |",
            contender.name(),
            deltas as f64 / seconds,
            one.events,
            one.events as f64 / seconds,
        );
    }
    text
}

fn burst_table(bursts: &[Burst]) -> String {
    let mut text =
        "| at once | system | per second | ms each | p99 of one, ms | peak memory, MB |\n\
                    |---:|---|---:|---:|---:|---:|\n"
            .to_owned();
    for burst in bursts {
        let memory = burst.memory.map_or_else(|| "–".to_owned(), |memory| format!("{memory:.0}"));
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | {:.0} | {memory} |",
            burst.size,
            burst.contender.name(),
            burst.per_second(),
            1e3 / burst.per_second(),
            burst.each.p99(),
        );
    }
    text
}

fn idle_table(idle: &[Idle]) -> String {
    let mut text = "| system | start to ready, ms | slowest | idle process, MB | live conversation, KB | open stream, KB |\n\
                    |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for Idle { contender, ready, process, conversation, stream } in idle {
        let stream = stream.map_or_else(|| "–".to_owned(), |stream| format!("{stream:.0}"));
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {process:.1} | {conversation:.0} | {stream} |",
            contender.name(),
            ready.median(),
            ready.max(),
        );
    }
    text
}

fn fanout_table(fanout: &Fanout) -> String {
    let mut text = "| from the model to | p50, ms | p99, ms | p50 above core alone, ms |\n\
                    |---|---:|---:|---:|\n"
        .to_owned();
    let core = &fanout.core;
    let _ = writeln!(
        text,
        "| core's event, without subscribers | {:.3} | {:.3} | |",
        core.median(),
        core.p99()
    );
    for (count, ages) in &fanout.subscribers {
        let (median, p99) = (ages.median(), ages.p99());
        let _ = writeln!(
            text,
            "| each of {count} subscribers | {median:.3} | {p99:.3} | {:.3} |",
            median - core.median()
        );
    }
    text
}

fn overhead_table(turns: &Turns) -> String {
    let mut text = "Medians of the difference per round.\n\n\
                    | turn | gateway, ms | above core directly, ms | % | above a bare Hyper server, ms |\n\
                    |---|---:|---:|---:|---:|\n"
        .to_owned();
    let kinds = [
        ("first", &turns.cold),
        ("warm", &turns.warm),
        ("with a tool call", &turns.tool),
        ("long", &turns.long),
    ];
    for (kind, rounds) in kinds {
        let last = |contender| rounds.median(contender, |timing| timing.completed);
        let (Some(gateway), Some(core), Some(over), Some(bare)) = (
            last(Contender::Gateway),
            last(Contender::DirectCore),
            rounds.overhead(Contender::Gateway, Contender::DirectCore),
            rounds.overhead(Contender::Gateway, Contender::BareHyper),
        ) else {
            continue;
        };
        let percent = over / core * 100.0;
        let _ =
            writeln!(text, "| {kind} | {gateway:.2} | {over:+.2} | {percent:+.1} | {bare:+.2} |");
    }
    text
}
