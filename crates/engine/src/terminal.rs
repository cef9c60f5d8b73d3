//! A program on a terminal of its own: the seam, and the inner end.
//!
//! Core's sandbox puts commands into a session of their own, so that none can type into the terminal
//! that the gateway was started from. Such a session has no terminal, and a shell in it knows neither
//! Ctrl-C nor jobs. So the terminal is nobody's when the sandbox starts, and the first program inside is
//! this binary again: it takes the terminal over ([`take_over`]) and becomes the shell.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::anyhow;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::EngineError;
use crate::Sandbox;

/// What a terminal is to be.
#[derive(Debug, Clone)]
pub struct TerminalSpec {
    /// The program: an absolute path, or a name on `PATH`; `None` for bash, else sh.
    pub shell: Option<String>,
    /// The folder to start in. It exists, and is what the sandbox lets commands write to.
    pub cwd: PathBuf,
    /// What commands may touch.
    pub sandbox: Sandbox,
    /// In character cells.
    pub size: TerminalSize,
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
    /// What can be done to it.
    pub terminal: Arc<dyn Terminal>,
    /// What its programs print. Bounded: whoever does not take it holds them up.
    pub output: mpsc::Receiver<Vec<u8>>,
    /// The program's exit code; 128 and the signal's number where a signal ended it.
    pub exit: oneshot::Receiver<i32>,
}

impl std::fmt::Debug for OpenTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenTerminal").field("pid", &self.terminal.pid()).finish_non_exhaustive()
    }
}

/// A terminal, as seen from outside.
pub trait Terminal: Send + Sync + 'static {
    /// The process that was started, as the gateway's machine numbers it.
    fn pid(&self) -> u32;

    /// Types: puts bytes behind those that wait to be read by the terminal's programs. Never waits.
    ///
    /// # Errors
    /// Too much waits already, or the terminal has ended.
    fn write(&self, bytes: Vec<u8>) -> Result<(), WriteError>;

    /// Changes the size, and tells the program in front so.
    ///
    /// # Errors
    /// The system would not.
    fn resize(&self, size: TerminalSize) -> Result<(), EngineError>;

    /// Tells the programs that their terminal is going (`SIGHUP`).
    fn hang_up(&self);

    /// Kills every process of the terminal.
    fn kill(&self);
}

/// Why a terminal takes no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// Its programs do not read, and what may wait waits already.
    Full,
    /// It has ended.
    Ended,
}

/// How many bytes may wait for a terminal's programs to read them.
pub const MAX_INPUT_BYTES: usize = 256 << 10;

/// What makes this binary the inner end of a terminal.
pub(crate) const INNER: &str = "--codex-gateway-terminal";

/// The program to become, where this process was started as the inner end of a terminal.
pub(crate) fn inner_program() -> Option<OsString> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == INNER).then(|| arguments.next())?
}

/// Makes the standard input this session's terminal and becomes the program. Returns why not.
pub(crate) fn take_over(program: &OsString) -> anyhow::Error {
    // Refused where this process leads a session already, which is as good.
    let _ = rustix::process::setsid();
    if let Err(error) = rustix::process::ioctl_tiocsctty(std::io::stdin()) {
        let _ = writeln!(std::io::stderr(), "no job control and no Ctrl-C here: {error}\r");
    }
    let error = Command::new(program).exec();
    anyhow!("cannot run {}: {error}", program.display())
}
