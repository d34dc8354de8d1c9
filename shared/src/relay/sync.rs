//! The locks of this room: the standard library's, or those of `loom` where a model of it runs.

#[cfg(loom)]
pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};

use std::sync::PoisonError;
use std::time::Duration;

/// Locks. No code of others runs under a lock of this room, so that a poisoned state is still a whole one.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits to be notified.
pub(super) fn wait<'s, T>(changed: &Condvar, guard: MutexGuard<'s, T>) -> MutexGuard<'s, T> {
    changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits to be notified, but not for longer than `limit`; `true` when that has passed.
pub(super) fn wait_for<'s, T>(
    changed: &Condvar,
    guard: MutexGuard<'s, T>,
    limit: Duration,
) -> (MutexGuard<'s, T>, bool) {
    let (guard, result) = changed.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner);
    (guard, result.timed_out())
}
