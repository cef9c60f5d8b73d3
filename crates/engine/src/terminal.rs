//! A program on a terminal of its own: the seam, and the inner end.
//!
//! Core's sandbox starts commands in a session of their own, so that none can type into the
//! terminal that the gateway was started from. Such a session has no controlling terminal, and a
//! shell in it has neither Ctrl-C nor job control. Therefore no session controls the terminal when
//! the sandbox starts, and the first program inside is this binary again: it makes the terminal its
//! controlling terminal and becomes the shell (`exec_inner`).

use std::any::Any;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::OnceLock;

use anyhow::anyhow;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::EngineError;
use crate::Sandbox;
use crate::children::Violation;

/// Options of a terminal.
#[derive(Debug, Clone)]
pub struct TerminalSpec {
    /// The program: an absolute path, or a name on `PATH`; `None` for bash, else sh.
    pub shell: Option<String>,
    /// The folder to start in. It exists, and the sandbox lets commands write to it.
    pub cwd: PathBuf,
    /// Access of commands.
    pub sandbox: Sandbox,
    /// Initial size.
    pub size: TerminalSize,
    /// Dropped once the last process of the terminal has gone.
    pub until_gone: Option<Arc<dyn Any + Send + Sync>>,
}

/// The size of a terminal, in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// A terminal whose program has started.
pub struct OpenTerminal {
    /// Control over it.
    pub terminal: Arc<dyn Terminal>,
    /// Output of its programs. Bounded: a slow receiver blocks them.
    pub output: mpsc::Receiver<Vec<u8>>,
    /// The program's exit code, or 128 plus the number of the signal that ended it.
    pub exit: oneshot::Receiver<i32>,
    /// Set once its programs were ended because they exceeded a limit.
    pub ended: Arc<OnceLock<Violation>>,
}

impl std::fmt::Debug for OpenTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenTerminal").field("pid", &self.terminal.pid()).finish_non_exhaustive()
    }
}

/// Control over an open terminal.
pub trait Terminal: Send + Sync + 'static {
    /// Process id of the started program, outside the sandbox.
    fn pid(&self) -> u32;

    /// Queues input for the terminal's programs. Does not block.
    ///
    /// # Errors
    /// The queue is full, or the terminal has ended.
    fn write(&self, bytes: Vec<u8>) -> Result<(), WriteError>;

    /// Changes the size and notifies the foreground program (`SIGWINCH`).
    ///
    /// # Errors
    /// The system call failed.
    fn resize(&self, size: TerminalSize) -> Result<(), EngineError>;

    /// Sends `SIGHUP` to the programs.
    fn hang_up(&self);

    /// Kills every process of the terminal.
    fn kill(&self);
}

/// Reasons to refuse input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// [`MAX_INPUT_BYTES`] are queued; the programs do not read.
    Full,
    /// The terminal has ended.
    Ended,
}

/// Limit on queued input, in bytes.
pub const MAX_INPUT_BYTES: usize = 256 << 10;

/// The argument that makes this binary the inner end of a terminal.
pub(crate) const INNER_FLAG: &str = "--codex-gateway-terminal";

/// The program to become, if this process was started as the inner end of a terminal.
pub(crate) fn inner_program() -> Option<OsString> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == INNER_FLAG).then(|| arguments.next())?
}

/// Makes the standard input this session's controlling terminal and becomes the program. Returns
/// only on failure.
pub(crate) fn exec_inner(program: &OsString) -> anyhow::Error {
    // Fails if this process already leads a session, which is as good.
    let _ = rustix::process::setsid();
    if let Err(error) = rustix::process::ioctl_tiocsctty(std::io::stdin()) {
        let _ = writeln!(std::io::stderr(), "no job control and no Ctrl-C: {error}\r");
    }
    let error = Command::new(program).env_remove(crate::children::NUMBER).exec();
    anyhow!("cannot run {}: {error}", program.display())
}
