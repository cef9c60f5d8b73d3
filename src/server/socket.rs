//! [`Socket`]: the TCP socket of a connection. It reports the bytes that the client sends.

use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use crate::web::connections::Connection;

/// The time after which a connection with unacknowledged data is dropped.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// The bytes that the kernel takes before they can be sent. Without it, the kernel buffers
/// megabytes for a client that does not read.
const UNSENT_BYTES: u32 = 128 * 1024;

/// The socket of a connection.
pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Socket {
    /// Wraps an accepted socket and sets its options.
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, connection: Arc<Connection>) -> Self {
        let log = |option: &str, set: io::Result<()>| {
            if let Err(error) = set {
                tracing::debug!(%peer, %error, "cannot set {option}");
            }
        };
        // Events are small and must be sent immediately.
        log("TCP_NODELAY", stream.set_nodelay(true));
        // Bounds how long a client that stopped reading holds its connection.
        #[cfg(target_os = "linux")]
        {
            let socket = socket2::SockRef::from(&stream);
            log("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(Some(STALL_TIMEOUT)));
            log("TCP_NOTSENT_LOWAT", socket.set_tcp_notsent_lowat(UNSENT_BYTES));
        }
        Self { stream, connection }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.connection.received(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
