//! Processes below this one, as `/proc` shows them (proc_pid_status(5), proc_pid_stat(5)).

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rustix::process::Pid;
use rustix::process::Signal;

/// The most processes that one walk visits.
pub(super) const MAX_WALK: usize = 100_000;
/// The most walks that stop processes before they are killed. A process that forks is found by the
/// next walk.
const MAX_ROUNDS: usize = 100;
/// How many walks in a row must find no new process.
const QUIET_ROUNDS: usize = 2;

/// Whether the kernel lists the children of a thread (`CONFIG_PROC_CHILDREN`).
static LISTS_CHILDREN: LazyLock<bool> =
    LazyLock::new(|| Path::new("/proc/thread-self/children").exists());

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Status {
    /// Its threads.
    pub(super) threads: u64,
    /// Its own memory: anonymous pages, in memory and swapped out, in bytes.
    pub(super) private_bytes: u64,
    /// Its shared memory in bytes.
    pub(super) shared_bytes: u64,
}

/// The children of a process, of all of its threads.
pub(super) fn children_of(pid: u32) -> Vec<u32> {
    if !*LISTS_CHILDREN {
        return all().filter(|child| parent_of(*child) == Some(pid)).collect();
    }
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.flat_map(|thread| listed(&thread.path())).collect()
}

/// The children in the list of this process's first thread: those that it inherits as a subreaper
/// or as process 1, and those whose thread has ended.
pub(super) fn inherited() -> Vec<u32> {
    let own = std::process::id();
    if !*LISTS_CHILDREN {
        return children_of(own);
    }
    listed(Path::new(&format!("/proc/{own}/task/{own}")))
}

fn listed(thread: &Path) -> Vec<u32> {
    let listed = fs::read_to_string(thread.join("children")).unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The processes of the machine, or of this process's PID namespace.
pub(super) fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// These processes and all below them, at most about `limit`.
pub(super) fn with_descendants(roots: &[u32], limit: usize) -> Vec<u32> {
    let mut found: Vec<u32> = roots.to_vec();
    let mut seen: HashSet<u32> = roots.iter().copied().collect();
    let mut next = 0;
    while let Some(pid) = found.get(next).copied()
        && found.len() < limit
    {
        next += 1;
        found.extend(children_of(pid).into_iter().filter(|child| seen.insert(*child)));
    }
    found
}

/// Kills processes and all below them. They are stopped first, so that none can fork while others
/// are killed: by process groups, which the kernel stops at once, and one by one. `roots` is asked
/// again until no process is new, because orphans become children of this process. This process is
/// never among them.
pub(super) fn kill(mut roots: impl FnMut() -> Vec<u32>) {
    let this = std::process::id();
    let own = session_of(this);
    let (mut stopped, mut groups) = (HashSet::new(), HashSet::new());
    let mut quiet = 0;
    for _ in 0..MAX_ROUNDS {
        let before = stopped.len();
        for pid in with_descendants(&roots(), MAX_WALK) {
            if pid == this || !stopped.insert(pid) {
                continue;
            }
            // In this process's own session are the groups of whoever started the gateway.
            let foreign =
                session_of(pid).is_some_and(|session| session > 1 && Some(session) != own);
            let group = group_of(pid).filter(|group| foreign && *group > 1);
            if let Some(group) = group.filter(|group| groups.insert(*group)) {
                signal_group(group, Signal::STOP);
            }
            signal(pid, Signal::STOP);
        }
        quiet = if stopped.len() == before { quiet + 1 } else { 0 };
        if quiet == QUIET_ROUNDS {
            break;
        }
    }
    groups.iter().for_each(|group| signal_group(*group, Signal::KILL));
    stopped.iter().for_each(|pid| signal(*pid, Signal::KILL));
}

fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

/// Sends a signal; fails if the process has ended.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

pub(super) fn status_of(pid: u32) -> Option<Status> {
    Some(parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?))
}

fn parse_status(text: &str) -> Status {
    let number = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
        number.unwrap_or(0u64)
    };
    Status {
        threads: number("Threads:"),
        private_bytes: (number("RssAnon:") + number("VmSwap:")) * 1024,
        shared_bytes: number("RssShmem:") * 1024,
    }
}

/// The bytes that a process has written so far: by system calls, and to disks by other means.
pub(super) fn written_by(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let number = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    number("wchar:").saturating_add(number("write_bytes:"))
}

/// The start of a process, in clock ticks since the boot. With its id it names a process for ever.
pub(super) fn started_at(pid: u32) -> Option<u64> {
    stat_field(pid, 19)?.parse().ok()
}

/// Whether a process has ended and its parent has not waited for it.
pub(super) fn is_zombie(pid: u32) -> bool {
    stat_field(pid, 0).is_some_and(|state| state == "Z")
}

fn parent_of(pid: u32) -> Option<u32> {
    stat_field(pid, 1)?.parse().ok()
}

fn session_of(pid: u32) -> Option<u32> {
    stat_field(pid, 3)?.parse().ok()
}

fn group_of(pid: u32) -> Option<u32> {
    stat_field(pid, 2)?.parse().ok()
}

/// A field of `stat` after the program's name, which may contain any character; the state is 0.
fn stat_field(pid: u32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(index).map(str::to_owned)
}

/// A variable of the environment that a process was started with.
pub(super) fn variable(pid: u32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|variable| {
        let value = std::str::from_utf8(variable).ok()?.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn status_counts_own_and_shared_memory() {
        let text = "Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t 7 kB\nRssShmem:\t  3 kB\n\
                    VmSwap:\t  2 kB\nThreads:\t4\n";
        let expected = Status { threads: 4, private_bytes: 102 * 1024, shared_bytes: 3 * 1024 };
        assert_eq!(parse_status(text), expected);
        assert_eq!(parse_status(""), Status::default());
    }

    #[test]
    fn tree_of_processes_is_found_and_killed() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 86400 & sh -c 'sleep 86400 & sleep 86400; :' & wait"])
            .spawn()
            .unwrap();
        let root = shell.id();
        let mut found = Vec::new();
        for _ in 0..1000 {
            found = with_descendants(&[root], MAX_WALK);
            if found.len() == 5 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(children_of(std::process::id()).contains(&root));
        assert!(found.iter().all(|pid| started_at(*pid).is_some()));
        kill(|| vec![root]);
        shell.wait().unwrap();
        for pid in found.into_iter().filter(|pid| *pid != root) {
            let gone = (0..1000).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                started_at(pid).is_none() || is_zombie(pid)
            });
            assert!(gone, "{pid} lives");
        }
    }
}
