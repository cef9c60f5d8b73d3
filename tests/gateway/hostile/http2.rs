//! A client of HTTP/2 that does as little as it likes (RFC 9113): frames are written and read by
//! hand.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::soon;

pub const DATA: u8 = 0;
const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A received frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    flags: u8,
    pub stream: u32,
    payload: Vec<u8>,
}

/// A connection. It answers pings while it reads.
pub struct Client {
    socket: TcpStream,
    next_stream: u32,
    /// The value of the server's SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: Option<u32>,
}

impl Client {
    /// Connects, and lets the server send this many bytes of each response.
    pub async fn connect(address: SocketAddr, window: u32) -> std::io::Result<Self> {
        Self::start(TcpStream::connect(address).await?, window).await
    }

    /// The same, on an open socket.
    pub async fn start(socket: TcpStream, window: u32) -> std::io::Result<Self> {
        let mut this = Self { socket, next_stream: 1, max_streams: None };
        let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend(window.to_be_bytes());
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &settings));
        this.socket.write_all(&bytes).await?;
        Ok(this)
    }

    /// Sends `GET path` with a key, or without one. Returns its stream.
    pub async fn get(&mut self, path: &str, key: Option<&str>) -> u32 {
        // Indexed fields of the static table, and literals without indexing (RFC 7541, appendix A).
        let mut block = vec![0x82, 0x86];
        literal(&mut block, 0x04, path);
        literal(&mut block, 0x01, "localhost");
        if let Some(key) = key {
            block.extend([0x00, 9]);
            block.extend(b"x-api-key");
            block.push(u8::try_from(key.len()).unwrap());
            block.extend(key.as_bytes());
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        let headers = frame(HEADERS, END_STREAM_AND_HEADERS, stream, &block);
        self.socket.write_all(&headers).await.unwrap();
        stream
    }

    /// Reads the next frame, `None` once the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.socket.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        self.answer(&frame).await;
        Some(frame)
    }

    /// Reads up to a frame of this kind, `None` if the connection is closed before.
    pub async fn until(&mut self, kind: u8) -> Option<Frame> {
        soon("a frame", async {
            loop {
                let frame = self.next().await?;
                if frame.kind == kind {
                    return Some(frame);
                }
            }
        })
        .await
    }

    /// Reads until the connection is closed. Returns the kinds of the frames.
    pub async fn closed(&mut self) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let Some(frame) = self.next().await {
            kinds.push(frame.kind);
        }
        kinds
    }

    async fn answer(&mut self, received: &Frame) {
        let acknowledgement = match (received.kind, received.flags & ACK) {
            (SETTINGS, 0) => {
                for setting in received.payload.chunks_exact(6) {
                    let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
                    if setting[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes() {
                        self.max_streams = Some(value);
                    }
                }
                frame(SETTINGS, ACK, 0, &[])
            }
            (PING, 0) => frame(PING, ACK, 0, &received.payload),
            _ => return,
        };
        // A failure shows at the next read.
        let _ = self.socket.write_all(&acknowledgement).await;
    }
}

fn literal(block: &mut Vec<u8>, index: u8, value: &str) {
    block.push(index);
    block.push(u8::try_from(value.len()).unwrap());
    block.extend(value.as_bytes());
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
