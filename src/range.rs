//! Ranges of numbers in the configuration. Every number has one, so that none of them overflows a
//! sum, a product or a time later.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::bail;

/// The longest duration: a year. Later times cannot be computed everywhere.
const MAX_MILLIS: u64 = 365 * 24 * 3600 * 1000;
/// The most bytes of one thing.
pub(crate) const MAX_BYTES: usize = 1 << 30;
/// The most permits of one kind. A semaphore of tokio has room for more.
pub(crate) const MAX_COUNT: usize = 1_000_000;

/// Returns the value of a key, which must be in `range`.
///
/// # Errors
/// It is not.
pub(crate) fn within<T: Copy + PartialOrd + Display>(
    key: impl Display,
    value: Option<T>,
    range: RangeInclusive<T>,
    default: T,
) -> anyhow::Result<T> {
    match value {
        Some(value) if !range.contains(&value) => {
            bail!("{key}: expected {} to {}, got {value}", range.start(), range.end())
        }
        Some(value) => Ok(value),
        None => Ok(default),
    }
}

/// Returns the duration of a key in milliseconds, which must not be 0.
///
/// # Errors
/// It is 0, or too long.
pub(crate) fn millis(
    key: impl Display,
    value: Option<u64>,
    default: u64,
) -> anyhow::Result<Duration> {
    within(key, value, 1..=MAX_MILLIS, default).map(Duration::from_millis)
}
