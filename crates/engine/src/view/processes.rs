//! Processes inside views. Every process in a view has the view's temporary folder among its
//! mounts, whatever it did to its name, its parent or its session.

use std::path::Path;
use std::path::PathBuf;

use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;

/// Mount tables of the processes in other mount namespaces than the gateway's.
pub(super) struct Processes(Vec<(Pid, String)>);

impl Processes {
    pub(super) fn scan() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let own = namespace("self");
        let pids = pids.filter_map(Pid::from_raw).filter(|pid| {
            // Much shorter than the table. Unreadable for some that the gateway may not trace.
            let theirs = namespace(&pid.as_raw_nonzero().to_string());
            theirs.is_none() || theirs != own
        });
        Self(pids.filter_map(|pid| Some((pid, mounts(pid)?))).collect())
    }

    /// Whether a process is in the view.
    pub(super) fn are_in(&self, view_dir: &Path) -> bool {
        self.within(view_dir).next().is_some()
    }

    /// Kills the processes in the view.
    pub(super) fn kill(&self, view_dir: &Path) {
        for pid in self.within(view_dir) {
            // The number may be another process's by now.
            let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            if mounts(pid).is_some_and(|mounts| shows(&mounts, view_dir)) {
                let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
            }
        }
    }

    fn within(&self, view_dir: &Path) -> impl Iterator<Item = Pid> {
        self.0.iter().filter(move |(_, mounts)| shows(mounts, view_dir)).map(|(pid, _)| *pid)
    }
}

/// The mount namespace of a process.
fn namespace(process: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok()
}

/// The mount table of a process (proc_pid_mountinfo(5)). Empty or unreadable once it has exited.
fn mounts(pid: Pid) -> Option<String> {
    let path = format!("/proc/{}/mountinfo", pid.as_raw_nonzero());
    let table = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&table).into_owned())
}

/// Whether a file of the view is mounted. Its two last names are random and need no escapes.
fn shows(mounts: &str, view_dir: &Path) -> bool {
    let names: Vec<_> = view_dir.iter().rev().take(2).filter_map(|name| name.to_str()).collect();
    let [view, process] = names.as_slice() else { return false };
    mounts.contains(&format!("/{process}/{view}/"))
}
