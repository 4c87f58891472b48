//! Mutexes of threads one of which may have broken off.
//!
//! Comes in: a mutex. Goes out: its guard. Called by every folder that shares something between threads: what a thread that
//! panicked held is used all the same, since a run tells of the panic and ends.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, whatever became of who held it before.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
