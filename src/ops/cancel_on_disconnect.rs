//! [`CancelOnDrop`]: a turn that ends with the connection that started it.

use crate::conversation::Turn;

/// Interrupts a turn when it is dropped, if the client tied the turn to its connection. A turn that
/// has ended stays as it is.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(Option<Turn>);

impl CancelOnDrop {
    /// A guard of the turn; one that does nothing unless `tied`.
    pub(crate) fn new(tied: bool, turn: &Turn) -> Self {
        Self(tied.then(|| turn.clone()))
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(turn) = &self.0 {
            turn.interrupt();
        }
    }
}
