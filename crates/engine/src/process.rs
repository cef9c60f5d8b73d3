//! A running command in core's sandbox: its output, its exit code, and how it is killed.

use std::time::Duration;

use codex_protocol::protocol::ExecOutputStream;
use codex_utils_pty::ProcessHandle;
use codex_utils_pty::ProcessSignal;
use codex_utils_pty::SpawnedProcess;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::children::StartedCommand;
use crate::children::Violation;

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
    /// Dropping it kills what is left.
    command: StartedCommand,
}

#[derive(Debug, Clone, Copy)]
struct Exited {
    exit_code: i32,
    read_until: Instant,
}

impl Process {
    pub(crate) fn new(spawned: SpawnedProcess, command: StartedCommand) -> Self {
        let SpawnedProcess { session, stdout_rx, stderr_rx, exit_rx } = spawned;
        Self {
            handle: session,
            stdout: Some(stdout_rx),
            stderr: Some(stderr_rx),
            exit: exit_rx,
            exited: None,
            command,
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

    /// Why it was ended, if it exceeded a limit.
    pub fn violation(&self) -> Option<Violation> {
        self.command.ended().get().cloned()
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
        self.on_exit(code);
    }

    /// Kills the processes that it left, those with a session of their own and those of a sandbox
    /// included: bubblewrap asks to die with its parent only some time after it starts.
    fn on_exit(&mut self, exit_code: i32) {
        self.handle.request_terminate();
        self.command.kill();
        self.exited = Some(Exited { exit_code, read_until: Instant::now() + DRAIN });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited.is_none() {
            // The rest is killed with `command`.
            self.handle.request_terminate();
        }
    }
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
