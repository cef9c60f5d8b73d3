//! [`Record`]: the state of a connection that its tasks and the table share.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::network::Network;

/// The connection preface of HTTP/2 (RFC 9113, section 3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Values of [`Record::preface`] above the length of the preface.
const HTTP_1: u8 = 254;
const HTTP_2: u8 = 255;

/// The state of a connection.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) network: Network,
    pub(super) opened: Instant,
    /// Asks for a graceful end.
    pub(super) close: CancellationToken,
    /// Ends it at once.
    pub(super) abort: CancellationToken,
    /// Whether a request was authenticated.
    pub(super) authenticated: AtomicBool,
    /// Requests in progress, until the socket has taken the last byte of the response.
    pub(super) requests: AtomicUsize,
    /// When the last request began or ended; at first, when the connection was accepted.
    pub(super) last: AtomicU64,
    /// When the first byte of a request head arrived; 0 while none is incomplete.
    pub(super) head: AtomicU64,
    /// The number of bytes that match the preface so far, [`HTTP_1`] or [`HTTP_2`].
    preface: AtomicU8,
    /// Whether a request was received.
    pub(super) used: AtomicBool,
    /// Bytes of responses that the client has not read.
    pub(super) unread: AtomicUsize,
}

impl Record {
    pub(super) fn new(id: u64, network: Network, opened: Instant, now: u64) -> Self {
        Self {
            id,
            network,
            opened,
            close: CancellationToken::new(),
            abort: CancellationToken::new(),
            authenticated: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            last: AtomicU64::new(now),
            head: AtomicU64::new(0),
            preface: AtomicU8::new(0),
            used: AtomicBool::new(false),
            unread: AtomicUsize::new(0),
        }
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Relaxed)
    }

    /// Returns whether a request is in progress, or its response is not read completely.
    pub(super) fn is_active(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    pub(super) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// Returns whether the client has sent the preface of HTTP/2.
    pub(super) fn is_http_2(&self) -> bool {
        self.preface.load(Ordering::Relaxed) == HTTP_2
    }

    /// Detects the version from the first bytes. Returns whether this is, or may be, HTTP/1.
    pub(super) fn detect(&self, bytes: &[u8]) -> bool {
        let matched = self.preface.load(Ordering::Relaxed);
        match matched {
            HTTP_1 => return true,
            HTTP_2 => return false,
            _ => {}
        }
        let expected = H2_PREFACE.get(usize::from(matched)..).unwrap_or_default();
        let length = expected.len().min(bytes.len());
        let next = if expected.get(..length) != bytes.get(..length) {
            HTTP_1
        } else if length == expected.len() {
            HTTP_2
        } else {
            matched + u8::try_from(length).unwrap_or(0)
        };
        self.preface.store(next, Ordering::Relaxed);
        next != HTTP_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_identify_the_version() {
        for (pieces, http_1) in [
            (&[&b"GET / HTTP/1.1\r\n"[..]][..], true),
            (&[b"P"], true),
            (&[b"PRI * HTTP/2.0\r\n"], true),
            (&[b"PRI * HTTP/1.1\r\n"], true),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], false),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"], false),
            (&[b"P", b"RI * HTTP/2.0\r\n\r\nSM\r", b"\n\r\nmore"], false),
            (&[b"P", b"OST / HTTP/1.1\r\n"], true),
            (&[b"P", b"OST", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], true),
        ] {
            let network = Network::of([127, 0, 0, 1].into());
            let record = Record::new(0, network, Instant::now(), 1);
            let last = pieces.iter().map(|piece| record.detect(piece)).last();
            assert_eq!(last, Some(http_1), "{pieces:?}");
        }
    }
}
