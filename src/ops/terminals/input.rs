//! Input to a terminal, and its size.

use codex_gateway_engine::terminal::TerminalSize;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::size::Cells;
use super::size::cells;
use crate::app::App;
use crate::error::Error;
use crate::input::bytes::Base64;

/// Input to a terminal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputRequest {
    terminal_id: String,
    /// The bytes, in base64.
    data: Base64,
}

/// Input that was queued, in the order of the calls.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AcceptedInput {
    /// The number of bytes.
    accepted: usize,
}

/// Queues input.
///
/// # Errors
/// `NotFound`; the errors of [`Terminal::write`](crate::terminal::Terminal::write).
pub(crate) fn write(
    app: &App,
    caller: &str,
    request: InputRequest,
) -> Result<AcceptedInput, Error> {
    let terminal = app.terminals().find(caller, &request.terminal_id)?;
    let Base64(bytes) = request.data;
    let accepted = bytes.len();
    terminal.write(bytes)?;
    Ok(AcceptedInput { accepted })
}

/// The new size of a terminal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResizeRequest {
    terminal_id: String,
    cols: Cells,
    rows: Cells,
}

/// The size of a terminal.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ResizedTerminal {
    terminal_id: String,
    cols: u16,
    rows: u16,
}

/// Resizes a terminal.
///
/// # Errors
/// `NotFound`.
pub(crate) fn resize(
    app: &App,
    caller: &str,
    request: ResizeRequest,
) -> Result<ResizedTerminal, Error> {
    let size = TerminalSize { cols: cells(request.cols), rows: cells(request.rows) };
    app.terminals().find(caller, &request.terminal_id)?.resize(size)?;
    Ok(ResizedTerminal { terminal_id: request.terminal_id, cols: size.cols, rows: size.rows })
}
