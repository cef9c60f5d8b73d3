//! The keeper: a process beside the gateway that ends all of the gateway's descendants once the
//! gateway has died, however it died (`kill -9`, the OOM killer).
//!
//! Death signals (`PR_SET_PDEATHSIG`) do not suffice: they belong to the thread that forked, are
//! lost by set-user-ID programs, and reach only processes that asked for them, which tool servers
//! and orphans do not. The keeper waits for the end of a pipe that only the gateway holds open, then
//! looks for processes with the gateway's mark.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use super::cgroup;
use super::mark::Mark;
use super::tree;

/// The argument that makes this binary the keeper.
const FLAG: &str = "--codex-gateway-keeper";
/// How often the keeper looks for processes that are left.
const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the keeper, unless this is process 1, with which the kernel ends all others. The pipe to it
/// stays open as long as this process lives.
pub(super) fn start(mark: Mark, cgroup: Option<&Path>) -> std::io::Result<()> {
    if std::process::id() == 1 {
        return Ok(());
    }
    let keeper = Command::new("/proc/self/exe")
        .arg0("codex-gateway-keeper")
        .args([FLAG, &mark.0.to_string()])
        .args(cgroup)
        .env_clear()
        .current_dir("/")
        // Not in the group that a terminal's Ctrl-C reaches.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // This process is one of those that the keeper ends.
    std::mem::forget(keeper);
    Ok(())
}

/// Runs the keeper to its end, if this process is one.
pub(crate) fn run_keeper() -> bool {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_none_or(|argument| argument != FLAG) {
        return false;
    }
    let Some(mark) = arguments.next().and_then(|mark| mark.parse().ok()) else { return true };
    let gateway = rustix::process::getppid();
    let mut rest = Vec::new();
    let _ = std::io::stdin().lock().read_to_end(&mut rest);
    // The pipe closes some time before the gateway has ended and its children have a new parent.
    for _ in 0..ROUNDS {
        if rustix::process::getppid() != gateway {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    if let Some(commands) = arguments.next() {
        cgroup::kill_all(Path::new(&commands));
    }
    end_all(Mark(mark));
    true
}

fn end_all(mark: Mark) {
    for _ in 0..ROUNDS {
        if mark.processes().is_empty() {
            return;
        }
        tree::kill(|| mark.processes());
        std::thread::sleep(PAUSE);
    }
}
