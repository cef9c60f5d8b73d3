//! Gates, at which a test holds calls of core.

use tokio::sync::watch;

/// A gate that is closed while a [`Hold`] on it exists.
pub(super) struct Gate(watch::Sender<usize>);

/// Keeps a gate closed. Dropping it opens the gate, unless there are others.
#[must_use = "dropping it opens the gate"]
pub(crate) struct Hold(watch::Sender<usize>);

impl Gate {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn hold(&self) -> Hold {
        self.0.send_modify(|holds| *holds += 1);
        Hold(self.0.clone())
    }

    pub(super) async fn pass(&self) {
        let mut holds = self.0.subscribe();
        // The sender lives as long as this gate.
        let _ = holds.wait_for(|holds| *holds == 0).await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.send_modify(|holds| *holds -= 1);
    }
}
