//! The median of durations.

use std::time::Duration;

/// Returns the median. Sorts the values.
pub fn median(values: &mut [Duration]) -> Duration {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
