//! The size of a terminal.

use crate::input::whole::Whole;

/// A number of columns or rows.
pub(super) type Cells = Whole<1, 1000>;

/// The number.
pub(super) fn cells(cells: Cells) -> u16 {
    u16::try_from(cells.get()).unwrap_or(u16::MAX)
}
