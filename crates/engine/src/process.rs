//! A command that is running in core's sandbox: what it prints, how it ends, and its end.

use std::time::Duration;

use codex_protocol::protocol::ExecOutputStream;
use codex_utils_pty::ProcessHandle;
use codex_utils_pty::ProcessSignal;
use codex_utils_pty::SpawnedProcess;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a command may take to clean up before it is killed. The sandbox's helper needs it to
/// remove its mount points.
const GRACE: Duration = Duration::from_millis(200);
/// How long the pipes of a command that has ended are read, should a process that left its group
/// hold them open.
const DRAIN: Duration = Duration::from_secs(2);

/// A running command. Dropping it kills its process group.
#[derive(Debug)]
pub struct Process {
    handle: ProcessHandle,
    stdout: Option<mpsc::Receiver<Vec<u8>>>,
    stderr: Option<mpsc::Receiver<Vec<u8>>>,
    exit: oneshot::Receiver<i32>,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    exit_code: i32,
    read_until: Instant,
}

impl Process {
    pub(crate) fn new(spawned: SpawnedProcess) -> Self {
        let SpawnedProcess { session, stdout_rx, stderr_rx, exit_rx } = spawned;
        Self {
            handle: session,
            stdout: Some(stdout_rx),
            stderr: Some(stderr_rx),
            exit: exit_rx,
            ended: None,
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

    /// Ends it: an interrupt, then death for its whole process group.
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
        self.ended(code);
    }

    /// What it left in the background goes with it.
    fn ended(&mut self, exit_code: i32) {
        self.handle.request_terminate();
        self.ended = Some(Ended { exit_code, read_until: Instant::now() + DRAIN });
    }
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
