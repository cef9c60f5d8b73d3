//! The size of a terminal.

use codex_gateway_engine::terminal::TerminalSize;

use crate::error::Error;

const MAX_CELLS: u16 = 1000;

/// Validates a size.
///
/// # Errors
/// `InvalidRequest` names the dimension.
pub(super) fn size(cols: u16, rows: u16) -> Result<TerminalSize, Error> {
    for (field, cells) in [("cols", cols), ("rows", rows)] {
        if !(1..=MAX_CELLS).contains(&cells) {
            return Err(Error::invalid(format!("{field}: expected 1 to {MAX_CELLS}, got {cells}")));
        }
    }
    Ok(TerminalSize { cols, rows })
}
