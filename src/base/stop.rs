//! The wish to stop: set by a signal or a deadline, heard by every wait.
//!
//! Input: the signal's number. Output: a fault from the next [`Stop::check`] or [`Stop::sleep`]. Called by
//! `cli` (sets it), `fetch` and `run` (hear it).

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::base::fault::{Fault, Kind, Result};

/// Nobody sleeps longer: a year is for ever.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Shared by all threads of a run.
#[derive(Default)]
pub struct Stop {
    why: Mutex<Option<Kind>>,
    changed: Condvar,
    critical: AtomicUsize,
    at_last: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stop").field(&self.asked()).finish()
    }
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
    /// Asks everything to stop; the first reason stays, but for a signal.
    pub fn ask(&self, why: Kind) {
        let mut asked = self.why.lock();
        if asked.is_none() || matches!(why, Kind::Signal(_)) {
            *asked = Some(why);
        }
        drop(asked);
        self.changed.notify_all();
    }

    /// Why it was asked to stop, if it was.
    pub fn asked(&self) -> Option<Kind> {
        *self.why.lock()
    }

    /// What must be done also when the process ends without more ado.
    pub fn at_last(&self, act: impl FnOnce() + Send + 'static) {
        *self.at_last.lock() = Some(Box::new(act));
    }

    /// The process ends at once: does what must be done then.
    pub fn leaves(&self) {
        let act = self.at_last.lock().take();
        if let Some(act) = act {
            act();
        }
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
        let mut why = self.why.lock();
        while why.is_none() {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) else { break };
            self.changed.wait_for(&mut why, left);
        }
        drop(why);
        self.check()
    }
}
