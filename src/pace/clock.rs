//! The clock of the ledger: shared by all processes of a machine, and never adjusted.
//!
//! Output: nanoseconds since boot, including suspension (CLOCK_BOOTTIME), the boot id, and the wall clock for data
//! that outlives a reboot. Called by [`super::limiter`] and [`super::store`].

use std::time::{SystemTime, UNIX_EPOCH};

use super::limit::Nanos;

/// A clock. The simulation and the tests have their own.
pub trait Clock: Send + Sync {
    /// Nanoseconds since an instant that is the same for all processes that share a ledger.
    fn now(&self) -> Nanos;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootTime;

impl Clock for BootTime {
    fn now(&self) -> Nanos {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }
}

/// Nanoseconds since 1970 of the wall clock.
pub fn wall() -> Nanos {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX))
}
