//! [`Budget`]: bounds the time, the work and the memory of a patch.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::error::Error;
use crate::error::Kind;

/// The limit in bytes of all files that a patch names, together; and of their new contents.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The limit in bytes that all running patches hold: four of the largest, old and new contents.
const MAX_IN_FLIGHT: u64 = 8 * MAX_BYTES;

/// The limit in bytes that a patch may search and rewrite: sixteen passes over the largest files.
/// A patch needs a few passes over each file, unless it names one file again and again.
pub(super) const MAX_WORK: u64 = 16 * MAX_BYTES;

/// The time limit of a patch, which outlasts the largest work on a slow disk.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The unit of [`IN_FLIGHT`]: a semaphore counts to 2^32.
const UNIT: u64 = 1 << 10;
static IN_FLIGHT: Semaphore = Semaphore::const_new((MAX_IN_FLIGHT / UNIT) as usize);

/// The remaining time, work and memory of a patch.
#[derive(Debug)]
pub(super) struct Budget {
    deadline: Instant,
    abandoned: Arc<AtomicBool>,
    work: u64,
    results: u64,
    held: Option<SemaphorePermit<'static>>,
}

/// Ends the work of a patch when dropped: the client has left.
#[derive(Debug, Default)]
pub(super) struct AbandonOnDrop(Arc<AtomicBool>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Budget {
    pub(super) fn new(client: &AbandonOnDrop) -> Self {
        Self {
            deadline: Instant::now() + TIMEOUT,
            abandoned: Arc::clone(&client.0),
            work: MAX_WORK,
            results: MAX_BYTES,
            held: None,
        }
    }

    /// # Errors
    /// `TimedOut` after the time limit; `Unavailable` if the client has left.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Unavailable, "patch: the client disconnected"));
        }
        if Instant::now() >= self.deadline {
            let limit = TIMEOUT.as_secs();
            let detail = format!(
                "patch: expected to apply within {limit} s, nothing is changed; split the patch"
            );
            return Err(Error::new(Kind::TimedOut, detail));
        }
        Ok(())
    }

    /// Counts bytes that are about to be searched or written.
    ///
    /// # Errors
    /// `TooLarge` beyond the limit of work; as [`Budget::check`].
    pub(super) fn work(&mut self, bytes: usize) -> Result<(), Error> {
        self.work = self.work.checked_sub(bytes as u64).ok_or_else(|| {
            let detail = format!(
                "patch: expected at most {MAX_WORK} bytes to search and rewrite, got more; name \
                 each file once, or split the patch"
            );
            Error::new(Kind::TooLarge, detail)
        })?;
        self.check()
    }

    /// Counts the size of a file's new content, before it is made.
    ///
    /// # Errors
    /// `TooLarge` if all new contents exceed the limit; as [`Budget::hold`] and [`Budget::work`].
    pub(super) fn result(&mut self, bytes: u64) -> Result<(), Error> {
        self.results = self.results.checked_sub(bytes).ok_or_else(|| {
            let detail =
                format!("patch: expected results of at most {MAX_BYTES} bytes together, got more");
            Error::new(Kind::TooLarge, detail)
        })?;
        self.hold(bytes)?;
        self.work(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Takes memory, until the patch is done.
    ///
    /// # Errors
    /// `Overloaded` if the patches that run hold too much.
    pub(super) fn hold(&mut self, bytes: u64) -> Result<(), Error> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let taken = IN_FLIGHT.try_acquire_many(units).map_err(|_| {
            let detail = format!(
                "expected patches that run to hold at most {MAX_IN_FLIGHT} bytes; try again later"
            );
            Error::new(Kind::Overloaded, detail)
        })?;
        match &mut self.held {
            Some(held) => held.merge(taken),
            None => self.held = Some(taken),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_refused_in_words() {
        let client = AbandonOnDrop::default();
        let mut budget = Budget::new(&client);
        budget.result(MAX_BYTES).unwrap();
        assert_eq!(budget.result(1).unwrap_err().kind(), &Kind::TooLarge);
        budget.work((MAX_WORK - MAX_BYTES) as usize).unwrap();
        assert_eq!(budget.work(1).unwrap_err().kind(), &Kind::TooLarge);
        drop(client);
        assert!(budget.check().unwrap_err().to_string().contains("disconnected"));
    }

    #[test]
    fn memory_is_returned_on_drop() {
        let client = AbandonOnDrop::default();
        let mut other = Budget::new(&client);
        // Other tests hold little.
        other.hold(MAX_IN_FLIGHT - MAX_BYTES).unwrap();
        let mut budget = Budget::new(&client);
        assert_eq!(budget.hold(2 * MAX_BYTES).unwrap_err().kind(), &Kind::Overloaded);
        drop(other);
        budget.hold(2 * MAX_BYTES).unwrap();
    }
}
