//! The wish to stop: set by a signal or a deadline, heard by every wait.
//!
//! Comes in: the signal's number. Goes out: a fault from the next [`Stop::check`] or [`Stop::sleep`]. Called by
//! `cli` (sets it), `fetch` and `run` (hear it).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::{Fault, Kind, Result};

/// Nobody sleeps longer: a year is for ever.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Shared by all threads of a run.
#[derive(Debug, Default)]
pub struct Stop {
    why: Mutex<Option<Kind>>,
    changed: Condvar,
    critical: AtomicUsize,
}

/// Something that must not be cut off is under way until this is dropped.
#[derive(Debug)]
pub struct Critical<'s>(&'s Stop);

impl Drop for Critical<'_> {
    fn drop(&mut self) {
        self.0.critical.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stop {
    /// Asks everything to stop; the first reason stays.
    pub fn ask(&self, why: Kind) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.changed.notify_all();
    }

    /// Why it was asked to stop, if it was.
    pub fn asked(&self) -> Option<Kind> {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows must come to its end, such as a request whose answer can be had only once.
    pub fn critical(&self) -> Critical<'_> {
        self.critical.fetch_add(1, Ordering::SeqCst);
        Critical(self)
    }

    /// Is something under way that must not be cut off? (A second signal ends it all the same.)
    pub fn waits_for_critical(&self) -> bool {
        self.critical.load(Ordering::SeqCst) > 0
    }

    /// A fault once it was asked to stop.
    pub fn check(&self) -> Result<()> {
        let Some(why) = self.asked() else { return Ok(()) };
        let text = match why {
            Kind::Unfinished => "not read to its end: the run has no more time",
            Kind::Unavailable => "not read to its end: the vendor is down",
            _ => "stopped on request",
        };
        Err(Fault::new(why, text))
    }

    /// Sleeps, unless it is asked to stop.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time.min(LONGEST);
        let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        while why.is_none() {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) else { break };
            why = self.changed.wait_timeout(why, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(why);
        self.check()
    }
}
