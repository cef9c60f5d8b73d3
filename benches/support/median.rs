//! The median of durations, for benches that print no more than that.

use std::time::Duration;

/// The middle one of the values, which are sorted by it.
pub(crate) fn median(values: &mut [Duration]) -> Duration {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
