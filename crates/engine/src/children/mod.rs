//! The processes that this one starts: their limits, their end, and the end of what they leave.
//!
//! - `settings`: the limits, and the file in which the helper of a command finds them;
//! - `enter`: the helper's part: resource limits, the cgroup, the mark;
//! - `mark`: how descendants are told from other processes; `tree`: what `/proc` shows of them;
//! - `cgroup`: control groups, where delegated; `disk`: the floor of free space;
//! - `watch`: the thread that counts processes and memory, ends what exceeds a limit, and waits for
//!   orphans; `keeper`: the process that ends all others when the gateway dies.
//!
//! Three things bound a command. The kernel, by resource limits for each process, which the helper
//! sets and every process below inherits. A cgroup, where this process may make one: exact, and over
//! all processes of a command. The watch, everywhere: it looks ten times a second. What gets past
//! it in between meets the kernel's OOM killer, which takes a command before the gateway.

mod cgroup;
mod disk;
mod enter;
mod keeper;
mod mark;
mod settings;
mod tree;
mod watch;

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Resource;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;

use self::cgroup::Cgroups;
pub(crate) use self::enter::NUMBER;
pub(crate) use self::enter::enter;
pub(crate) use self::enter::unconfined;
pub(crate) use self::keeper::run_keeper;
use self::mark::Mark;
pub use self::settings::CommandLimits;
pub(crate) use self::settings::HANDOVER;
use self::settings::Handover;
use self::watch::Watch;
use crate::EngineError;

/// How often the processes of a command are looked for until none is left.
const KILL_ROUNDS: usize = 100;
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// Whose commands share a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The commands of an agent, by its thread id.
    Thread(String),
    /// An `exec` or a terminal, by its number.
    Command(u64),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(id) => f.write_str(id),
            Self::Command(number) => write!(f, "command-{number}"),
        }
    }
}

/// A limit of commands that ends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Too many processes.
    Processes,
    /// Too much memory.
    Memory,
    /// A volume is nearly full.
    Disk,
}

impl Limit {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// The end of commands that exceeded a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Whose commands were ended.
    pub owner: Owner,
    /// The limit.
    pub limit: Limit,
    /// What happened, for people.
    pub message: String,
}

/// What enforces a limit over all processes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// The kernel, by a cgroup.
    Cgroup,
    /// The gateway, which looks ten times a second.
    Watch,
}

/// The limits in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "CommandLimits")]
pub struct Report {
    /// The most processes, with their threads, of a conversation's commands, an `exec` or a terminal.
    pub max_processes: u64,
    /// What enforces it.
    pub processes_by: Enforcement,
    /// The most memory of the same.
    pub max_memory_bytes: u64,
    /// What enforces it.
    pub memory_by: Enforcement,
    /// The largest file that a process may write.
    pub max_file_bytes: u64,
    /// The most open files of a process.
    pub max_open_files: u64,
    /// The largest address space of a process.
    pub max_address_space_bytes: Option<u64>,
    /// The most CPU time, in percent of one CPU; none without a cgroup.
    pub cpu_percent: Option<u64>,
    /// Why no cgroup limits commands.
    pub no_cgroup: Option<String>,
}

impl Report {
    fn new(limits: &CommandLimits, cgroups: Result<&Cgroups, String>) -> Self {
        let by = |controller| match &cgroups {
            Ok(cgroups) if cgroups.limits(controller) => Enforcement::Cgroup,
            Ok(_) | Err(_) => Enforcement::Watch,
        };
        Self {
            max_processes: limits.max_processes,
            processes_by: by("pids"),
            max_memory_bytes: limits.max_memory_bytes,
            memory_by: by("memory"),
            max_file_bytes: limits.max_file_bytes,
            max_open_files: limits.max_open_files,
            max_address_space_bytes: limits.max_address_space_bytes,
            cpu_percent: limits.cpu_percent.filter(|_| by("cpu") == Enforcement::Cgroup),
            no_cgroup: match cgroups {
                Ok(cgroups) => cgroups.missing().map(str::to_owned),
                Err(reason) => Some(reason),
            },
        }
    }

    /// The report of an engine that starts no processes.
    pub fn none() -> Self {
        Self::new(&CommandLimits::default(), Err("nothing is started".to_owned()))
    }
}

/// Free space on the fullest volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Space {
    /// Free bytes.
    pub free_bytes: u64,
    /// The free bytes below which no command starts.
    pub min_free_bytes: u64,
}

/// The processes that this one starts.
#[derive(Debug)]
pub(crate) struct Children {
    handover: Handover,
    cgroups: Option<Cgroups>,
    report: Report,
    helper: Option<PathBuf>,
    /// How many commands the gateway has started itself.
    started: AtomicU64,
    ended: Mutex<HashMap<u64, Weak<OnceLock<Violation>>>>,
    violations: mpsc::Sender<Violation>,
    watcher: OnceLock<std::thread::Thread>,
}

/// The options of [`Children::start`].
pub(crate) struct Options {
    pub(crate) limits: CommandLimits,
    /// Folders on volumes that must not fill up.
    pub(crate) volumes: Vec<PathBuf>,
    /// The alias under which this binary is the helper of commands.
    pub(crate) helper: Option<PathBuf>,
    pub(crate) violations: mpsc::Sender<Violation>,
}

impl Children {
    /// Takes the mark, sets up cgroups, and starts the watch and the keeper.
    pub(crate) fn start(options: Options) -> anyhow::Result<Arc<Self>> {
        let Options { limits, volumes, helper, violations } = options;
        let helper = helper.filter(|helper| enter::is_helper(helper));
        let cgroups = match limits.use_cgroup {
            true => Cgroups::open(),
            false => Err("gateway.commands.use_cgroup is off".to_owned()),
        };
        let report = Report::new(&limits, cgroups.as_ref().map_err(Clone::clone));
        let cgroups = cgroups.ok();
        // Orphans become children of this process, so that they are seen and waited for.
        let own = rustix::process::getpid();
        if let Err(error) = rustix::process::set_child_subreaper(Some(own)) {
            tracing::warn!(%error, "orphans of commands are not waited for");
        }
        let mark = Mark::take();
        if let Some(mark) = mark
            && let Err(error) = keeper::start(mark, cgroups.as_ref().map(Cgroups::commands))
        {
            tracing::warn!(%error, "programs of the gateway may outlive it if it is killed");
        }
        let handover = Handover {
            limits,
            mark: mark.map(|mark| mark.0),
            open_files: soft_limit_of_files(),
            cgroup: cgroups.as_ref().map(|cgroups| cgroups.commands().to_owned()),
            volumes,
        };
        if let Some(helper) = &helper {
            handover.write(helper)?;
        }
        let children = Arc::new(Self {
            handover,
            cgroups,
            report,
            helper,
            started: AtomicU64::new(0),
            ended: Mutex::default(),
            violations,
            watcher: OnceLock::new(),
        });
        let watch = Watch::new(&children);
        let thread = std::thread::Builder::new().name("children".to_owned());
        let thread = thread.spawn(move || watch.run())?;
        let _ = children.watcher.set(thread.thread().clone());
        Ok(children)
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// Free space on the fullest volume, compared with its floor.
    pub(crate) fn space(&self) -> Option<Space> {
        let Handover { volumes, limits, .. } = &self.handover;
        let spaces = volumes.iter().filter_map(|path| disk::free_and_floor(path, limits).ok());
        let spaces = spaces.map(|(free, floor)| Space { free_bytes: free, min_free_bytes: floor });
        spaces.min_by_key(|space| space.free_bytes.saturating_sub(space.min_free_bytes))
    }

    /// Registers a command that the gateway starts itself.
    ///
    /// # Errors
    /// `NoSpace`: a volume is nearly full.
    pub(crate) fn command(self: &Arc<Self>) -> Result<StartedCommand, EngineError> {
        let Handover { volumes, limits, .. } = &self.handover;
        if let Some(shortage) = disk::shortage(volumes, limits) {
            return Err(EngineError::NoSpace(shortage.to_string()));
        }
        // Below are the gateway's own programs and the agent's commands. Repeats after a million.
        let count = self.started.fetch_add(1, Ordering::Relaxed);
        let number = enter::AGENT + 1 + count % (mark::COMMANDS - enter::AGENT - 1);
        let ended = Arc::new(OnceLock::new());
        self.lock().insert(number, Arc::downgrade(&ended));
        self.wake();
        Ok(StartedCommand { number, ended, children: Arc::clone(self), held: None })
    }

    /// The alias under which this binary is the helper of commands.
    pub(crate) fn helper(&self) -> Option<&Path> {
        self.helper.as_deref()
    }

    /// Tells the watch that a command starts.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.watcher.get() {
            thread.unpark();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<OnceLock<Violation>>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports the end of commands to who waits for them.
    fn report_end(&self, violation: Violation) {
        tracing::warn!(
            owner = %violation.owner,
            limit = violation.limit.as_str(),
            "ended commands: {}",
            violation.message
        );
        match &violation.owner {
            Owner::Command(number) => {
                let ended = self.lock().get(number).and_then(Weak::upgrade);
                if let Some(ended) = ended {
                    let _ = ended.set(violation);
                }
            }
            // A full queue means that nobody reads: the log has it.
            Owner::Thread(_) => drop(self.violations.try_send(violation)),
        }
    }

    fn mark(&self) -> Option<Mark> {
        self.handover.mark.map(Mark)
    }
}

/// A command that the gateway started: an `exec` or a terminal. Dropping it kills what is left.
#[derive(Debug)]
pub(crate) struct StartedCommand {
    number: u64,
    ended: Arc<OnceLock<Violation>>,
    children: Arc<Children>,
    /// Dropped once the processes have been killed.
    held: Option<Box<dyn Any + Send + Sync>>,
}

impl StartedCommand {
    /// Keeps a value until the processes have been killed.
    pub(crate) fn holding(mut self, value: impl Any + Send + Sync) -> Self {
        self.held = Some(Box::new(value));
        self
    }

    /// The variable for the helper.
    pub(crate) fn variable(&self) -> (String, String) {
        (NUMBER.to_owned(), self.number.to_string())
    }

    /// Set once the command was ended because it exceeded a limit.
    pub(crate) fn ended(&self) -> Arc<OnceLock<Violation>> {
        Arc::clone(&self.ended)
    }

    /// Kills all of its processes, however they detached. Does not wait for that: it takes a look
    /// at all processes of the machine, which a task of the runtime must not.
    pub(crate) fn kill(&self) {
        self.kill_then_drop(None);
    }

    fn kill_then_drop(&self, held: Option<Box<dyn Any + Send + Sync>>) {
        let Some(mark) = self.children.mark() else { return };
        let number = self.number;
        let thread = std::thread::Builder::new().name("command-kill".to_owned());
        let kill = move || {
            let _held = held;
            for _ in 0..KILL_ROUNDS {
                if mark.processes_of(number).is_empty() {
                    return;
                }
                tree::kill(|| mark.processes_of(number));
                std::thread::sleep(KILL_PAUSE);
            }
        };
        if let Err(error) = thread.stack_size(256 << 10).spawn(kill) {
            tracing::error!(%error, "processes of a command may be left");
        }
    }
}

impl Drop for StartedCommand {
    fn drop(&mut self) {
        let held = self.held.take();
        self.kill_then_drop(held);
        self.children.lock().remove(&self.number);
    }
}

/// The soft limit of open files that this process was started with, if it has not raised it yet.
fn soft_limit_of_files() -> u64 {
    /// The soft limit that programs expect.
    const USUAL: u64 = 1024;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current.map_or(USUAL, |current| current.min(USUAL))
}
