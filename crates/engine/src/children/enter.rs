//! The start of a command: its helper, which is this binary under another name, takes the limits
//! over before it becomes the sandbox or the command.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::anyhow;
use codex_protocol::shell_environment::CODEX_THREAD_ID_ENV_VAR;
use codex_sandboxing::landlock::CODEX_LINUX_SANDBOX_ARG0;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;

use super::Owner;
use super::cgroup;
use super::disk;
use super::mark::Mark;
use super::settings::CommandLimits;
use super::settings::Handover;

/// The variable with the number of an `exec` or a terminal, for the helper.
pub(crate) const NUMBER: &str = "CODEX_GATEWAY_COMMAND";
/// The helper's argument before a command that runs without a sandbox.
const UNCONFINED: &str = "--codex-gateway-unconfined";
/// The argument of core's helper that is started inside the sandbox, after the limits are set.
const INSIDE: &str = "--apply-seccomp-then-exec";
/// How long a command that must not start waits to be ended, with its turn.
const WAIT: Duration = Duration::from_secs(10);
/// The number of the agent's commands, beside which those of the gateway count.
pub(super) const AGENT: u64 = 1;

/// Takes the limits over, if this process is the helper of a command. Becomes the command if it
/// runs without a sandbox.
///
/// # Errors
/// The limits cannot be read, or the command cannot run: it must not start.
pub(crate) fn enter() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os();
    let Some(helper) = arguments.next() else { return Ok(()) };
    let helper = Path::new(&helper);
    // A relative name would lead into the folder of the command.
    if !is_helper(helper) {
        return Ok(());
    }
    let arguments: Vec<OsString> = arguments.collect();
    let own = arguments.iter().take_while(|argument| *argument != "--");
    if own.into_iter().any(|argument| argument == INSIDE) {
        return Ok(());
    }
    let handover = Handover::read(helper).context("the limits of commands cannot be read")?;
    if let Some(handover) = handover {
        take_over(&handover)?;
    }
    match arguments.split_first() {
        Some((flag, command)) if flag == UNCONFINED => Err(become_command(command)),
        Some(_) | None => Ok(()),
    }
}

/// Whether a path is the alias under which this binary is core's sandbox helper.
pub(super) fn is_helper(path: &Path) -> bool {
    path.is_absolute() && path.file_name().is_some_and(|name| name == CODEX_LINUX_SANDBOX_ARG0)
}

/// The command line of a command without a sandbox, under limits.
pub(crate) fn unconfined(helper: &Path, command: Vec<String>) -> Vec<String> {
    let own = [helper.to_string_lossy().into_owned(), UNCONFINED.to_owned()];
    own.into_iter().chain(command).collect()
}

fn become_command(command: &[OsString]) -> anyhow::Error {
    let Some((program, arguments)) = command.split_first() else {
        return anyhow!("{UNCONFINED}: expected a command");
    };
    let error = Command::new(program).args(arguments).env_remove(NUMBER).exec();
    anyhow!("cannot run {}: {error}", program.display())
}

fn take_over(handover: &Handover) -> anyhow::Result<()> {
    let number = std::env::var(NUMBER).ok().and_then(|number| number.parse().ok());
    let thread = std::env::var(CODEX_THREAD_ID_ENV_VAR).ok();
    let thread = thread.filter(|id| uuid::Uuid::parse_str(id).is_ok());
    if thread.is_some()
        && let Some(shortage) = disk::shortage(&handover.volumes, &handover.limits)
    {
        let _ = writeln!(std::io::stderr(), "codex-gateway: the command did not start: {shortage}");
        // The gateway ends the turn, and this process.
        std::thread::sleep(WAIT);
        return Err(anyhow!("{shortage}"));
    }
    if let Some(mark) = handover.mark {
        Mark(mark).of_command(number.unwrap_or(AGENT)).set();
    }
    let owner = number.map(Owner::Command).or(thread.map(Owner::Thread));
    if let (Some(commands), Some(name)) = (&handover.cgroup, owner.map(|owner| owner.to_string())) {
        cgroup::join(commands, &name, &handover.limits, None)
            .with_context(|| format!("cannot enter a group in {}", commands.display()))?;
    }
    // Fails only where another limit is stricter, which stays.
    let _ = std::fs::write(
        "/proc/self/oom_score_adj",
        handover.limits.oom_score_adj.clamp(0, 1000).to_string(),
    );
    let _ = rustix::process::setpriority_process(None, handover.limits.nice);
    limit(None, &handover.limits, handover.open_files);
    Ok(())
}

/// Sets the resource limits of a process; `None` is this one. A limit that is stricter already
/// stays.
pub(super) fn limit(pid: Option<Pid>, limits: &CommandLimits, open_files: u64) {
    let CommandLimits { max_file_bytes, max_open_files, max_address_space_bytes, .. } = limits;
    // Counts over all processes of the user: a last resort, where the others fail.
    let processes = limits.max_processes.saturating_mul(4);
    for (resource, soft, hard) in [
        (Resource::Fsize, *max_file_bytes, *max_file_bytes),
        (Resource::Nofile, open_files.min(*max_open_files), *max_open_files),
        (Resource::Nproc, processes, processes),
        (Resource::Core, 0, 0),
        (
            Resource::As,
            max_address_space_bytes.unwrap_or(u64::MAX),
            max_address_space_bytes.unwrap_or(u64::MAX),
        ),
    ] {
        if hard == u64::MAX {
            continue;
        }
        let Some(Rlimit { current, maximum }) = limit_of(pid, resource) else { continue };
        let hard = maximum.map_or(hard, |maximum| maximum.min(hard));
        let soft = match resource {
            // The gateway has raised its own.
            Resource::Nofile => soft,
            _ => current.map_or(soft, |current| current.min(soft)),
        };
        let new = Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) };
        let _ = rustix::process::prlimit(pid, resource, new);
    }
}

/// The resource limit of a process, from `/proc` if it is another one.
fn limit_of(pid: Option<Pid>, resource: Resource) -> Option<Rlimit> {
    let Some(pid) = pid else { return Some(rustix::process::getrlimit(resource)) };
    let name = match resource {
        Resource::Fsize => "Max file size",
        Resource::Nofile => "Max open files",
        Resource::Nproc => "Max processes",
        Resource::Core => "Max core file size",
        Resource::As => "Max address space",
        _ => return None,
    };
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut fields = line.split_ascii_whitespace();
    let mut field = || fields.next().map(|field| field.parse().ok());
    Some(Rlimit { current: field()?, maximum: field()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_process_gets_limits_and_keeps_stricter_ones() {
        let script =
            "ulimit -f 8; ulimit -n 512; echo; read line; ulimit -f; ulimit -Hn; ulimit -Sn";
        let mut child = Command::new("bash")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let limits = CommandLimits { max_open_files: 300, ..CommandLimits::default() };
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        limit(pid, &limits, 200);
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
        assert_eq!(rest, "8\n300\n200\n");
        child.wait().unwrap();
    }

    #[test]
    fn unconfined_command_follows_the_flag() {
        let line = unconfined(Path::new("/x/codex-linux-sandbox"), vec!["ls".to_owned()]);
        assert_eq!(line, ["/x/codex-linux-sandbox", UNCONFINED, "ls"]);
    }
}
