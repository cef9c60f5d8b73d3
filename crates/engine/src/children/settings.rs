//! Limits of commands: the settings, and the file in which the helper finds them.

use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// Limits of commands. Those of processes, memory and CPU count over all processes of a
/// conversation's commands, of an `exec` or of a terminal; the others for each process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLimits {
    /// The most processes, each of their threads counted.
    pub max_processes: u64,
    /// The most memory in bytes.
    pub max_memory_bytes: u64,
    /// The largest file that a process may write, in bytes (`RLIMIT_FSIZE`).
    pub max_file_bytes: u64,
    /// The most open files of a process (`RLIMIT_NOFILE`).
    pub max_open_files: u64,
    /// The largest address space of a process in bytes (`RLIMIT_AS`).
    pub max_address_space_bytes: Option<u64>,
    /// The most CPU time, in percent of one CPU. Needs a cgroup.
    pub cpu_percent: Option<u64>,
    /// The nice value, 0 to 19.
    pub nice: i32,
    /// How readily the kernel ends a command when memory runs out, 0 to 1000 (`oom_score_adj`).
    pub oom_score_adj: i32,
    /// The bytes that must stay free on each volume. `None`: 512 MiB, or a twentieth of the volume
    /// if that is less.
    pub min_free_bytes: Option<u64>,
    /// Whether to use a cgroup where one is delegated.
    pub use_cgroup: bool,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self {
            max_processes: 1024,
            max_memory_bytes: half_of_memory(),
            max_file_bytes: 10 << 30,
            max_open_files: 65_536,
            max_address_space_bytes: None,
            cpu_percent: None,
            nice: 10,
            oom_score_adj: 1000,
            min_free_bytes: None,
            use_cgroup: true,
        }
    }
}

/// Half of the memory that this process may use: the machine's, or that of its cgroup.
fn half_of_memory() -> u64 {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.split_ascii_whitespace().next()?;
        Some(kibibytes.parse::<u64>().ok()?.saturating_mul(1024))
    });
    // A container sees its own cgroup there, of version 2 or 1.
    let container = number("/sys/fs/cgroup/memory.max")
        .or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    let least = total.into_iter().chain(container).min();
    least.unwrap_or(8 << 30) / 2
}

/// What the helper of a command needs to know. The gateway writes it into the folder of the
/// helper's alias, and links it beside the aliases of views; no sandboxed command can write there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handover {
    pub(super) limits: CommandLimits,
    /// The gateway's mark.
    pub(super) mark: Option<u64>,
    /// The soft limit of open files that the gateway was started with.
    pub(super) open_files: u64,
    /// The folder of the cgroups of commands.
    pub(super) cgroup: Option<PathBuf>,
    /// Folders on volumes that must not fill up.
    pub(super) volumes: Vec<PathBuf>,
}

/// The name of the file with the [`Handover`].
pub(crate) const HANDOVER: &str = "limits.json";

impl Handover {
    /// Writes the file beside the helper's alias. A reader sees the old one or the new one.
    pub(super) fn write(&self, helper: &Path) -> std::io::Result<()> {
        let path = helper.with_file_name(HANDOVER);
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(new, path)
    }

    /// Reads the file beside the helper's alias; `None` if there is none.
    pub(super) fn read(helper: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(helper.with_file_name(HANDOVER)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handover_is_read_as_written() {
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&folder).unwrap();
        let helper = folder.join("helper");
        assert_eq!(Handover::read(&helper).unwrap(), None);
        let handover = Handover {
            limits: CommandLimits { max_processes: 7, ..CommandLimits::default() },
            mark: Some(9),
            open_files: 1024,
            cgroup: None,
            volumes: vec![folder.clone()],
        };
        handover.write(&helper).unwrap();
        assert_eq!(Handover::read(&helper).unwrap(), Some(handover));
        std::fs::write(folder.join(HANDOVER), "{").unwrap();
        assert!(Handover::read(&helper).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
