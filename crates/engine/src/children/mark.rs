//! The mark of this process's descendants: their limit of file locks, a resource limit without an
//! effect since Linux 2.4 (`RLIMIT_LOCKS`, getrlimit(2)).
//!
//! The kernel hands it down from process to process, whatever starts them and however they detach:
//! a mark in the environment or on the command line is lost by `exec`, a process group by `setsid`,
//! a parent by its exit. A process can lower its own limit, and so lose its mark; a sandboxed one
//! does not get out of its sandbox by that.

use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use super::tree;

/// Marks below this one's are those of its commands.
pub(super) const COMMANDS: u64 = 1 << 20;
/// The smallest mark that a gateway takes.
const LEAST: u64 = 1 << 32;
/// The range of random marks.
const RANGE: u64 = 1 << 44;

/// The mark of a gateway. Its descendants have this one, or one of the [`COMMANDS`] below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u64);

impl Mark {
    /// Marks this process. `None` if the limit cannot be set.
    pub(super) fn take() -> Option<Self> {
        let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
        let most = getrlimit(Resource::Locks).maximum;
        let mark = match most {
            None => LEAST + COMMANDS + random % RANGE,
            // Inside a command of another gateway.
            Some(most) => most.checked_sub(COMMANDS + random % COMMANDS)?,
        };
        let mark = (mark > COMMANDS).then_some(Self(mark))?;
        mark.set().then_some(mark)
    }

    /// The mark of a command, by its number, which is less than [`COMMANDS`].
    pub(super) fn of_command(self, number: u64) -> Self {
        Self(self.0.saturating_sub(number))
    }

    /// Marks another process.
    pub(super) fn set_for(self, pid: Pid) {
        let limit = Rlimit { current: Some(self.0), maximum: Some(self.0) };
        let _ = rustix::process::prlimit(Some(pid), Resource::Locks, limit);
    }

    /// Marks this process and those that it will start.
    pub(super) fn set(self) -> bool {
        let limit = Rlimit { current: Some(self.0), maximum: Some(self.0) };
        setrlimit(Resource::Locks, limit).is_ok()
    }

    /// The number of the command that a process belongs to; 0 for the gateway's own programs.
    /// `None` for a process of others.
    pub(super) fn command_of(self, pid: u32) -> Option<u64> {
        self.0.checked_sub(limit_of(pid)?).filter(|number| *number < COMMANDS)
    }

    /// All living processes with the mark, or one of its commands'. This process is not one of them.
    pub(super) fn processes(self) -> Vec<u32> {
        let own = std::process::id();
        let marked = |pid: &u32| *pid != own && self.command_of(*pid).is_some();
        tree::all().filter(marked).filter(|pid| !tree::is_zombie(*pid)).collect()
    }

    /// All living processes of a command.
    pub(super) fn processes_of(self, number: u64) -> Vec<u32> {
        let marked = |pid: &u32| self.command_of(*pid) == Some(number);
        tree::all().filter(marked).filter(|pid| !tree::is_zombie(*pid)).collect()
    }
}

/// The hard limit of file locks of a process.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_marks_below_the_gateway() {
        let mark = Mark(LEAST + COMMANDS);
        assert_eq!(mark.of_command(5), Mark(LEAST + COMMANDS - 5));
        // This test is no descendant of such a gateway.
        assert_eq!(mark.command_of(std::process::id()), None);
        assert!(mark.processes().is_empty());
    }
}
