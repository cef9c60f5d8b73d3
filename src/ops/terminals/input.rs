//! Input to a terminal, and its size.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::size::size;
use crate::app::App;
use crate::error::Error;

/// Input to a terminal.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct InputRequest {
    terminal_id: String,
    /// The bytes, in base64.
    data: String,
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
/// `NotFound`; `InvalidRequest` for invalid base64; the errors of
/// [`Terminal::write`](crate::terminal::Terminal::write).
pub(crate) fn write(
    app: &App,
    caller: &str,
    request: &InputRequest,
) -> Result<AcceptedInput, Error> {
    let terminal = app.terminals().find(caller, &request.terminal_id)?;
    let bytes = STANDARD.decode(&request.data).map_err(|error| {
        Error::invalid(format!("data: expected base64 (RFC 4648, section 4): {error}"))
    })?;
    let accepted = bytes.len();
    terminal.write(bytes)?;
    Ok(AcceptedInput { accepted })
}

/// The new size of a terminal.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ResizeRequest {
    terminal_id: String,
    cols: u16,
    rows: u16,
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
/// `InvalidRequest` names the field; `NotFound`.
pub(crate) fn resize(
    app: &App,
    caller: &str,
    request: ResizeRequest,
) -> Result<ResizedTerminal, Error> {
    let size = size(request.cols, request.rows)?;
    app.terminals().find(caller, &request.terminal_id)?.resize(size)?;
    Ok(ResizedTerminal { terminal_id: request.terminal_id, cols: size.cols, rows: size.rows })
}
