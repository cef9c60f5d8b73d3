//! [`KeyShares`]: on how many connections each API key has requests in progress.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// The requests in progress of a key, by the id of their connection.
type Requests = HashMap<u64, usize>;

/// The requests in progress, by the name of their key. Keys without one are not listed.
#[derive(Debug, Default)]
pub(super) struct KeyShares(HashMap<Arc<str>, Requests>);

impl KeyShares {
    /// Counts a request. Returns `false`, and does not count it, if the key has requests on `limit`
    /// other connections.
    pub(super) fn add(&mut self, key: &Arc<str>, connection: u64, limit: usize) -> bool {
        let requests = self.0.entry(Arc::clone(key)).or_default();
        let others = requests.len();
        match requests.entry(connection) {
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(_) if others >= limit => return false,
            Entry::Vacant(count) => drop(count.insert(1)),
        }
        true
    }

    /// Counts a request less.
    pub(super) fn remove(&mut self, key: &Arc<str>, connection: u64) {
        let Some(requests) = self.0.get_mut(key) else { return };
        if let Entry::Occupied(mut count) = requests.entry(connection) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if requests.is_empty() {
            self.0.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_counts_connections_and_not_requests() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut shares = KeyShares::default();
        assert!(shares.add(&a, 1, 2) && shares.add(&a, 1, 2) && shares.add(&a, 2, 2));
        assert!(!shares.add(&a, 3, 2));
        assert!(shares.add(&b, 3, 2) && shares.add(&b, 1, 2));
        shares.remove(&a, 1);
        assert!(!shares.add(&a, 3, 2), "it has another request on the first connection");
        shares.remove(&a, 1);
        assert!(shares.add(&a, 3, 2));
        for (key, connection) in [(&a, 2), (&a, 3), (&b, 3), (&b, 1), (&b, 1)] {
            shares.remove(key, connection);
        }
        assert!(shares.0.is_empty(), "{shares:?}");
    }
}
