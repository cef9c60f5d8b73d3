//! One terminal: its input, its output, and the one task that ends it.

use std::sync::Arc;
use std::sync::MutexGuard;
use std::time::Duration;

use codex_gateway_engine::terminal::MAX_INPUT_BYTES;
use codex_gateway_engine::terminal::OpenTerminal;
use codex_gateway_engine::terminal::Terminal as Engine;
use codex_gateway_engine::terminal::TerminalSize;
use codex_gateway_engine::terminal::WriteError;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::TerminalLimits;
use super::ring::Piece;
use super::ring::Ring;
use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;

/// The bytes of output that are kept.
const RING_BYTES: usize = 256 << 10;
/// The time between hanging up and killing.
const GRACE: Duration = Duration::from_millis(500);
/// The time that the last output has to arrive once the program has exited.
const REMAINING_OUTPUT_WAIT: Duration = Duration::from_millis(250);

/// The reason of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExitReason {
    /// The program exited.
    Exited,
    /// A client stopped it.
    Stopped,
    /// Its socket was closed.
    Disconnected,
    /// There was no input or output for too long.
    Idle,
    /// It reached the limit of its lifetime.
    Lifetime,
    /// Its programs exceeded a limit (`gateway.commands`).
    Limit,
    /// The gateway shut down.
    Shutdown,
}

/// The end of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// As in a shell: 128 plus the number of the signal that ended the program.
    pub(crate) exit_code: i32,
    pub(crate) reason: ExitReason,
    at: Instant,
}

/// A read of the output.
#[derive(Debug)]
pub(crate) struct Output {
    /// Empty if there is no output yet.
    pub(crate) piece: Piece,
    /// Set once no output follows the piece.
    pub(crate) exit: Option<Exit>,
}

/// A terminal.
pub(crate) struct Terminal {
    id: Arc<str>,
    owner: Arc<str>,
    detached: bool,
    engine: Arc<dyn Engine>,
    state: Mutex<State>,
    /// Wakes readers on output and on exit.
    changed: watch::Sender<()>,
    /// Ends the terminal, with the reason in the state.
    stop: CancellationToken,
}

struct State {
    ring: Ring,
    size: TerminalSize,
    /// The time of the last input or output.
    last_active: Instant,
    stop_reason: Option<ExitReason>,
    exit: Option<Exit>,
    /// Ends the follower that it belongs to.
    follower: Option<CancellationToken>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Terminal {
    pub(super) fn new(
        owner: Arc<str>,
        detached: bool,
        open: &OpenTerminal,
        size: TerminalSize,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: uuid::Uuid::new_v4().to_string().into(),
            owner,
            detached,
            engine: Arc::clone(&open.terminal),
            state: Mutex::new(State {
                ring: Ring::new(RING_BYTES),
                size,
                last_active: Instant::now(),
                stop_reason: None,
                exit: None,
                follower: None,
            }),
            changed: watch::Sender::new(()),
            stop: CancellationToken::new(),
        })
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The id of the process that was started.
    pub(crate) fn pid(&self) -> u32 {
        self.engine.pid()
    }

    pub(crate) fn size(&self) -> TerminalSize {
        self.state().size
    }

    /// Whether it outlives its socket.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached
    }

    pub(super) fn is_owned_by(&self, owner: &str) -> bool {
        *self.owner == *owner
    }

    pub(super) fn exited_at(&self) -> Option<Instant> {
        self.state().exit.map(|exit| exit.at)
    }

    /// The number of bytes printed so far.
    pub(crate) fn printed(&self) -> u64 {
        self.state().ring.end()
    }

    /// Writes input. Never waits, so that input keeps its order.
    ///
    /// # Errors
    /// `TooLarge` for more than the queue holds; `Overloaded` if the queue is too full; `NotFound`
    /// if the terminal has ended.
    pub(crate) fn write(&self, bytes: Vec<u8>) -> Result<(), Error> {
        if bytes.len() > MAX_INPUT_BYTES {
            return Err(Error::new(
                Kind::TooLarge,
                format!("data: expected at most {MAX_INPUT_BYTES} bytes at a time"),
            ));
        }
        self.check_running()?;
        match self.engine.write(bytes) {
            Ok(()) => {
                self.state().last_active = Instant::now();
                Ok(())
            }
            Err(WriteError::Full) => Err(Error::new(
                Kind::Overloaded,
                format!(
                    "the terminal's programs do not read: expected at most {MAX_INPUT_BYTES} bytes \
                     of unread input"
                ),
            )),
            Err(WriteError::Ended) => Err(exited()),
        }
    }

    /// Resizes the terminal.
    ///
    /// # Errors
    /// `NotFound` if the terminal has ended; propagates `EngineError`.
    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        self.check_running()?;
        self.engine.resize(size)?;
        let mut state = self.state();
        (state.size, state.last_active) = (size, Instant::now());
        Ok(())
    }

    fn check_running(&self) -> Result<(), Error> {
        if self.state().exit.is_some() { Err(exited()) } else { Ok(()) }
    }

    /// Ends the terminal. The first reason counts.
    pub(crate) fn stop(&self, reason: ExitReason) {
        self.state().stop_reason.get_or_insert(reason);
        self.stop.cancel();
    }

    /// Waits for the exit.
    pub(crate) async fn exited(&self) -> Exit {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(exit) = self.state().exit {
                return exit;
            }
            let _ = changed.changed().await;
        }
    }

    /// Reads at most `limit` bytes of output after the first `after` bytes. Waits until there is
    /// some, or the terminal has exited.
    pub(crate) async fn next(&self, after: u64, limit: usize) -> Output {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let output = self.output(after, limit);
            if !output.piece.data.is_empty() || output.piece.lost > 0 || output.exit.is_some() {
                return output;
            }
            let _ = changed.changed().await;
        }
    }

    /// Reads like [`next`](Self::next), without waiting.
    pub(crate) fn output(&self, after: u64, limit: usize) -> Output {
        let state = self.state();
        let piece = state.ring.read(after, limit);
        let exit = state.exit.filter(|_| piece.next() == state.ring.end());
        Output { piece, exit }
    }

    /// Gives the terminal to a follower. The earlier one is cancelled.
    pub(crate) fn replace_follower(&self, follower: CancellationToken) {
        if let Some(earlier) = self.state().follower.replace(follower) {
            earlier.cancel();
        }
    }

    /// Runs the terminal to its exit: keeps its output, and ends it for any [`ExitReason`].
    pub(super) async fn run(
        &self,
        open: OpenTerminal,
        limits: &TerminalLimits,
        drain: &CancellationToken,
    ) {
        let OpenTerminal { mut output, mut exit, ended, .. } = open;
        let lifetime = Instant::now() + limits.lifetime;
        let mut printing = true;
        let (reason, code) = loop {
            let idle = self.state().last_active + limits.idle;
            tokio::select! {
                piece = output.recv(), if printing => match piece {
                    Some(piece) => self.print(&piece),
                    None => printing = false,
                },
                code = &mut exit => break (ExitReason::Exited, Some(code.unwrap_or(-1))),
                () = self.stop.cancelled() => {
                    break (self.state().stop_reason.unwrap_or(ExitReason::Stopped), None);
                }
                () = tokio::time::sleep_until(idle) => {
                    if self.state().last_active + limits.idle <= Instant::now() {
                        break (ExitReason::Idle, None);
                    }
                }
                () = tokio::time::sleep_until(lifetime) => break (ExitReason::Lifetime, None),
                () = drain.cancelled() => break (ExitReason::Shutdown, None),
            }
        };
        let reason = if ended.get().is_some() { ExitReason::Limit } else { reason };
        let code = match code {
            Some(code) => code,
            None => self.end(&mut output, &mut exit).await,
        };
        // Background processes that the program left are killed as well.
        self.read_remaining(&mut output).await;
        self.engine.kill();
        self.read_remaining(&mut output).await;
        tracing::debug!(terminal = %self.id, ?reason, exit_code = code, "a terminal ended");
        self.state().exit = Some(Exit { exit_code: code, reason, at: Instant::now() });
        self.changed.send_replace(());
    }

    /// Hangs up, then kills the processes that are left after [`GRACE`]. Returns the exit code.
    async fn end(
        &self,
        output: &mut mpsc::Receiver<Vec<u8>>,
        exit: &mut oneshot::Receiver<i32>,
    ) -> i32 {
        self.engine.hang_up();
        let limit = tokio::time::sleep(GRACE);
        let mut limit = std::pin::pin!(limit);
        let (mut printing, mut waiting) = (true, true);
        loop {
            tokio::select! {
                code = &mut *exit => return code.unwrap_or(-1),
                piece = output.recv(), if printing => match piece {
                    Some(piece) => self.print(&piece),
                    None => printing = false,
                },
                () = &mut limit, if waiting => {
                    waiting = false;
                    self.engine.kill();
                }
            }
        }
    }

    /// Reads the output that is still to come, for at most [`REMAINING_OUTPUT_WAIT`].
    async fn read_remaining(&self, output: &mut mpsc::Receiver<Vec<u8>>) {
        let rest = async {
            while let Some(piece) = output.recv().await {
                self.print(&piece);
            }
        };
        let _ = tokio::time::timeout(REMAINING_OUTPUT_WAIT, rest).await;
    }

    fn print(&self, piece: &[u8]) {
        {
            let mut state = self.state();
            state.ring.push(piece);
            state.last_active = Instant::now();
        }
        self.changed.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

fn exited() -> Error {
    Error::new(Kind::NotFound, "terminal_id: expected a running terminal; this one has ended")
}
