//! How many threads read: more while the cap is not used and the vendor is quick, fewer when it throttles.
//!
//! Input: what the pace counted since the last look. Output: how many threads may work. Called by
//! [`super::scheduler::Scheduler`] (each thread asks before its next step) and by `cli`, whose supervisor looks a few
//! times a second.
//!
//! By Little's law a cap of c calls a second and a latency of l seconds needs c times l threads; neither is known
//! beforehand. Without a known cap nothing grows: it would be a guess at the vendor's expense.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::pace::Counts;

/// Time between two looks.
pub const LOOK: Duration = Duration::from_millis(250);
/// A thread that is not wanted looks up this often.
const PARKED: Duration = Duration::from_millis(200);
/// It is decided after so many answers, or after so long.
const ENOUGH: u64 = 5;
const LONG_ENOUGH: Duration = Duration::from_secs(4);
/// From this share of the rate on it is used.
const USED: f64 = 0.98;
/// Threads are enough when a call waits for this part of the time between two.
const ENOUGH_WAIT: f64 = 0.5;
/// An answer that takes so many times as long as the quickest did is no longer quick.
const SLOW: f64 = 2.0;

/// The threads of a run.
#[derive(Debug)]
pub struct Concurrency {
    size: AtomicUsize,
    /// Threads that found nothing to do.
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
    /// The quickest answer so far, as a mean over a look, in seconds.
    quickest: Option<f64>,
}

impl Concurrency {
    /// A crew that begins with so many threads, and grows to at most so many.
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

    /// Waits while thread number `number` is not wanted, for a moment at most: the run may be asked to stop.
    pub(super) fn wanted(&self, number: usize) -> bool {
        let mut ended = self.ended();
        if number < self.size() || *ended {
            return true;
        }
        self.changed.wait_for(&mut ended, PARKED);
        drop(ended);
        number < self.size()
    }

    /// The run has ended: nobody waits any more.
    pub(super) fn end(&self) {
        *self.ended() = true;
        self.changed.notify_all();
    }

    fn resize(&self, size: usize) {
        self.size.store(size.clamp(1, self.most), Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// The most threads that it may have.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Threads that may work now.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// A thread found nothing to do, or found something again.
    pub(super) fn idles(&self, idle: bool) {
        if idle {
            self.idle.fetch_add(1, Ordering::Relaxed);
        } else {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Looks at what happened since it was last decided; `rate` is what the account allows, in calls a second, and
    /// `now` the time since the run began.
    pub fn look(&self, counts: Counts, rate: Option<f64>, now: Duration) {
        let mut last = self.last.lock();
        let since = counts.since(&last.counts);
        let time = now.saturating_sub(last.at);
        // From a few answers there is nothing to be told.
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
        // With a thread too many each call waits for as long as one takes its turn.
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
        // The cap is used, or calls wait for it: five of them 50 ms, where one may go each 10.
        concurrency.look(counts(30, 0, 0, 200), Some(100.0), at(2));
        concurrency.look(counts(35, 50, 0, 200), Some(100.0), at(3));
        assert_eq!(concurrency.size(), 5);
        // That they meet now and then says nothing.
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
            // Each thread makes a call in two seconds.
            let answered = (n * concurrency.size() as u64) / 8;
            concurrency.look(counts(answered.max(1), 0, 0, 2000), Some(4.0), Duration::from_millis(250 * n));
        }
        assert!(concurrency.size() >= 6, "{}", concurrency.size());
    }
}
