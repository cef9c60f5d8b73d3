//! Terminals: shells in the sandbox that clients type into (`interactive.*`).
//!
//! - this file: which there are, whose they are, how many there may be;
//! - [`live`]: one of them, from its start to its end; [`ring`]: what it printed.
//!
//! What a terminal prints goes into a ring that overwrites: no reader, slow or gone, ever holds a
//! terminal's programs up, and every reader is told how many bytes it came too late for.

mod live;
mod ring;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::time::Duration;

use codex_gateway_engine::Engine;
use codex_gateway_engine::terminal::TerminalSpec;
use tokio::sync::Semaphore;

pub(crate) use self::live::Output;
pub(crate) use self::live::Reason;
pub(crate) use self::live::Terminal;
use crate::error::Error;
use crate::error::Kind;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::text::excerpt;

/// How long a terminal that has ended can still be read.
const KEPT: Duration = Duration::from_secs(60);

/// Bounds of terminals.
#[derive(Debug, Clone)]
pub struct TerminalLimits {
    /// How many may run at a time.
    pub max: usize,
    /// How long one lives in which nothing is typed or printed.
    pub idle: Duration,
    /// How long one lives.
    pub lifetime: Duration,
}

/// The terminals of this process.
pub struct Terminals {
    engine: Arc<dyn Engine>,
    limits: TerminalLimits,
    shutdown: Shutdown,
    places: Arc<Semaphore>,
    /// Those that run, and those that have just ended.
    known: Arc<Known>,
}

type Known = Mutex<HashMap<Arc<str>, Arc<Terminal>>>;

impl std::fmt::Debug for Terminals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminals").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A terminal to start.
#[derive(Debug)]
pub(crate) struct TerminalOptions {
    /// The program, its folder, its sandbox, its size.
    pub(crate) spec: TerminalSpec,
    /// The name of the caller's key.
    pub(crate) owner: Arc<str>,
    /// It goes on without the socket that follows it.
    pub(crate) detached: bool,
    /// The folder was made for it, and goes with it if nothing is left in it.
    pub(crate) own_folder: Option<PathBuf>,
}

impl Terminals {
    /// None yet.
    pub fn new(engine: Arc<dyn Engine>, limits: TerminalLimits, shutdown: Shutdown) -> Self {
        let places = Arc::new(Semaphore::new(limits.max));
        Self { engine, limits, shutdown, places, known: Arc::default() }
    }

    /// Starts a terminal.
    ///
    /// # Errors
    /// `Overloaded` where as many run as may; what the engine says.
    pub(crate) async fn start(&self, options: TerminalOptions) -> Result<Arc<Terminal>, Error> {
        if self.shutdown.drain.is_cancelled() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Error::new(
                Kind::Overloaded,
                format!("expected at most {} terminals (gateway.max_terminals)", self.limits.max),
            )
        })?;
        let size = options.spec.size;
        let open = self.engine.open_terminal(options.spec).await?;
        let terminal = Terminal::new(options.owner, options.detached, &open, size);
        self.make_room();
        lock(&self.known).insert(Arc::clone(terminal.id()), Arc::clone(&terminal));

        let (known, limits) = (Arc::clone(&self.known), self.limits.clone());
        let (driven, shutdown) = (Arc::clone(&terminal), self.shutdown.clone());
        self.shutdown.spawn(async move {
            driven.drive(open, &limits, &shutdown.drain).await;
            drop(place);
            if let Some(folder) = options.own_folder {
                // Refused where something is left in it, which is as it should be.
                let _ = tokio::fs::remove_dir(folder).await;
            }
            tokio::select! {
                () = tokio::time::sleep(KEPT) => {}
                () = shutdown.drain.cancelled() => {}
            }
            lock(&known).remove(driven.id());
        });
        Ok(terminal)
    }

    /// A caller's terminal.
    ///
    /// # Errors
    /// `NotFound` where there is none of that name, or it is another's.
    pub(crate) fn find(&self, owner: &str, id: &str) -> Result<Arc<Terminal>, Error> {
        let found = lock(&self.known).get(id).cloned();
        found.filter(|terminal| terminal.is_of(owner)).ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!(
                    "terminal_id: expected one that interactive.start gave and that is still known, got {}",
                    excerpt(id)
                ),
            )
        })
    }

    /// Of those that have ended, no more are kept than may run.
    fn make_room(&self) {
        let mut known = lock(&self.known);
        let mut ended: Vec<_> = known
            .values()
            .filter_map(|one| one.ended_at().map(|at| (at, Arc::clone(one.id()))))
            .collect();
        ended.sort_unstable_by_key(|(at, _)| *at);
        let surplus = (ended.len() + 1).saturating_sub(self.limits.max);
        for (_, id) in ended.into_iter().take(surplus) {
            known.remove(&id);
        }
    }
}

fn lock(known: &Known) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Terminal>>> {
    known.lock()
}
