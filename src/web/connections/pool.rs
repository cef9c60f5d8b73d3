//! [`Connections`]: the open connections, the limits they share, and the count of those it closed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::key_shares::KeyShares;
use super::network::Network;
use super::record::Record;
use super::table::Table;
use crate::shutdown::CountGuard;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::web::limits::Limits;

/// One eviction closes up to this part of a limit, so that a flood does not cost a scan each time.
const BATCH_SHARE: usize = 64;
/// Connections that are being closed gracefully. Beyond it the oldest is dropped.
pub const MAX_CLOSING: usize = 64;
/// Connections that are dropped when the process has no file descriptors left.
pub(super) const RELIEF: usize = 16;
/// The least time between two warnings about pressure.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Why the gateway closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// No request within `keep_alive_timeout_ms`.
    Idle,
    /// No complete request head within `header_timeout_ms`.
    HeadTimeout,
    /// Its network has `max_connections_per_address` unauthenticated connections.
    AddressLimit,
    /// The connection limit is reached, or the process has no file descriptors left.
    Pressure,
    /// Clients have not read `max_unread_bytes` of responses.
    Unread,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::HeadTimeout, Self::AddressLimit, Self::Pressure, Self::Unread];

    /// Returns the label of the reason in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::HeadTimeout => "head_timeout",
            Self::AddressLimit => "address_limit",
            Self::Pressure => "pressure",
            Self::Unread => "unread",
        }
    }
}

/// Why an authenticated request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `max_connections` connections have an authenticated request in progress.
    All,
    /// `max_connections_per_key` connections have a request of this key in progress.
    Key,
}

/// The open connections of the listener.
#[derive(Debug)]
pub struct Connections {
    pub(super) limits: Limits,
    /// The origin of the times in [`Record`]s.
    started: Instant,
    pub(super) table: Mutex<Table>,
    shares: Mutex<KeyShares>,
    next_id: AtomicU64,
    /// Bytes of responses that clients have not read.
    unread: AtomicUsize,
    closed: [AtomicU64; CloseReason::ALL.len()],
    pub(super) shutdown: Shutdown,
}

impl Connections {
    /// Creates an empty table. `shutdown` counts the connections.
    pub fn new(limits: Limits, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            limits,
            started: Instant::now(),
            table: Mutex::default(),
            shares: Mutex::default(),
            next_id: AtomicU64::new(0),
            unread: AtomicUsize::new(0),
            closed: Default::default(),
            shutdown,
        })
    }

    /// Registers a connection of a network. Makes room for it first, if necessary. Its guard counts
    /// it for shutdown.
    pub(super) fn register(&self, network: Network) -> (Arc<Record>, CountGuard) {
        let record = Arc::new(Record::new(
            self.next_id.fetch_add(1, Ordering::Relaxed),
            network,
            Instant::now(),
            self.now(),
        ));
        let mut table = self.table.lock();
        let share = self.limits.max_connections_per_address;
        if table.unauthenticated(network) >= share {
            self.evict(&mut table, Some(network), batch(share), CloseReason::AddressLimit);
        }
        let capacity = self.limits.connection_capacity();
        if table.len() >= capacity {
            self.warn(&mut table);
            self.evict(&mut table, None, batch(capacity), CloseReason::Pressure);
        }
        table.insert(Arc::clone(&record));
        (record, self.shutdown.connection())
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&self, record: &Record) {
        self.table.lock().remove(record);
    }

    /// Drops some connections at once: the process has no file descriptors left.
    pub fn relieve(&self) {
        let mut table = self.table.lock();
        self.warn(&mut table);
        for record in table.evict(None, RELIEF) {
            self.close(&mut table, &record, CloseReason::Pressure);
            record.abort.cancel();
        }
    }

    /// Returns the number of connections without an authenticated request.
    pub fn unauthenticated(&self) -> usize {
        self.table.lock().all_unauthenticated()
    }

    /// Returns the bytes of responses that clients have not read.
    pub fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// Returns how many connections the gateway has closed for a reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Counts a request of a key until [`Self::end_request`].
    pub(super) fn begin_request(&self, key: &Arc<str>, record: &Record) -> Result<(), Full> {
        let limit = self.limits.max_connections_per_key;
        if self.shares.lock().add(key, record.id, limit) { Ok(()) } else { Err(Full::Key) }
    }

    /// Counts a request of a key less.
    pub(super) fn end_request(&self, key: &Arc<str>, record: &Record) {
        self.shares.lock().remove(key, record.id);
    }

    /// Marks a connection as authenticated.
    pub(super) fn authenticate(&self, record: &Arc<Record>) -> Result<(), Full> {
        let mut table = self.table.lock();
        if table.authenticated() >= self.limits.max_connections {
            let idle = table.idlest_authenticated().ok_or(Full::All)?;
            self.close(&mut table, &idle, CloseReason::Pressure);
        }
        table.authenticate(record);
        Ok(())
    }

    /// Closes up to `count` connections, of `network` if it is given.
    fn evict(
        &self,
        table: &mut Table,
        network: Option<Network>,
        count: usize,
        reason: CloseReason,
    ) {
        for record in table.evict(network, count) {
            self.close(table, &record, reason);
        }
    }

    fn close(&self, table: &mut Table, record: &Arc<Record>, reason: CloseReason) {
        self.count(reason);
        record.close.cancel();
        if let Some(oldest) = table.begin_closing(record, MAX_CLOSING) {
            oldest.abort.cancel();
        }
    }

    /// Counts a connection that is closed for a reason.
    pub(super) fn count(&self, reason: CloseReason) {
        if let Some(count) = self.closed.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts bytes that a client has not read, and drops connections if there are too many.
    pub(super) fn add_unread(&self, record: &Record, bytes: usize) {
        record.unread.fetch_add(bytes, Ordering::Relaxed);
        let all = self.unread.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.limits.max_unread_bytes {
            self.shed_unread();
        }
    }

    /// Counts bytes less.
    pub(super) fn remove_unread(&self, record: &Record, bytes: usize) {
        record.unread.fetch_sub(bytes, Ordering::Relaxed);
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Drops the connections with the most unread bytes until the others are within the limit.
    fn shed_unread(&self) {
        let mut table = self.table.lock();
        for record in table.largest_unread(self.limits.max_unread_bytes) {
            tracing::warn!(
                network = %record.network,
                bytes = record.unread(),
                "dropping a connection: its client does not read, and max_unread_bytes is reached"
            );
            self.close(&mut table, &record, CloseReason::Unread);
            record.abort.cancel();
        }
    }

    fn warn(&self, table: &mut Table) {
        let now = Instant::now();
        if table.warned.is_some_and(|last| now - last < WARNING_INTERVAL) {
            return;
        }
        table.warned = Some(now);
        let largest = table.largest_network();
        tracing::warn!(
            connections = table.len(),
            unauthenticated = table.all_unauthenticated(),
            largest_network = largest.map(|(network, _)| network.to_string()),
            its_connections = largest.map(|(_, count)| count),
            "closing idle connections to make room"
        );
    }

    /// Milliseconds since the start, from 1 on: 0 stands for no time.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    pub(super) fn at(&self, millis: u64) -> Instant {
        self.started + Duration::from_millis(millis.saturating_sub(1))
    }
}

fn batch(limit: usize) -> usize {
    (limit / BATCH_SHARE).max(1)
}
