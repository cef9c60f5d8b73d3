//! Control groups (cgroups(7), version 2): one for each conversation's commands, `exec` and terminal,
//! where this process may make some.
//!
//! A group whose controllers are handed down may hold no processes itself. So this process moves
//! into a group of its own beside that of the commands; if it is not alone in its group, the kernel
//! refuses. Then, and where there are no controllers, groups still keep the processes of a command
//! together, so that all of them can be killed at once.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::settings::CommandLimits;

/// The controllers in use, if there are.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// The groups of this process's commands. Removed on drop as far as they are empty.
#[derive(Debug)]
pub(super) struct Cgroups {
    /// The group that this process was started in.
    base: PathBuf,
    commands: PathBuf,
    /// The controllers of the groups; without any, groups only keep processes together.
    controllers: Vec<&'static str>,
    /// Why there are none.
    missing: Option<String>,
}

impl Cgroups {
    /// Sets up the groups.
    ///
    /// # Errors
    /// This process may not make any; the message says why.
    pub(super) fn open() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
        let base = folder(&own, &mounts).ok_or("no cgroup of version 2 is mounted")?;
        Self::below(base).map_err(|error| format!("no cgroup is delegated: {error}"))
    }

    fn below(base: PathBuf) -> io::Result<Self> {
        let available = fs::read_to_string(base.join("cgroup.controllers"))?;
        let has = |name: &&str| available.split_ascii_whitespace().any(|other| other == *name);
        let controllers: Vec<_> = CONTROLLERS.into_iter().filter(has).collect();
        let commands = base.join(format!("codex-gateway-commands-{}", std::process::id()));
        fs::create_dir(&commands)?;
        let mut groups = Self { base, commands, controllers, missing: None };
        let handed_down = match groups.controllers.is_empty() {
            true => Err(io::Error::other("no controller is delegated: cpu, memory or pids")),
            false => groups.hand_down(),
        };
        if let Err(error) = handed_down {
            groups.leave();
            groups.controllers.clear();
            groups.missing = Some(error.to_string());
        }
        Ok(groups)
    }

    /// The group of this process, beside that of the commands.
    fn own(&self) -> PathBuf {
        self.base.join(format!("codex-gateway-{}", std::process::id()))
    }

    /// Hands the controllers down to the groups of commands.
    fn hand_down(&self) -> io::Result<()> {
        fs::create_dir(self.own())?;
        fs::write(self.own().join("cgroup.procs"), std::process::id().to_string())?;
        let enable = self.each_controller('+');
        fs::write(self.base.join("cgroup.subtree_control"), &enable)?;
        fs::write(self.commands.join("cgroup.subtree_control"), &enable)
    }

    /// Undoes [`Self::hand_down`], as far as it got.
    fn leave(&self) {
        if !self.own().exists() {
            return;
        }
        let disable = self.each_controller('-');
        for group in [&self.commands, &self.base] {
            let _ = fs::write(group.join("cgroup.subtree_control"), &disable);
        }
        let _ = fs::write(self.base.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(self.own());
    }

    fn each_controller(&self, sign: char) -> String {
        let signed: Vec<String> =
            self.controllers.iter().map(|controller| format!("{sign}{controller}")).collect();
        signed.join(" ")
    }

    /// Why the groups limit nothing, if so.
    pub(super) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// The folder in which the groups of commands are.
    pub(super) fn commands(&self) -> &Path {
        &self.commands
    }

    /// Whether a resource is limited by the groups.
    pub(super) fn limits(&self, controller: &str) -> bool {
        self.controllers.contains(&controller)
    }

    /// Kills all processes of a group.
    pub(super) fn kill(&self, name: &str) {
        let _ = fs::write(self.commands.join(name).join("cgroup.kill"), "1");
    }

    /// How often the kernel has ended a process of the group because of its memory.
    pub(super) fn memory_kills(&self, name: &str) -> u64 {
        let events = fs::read_to_string(self.commands.join(name).join("memory.events"));
        let events = events.unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|kills| kills.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the groups in which no process is left.
    pub(super) fn remove_empty(&self) {
        for group in fs::read_dir(&self.commands).into_iter().flatten().flatten() {
            // Fails for a group with processes, and for a file.
            let _ = fs::remove_dir(group.path());
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.remove_empty();
        self.leave();
        let _ = fs::remove_dir(&self.commands);
    }
}

/// Kills all processes in the groups of commands of a gateway that has died.
pub(super) fn kill_all(commands: &Path) {
    // Includes the groups below.
    let _ = fs::write(commands.join("cgroup.kill"), "1");
}

/// The folder of a process's group of version 2, from its `cgroup` and `mountinfo`.
fn folder(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if after.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(mount).join(below))
    })
}

/// Puts a process, and those that it will start, into a group of this name, with these limits. `None`
/// is this process.
pub(super) fn join(
    commands: &Path,
    name: &str,
    limits: &CommandLimits,
    pid: Option<u32>,
) -> io::Result<()> {
    let group = commands.join(name);
    match fs::create_dir(&group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let set = |file: &str, value: &str| {
        let path = group.join(file);
        // Its controller may be missing.
        if path.exists() { fs::write(path, value) } else { Ok(()) }
    };
    set("pids.max", &limits.max_processes.to_string())?;
    set("memory.max", &limits.max_memory_bytes.to_string())?;
    set("memory.swap.max", "0")?;
    set("memory.oom.group", "1")?;
    if let Some(percent) = limits.cpu_percent {
        set("cpu.max", &format!("{} 100000", percent.saturating_mul(1000)))?;
    }
    fs::write(group.join("cgroup.procs"), pid.unwrap_or(0).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_that_of_the_mount() {
        let mounts = "25 1 0:22 / /proc rw - proc proc rw\n\
                      30 24 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n";
        let expected = Some(PathBuf::from("/sys/fs/cgroup/unified/a/b"));
        assert_eq!(folder("1:pids:/x\n0::/a/b\n", mounts), expected);
        let container = "30 24 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(folder("0::/docker/x/y\n", container), Some("/sys/fs/cgroup/y".into()));
        assert_eq!(folder("0::/a\n", container), None);
        assert_eq!(folder("1:pids:/x\n", mounts), None);
        assert_eq!(folder("0::/\n", "25 1 0:22 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn group_without_controllers_only_keeps_together() {
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&folder).unwrap();
        assert!(Cgroups::below(folder.clone()).is_err(), "it is no group");
        fs::write(folder.join("cgroup.controllers"), "cpuset io\n").unwrap();
        let groups = Cgroups::below(folder.clone()).unwrap();
        assert!(groups.missing().unwrap().contains("cpu, memory or pids"));
        assert!(!groups.limits("pids") && groups.commands().exists());
        let commands = groups.commands().to_owned();
        drop(groups);
        assert!(!commands.exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn joined_group_has_the_limits() {
        let commands = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        let group = commands.join("c");
        fs::create_dir_all(&group).unwrap();
        for file in ["pids.max", "memory.max", "cpu.max"] {
            fs::write(group.join(file), "max").unwrap();
        }
        let limits = CommandLimits {
            max_processes: 5,
            max_memory_bytes: 6,
            cpu_percent: Some(150),
            ..CommandLimits::default()
        };
        join(&commands, "c", &limits, None).unwrap();
        for (file, expected) in [
            ("pids.max", "5"),
            ("memory.max", "6"),
            ("cpu.max", "150000 100000"),
            ("cgroup.procs", "0"),
        ] {
            assert_eq!(fs::read_to_string(group.join(file)).unwrap(), expected, "{file}");
        }
        assert!(!group.join("memory.oom.group").exists());
        fs::remove_dir_all(commands).unwrap();
    }
}
