//! The watch: one thread that looks at the descendants of this process. It ends commands that
//! exceed a limit, limits those that no helper started, and waits for orphans.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use codex_protocol::shell_environment::CODEX_THREAD_ID_ENV_VAR;
use rustix::process::Pid;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use tokio::time::Instant;

use super::Children;
use super::Limit;
use super::Owner;
use super::Violation;
use super::cgroup;
use super::disk;
use super::enter;
use super::settings::Handover;
use super::tree;

/// The pause between two looks while commands run.
const BUSY: Duration = Duration::from_millis(100);
/// The pause while none runs. A command that starts ends it.
const IDLE: Duration = Duration::from_secs(2);
/// The nice value of the thread.
const PRIORITY: i32 = -10;
/// How long the watch stays busy without a command in sight.
const LINGER: Duration = Duration::from_secs(2);
/// How long an orphan's exit status is left to others. Who started a process waits for it at once;
/// nobody waits for an orphan.
const UNCLAIMED: Duration = Duration::from_secs(2);
/// The pause between two reports of the same commands.
const REPORT_AGAIN: Duration = Duration::from_secs(5);

/// A process, by its id and its start.
type Process = (u32, u64);

pub(super) struct Watch {
    children: Weak<Children>,
    /// The owners of known children.
    owners: HashMap<Process, Owner>,
    groups: BTreeMap<Owner, Group>,
    /// Zombies that nobody has waited for, since when.
    zombies: HashMap<Process, Instant>,
    busy_until: Instant,
}

/// What is remembered of an owner's commands.
#[derive(Debug, Default)]
struct Group {
    roots: Vec<u32>,
    /// Bytes that its processes have written, at the last look.
    written: u64,
    /// How often the kernel has ended a process because of its memory.
    memory_kills: u64,
    reported: Option<Instant>,
}

/// What an owner's processes use.
#[derive(Debug, Default)]
struct Usage {
    tasks: u64,
    memory: u64,
    /// Bytes written since the last look.
    written: u64,
}

impl Watch {
    pub(super) fn new(children: &Arc<Children>) -> Self {
        Self {
            children: Arc::downgrade(children),
            owners: HashMap::new(),
            groups: BTreeMap::new(),
            zombies: HashMap::new(),
            busy_until: Instant::now(),
        }
    }

    /// Looks until the engine is dropped.
    pub(super) fn run(mut self) {
        // Where this process may: the commands are many. In Linux, this thread's alone.
        let _ = rustix::process::setpriority_process(None, PRIORITY);
        let mut pause = IDLE;
        loop {
            let begun = Instant::now();
            std::thread::park_timeout(pause);
            let Some(children) = self.children.upgrade() else { return };
            let now = Instant::now();
            if now < begun + pause {
                // A command starts.
                self.busy_until = now + LINGER;
            }
            self.look(&children, now);
            self.wait_for_orphans(now);
            if self.groups.is_empty() && now >= self.busy_until {
                if let Some(cgroups) = &children.cgroups {
                    cgroups.remove_empty();
                }
                pause = IDLE;
            } else {
                pause = BUSY;
            }
        }
    }

    fn look(&mut self, children: &Children, now: Instant) {
        self.find_groups(children);
        let mut usages = Vec::new();
        let owners: Vec<Owner> = self.groups.keys().cloned().collect();
        for owner in owners {
            let Some(group) = self.groups.get_mut(&owner) else { continue };
            let most = children.handover.limits.max_processes;
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            // No more: what has too many processes must be stopped at once.
            let pids = tree::with_descendants(&group.roots, most);
            let usage =
                if pids.len() < most { group.measure(&pids) } else { Usage::of(pids.len()) };
            match group.exceeds(children, &owner, &usage) {
                Some((limit, message)) => self.end(children, &owner, limit, message, now),
                None => {
                    limit_unlimited(children, &owner, &pids);
                    usages.push((owner, usage.written));
                }
            }
        }
        self.free_disk(children, usages, now);
    }

    /// Finds the children of this process that are commands, and whose.
    fn find_groups(&mut self, children: &Children) {
        let mut known = HashMap::new();
        let mut roots: BTreeMap<Owner, Vec<u32>> = BTreeMap::new();
        for pid in tree::children_of(std::process::id()) {
            let Some(start) = tree::started_at(pid).filter(|_| !tree::is_zombie(pid)) else {
                continue;
            };
            let owner = self.owners.get(&(pid, start)).cloned();
            let Some(owner) = owner.or_else(|| owner_of(children, pid)) else { continue };
            known.insert((pid, start), owner.clone());
            roots.entry(owner).or_default().push(pid);
        }
        self.owners = known;
        self.groups.retain(|owner, _| roots.contains_key(owner));
        for (owner, roots) in roots {
            self.groups.entry(owner).or_default().roots = roots;
        }
    }

    /// Where a volume is short of space, ends the commands that write most; next time, others.
    fn free_disk(&mut self, children: &Children, usages: Vec<(Owner, u64)>, now: Instant) {
        let Handover { volumes, limits, .. } = &children.handover;
        let Some(shortage) =
            (!usages.is_empty()).then(|| disk::shortage(volumes, limits)).flatten()
        else {
            return;
        };
        let most = usages.iter().map(|(_, written)| *written).max().unwrap_or(0);
        for (owner, _) in usages.iter().filter(|(_, written)| *written == most) {
            self.end(children, owner, Limit::Disk, shortage.to_string(), now);
        }
    }

    fn end(
        &mut self,
        children: &Children,
        owner: &Owner,
        limit: Limit,
        message: String,
        now: Instant,
    ) {
        let Some(group) = self.groups.get_mut(owner) else { return };
        // Reported first: who waits for the command learns why it ended.
        if group.reported.is_none_or(|reported| now >= reported + REPORT_AGAIN) {
            group.reported = Some(now);
            children.report_end(Violation { owner: owner.clone(), limit, message });
        }
        if let Some(cgroups) = &children.cgroups {
            cgroups.kill(&owner.to_string());
        }
        tree::kill(|| {
            self.find_groups(children);
            self.groups.get(owner).map(|group| group.roots.clone()).unwrap_or_default()
        });
    }

    /// Waits for children that this process has not started, once they have ended.
    fn wait_for_orphans(&mut self, now: Instant) {
        let mut zombies = HashMap::new();
        for pid in tree::inherited().into_iter().filter(|pid| tree::is_zombie(*pid)) {
            let Some(start) = tree::started_at(pid) else { continue };
            let since = self.zombies.get(&(pid, start)).copied().unwrap_or(now);
            if now < since + UNCLAIMED {
                zombies.insert((pid, start), since);
            } else if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                let _ = rustix::process::waitid(WaitId::Pid(pid), options);
            }
        }
        if !zombies.is_empty() {
            self.busy_until = now + LINGER;
        }
        self.zombies = zombies;
    }
}

/// Whose command a child of this process is. `None` for other programs, and before it has become its
/// program.
fn owner_of(children: &Children, pid: u32) -> Option<Owner> {
    let number = children.mark().and_then(|mark| mark.command_of(pid));
    if let Some(number) = number.filter(|number| *number > enter::AGENT) {
        return Some(Owner::Command(number));
    }
    if let Some(number) = tree::variable(pid, enter::NUMBER) {
        return number.parse().ok().map(Owner::Command);
    }
    let thread = tree::variable(pid, CODEX_THREAD_ID_ENV_VAR)?;
    // Before it has become its program, it shows this process's environment.
    let own = std::env::var(CODEX_THREAD_ID_ENV_VAR).is_ok_and(|own| own == thread);
    (!own).then_some(Owner::Thread(thread))
}

/// Limits processes that no helper has limited: the agent's commands without a sandbox, which core
/// starts by itself.
fn limit_unlimited(children: &Children, owner: &Owner, pids: &[u32]) {
    let Some(mark) = children.mark() else { return };
    // The helper of a command may be setting its mark at this moment: the same.
    let number = match owner {
        Owner::Command(number) => *number,
        Owner::Thread(_) => enter::AGENT,
    };
    let Handover { limits, open_files, cgroup, .. } = &children.handover;
    for pid in pids.iter().copied().filter(|pid| mark.command_of(*pid) == Some(0)) {
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        enter::limit(Some(id), limits, *open_files);
        let _ = rustix::process::setpriority_process(Some(id), limits.nice);
        let score = limits.oom_score_adj.to_string();
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score);
        if let Some(commands) = cgroup {
            let _ = cgroup::join(commands, &owner.to_string(), limits, Some(pid));
        }
        mark.of_command(number).set_for(id);
    }
}

impl Usage {
    fn of(tasks: usize) -> Self {
        Self { tasks: u64::try_from(tasks).unwrap_or(u64::MAX), ..Self::default() }
    }
}

impl Group {
    fn measure(&mut self, pids: &[u32]) -> Usage {
        let mut usage = Usage::default();
        let (mut shared, mut written) = (0, 0);
        let pids: HashSet<u32> = pids.iter().copied().collect();
        for status in pids.iter().filter_map(|pid| tree::status_of(*pid)) {
            usage.tasks += status.threads;
            usage.memory += status.private_bytes;
            shared = shared.max(status.shared_bytes);
        }
        for pid in &pids {
            written += tree::written_by(*pid);
        }
        // Processes may use the same shared memory.
        usage.memory += shared;
        usage.written = written.saturating_sub(self.written);
        self.written = written;
        usage
    }

    /// The limit that the processes exceed, if any.
    fn exceeds(
        &mut self,
        children: &Children,
        owner: &Owner,
        usage: &Usage,
    ) -> Option<(Limit, String)> {
        let limits = &children.handover.limits;
        let kills = children.cgroups.as_ref().map(|groups| groups.memory_kills(&owner.to_string()));
        let killed = kills.is_some_and(|kills| kills > self.memory_kills);
        self.memory_kills = kills.unwrap_or(0);
        if usage.tasks >= limits.max_processes {
            let (most, got) = (limits.max_processes, usage.tasks);
            let message = format!(
                "the commands were ended: expected fewer than {most} processes and threads \
                 (gateway.commands.max_processes), got {got}"
            );
            return Some((Limit::Processes, message));
        }
        if killed || usage.memory > limits.max_memory_bytes {
            let most = limits.max_memory_bytes;
            let got = match killed {
                true => "more".to_owned(),
                false => usage.memory.to_string(),
            };
            let message = format!(
                "the commands were ended: expected at most {most} bytes of memory \
                 (gateway.commands.max_memory_bytes), got {got}"
            );
            return Some((Limit::Memory, message));
        }
        None
    }
}
