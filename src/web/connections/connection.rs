//! [`Connection`]: one open connection, and how long it may stay idle.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use http::Extensions;
use tokio::time::Instant;

use super::network::Network;
use super::pool::CloseReason;
use super::pool::Connections;
use super::pool::Full;
use super::record::Record;
use crate::shutdown::CountGuard;

/// An open connection. It leaves the table when the last clone of its [`Arc`] is dropped.
#[derive(Debug)]
pub struct Connection {
    pub(super) record: Arc<Record>,
    all: Arc<Connections>,
    _counted: CountGuard,
}

impl Connection {
    /// Registers an accepted connection. Others make room for it, if necessary.
    pub fn open(all: &Arc<Connections>, peer: IpAddr) -> Arc<Self> {
        let (record, counted) = all.register(Network::of(peer));
        Arc::new(Self { record, all: Arc::clone(all), _counted: counted })
    }

    /// Takes note of bytes that the client sent.
    pub fn received(&self, bytes: &[u8]) {
        let record = &self.record;
        let h1 = record.detect(bytes);
        if h1
            && record.requests.load(Ordering::Relaxed) == 0
            && record.head.load(Ordering::Relaxed) == 0
        {
            record.head.store(self.all.now(), Ordering::Relaxed);
        }
    }

    /// Counts a request until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Arc<InProgress> {
        let record = &self.record;
        record.requests.fetch_add(1, Ordering::Relaxed);
        record.used.store(true, Ordering::Relaxed);
        record.head.store(0, Ordering::Relaxed);
        record.last.store(self.all.now(), Ordering::Relaxed);
        Arc::new(InProgress { connection: Arc::clone(self), key: OnceLock::new() })
    }

    /// Returns when the connection is to be closed unless something happens, and why. `None` while
    /// an authenticated request is in progress.
    pub fn deadline(&self) -> Option<(Instant, CloseReason)> {
        let record = &self.record;
        if self.is_protected() {
            return None;
        }
        let limits = &self.all.limits;
        let first = !record.used.load(Ordering::Relaxed) && !record.is_http_2();
        let head = record.head.load(Ordering::Relaxed);
        Some(if first {
            (record.opened + limits.header_timeout, CloseReason::HeadTimeout)
        } else if head != 0 {
            (self.all.at(head) + limits.header_timeout, CloseReason::HeadTimeout)
        } else {
            (self.all.at(record.last()) + limits.keep_alive_timeout, CloseReason::Idle)
        })
    }

    /// Returns whether an authenticated request is in progress.
    pub fn is_protected(&self) -> bool {
        self.record.is_authenticated() && self.record.is_active()
    }

    /// Counts the connection as closed because its deadline has passed.
    pub fn expire(&self, reason: CloseReason) {
        self.all.count(reason);
    }

    /// Returns once the connection is to be closed gracefully.
    pub async fn closing(&self) {
        self.record.close.cancelled().await;
    }

    /// Returns once the connection is to be dropped.
    pub async fn aborted(&self) {
        self.record.abort.cancelled().await;
    }

    pub(super) fn add_unread(&self, bytes: usize) {
        self.all.add_unread(&self.record, bytes);
    }

    pub(super) fn remove_unread(&self, bytes: usize) {
        self.all.remove_unread(&self.record, bytes);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.remove(&self.record);
    }
}

/// A request in progress. Its response owns it, to the last byte that the socket has not taken.
#[derive(Debug)]
pub struct InProgress {
    connection: Arc<Connection>,
    /// The name of the API key that it counts for.
    key: OnceLock<Arc<str>>,
}

impl InProgress {
    /// Returns the request, of its extensions.
    pub fn of(extensions: &Extensions) -> Option<&Arc<Self>> {
        extensions.get()
    }

    /// Returns its connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Counts the request for an API key, and marks the connection as authenticated until it ends.
    ///
    /// # Errors
    /// [`Full`] if as many connections as the limits allow are in use.
    pub fn authenticate(&self, key: &Arc<str>) -> Result<(), Full> {
        let Connection { record, all, .. } = &*self.connection;
        if self.key.get().is_none() {
            all.begin_request(key, record)?;
            if self.key.set(Arc::clone(key)).is_err() {
                // Another task was faster.
                all.end_request(key, record);
            }
        }
        if record.is_authenticated() { Ok(()) } else { all.authenticate(record) }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let Connection { record, all, .. } = &*self.connection;
        if let Some(key) = self.key.get() {
            all.end_request(key, record);
        }
        record.last.store(all.now(), Ordering::Relaxed);
        record.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
