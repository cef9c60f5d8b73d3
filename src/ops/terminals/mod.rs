//! Shells on terminals (`interactive.*`). A terminal belongs to its caller, the name of a key; to
//! others it does not exist.

mod input;
mod output;
mod size;
mod start;

use codex_gateway_engine::terminal::TerminalSize;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

pub(crate) use self::input::AcceptedInput;
pub(crate) use self::input::InputRequest;
pub(crate) use self::input::ResizeRequest;
pub(crate) use self::input::ResizedTerminal;
pub(crate) use self::input::resize;
pub(crate) use self::input::write;
pub(crate) use self::output::AttachRequest;
pub(crate) use self::output::ReadRequest;
pub(crate) use self::output::TerminalOutput;
pub(crate) use self::output::attach;
pub(crate) use self::output::read;
pub(crate) use self::start::TerminalRequest;
pub(crate) use self::start::start;
use crate::app::App;
use crate::error::Error;
use crate::terminal::ExitReason;
use crate::terminal::Terminal;

/// A terminal.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TerminalView {
    terminal_id: String,
    pid: u32,
    cols: u16,
    rows: u16,
    /// Whether it outlives its socket.
    detached: bool,
    /// The bytes of output that precede what the client is sent or reads next.
    offset: u64,
}

impl TerminalView {
    pub(crate) fn new(terminal: &Terminal, offset: u64) -> Self {
        let TerminalSize { cols, rows } = terminal.size();
        let (terminal_id, pid) = (terminal.id().to_string(), terminal.pid());
        Self { terminal_id, pid, cols, rows, detached: terminal.is_detached(), offset }
    }
}

/// The terminal to end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopRequest {
    terminal_id: String,
}

/// A terminal that has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoppedTerminal {
    /// False if it had ended by itself.
    stopped: bool,
    terminal_id: String,
    exit_code: i32,
    reason: ExitReason,
}

/// Ends a terminal and waits for its exit.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn stop(
    app: &App,
    caller: &str,
    request: StopRequest,
) -> Result<StoppedTerminal, Error> {
    let terminal = app.terminals().find(caller, &request.terminal_id)?;
    terminal.stop(ExitReason::Stopped);
    let exit = terminal.exited().await;
    Ok(StoppedTerminal {
        stopped: exit.reason == ExitReason::Stopped,
        terminal_id: request.terminal_id,
        exit_code: exit.exit_code,
        reason: exit.reason,
    })
}
