//! The terminals of the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Engine;
use codex_gateway_engine::terminal::TerminalSpec;
use tokio::sync::Semaphore;

use super::limits::TerminalLimits;
use super::live::Terminal;
use crate::error::Error;
use crate::error::Kind;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::text::excerpt;

/// The time for which the output of a terminal that has exited can still be read.
const KEEP_EXITED: Duration = Duration::from_secs(60);

/// The terminals of the process.
pub struct Terminals {
    engine: Arc<dyn Engine>,
    limits: TerminalLimits,
    shutdown: Shutdown,
    slots: Arc<Semaphore>,
    /// By id. Those that run, and those that exited lately.
    known: Arc<Mutex<HashMap<Arc<str>, Arc<Terminal>>>>,
}

impl std::fmt::Debug for Terminals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminals").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The options of a new terminal.
#[derive(Debug)]
pub(crate) struct TerminalOptions {
    pub(crate) spec: TerminalSpec,
    /// The name of the caller's key.
    pub(crate) owner: Arc<str>,
    /// Whether the terminal outlives its socket.
    pub(crate) detached: bool,
}

impl Terminals {
    /// A registry without terminals.
    pub fn new(engine: Arc<dyn Engine>, limits: TerminalLimits, shutdown: Shutdown) -> Self {
        let slots = Arc::new(Semaphore::new(limits.max));
        Self { engine, limits, shutdown, slots, known: Arc::default() }
    }

    /// Starts a terminal.
    ///
    /// # Errors
    /// `Overloaded` if too many terminals run; `Unavailable` while the process drains; propagates
    /// `EngineError`.
    pub(crate) async fn start(&self, options: TerminalOptions) -> Result<Arc<Terminal>, Error> {
        if self.shutdown.drain.is_cancelled() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            Error::new(
                Kind::Overloaded,
                format!("expected at most {} terminals (gateway.max_terminals)", self.limits.max),
            )
        })?;
        let size = options.spec.size;
        let open = self.engine.open_terminal(options.spec).await?;
        let terminal = Terminal::new(options.owner, options.detached, &open, size);
        self.remove_surplus();
        self.known.lock().insert(Arc::clone(terminal.id()), Arc::clone(&terminal));

        let (known, limits) = (Arc::clone(&self.known), self.limits.clone());
        let (running, shutdown) = (Arc::clone(&terminal), self.shutdown.clone());
        self.shutdown.spawn(async move {
            running.run(open, &limits, &shutdown.drain).await;
            drop(slot);
            // Only the table keeps it now: one that has to make room gives its files back at once.
            let id = Arc::clone(running.id());
            drop(running);
            tokio::select! {
                () = tokio::time::sleep(KEEP_EXITED) => {}
                () = shutdown.drain.cancelled() => {}
            }
            known.lock().remove(&id);
        });
        Ok(terminal)
    }

    /// Finds a terminal of a caller.
    ///
    /// # Errors
    /// `NotFound` if there is none with this id, or it belongs to another caller.
    pub(crate) fn find(&self, owner: &str, id: &str) -> Result<Arc<Terminal>, Error> {
        let found = self.known.lock().get(id).cloned();
        found.filter(|terminal| terminal.is_owned_by(owner)).ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!(
                    "terminal_id: expected a terminal that interactive.start returned, got {}; it may \
                     have ended",
                    excerpt(id)
                ),
            )
        })
    }

    /// Makes room for one more terminal: of those that exited, at most `limits.max` stay.
    fn remove_surplus(&self) {
        let mut known = self.known.lock();
        let mut exited: Vec<_> = known
            .values()
            .filter_map(|terminal| terminal.exited_at().map(|at| (at, Arc::clone(terminal.id()))))
            .collect();
        exited.sort_unstable_by_key(|(at, _)| *at);
        let surplus = (exited.len() + 1).saturating_sub(self.limits.max);
        for (_, id) in exited.into_iter().take(surplus) {
            known.remove(&id);
        }
    }
}
