//! The number of reading threads: more while the cap is not used and the vendor is fast, fewer when it throttles.
//!
//! Input: the pace statistics since the last check. Output: how many threads may work. Called by
//! [`super::scheduler::Scheduler`] (each thread asks before its next step) and by `run`, whose supervisor checks a
//! few times per second.
//!
//! By Little's law a cap of c calls per second and a latency of l seconds need c times l threads; neither is known in
//! advance. Without a known cap the number never grows: that would be a guess at the vendor's expense.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::pace::Counts;

/// The time between two checks.
pub const LOOK: Duration = Duration::from_millis(250);
/// How often a parked thread wakes up.
const PARKED: Duration = Duration::from_millis(200);
/// A decision needs this many responses, or this much time.
const ENOUGH: u64 = 5;
const LONG_ENOUGH: Duration = Duration::from_secs(4);
/// The cap counts as used from this share of the rate.
const USED: f64 = 0.98;
/// There are enough threads if a call waits for this part of the interval between two calls.
const ENOUGH_WAIT: f64 = 0.5;
/// A response that takes this many times as long as the fastest one counts as slow.
const SLOW: f64 = 2.0;

/// The threads of a run.
#[derive(Debug)]
pub struct Concurrency {
    size: AtomicUsize,
    /// Threads without work.
    idle: AtomicUsize,
    most: usize,
    last: Mutex<Last>,
    /// Has the run ended?
    ended: Mutex<bool>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Last {
    counts: Counts,
    at: Duration,
    /// The fastest response so far, as a mean over one check, in seconds.
    quickest: Option<f64>,
}

impl Concurrency {
    /// A pool that starts with `size` threads, and grows to at most `most`.
    pub fn new(size: usize, most: usize) -> Concurrency {
        Concurrency {
            size: AtomicUsize::new(size),
            idle: AtomicUsize::new(0),
            most: most.max(size),
            last: Mutex::default(),
            ended: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    fn ended(&self) -> MutexGuard<'_, bool> {
        self.ended.lock()
    }

    /// Waits while thread `number` is not wanted, but only for a moment: a stop may be requested.
    pub(super) fn wanted(&self, number: usize) -> bool {
        let mut ended = self.ended();
        if number < self.size() || *ended {
            return true;
        }
        self.changed.wait_for(&mut ended, PARKED);
        drop(ended);
        number < self.size()
    }

    /// The run has ended: wakes all waiting threads.
    pub(super) fn end(&self) {
        *self.ended() = true;
        self.changed.notify_all();
    }

    fn resize(&self, size: usize) {
        self.size.store(size.clamp(1, self.most), Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// The maximum number of threads.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The number of threads that may work now.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// A thread has no work, or has work again.
    pub(super) fn idles(&self, idle: bool) {
        if idle {
            self.idle.fetch_add(1, Ordering::Relaxed);
        } else {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Evaluates the statistics since the last decision; `rate` is the allowed rate in calls per second, and `now`
    /// the time since the start of the run.
    pub fn look(&self, counts: Counts, rate: Option<f64>, now: Duration) {
        let mut last = self.last.lock();
        let since = counts.since(&last.counts);
        let time = now.saturating_sub(last.at);
        // A few responses are not enough to decide.
        if since.limited == 0 && since.answered < ENOUGH && time < LONG_ENOUGH {
            return;
        }
        (last.counts, last.at) = (counts, now);
        let size = self.size();
        if since.limited > 0 {
            self.resize(size * 3 / 4);
            return;
        }
        let (Some(rate), true) = (rate, since.answered > 0) else { return };
        #[allow(clippy::cast_precision_loss)]
        let (answered, took) = (since.answered as f64, since.took.as_secs_f64() / since.answered as f64);
        let quickest = last.quickest.map_or(took, |quickest| quickest.min(took));
        last.quickest = Some(quickest);
        let used = answered / time.as_secs_f64() >= rate * USED;
        let all_busy = self.idle.load(Ordering::Relaxed) == 0;
        // With one thread too many, each call waits for the time of one call.
        let crowded = since.waited.as_secs_f64() / answered >= ENOUGH_WAIT / rate;
        if !crowded && !used && all_busy && took <= quickest * SLOW {
            self.resize(size + (size / 4).max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(answered: u64, waited: u64, limited: u64, ms: u64) -> Counts {
        Counts { answered, waited: Duration::from_millis(waited), limited, took: Duration::from_millis(answered * ms) }
    }

    #[test]
    fn it_grows_while_the_cap_is_not_used_and_shrinks_on_throttles() {
        let concurrency = Concurrency::new(4, 16);
        let at = |n: u64| Duration::from_millis(250 * n);
        concurrency.look(counts(5, 0, 0, 200), Some(100.0), at(1));
        assert_eq!(concurrency.size(), 5);
        // The cap is used, or calls wait for it: five calls wait 50 ms, at one call per 10 ms.
        concurrency.look(counts(30, 0, 0, 200), Some(100.0), at(2));
        concurrency.look(counts(35, 50, 0, 200), Some(100.0), at(3));
        assert_eq!(concurrency.size(), 5);
        // Occasional collisions prove nothing.
        for n in 8..40 {
            concurrency.look(counts(n * 5, 50 + n, 0, 200), Some(100.0), at(n));
        }
        assert_eq!(concurrency.size(), 16);
        concurrency.look(counts(205, 90, 1, 200), Some(100.0), at(41));
        assert_eq!(concurrency.size(), 12);
    }

    #[test]
    fn it_stays_where_no_cap_is_known_where_threads_idle_and_where_the_vendor_gets_slow() {
        let concurrency = Concurrency::new(4, 16);
        let at = Duration::from_secs;
        concurrency.look(counts(5, 0, 0, 200), None, at(1));
        concurrency.idles(true);
        concurrency.look(counts(10, 0, 0, 200), Some(100.0), at(2));
        concurrency.idles(false);
        assert_eq!(concurrency.size(), 4);
        concurrency.look(Counts { took: Duration::from_secs(5), ..counts(15, 0, 0, 0) }, Some(100.0), at(3));
        assert_eq!(concurrency.size(), 4);
    }

    #[test]
    fn it_grows_under_a_cap_of_a_few_calls_a_second() {
        let concurrency = Concurrency::new(2, 16);
        for n in 1..100 {
            // Each thread makes a call every two seconds.
            let answered = (n * concurrency.size() as u64) / 8;
            concurrency.look(counts(answered.max(1), 0, 0, 2000), Some(4.0), Duration::from_millis(250 * n));
        }
        assert!(concurrency.size() >= 6, "{}", concurrency.size());
    }
}
