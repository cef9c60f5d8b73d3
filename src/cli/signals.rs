//! SIGTERM and SIGINT: the first begins shutdown, the second ends the process at once, in any
//! phase.
//!
//! They are received on a thread of their own, so that nothing that blocks the runtime delays them.

use std::io;
use std::sync::mpsc;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::oneshot;

use super::exit;

/// Receives the first signal.
pub(super) struct Signals {
    first: oneshot::Receiver<&'static str>,
}

impl Signals {
    /// Replaces the default action of the signals.
    ///
    /// # Errors
    /// The thread or a handler cannot be set up.
    pub(super) fn listen() -> io::Result<Self> {
        let (sender, first) = oneshot::channel();
        let (registered, registration) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(registered.send(Err(error))),
            };
            runtime.block_on(async move {
                match Streams::register() {
                    Ok(streams) => {
                        let _ = registered.send(Ok(()));
                        streams.watch(sender).await;
                    }
                    Err(error) => drop(registered.send(Err(error))),
                }
            });
        })?;
        registration.recv().map_err(io::Error::other)??;
        Ok(Self { first })
    }

    /// Waits for the first signal and returns its name. Cancellation safe.
    pub(super) async fn first(&mut self) -> &'static str {
        match (&mut self.first).await {
            Ok(name) => name,
            // Its thread has ended, so there will be none.
            Err(_) => std::future::pending().await,
        }
    }
}

struct Streams {
    terminate: Signal,
    interrupt: Signal,
}

impl Streams {
    fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> (&'static str, SignalKind) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
        }
    }

    async fn watch(mut self, first: oneshot::Sender<&'static str>) {
        let (name, _) = self.next().await;
        let _ = first.send(name);
        let (name, kind) = self.next().await;
        tracing::warn!(signal = name, "second signal: exiting at once");
        exit::at_once(exit::of_signal(kind.as_raw_value()));
    }
}
