//! A mutex that ignores poisoning.

use std::sync::MutexGuard;
use std::sync::PoisonError;

/// A [`std::sync::Mutex`] whose [`lock`](Self::lock) ignores poisoning.
///
/// A panic ends one task, and the runtime contains it. The critical sections of this crate are
/// short and leave their data consistent, so later callers can go on. If poisoning were honoured,
/// each of them would panic as well, and one failed request would disable the whole process.
#[derive(Default)]
pub(crate) struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Wraps a value.
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    /// The value, without a lock.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the lock is free.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized + std::fmt::Debug> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Mutex;

    #[test]
    fn lock_survives_a_panicking_holder() {
        let shared = Arc::new(Mutex::new(1));
        let holder = Arc::clone(&shared);
        let panicked = std::thread::spawn(move || {
            let mut value = holder.lock();
            *value = 2;
            panic!("while it holds the lock");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*shared.lock(), 2);
    }
}
