//! A terminal in core's sandbox.
//!
//! Three threads each: one reads, one writes, one waits for the end. All three block, the writer for as
//! long as the programs inside do not read, which no task of the runtime may.

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

use codex_core::exec::ExecExpiration;
use codex_core::exec::build_exec_request;
use codex_core::sandboxing::ExecRequest;
use codex_protocol::models::PermissionProfile;
use codex_utils_absolute_path::AbsolutePathBuf;
use portable_pty::Child;
use portable_pty::CommandBuilder;
use portable_pty::MasterPty;
use portable_pty::PtySize;
use rustix::process::Pid;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::EngineError;
use crate::sandbox;
use crate::terminal::INNER;
use crate::terminal::MAX_INPUT_BYTES;
use crate::terminal::OpenTerminal;
use crate::terminal::Terminal;
use crate::terminal::TerminalSize;
use crate::terminal::TerminalSpec;
use crate::terminal::WriteError;

/// Pieces of output, of at most [`READ_BYTES`], that may wait to be taken.
const WAITING_PIECES: usize = 16;
const READ_BYTES: usize = 8 << 10;

/// Where the gateway has no `PATH` itself.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Helpers {
    pub(super) self_exe: Option<PathBuf>,
    pub(super) linux_sandbox_exe: Option<PathBuf>,
}

/// Starts the program. Blocks for as long as that takes.
pub(super) fn open(
    spec: &TerminalSpec,
    profile: &PermissionProfile,
    helpers: &Helpers,
) -> Result<OpenTerminal, EngineError> {
    let failed = |error: &dyn std::fmt::Display| {
        EngineError::Failed(format!("a terminal could not be opened: {error}"))
    };
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    let shell = find(spec.shell.as_deref(), &path)?;
    let request = sandboxed(spec, &shell, path, profile, helpers)?;
    let pair = portable_pty::native_pty_system()
        .openpty(size_of(spec.size))
        .map_err(|error| failed(&error))?;
    let mut child =
        pair.slave.spawn_command(command(&request, &spec.cwd)?).map_err(|error| failed(&error))?;
    drop(pair.slave);
    let pid = child.process_id().ok_or_else(|| failed(&"the process has no number"))?;
    let reader = pair.master.try_clone_reader().map_err(|error| failed(&error))?;
    let writer = pair.master.take_writer().map_err(|error| failed(&error))?;

    let (pieces, output) = mpsc::channel(WAITING_PIECES);
    let (typed, input) = blocking::channel();
    let (ended, exit) = oneshot::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let written = Arc::clone(&waiting);
    let wait = move || {
        let child: &mut dyn Child = &mut *child;
        let status = match child.downcast_mut::<std::process::Child>() {
            Some(child) => child.wait().map_or(-1, code),
            None => child.wait().map_or(-1, |status| status.exit_code().cast_signed()),
        };
        let _ = ended.send(status);
    };
    let terminal = Pty { pid, master: Mutex::new(pair.master), typed, waiting };
    let started = run("terminal-wait", wait)
        .and_then(|()| run("terminal-read", move || read(reader, &pieces)))
        .and_then(|()| run("terminal-write", move || write(writer, &input, &written)));
    if let Err(error) = started {
        terminal.kill();
        return Err(failed(&error));
    }
    Ok(OpenTerminal { terminal: Arc::new(terminal), output, exit })
}

fn run(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(work).map(drop)
}

/// The program that was asked for.
fn find(shell: Option<&str>, path: &str) -> Result<PathBuf, EngineError> {
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

/// The command line that starts the sandbox and, in it, the inner end.
fn sandboxed(
    spec: &TerminalSpec,
    shell: &Path,
    path: String,
    profile: &PermissionProfile,
    helpers: &Helpers,
) -> Result<ExecRequest, EngineError> {
    let cwd = AbsolutePathBuf::from_absolute_path(&spec.cwd)
        .map_err(|error| EngineError::Rejected(error.to_string()))?;
    let inner = helpers.self_exe.clone().or_else(|| std::env::current_exe().ok());
    let inner = inner.ok_or_else(|| EngineError::Failed("this binary has no path".to_owned()))?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let params = sandbox::exec_params(
        vec![text(&inner), INNER.to_owned(), text(shell)],
        &cwd,
        environment(spec, shell, path),
        ExecExpiration::DefaultTimeout,
    );
    let roots = [cwd.clone()];
    build_exec_request(params, profile, &cwd, &roots, &helpers.linux_sandbox_exe, false)
        .map_err(|error| EngineError::Failed(error.to_string()))
}

/// All that the programs get: nothing of the gateway's own environment but its `PATH`.
fn environment(spec: &TerminalSpec, shell: &Path, path: String) -> HashMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    [
        ("TERM", "xterm-256color".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", path),
        // The one folder that can be written to.
        ("HOME", text(&spec.cwd)),
        ("SHELL", text(shell)),
        // A file of what was typed is not the work.
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
    // The inner end takes it.
    command.set_controlling_tty(false);
    Ok(command)
}

/// An ending, as shells number them.
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
            // The last program that had the terminal open is gone.
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
    waiting: &AtomicUsize,
) {
    while let Ok(bytes) = input.recv() {
        if writer.write_all(&bytes).and_then(|()| writer.flush()).is_err() {
            return;
        }
        waiting.fetch_sub(bytes.len(), Ordering::AcqRel);
    }
}

struct Pty {
    pid: u32,
    master: Mutex<Box<dyn MasterPty + Send>>,
    typed: blocking::Sender<Vec<u8>>,
    /// Bytes that wait to be read by the programs.
    waiting: Arc<AtomicUsize>,
}

impl Terminal for Pty {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn write(&self, bytes: Vec<u8>) -> Result<(), WriteError> {
        let length = bytes.len();
        let fits = |waiting: usize| {
            waiting.checked_add(length).filter(|waiting| *waiting <= MAX_INPUT_BYTES)
        };
        self.waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .map_err(|_| WriteError::Full)?;
        self.typed.send(bytes).map_err(|_| WriteError::Ended)
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
    }
}

impl Pty {
    /// Signals the group that was started and, where the system says who is in its session, the groups
    /// of a shell's jobs. What is in the sandbox has a session of its own and ends with the sandbox.
    fn signal(&self, signal: Signal) {
        let Some(leader) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        for member in session(self.pid) {
            let _ = rustix::process::kill_process(member, signal);
        }
        let _ = rustix::process::kill_process_group(leader, signal);
    }
}

/// The processes of a session.
fn session(id: u32) -> Vec<Pid> {
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

/// The sixth field (proc_pid_stat(5)); the second is a name in parentheses, of any characters.
fn session_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_whatever_the_programs_name_is() {
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
    fn a_shell_is_a_program_by_its_path_or_its_name() {
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
            assert_eq!(find(shell, "/bin:/usr/bin").is_ok(), found, "{shell:?}");
        }
    }
}
