//! [`Terminal`] in core's sandbox.
//!
//! Each terminal has three threads: reader, writer, and one that waits for the exit. All three
//! block, the writer for as long as the programs inside do not read, which a task of the runtime
//! must not.

use std::collections::HashMap;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc as blocking;
use std::thread;

use anyhow::anyhow;
use codex_core::exec::ExecExpiration;
use codex_core::exec::build_exec_request;
use codex_core::sandboxing::ExecRequest;
use codex_utils_absolute_path::AbsolutePathBuf;
use portable_pty::Child;
use portable_pty::CommandBuilder;
use portable_pty::MasterPty;
use portable_pty::PtySize;
use portable_pty::SlavePty;
use rustix::process::Pid;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::permissions::Permissions;
use crate::EngineError;
use crate::children;
use crate::children::Children;
use crate::children::StartedCommand;
use crate::sandbox;
use crate::terminal::INNER_FLAG;
use crate::terminal::MAX_INPUT_BYTES;
use crate::terminal::OpenTerminal;
use crate::terminal::Terminal;
use crate::terminal::TerminalSize;
use crate::terminal::TerminalSpec;
use crate::terminal::WriteError;

/// Capacity of the output channel, in pieces of at most [`READ_BYTES`].
const OUTPUT_CAPACITY: usize = 16;
const READ_BYTES: usize = 8 << 10;

/// Used if the gateway has no `PATH` itself.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Helpers {
    pub(super) children: Arc<Children>,
    pub(super) self_exe: Option<PathBuf>,
    pub(super) linux_sandbox_exe: Option<PathBuf>,
}

/// Starts the program. Blocking.
pub(super) fn open(
    spec: &TerminalSpec,
    permissions: Permissions,
    helpers: &Helpers,
) -> Result<OpenTerminal, EngineError> {
    let failed = |error: &dyn std::fmt::Display| {
        EngineError::Failed(format!("cannot open a terminal: {error}"))
    };
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    let shell = find_shell(spec.shell.as_deref(), &path)?;
    let started = helpers.children.command()?;
    let request = sandboxed(spec, &shell, path, &permissions, helpers, &started)?;
    let started = started.holding(permissions);
    let pair = portable_pty::native_pty_system()
        .openpty(size_of(spec.size))
        .map_err(|error| failed(&error))?;
    let command = command(&request, &spec.cwd)?;
    let (exited, exit) = oneshot::channel();
    let pid = start(pair.slave, command, exited).map_err(|error| failed(&error))?;
    let reader = pair.master.try_clone_reader().map_err(|error| failed(&error))?;
    let writer = pair.master.take_writer().map_err(|error| failed(&error))?;

    let (pieces, output) = mpsc::channel(OUTPUT_CAPACITY);
    let (queue, input) = blocking::channel();
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let queued = Arc::clone(&queued_bytes);
    let master = Mutex::new(pair.master);
    let ended = started.ended();
    let terminal = Pty { pid, master, queue, queued_bytes, command: started };
    let threads = spawn("terminal-read", move || read(reader, &pieces))
        .and_then(|()| spawn("terminal-write", move || write(writer, &input, &queued)));
    if let Err(error) = threads {
        terminal.kill();
        return Err(failed(&error));
    }
    Ok(OpenTerminal { terminal: Arc::new(terminal), output, exit, ended })
}

/// Starts the command in the thread that waits for its end: the sandbox dies with the thread that it
/// was started by. Returns the process id.
fn start(
    slave: Box<dyn SlavePty + Send>,
    command: CommandBuilder,
    exited: oneshot::Sender<i32>,
) -> anyhow::Result<u32> {
    let (started, pid) = blocking::channel();
    let run = move || {
        let spawned = slave.spawn_command(command);
        drop(slave);
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return drop(started.send(Err(error))),
        };
        let pid = child.process_id().ok_or_else(|| anyhow!("the process has no id"));
        let _ = started.send(pid);
        let child: &mut dyn Child = &mut *child;
        let status = match child.downcast_mut::<std::process::Child>() {
            Some(child) => child.wait().map_or(-1, code),
            None => child.wait().map_or(-1, |status| status.exit_code().cast_signed()),
        };
        let _ = exited.send(status);
    };
    spawn("terminal-wait", run)?;
    pid.recv()?
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(work).map(drop)
}

/// The program to start: `shell`, or bash, or sh.
fn find_shell(shell: Option<&str>, path: &str) -> Result<PathBuf, EngineError> {
    let runs = |program: &PathBuf| {
        program
            .metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let named = |name: &str| std::env::split_paths(path).map(|dir| dir.join(name)).find(runs);
    let found = match shell {
        None => named("bash").or_else(|| named("sh")),
        Some(absolute) if Path::new(absolute).is_absolute() => Some(absolute.into()).filter(runs),
        Some(name) if name.is_empty() || name.contains(['/', '\0']) => None,
        Some(name) => named(name),
    };
    found.ok_or_else(|| {
        EngineError::Rejected(
            "shell: expected the absolute path of a program, or the name of one on PATH".to_owned(),
        )
    })
}

/// The request that starts the sandbox with the inner end in it.
fn sandboxed(
    spec: &TerminalSpec,
    shell: &Path,
    path: String,
    permissions: &Permissions,
    helpers: &Helpers,
    started: &StartedCommand,
) -> Result<ExecRequest, EngineError> {
    let cwd = AbsolutePathBuf::from_absolute_path(&spec.cwd)
        .map_err(|error| EngineError::Rejected(error.to_string()))?;
    let inner = helpers.self_exe.clone().or_else(|| std::env::current_exe().ok());
    let inner = inner.ok_or_else(|| EngineError::Failed("this binary has no path".to_owned()))?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let params = sandbox::exec_params(
        vec![text(&inner), INNER_FLAG.to_owned(), text(shell)],
        &cwd,
        environment(spec, shell, path).into_iter().chain([started.variable()]).collect(),
        ExecExpiration::DefaultTimeout,
    );
    let (roots, profile) = ([cwd.clone()], permissions.command_profile(spec.sandbox));
    let mut request =
        build_exec_request(params, &profile, &cwd, &roots, &helpers.linux_sandbox_exe, false)
            .map_err(|error| EngineError::Failed(error.to_string()))?;
    if let (None, Some(helper)) = (&request.arg0, helpers.children.helper()) {
        request.command = children::unconfined(helper, request.command);
    }
    Ok(request)
}

/// The complete environment of the programs: of the gateway's own only `PATH`.
fn environment(spec: &TerminalSpec, shell: &Path, path: String) -> HashMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    [
        ("TERM", "xterm-256color".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", path),
        // The only writable folder.
        ("HOME", text(&spec.cwd)),
        ("SHELL", text(shell)),
        // No history file in the workspace.
        ("HISTFILE", String::new()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn command(request: &ExecRequest, cwd: &Path) -> Result<CommandBuilder, EngineError> {
    let (program, arguments) = request
        .command
        .split_first()
        .ok_or_else(|| EngineError::Failed("the sandbox has no command line".to_owned()))?;
    let mut command = CommandBuilder::new(request.arg0.as_ref().unwrap_or(program));
    command.args(arguments);
    command.cwd(cwd);
    command.env_clear();
    for (name, value) in &request.env {
        command.env(name, value);
    }
    // The inner end does that.
    command.set_controlling_tty(false);
    Ok(command)
}

/// The exit status, as shells number it.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn size_of(size: TerminalSize) -> PtySize {
    PtySize { rows: size.rows, cols: size.cols, pixel_width: 0, pixel_height: 0 }
}

fn read(mut reader: Box<dyn Read + Send>, pieces: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match reader.read(&mut buffer) {
            // The last program with the terminal open has exited.
            Ok(0) => return,
            Ok(length) => {
                let piece = buffer.get(..length).unwrap_or_default().to_vec();
                if pieces.blocking_send(piece).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn write(
    mut writer: Box<dyn Write + Send>,
    input: &blocking::Receiver<Vec<u8>>,
    queued_bytes: &AtomicUsize,
) {
    while let Ok(bytes) = input.recv() {
        if writer.write_all(&bytes).and_then(|()| writer.flush()).is_err() {
            return;
        }
        queued_bytes.fetch_sub(bytes.len(), Ordering::AcqRel);
    }
}

struct Pty {
    pid: u32,
    master: Mutex<Box<dyn MasterPty + Send>>,
    queue: blocking::Sender<Vec<u8>>,
    /// Input that the programs have not read yet, in bytes.
    queued_bytes: Arc<AtomicUsize>,
    command: StartedCommand,
}

impl Terminal for Pty {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn write(&self, bytes: Vec<u8>) -> Result<(), WriteError> {
        let length = bytes.len();
        let fits =
            |queued: usize| queued.checked_add(length).filter(|queued| *queued <= MAX_INPUT_BYTES);
        self.queued_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .map_err(|_| WriteError::Full)?;
        self.queue.send(bytes).map_err(|_| WriteError::Ended)
    }

    fn resize(&self, size: TerminalSize) -> Result<(), EngineError> {
        let master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        master.resize(size_of(size)).map_err(|error| EngineError::Failed(error.to_string()))
    }

    fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
        self.command.kill();
    }
}

impl Pty {
    /// Signals the started process group and then, if there is a `/proc`, all members of its
    /// session: the jobs of a shell. Processes in the sandbox have a session of their own and end
    /// with the sandbox.
    fn signal(&self, signal: Signal) {
        let Some(leader) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let _ = rustix::process::kill_process_group(leader, signal);
        let session = self.pid;
        // A look at all processes of the machine takes too long for a task of the runtime.
        let signal_session = move || {
            for member in session_members(session) {
                let _ = rustix::process::kill_process(member, signal);
            }
        };
        if let Err(error) = spawn("terminal-signal", signal_session) {
            tracing::error!(%error, "a terminal's jobs may be left");
        }
    }
}

/// The processes of a session.
fn session_members(id: u32) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            session_of(&stat) == Some(id)
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// The session id: the sixth field (proc_pid_stat(5)). The second is a name in parentheses, which
/// may contain any characters.
fn session_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_is_read_past_any_name() {
        for (stat, expected) in [
            ("12 (sh) S 1 11 10 34817 12 4194304", Some(10)),
            ("12 (a) b) S 1) R 1 11 10 0", Some(10)),
            ("", None),
            ("12 (sh", None),
        ] {
            assert_eq!(session_of(stat), expected, "{stat}");
        }
    }

    #[test]
    fn shell_is_a_path_or_a_name() {
        for (shell, found) in [
            (None, true),
            (Some("sh"), true),
            (Some("/bin/sh"), true),
            (Some("/bin"), false),
            (Some("/etc/passwd"), false),
            (Some("bin/sh"), false),
            (Some("../bin/sh"), false),
            (Some("no-such-shell"), false),
            (Some(""), false),
        ] {
            assert_eq!(find_shell(shell, "/bin:/usr/bin").is_ok(), found, "{shell:?}");
        }
    }
}
