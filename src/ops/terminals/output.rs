//! The output of a terminal, by offset.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::app::App;
use crate::error::Error;
use crate::input::whole::Count;
use crate::input::whole::Whole;
use crate::terminal::ExitReason;
use crate::terminal::Output;
use crate::terminal::Terminal;

const DEFAULT_WAIT_MS: u64 = 25_000;
const MAX_WAIT_MS: u64 = 60_000;

/// The most output of one read.
const MAX_READ_BYTES: usize = 128 << 10;

/// The output to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadRequest {
    terminal_id: String,
    /// The bytes of output that the client has: `next` of its last read. 0 by default.
    after: Option<Count>,
    /// The time to wait for output, in milliseconds.
    #[schemars(extend("default" = DEFAULT_WAIT_MS))]
    timeout_ms: Option<Whole<0, MAX_WAIT_MS>>,
}

/// Output of a terminal.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TerminalOutput {
    terminal_id: String,
    /// The bytes of output that precede it.
    offset: u64,
    /// The bytes after `after` that are no longer kept.
    lost: u64,
    /// The bytes, in base64. Empty if none came in time.
    data: String,
    /// The `after` of the next read.
    next: u64,
    /// Whether the terminal has ended and no output follows.
    exited: bool,
    exit_code: Option<i32>,
    reason: Option<ExitReason>,
}

/// Reads output. Waits for some, up to the time limit.
///
/// # Errors
/// `NotFound`; `InvalidRequest` names the field.
pub(crate) async fn read(
    app: &App,
    caller: &str,
    request: ReadRequest,
) -> Result<TerminalOutput, Error> {
    let terminal = app.terminals().find(caller, &request.terminal_id)?;
    let after = request.after.map_or(0, Count::get);
    validate_offset(&terminal, after)?;
    let wait = request.timeout_ms.map_or(DEFAULT_WAIT_MS, Whole::get);
    let next = terminal.next(after, MAX_READ_BYTES);
    let Output { piece, exit } = match tokio::time::timeout(Duration::from_millis(wait), next).await
    {
        Ok(output) => output,
        Err(_) => terminal.output(after, MAX_READ_BYTES),
    };
    Ok(TerminalOutput {
        terminal_id: request.terminal_id,
        offset: piece.offset,
        lost: piece.lost,
        next: piece.next(),
        data: STANDARD.encode(&piece.data),
        exited: exit.is_some(),
        exit_code: exit.map(|exit| exit.exit_code),
        reason: exit.map(|exit| exit.reason),
    })
}

/// The terminal to attach to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachRequest {
    terminal_id: String,
    /// The bytes of output that the client has. Default: all that was printed so far.
    after: Option<Count>,
}

/// Finds a terminal and the offset to follow it from.
///
/// # Errors
/// `NotFound`; `InvalidRequest` for an offset beyond the output.
pub(crate) fn attach(
    app: &App,
    caller: &str,
    request: &AttachRequest,
) -> Result<(Arc<Terminal>, u64), Error> {
    let terminal = app.terminals().find(caller, &request.terminal_id)?;
    let after = request.after.map_or_else(|| terminal.printed(), Count::get);
    validate_offset(&terminal, after)?;
    Ok((terminal, after))
}

fn validate_offset(terminal: &Terminal, after: u64) -> Result<(), Error> {
    let printed = terminal.printed();
    if after <= printed {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "after: expected an offset in the terminal's output, at most {printed}, got {after}"
    )))
}
