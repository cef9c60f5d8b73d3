//! The output of a terminal as notifications of the socket that it belongs to.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::rpc::socket::Socket;
use crate::terminal::ExitReason;
use crate::terminal::Terminal;
use crate::ws::outbox::Closed;

/// The most output of one notification.
const PIECE_BYTES: usize = 32 << 10;

/// Ends the terminal of a socket when it is dropped, unless the terminal is detached or another
/// socket has taken it.
struct StopOnDisconnect {
    terminal: Arc<Terminal>,
    /// Cancelled once another socket has taken the terminal.
    taken: CancellationToken,
}

impl Drop for StopOnDisconnect {
    fn drop(&mut self) {
        if !self.terminal.is_detached() && !self.taken.is_cancelled() {
            self.terminal.stop(ExitReason::Disconnected);
        }
    }
}

/// Gives the terminal to a socket, now. The task sends the socket the output after the first
/// `after` bytes, then the exit: run it once the call is answered. The terminal ends with the task.
pub(super) fn follow(
    terminal: &Arc<Terminal>,
    socket: Socket,
    after: u64,
) -> impl Future<Output = ()> + Send + use<> {
    let taken = CancellationToken::new();
    terminal.replace_follower(taken.clone());
    let guard = StopOnDisconnect { terminal: Arc::clone(terminal), taken };
    async move {
        tokio::select! {
            _ = deliver(&guard.terminal, &socket, after) => {}
            () = guard.taken.cancelled() => {}
        }
    }
}

async fn deliver(terminal: &Terminal, socket: &Socket, mut after: u64) -> Result<(), Closed> {
    loop {
        let output = terminal.next(after, PIECE_BYTES).await;
        let piece = output.piece;
        after = piece.next();
        if !piece.data.is_empty() || piece.lost > 0 {
            let params = json!({
                "terminal_id": terminal.id(),
                "offset": piece.offset,
                "lost": piece.lost,
                "data": STANDARD.encode(&piece.data),
            });
            socket.notify("interactive.output", &params).await?;
        }
        if let Some(exit) = output.exit {
            let params = json!({
                "terminal_id": terminal.id(),
                "exit_code": exit.exit_code,
                "reason": exit.reason,
            });
            return socket.notify("interactive.exited", &params).await;
        }
    }
}
