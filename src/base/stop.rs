//! The stop request: set by a signal or a deadline, checked by every wait.
//!
//! Input: the signal's number. Output: a fault from the next [`Stop::check`] or [`Stop::sleep`]. Called by `cli`
//! (sets it), `fetch` and `run` (check it).

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::base::fault::{Fault, Kind, Result};

/// The longest sleep; a year counts as forever.
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

/// Marks work that must not be interrupted, until this is dropped.
#[derive(Debug)]
pub struct Critical<'s>(&'s Stop);

impl Drop for Critical<'_> {
    fn drop(&mut self) {
        self.0.critical.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stop {
    /// Requests a stop; the first reason stays, unless a signal follows.
    pub fn ask(&self, why: Kind) {
        let mut asked = self.why.lock();
        if asked.is_none() || matches!(why, Kind::Signal(_)) {
            *asked = Some(why);
        }
        drop(asked);
        self.changed.notify_all();
    }

    /// The reason of the stop request, if there is one.
    pub fn asked(&self) -> Option<Kind> {
        *self.why.lock()
    }

    /// Sets an action that must also run when the process ends immediately.
    pub fn at_last(&self, act: impl FnOnce() + Send + 'static) {
        *self.at_last.lock() = Some(Box::new(act));
    }

    /// Called when the process ends immediately: runs that action.
    pub fn leaves(&self) {
        let act = self.at_last.lock().take();
        if let Some(act) = act {
            act();
        }
    }

    /// Starts work that must complete, for example a request whose response is available only once.
    pub fn critical(&self) -> Critical<'_> {
        self.critical.fetch_add(1, Ordering::SeqCst);
        Critical(self)
    }

    /// Is uninterruptible work in progress? (A second signal interrupts it anyway.)
    pub fn waits_for_critical(&self) -> bool {
        self.critical.load(Ordering::SeqCst) > 0
    }

    /// A fault if a stop was requested.
    pub fn check(&self) -> Result<()> {
        let Some(why) = self.asked() else { return Ok(()) };
        let text = match why {
            Kind::Unfinished => "not read to its end: the run reached its deadline",
            Kind::Unavailable => "not read to its end: the vendor is down",
            _ => "stopped on request",
        };
        Err(Fault::new(why, text))
    }

    /// Sleeps until the time is over or a stop is requested.
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
