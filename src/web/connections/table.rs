//! [`Table`]: the open connections by id, and which of them make room.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::network::Network;
use super::record::Record;

/// Open connections, and those that are being closed.
#[derive(Debug, Default)]
pub(super) struct Table {
    open: HashMap<u64, Arc<Record>>,
    /// The number of open connections without an authenticated request, by network.
    unauthenticated: HashMap<Network, usize>,
    /// The number of open connections with one.
    authenticated: usize,
    /// Connections that are being closed, oldest first. They take no room in `open`.
    closing: VecDeque<Arc<Record>>,
    /// When pressure was last logged.
    pub(super) warned: Option<Instant>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn authenticated(&self) -> usize {
        self.authenticated
    }

    pub(super) fn all_unauthenticated(&self) -> usize {
        self.open.len() - self.authenticated
    }

    pub(super) fn unauthenticated(&self, network: Network) -> usize {
        self.unauthenticated.get(&network).copied().unwrap_or(0)
    }

    /// Returns the network with the most unauthenticated connections, and their number.
    pub(super) fn largest_network(&self) -> Option<(Network, usize)> {
        let counts = self.unauthenticated.iter();
        counts.map(|(network, count)| (*network, *count)).max_by_key(|(_, count)| *count)
    }

    pub(super) fn insert(&mut self, record: Arc<Record>) {
        *self.unauthenticated.entry(record.network).or_default() += 1;
        self.open.insert(record.id, record);
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&mut self, record: &Record) {
        if !self.take(record) {
            self.closing.retain(|closing| closing.id != record.id);
        }
    }

    /// Moves a connection to those that are being closed. Returns the oldest of these if there are
    /// more than `limit`.
    pub(super) fn begin_closing(
        &mut self,
        record: &Arc<Record>,
        limit: usize,
    ) -> Option<Arc<Record>> {
        if self.take(record) {
            self.closing.push_back(Arc::clone(record));
        }
        if self.closing.len() > limit { self.closing.pop_front() } else { None }
    }

    /// Marks a connection as authenticated. It is open again if it was being closed: it ends after
    /// its request.
    pub(super) fn authenticate(&mut self, record: &Arc<Record>) {
        if record.authenticated.swap(true, Ordering::Relaxed) {
            return;
        }
        self.authenticated += 1;
        if self.open.insert(record.id, Arc::clone(record)).is_some() {
            self.forget(record.network);
        } else {
            self.closing.retain(|closing| closing.id != record.id);
        }
    }

    /// Chooses up to `count` connections to close: unauthenticated ones, of `network` if it is
    /// given. If there are none and no network is given, an idle authenticated one.
    pub(super) fn evict(&self, network: Option<Network>, count: usize) -> Vec<Arc<Record>> {
        let all = self.open.values().filter(|record| !record.is_authenticated());
        let mut chosen: Vec<_> = all
            .filter(|record| network.is_none_or(|network| record.network == network))
            .map(|record| {
                let share = self.unauthenticated(record.network);
                ((Reverse(share), record.is_active(), record.last(), record.id), record)
            })
            .collect();
        if chosen.is_empty() && network.is_none() {
            return self.idlest_authenticated().into_iter().collect();
        }
        chosen.sort_unstable_by_key(|(order, _)| *order);
        chosen.into_iter().take(count).map(|(_, record)| Arc::clone(record)).collect()
    }

    /// Returns the authenticated connection that was idle the longest.
    pub(super) fn idlest_authenticated(&self) -> Option<Arc<Record>> {
        let all = self.open.values().filter(|record| record.is_authenticated());
        all.filter(|record| !record.is_active())
            .min_by_key(|record| (record.last(), record.id))
            .cloned()
    }

    /// Returns the connections with the most unread bytes, so that the others are within `limit`.
    pub(super) fn largest_unread(&self, limit: usize) -> Vec<Arc<Record>> {
        let mut all: Vec<(usize, &Arc<Record>)> =
            self.open.values().map(|record| (record.unread(), record)).collect();
        let mut sum: usize = all.iter().map(|(unread, _)| unread).sum();
        all.sort_unstable_by_key(|(unread, record)| (Reverse(*unread), record.id));
        let largest = all.into_iter().take_while(|(unread, _)| {
            let over = sum > limit;
            sum -= unread;
            over
        });
        largest.map(|(_, record)| Arc::clone(record)).collect()
    }

    /// Removes an open connection. Returns whether it was open.
    fn take(&mut self, record: &Record) -> bool {
        if self.open.remove(&record.id).is_none() {
            return false;
        }
        if record.is_authenticated() {
            self.authenticated -= 1;
        } else {
            self.forget(record.network);
        }
        true
    }

    /// Counts one unauthenticated connection of a network less.
    fn forget(&mut self, network: Network) {
        if let Some(count) = self.unauthenticated.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.unauthenticated.remove(&network);
            }
        }
    }
}
