//! What a terminal prints, as notifications of the socket that it belongs to.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::rpc::socket::Socket;
use crate::terminal::Reason;
use crate::terminal::Terminal;
use crate::ws::outbox::Closed;

/// The most output in one notification.
const PIECE_BYTES: usize = 32 << 10;

/// A socket's hold on its terminal: without it the terminal ends, unless it was detached, or another
/// socket has taken it since.
struct Hold {
    terminal: Arc<Terminal>,
    lost: CancellationToken,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.terminal.is_detached() && !self.lost.is_cancelled() {
            self.terminal.stop(Reason::Disconnected);
        }
    }
}

/// Gives the terminal to a socket, which is sent the output after the first `after` bytes, and the
/// end. The terminal is held from now on; run the task once the call has been answered.
pub(super) fn follow(
    terminal: &Arc<Terminal>,
    socket: Socket,
    after: u64,
) -> impl Future<Output = ()> + Send + use<> {
    let lost = CancellationToken::new();
    terminal.taken_by(lost.clone());
    let hold = Hold { terminal: Arc::clone(terminal), lost };
    async move {
        tokio::select! {
            _ = deliver(&hold.terminal, &socket, after) => {}
            () = hold.lost.cancelled() => {}
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
        if let Some(ending) = output.ending {
            let params = json!({
                "terminal_id": terminal.id(),
                "exit_code": ending.exit_code,
                "reason": ending.reason,
            });
            return socket.notify("interactive.exited", &params).await;
        }
    }
}
