//! One terminal: what is typed, what is printed, and the one task that ends it.

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

use super::TerminalLimits;
use super::ring::Piece;
use super::ring::Ring;
use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;

/// How much of what a terminal printed is kept.
const RING_BYTES: usize = 256 << 10;
/// How long programs may take to go once their terminal was hung up, before they are killed.
const GRACE: Duration = Duration::from_millis(500);
/// How long the last output may take to arrive once the program has ended.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Why a terminal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// Its program ended.
    Exited,
    /// A client stopped it.
    Stopped,
    /// The socket that it belonged to was closed.
    Disconnected,
    /// Nothing was typed or printed for too long.
    Idle,
    /// Its time was up.
    Lifetime,
    /// The gateway shut down.
    Shutdown,
}

/// How a terminal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// As shells number them: 128 and the signal's number where a signal ended it.
    pub(crate) exit_code: i32,
    /// Why.
    pub(crate) reason: Reason,
    at: Instant,
}

/// What a terminal printed, and whether that was all.
#[derive(Debug)]
pub(crate) struct Output {
    /// The output; empty where there is none yet.
    pub(crate) piece: Piece,
    /// There was nothing after it.
    pub(crate) ending: Option<Ending>,
}

/// A terminal.
pub(crate) struct Terminal {
    id: Arc<str>,
    owner: Arc<str>,
    detached: bool,
    engine: Arc<dyn Engine>,
    state: Mutex<State>,
    /// Woken by output and by the end.
    changed: watch::Sender<()>,
    /// It is to end, for the reason in the state.
    stop: CancellationToken,
}

struct State {
    ring: Ring,
    size: TerminalSize,
    /// When something was last typed or printed.
    active: Instant,
    stopped: Option<Reason>,
    ending: Option<Ending>,
    /// Ends the following of the socket that it belongs to.
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
                active: Instant::now(),
                stopped: None,
                ending: None,
                follower: None,
            }),
            changed: watch::Sender::new(()),
            stop: CancellationToken::new(),
        })
    }

    /// Its name.
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The process that was started.
    pub(crate) fn pid(&self) -> u32 {
        self.engine.pid()
    }

    /// Its size.
    pub(crate) fn size(&self) -> TerminalSize {
        self.state().size
    }

    /// It goes on without the socket that follows it.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached
    }

    pub(super) fn is_of(&self, owner: &str) -> bool {
        *self.owner == *owner
    }

    pub(super) fn ended_at(&self) -> Option<Instant> {
        self.state().ending.map(|ending| ending.at)
    }

    /// How many bytes it has printed.
    pub(crate) fn printed(&self) -> u64 {
        self.state().ring.end()
    }

    /// Types. Never waits, so that what is typed keeps its order.
    ///
    /// # Errors
    /// `TooLarge` for more than may ever wait; `Overloaded` where too much waits already; `NotFound`
    /// where it has ended.
    pub(crate) fn write(&self, bytes: Vec<u8>) -> Result<(), Error> {
        if bytes.len() > MAX_INPUT_BYTES {
            return Err(Error::new(
                Kind::TooLarge,
                format!("data: expected at most {MAX_INPUT_BYTES} bytes at a time"),
            ));
        }
        self.expect_running()?;
        match self.engine.write(bytes) {
            Ok(()) => {
                self.state().active = Instant::now();
                Ok(())
            }
            Err(WriteError::Full) => Err(Error::new(
                Kind::Overloaded,
                format!(
                    "the terminal's programs do not read: expected at most {MAX_INPUT_BYTES} bytes to wait \
                     for them"
                ),
            )),
            Err(WriteError::Ended) => Err(ended()),
        }
    }

    /// Changes the size.
    ///
    /// # Errors
    /// `NotFound` where it has ended; what the engine says.
    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        self.expect_running()?;
        self.engine.resize(size)?;
        let mut state = self.state();
        (state.size, state.active) = (size, Instant::now());
        Ok(())
    }

    fn expect_running(&self) -> Result<(), Error> {
        if self.state().ending.is_some() { Err(ended()) } else { Ok(()) }
    }

    /// Tells it to end; the first reason counts.
    pub(crate) fn stop(&self, reason: Reason) {
        self.state().stopped.get_or_insert(reason);
        self.stop.cancel();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Ending {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(ending) = self.state().ending {
                return ending;
            }
            let _ = changed.changed().await;
        }
    }

    /// What it printed after the first `after` bytes, at most `most` of it. Waits until there is
    /// something to say.
    pub(crate) async fn next(&self, after: u64, most: usize) -> Output {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let output = self.output(after, most);
            if !output.piece.data.is_empty() || output.piece.lost > 0 || output.ending.is_some() {
                return output;
            }
            let _ = changed.changed().await;
        }
    }

    /// The same without waiting.
    pub(crate) fn output(&self, after: u64, most: usize) -> Output {
        let state = self.state();
        let piece = state.ring.read(after, most);
        let ending = state.ending.filter(|_| piece.next() == state.ring.end());
        Output { piece, ending }
    }

    /// Makes someone its follower, whose earlier one loses it.
    pub(crate) fn taken_by(&self, follower: CancellationToken) {
        if let Some(earlier) = self.state().follower.replace(follower) {
            earlier.cancel();
        }
    }

    /// Runs it: takes what it prints, and ends it when it is time.
    pub(super) async fn drive(
        &self,
        open: OpenTerminal,
        limits: &TerminalLimits,
        drain: &CancellationToken,
    ) {
        let OpenTerminal { mut output, mut exit, .. } = open;
        let lifetime = Instant::now() + limits.lifetime;
        let mut printing = true;
        let (reason, code) = loop {
            let idle = self.state().active + limits.idle;
            tokio::select! {
                piece = output.recv(), if printing => match piece {
                    Some(piece) => self.print(&piece),
                    None => printing = false,
                },
                code = &mut exit => break (Reason::Exited, Some(code.unwrap_or(-1))),
                () = self.stop.cancelled() => {
                    break (self.state().stopped.unwrap_or(Reason::Stopped), None);
                }
                () = tokio::time::sleep_until(idle) => {
                    if self.state().active + limits.idle <= Instant::now() {
                        break (Reason::Idle, None);
                    }
                }
                () = tokio::time::sleep_until(lifetime) => break (Reason::Lifetime, None),
                () = drain.cancelled() => break (Reason::Shutdown, None),
            }
        };
        let code = match code {
            Some(code) => code,
            None => self.end(&mut output, &mut exit).await,
        };
        // What is still coming is printed; then what the program left in the background goes too.
        self.last_words(&mut output).await;
        self.engine.kill();
        self.last_words(&mut output).await;
        tracing::debug!(terminal = %self.id, ?reason, exit_code = code, "a terminal ended");
        self.state().ending = Some(Ending { exit_code: code, reason, at: Instant::now() });
        self.changed.send_replace(());
    }

    /// Hangs up, and kills what is left after a while.
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

    /// Takes what is printed until there is no more, or it is too late.
    async fn last_words(&self, output: &mut mpsc::Receiver<Vec<u8>>) {
        let rest = async {
            while let Some(piece) = output.recv().await {
                self.print(&piece);
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    }

    fn print(&self, piece: &[u8]) {
        {
            let mut state = self.state();
            state.ring.push(piece);
            state.active = Instant::now();
        }
        self.changed.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

fn ended() -> Error {
    Error::new(Kind::NotFound, "terminal_id: expected a terminal that runs, and this one has ended")
}
