//! [`CancelOnDrop`]: a turn that ends with the connection that started it.

use crate::conversation::Turn;

/// Interrupts a turn when it is dropped, if the client asked for that with `X-Cancel-On-Disconnect`.
/// A turn that has ended stays as it is.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(Option<Turn>);

impl CancelOnDrop {
    /// A guard of the turn; one that does nothing unless `cancel_on_disconnect`.
    pub(crate) fn new(cancel_on_disconnect: bool, turn: &Turn) -> Self {
        Self(cancel_on_disconnect.then(|| turn.clone()))
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(turn) = &self.0 {
            turn.interrupt();
        }
    }
}
