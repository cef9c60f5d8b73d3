//! The results, as Markdown.

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::crowd::Crowd;
use crate::fanout::Fanout;
use crate::idle::Idle;
use crate::install;
use crate::plan::Plan;
use crate::seen::Seen;
use crate::targets;
use crate::turns::Rounds;
use crate::turns::Turns;
use crate::which::Which;

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) turns: Turns,
    pub(crate) crowds: Vec<Crowd>,
    pub(crate) idle: Vec<Idle>,
    pub(crate) fanout: Fanout,
    pub(crate) took: Duration,
}

const HOW: &str = include_str!("how.md");

/// Writes `benches/RESULTS.md`; a quick run writes into cargo's target folder.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(results: &Results, plan: &Plan) -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = if plan.full {
        root.join("benches/RESULTS.md")
    } else {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("RESULTS.md")
    };
    std::fs::write(&path, text(results, plan, root))?;
    Ok(path)
}

fn text(results: &Results, plan: &Plan, root: &Path) -> String {
    let Results { turns, crowds, idle, fanout, took } = results;
    let mut text = String::from("# The gateway beside others\n\n");
    if !plan.full {
        text.push_str("A QUICK RUN: these figures mean nothing.\n\n");
    }
    text.push_str(&head(root, *took));
    if plan.full {
        text.push_str(
            "\n## Wanted and seen\n\nMedians; × is how many times better the gateway is.\n\n",
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
         where the system has one.\n"
    );
    text.push_str(&latencies(&turns.tool));
    let (words, rounds) = (plan.long_words, plan.long_rounds);
    let _ = writeln!(
        text,
        "\n## A turn of {words} deltas\n\nThe second turn of a conversation, {rounds} rounds.\n"
    );
    text.push_str(&latencies(&turns.long));
    text.push('\n');
    text.push_str(&volumes(&turns.long, words));
    text.push_str("\n## New conversations at once\n\n");
    text.push_str(&crowd_table(crowds));
    text.push_str("\n## What idles\n\n");
    text.push_str(&idle_table(idle));
    text.push_str("\n## One event to many subscribers\n\n");
    text.push_str(&fanout_table(fanout));
    text.push_str("\n## The gateway's own share\n\n");
    text.push_str(&share_table(turns));
    text.push('\n');
    text.push_str(HOW);
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
    // Of what is measured: the commit that holds the results is a later one.
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
        "Written by `cargo bench --locked --bench peers`; it took {:.0} minutes.\n\n\
         - commit: {commit}{changed}\n\
         - machine: {cores} cores of {}, {gigabytes:.0} GB, Linux {}, {}\n\
         - peers: `@openai/codex` {}, `opencode-ai` {} from npm, their programs started without Node\n",
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
        "| milliseconds to | began | first word | end: median | p90 | p99 | × the gateway's |\n\
                    |---|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
    let gateway = rounds.median(Which::Gateway, |seen| seen.last).unwrap_or(f64::NAN);
    for which in rounds.0.keys().copied() {
        let median = |pick: fn(&Seen) -> Duration| match rounds
            .median(which, pick)
            .filter(|millis| *millis > 0.0)
        {
            Some(millis) => format!("{millis:.2}"),
            None => "–".to_owned(),
        };
        let Some(last) = rounds.figures(which, |seen| seen.last) else { continue };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            which.name(),
            median(|seen| seen.first),
            median(|seen| seen.word),
            last.median(),
            last.p90(),
            last.p99(),
            last.median() / gateway,
        );
    }
    text
}

fn volumes(rounds: &Rounds, words: usize) -> String {
    let mut text = "| in such a turn | deltas of the model a second | events seen | events a second | MB a second |\n\
                    |---|---:|---:|---:|---:|\n"
        .to_owned();
    for (which, seen) in &rounds.0 {
        let (Some(millis), Some(one)) = (rounds.median(*which, |seen| seen.last), seen.last())
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
            which.name(),
            words as f64 / seconds,
            one.events,
            one.events as f64 / seconds,
        );
    }
    text
}

fn crowd_table(crowds: &[Crowd]) -> String {
    let mut text =
        "| at once | system | a second | ms for each | p99 of one, ms | peak memory, MB |\n\
                    |---:|---|---:|---:|---:|---:|\n"
            .to_owned();
    for crowd in crowds {
        let memory = crowd.memory.map_or_else(|| "–".to_owned(), |memory| format!("{memory:.0}"));
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | {:.0} | {memory} |",
            crowd.size,
            crowd.which.name(),
            crowd.a_second(),
            1e3 / crowd.a_second(),
            crowd.each.p99(),
        );
    }
    text
}

fn idle_table(idle: &[Idle]) -> String {
    let mut text = "| system | start to ready, ms | slowest | idle process, MB | a live conversation, KB | an open stream, KB |\n\
                    |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for Idle { which, ready, process, conversation, stream } in idle {
        let stream = stream.map_or_else(|| "–".to_owned(), |stream| format!("{stream:.0}"));
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {process:.1} | {conversation:.0} | {stream} |",
            which.name(),
            ready.median(),
            ready.max(),
        );
    }
    text
}

fn fanout_table(fanout: &Fanout) -> String {
    let mut text = "| from the model's write to | p50, ms | p99, ms | p50 over core alone, ms |\n\
                    |---|---:|---:|---:|\n"
        .to_owned();
    let core = &fanout.core;
    let _ = writeln!(
        text,
        "| core's own event, no subscriber | {:.3} | {:.3} | |",
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

fn share_table(turns: &Turns) -> String {
    let mut text = "Medians of each round's difference.\n\n\
                    | turn | gateway, ms | over core directly, ms | % | over a bare Hyper server, ms |\n\
                    |---|---:|---:|---:|---:|\n"
        .to_owned();
    let kinds = [
        ("first", &turns.cold),
        ("warm", &turns.warm),
        ("with a tool call", &turns.tool),
        ("long", &turns.long),
    ];
    for (kind, rounds) in kinds {
        let last = |which| rounds.median(which, |seen| seen.last);
        let (Some(gateway), Some(floor), Some(over), Some(bare)) = (
            last(Which::Gateway),
            last(Which::Floor),
            rounds.share(Which::Gateway, Which::Floor),
            rounds.share(Which::Gateway, Which::Bare),
        ) else {
            continue;
        };
        let percent = over / floor * 100.0;
        let _ =
            writeln!(text, "| {kind} | {gateway:.2} | {over:+.2} | {percent:+.1} | {bare:+.2} |");
    }
    text
}
