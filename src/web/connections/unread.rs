//! [`Unread`]: counts the bytes of responses that a client has not read.

use std::sync::Arc;

use bytes::Bytes;

use super::connection::InProgress;

/// A number of bytes that count as unread until it is dropped. Their request is in progress until
/// then.
#[derive(Debug)]
pub struct Unread {
    request: Arc<InProgress>,
    bytes: usize,
}

impl Unread {
    /// Starts at no bytes.
    pub fn of(request: Arc<InProgress>) -> Self {
        Self { request, bytes: 0 }
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.request.connection().add_unread(bytes);
    }

    /// Returns `data`, which takes its bytes over and counts them until the last clone is dropped:
    /// hyper drops a chunk when the socket has taken it.
    pub fn attach(&mut self, data: Bytes) -> Bytes {
        let bytes = data.len().min(self.bytes);
        self.bytes -= bytes;
        let unread = Self { request: Arc::clone(&self.request), bytes };
        Bytes::from_owner(Counted { data, _unread: unread })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.request.connection().remove_unread(self.bytes);
    }
}

struct Counted {
    data: Bytes,
    _unread: Unread,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
