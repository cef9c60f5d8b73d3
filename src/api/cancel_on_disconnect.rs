//! `X-Cancel-On-Disconnect: true`: a turn that ends with the connection that started it.

use crate::conversation::Turn;
use crate::web::RequestContext;

/// Stops a turn when it is dropped, where the client tied the turn to its connection. A turn that
/// has ended cannot be stopped, so dropping it then does nothing.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(Option<Turn>);

impl CancelOnDrop {
    /// Whether the client asked for it.
    pub(crate) fn wanted(context: &RequestContext) -> bool {
        let header = context.headers.get("x-cancel-on-disconnect");
        header.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
    }

    /// Ties the turn, where that was wanted.
    pub(crate) fn new(wanted: bool, turn: &Turn) -> Self {
        Self(wanted.then(|| turn.clone()))
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(turn) = &self.0 {
            turn.cancel();
        }
    }
}
