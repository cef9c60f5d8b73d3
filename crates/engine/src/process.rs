//! A command that is running in core's sandbox: what it prints, how it ends, and its end.

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

/// How long a command may take to clean up before it is killed. The sandbox's helper needs it to
/// remove its mount points.
const GRACE: Duration = Duration::from_millis(200);
/// How long the pipes of a command that has ended are read, should a process that left its group
/// hold them open.
const DRAIN: Duration = Duration::from_secs(2);

/// A running command. Dropping it kills all of it.
#[derive(Debug)]
pub struct Process {
    handle: ProcessHandle,
    stdout: Option<mpsc::Receiver<Vec<u8>>>,
    stderr: Option<mpsc::Receiver<Vec<u8>>>,
    exit: oneshot::Receiver<i32>,
    ended: Option<Ended>,
    /// A word on the command line of the sandbox's processes.
    mark: String,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    exit_code: i32,
    read_until: Instant,
}

impl Process {
    pub(crate) fn new(spawned: SpawnedProcess, mark: String) -> Self {
        let SpawnedProcess { session, stdout_rx, stderr_rx, exit_rx } = spawned;
        Self {
            handle: session,
            stdout: Some(stdout_rx),
            stderr: Some(stderr_rx),
            exit: exit_rx,
            ended: None,
            mark,
        }
    }

    /// The next piece of what it prints; `None` once it has ended and everything has been read.
    /// Nothing is lost where the future is dropped.
    pub async fn next(&mut self) -> Option<(ExecOutputStream, Vec<u8>)> {
        loop {
            if self.ended.is_some() && self.stdout.is_none() && self.stderr.is_none() {
                return None;
            }
            let read_until = self.ended.map(|ended| ended.read_until);
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
                code = &mut self.exit, if self.ended.is_none() => self.ended(code.unwrap_or(-1)),
                () = until(read_until) => return None,
            }
        }
    }

    /// How it ended: its exit code, 128 and more where a signal ended it. `None` while it runs.
    pub fn exit_code(&self) -> Option<i32> {
        self.ended.map(|ended| ended.exit_code)
    }

    /// Ends it: an interrupt, then death for its whole process group and its sandbox.
    pub async fn kill(&mut self) {
        if self.ended.is_some() {
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
        self.ended(code);
    }

    /// What it left in the background goes with it.
    fn ended(&mut self, exit_code: i32) {
        self.handle.request_terminate();
        self.ended = Some(Ended { exit_code, read_until: Instant::now() + DRAIN });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.handle.request_terminate();
            sweep(&self.mark);
        }
    }
}

/// Kills what is left of a sandbox. Bubblewrap dies with its parent only from a moment on: where the
/// parent is killed before it, the sandbox is left, and the command in it begins all the same.
///
/// The first process of the sandbox keeps the mark on its command line, and all others die with it.
/// One that was forked while this looked around is found in the next round.
fn sweep(mark: &str) {
    let mut killed = HashSet::new();
    loop {
        let left: Vec<i32> = marked(mark).into_iter().filter(|pid| !killed.contains(pid)).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            killed.insert(pid);
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The processes with this mark on their command line. (None where there is no `/proc`: there is no
/// bubblewrap either.)
fn marked(mark: &str) -> Vec<i32> {
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

/// The next piece; `None`, once, when the pipe is closed.
async fn receive(pipe: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    let Some(open) = pipe else { return std::future::pending().await };
    let piece = open.recv().await;
    if piece.is_none() {
        *pipe = None;
    }
    piece
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
