//! A running command in core's sandbox: its output, its exit code, and how it is killed.

use std::any::Any;
use std::collections::HashSet;
use std::time::Duration;

use codex_protocol::protocol::ExecOutputStream;
use codex_utils_pty::ProcessHandle;
use codex_utils_pty::ProcessSignal;
use codex_utils_pty::SpawnedProcess;
use rustix::process::Pid;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Time between the interrupt and the kill.
const GRACE: Duration = Duration::from_millis(200);
/// How long the pipes are read after the exit, in case a process outside the group holds them open.
const DRAIN: Duration = Duration::from_secs(2);

/// A running command. Dropping it kills all of its processes.
#[derive(Debug)]
pub struct Process {
    handle: ProcessHandle,
    stdout: Option<mpsc::Receiver<Vec<u8>>>,
    stderr: Option<mpsc::Receiver<Vec<u8>>>,
    exit: oneshot::Receiver<i32>,
    exited: Option<Exited>,
    /// A word on the command line of the sandbox's processes.
    mark: String,
    /// Dropped after the processes were killed.
    _until_killed: Box<dyn Any + Send + Sync>,
}

#[derive(Debug, Clone, Copy)]
struct Exited {
    exit_code: i32,
    read_until: Instant,
}

impl Process {
    pub(crate) fn new(
        spawned: SpawnedProcess,
        mark: String,
        until_killed: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let SpawnedProcess { session, stdout_rx, stderr_rx, exit_rx } = spawned;
        Self {
            handle: session,
            stdout: Some(stdout_rx),
            stderr: Some(stderr_rx),
            exit: exit_rx,
            exited: None,
            mark,
            _until_killed: until_killed,
        }
    }

    /// The next piece of output; `None` once the command has exited and all output has been read.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<(ExecOutputStream, Vec<u8>)> {
        loop {
            if self.exited.is_some() && self.stdout.is_none() && self.stderr.is_none() {
                return None;
            }
            let read_until = self.exited.map(|exited| exited.read_until);
            tokio::select! {
                piece = receive(&mut self.stdout) => {
                    if let Some(piece) = piece {
                        return Some((ExecOutputStream::Stdout, piece));
                    }
                }
                piece = receive(&mut self.stderr) => {
                    if let Some(piece) = piece {
                        return Some((ExecOutputStream::Stderr, piece));
                    }
                }
                code = &mut self.exit, if self.exited.is_none() => self.on_exit(code.unwrap_or(-1)),
                () = sleep_until(read_until) => return None,
            }
        }
    }

    /// The exit code, or 128 plus the number of the signal that ended it. `None` while it runs.
    pub fn exit_code(&self) -> Option<i32> {
        self.exited.map(|exited| exited.exit_code)
    }

    /// Interrupts the command, then kills its process group and its sandbox.
    pub async fn kill(&mut self) {
        if self.exited.is_some() {
            return;
        }
        let _ = self.handle.signal(ProcessSignal::Interrupt);
        let code = match tokio::time::timeout(GRACE, &mut self.exit).await {
            Ok(code) => code.unwrap_or(-1),
            Err(_) => {
                self.handle.request_terminate();
                (&mut self.exit).await.unwrap_or(-1)
            }
        };
        sweep(&self.mark);
        self.on_exit(code);
    }

    /// Kills the background processes that it left.
    fn on_exit(&mut self, exit_code: i32) {
        self.handle.request_terminate();
        self.exited = Some(Exited { exit_code, read_until: Instant::now() + DRAIN });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited.is_none() {
            self.handle.request_terminate();
            sweep(&self.mark);
        }
    }
}

/// Kills the remains of a sandbox. Bubblewrap asks to die with its parent only some time after it
/// starts: if the parent is killed before that, the sandbox survives and still runs its command.
///
/// The first process of the sandbox keeps the mark on its command line, and all others die with it.
/// A process forked during the scan is found in the next round.
fn sweep(mark: &str) {
    let mut killed = HashSet::new();
    loop {
        let found: Vec<i32> =
            pids_with(mark).into_iter().filter(|pid| !killed.contains(pid)).collect();
        if found.is_empty() {
            return;
        }
        for pid in found {
            killed.insert(pid);
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Processes with this mark on their command line. Empty without `/proc`, where there is no
/// bubblewrap either.
fn pids_with(mark: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

/// The next piece; `None`, once, when the pipe closes.
async fn receive(pipe: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    let Some(open) = pipe else { return std::future::pending().await };
    let piece = open.recv().await;
    if piece.is_none() {
        *pipe = None;
    }
    piece
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
