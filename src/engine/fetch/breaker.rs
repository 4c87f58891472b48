//! The circuit breaker: while a vendor is down, only one thread sends requests; retries have a budget; a run against
//! a dead vendor ends.
//!
//! Input: whether exchanges worked. Output: a pass for the next exchange, or the fault that ends the run. Called by
//! [`super::Fetcher`]. A 429 comes from a working vendor: it never counts as a failure here.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;

/// The breaker opens after this many failures in a row …
const IN_A_ROW: u32 = 5;
/// … or when half of this many recent exchanges failed.
const LATELY: usize = 20;
/// After this time without success, the vendor counts as dead for this run.
const DEAD_AFTER: Duration = Duration::from_secs(60);
/// The retry budget: what a retry costs, and what a success returns (the scheme of the AWS SDKs). It avoids five
/// attempts per request to a vendor that fails everything.
const BUDGET: u32 = 500;
const TRANSIENT: u32 = 14;
const THROTTLE: u32 = 5;

/// The vendor's health, as observed by the threads of a run.
#[derive(Debug)]
pub(super) struct Breaker {
    dead_after: Duration,
    health: Mutex<Health>,
    changed: Condvar,
}

#[derive(Debug)]
struct Health {
    /// Failures since the last success, and when the first of them was.
    failures: u32,
    since: Option<Instant>,
    /// Did no attempt reach the vendor?
    unreached: bool,
    /// The streams that failed.
    streams: Vec<String>,
    lately: VecDeque<bool>,
    probing: bool,
    budget: u32,
}

/// Permission for one exchange.
#[derive(Debug)]
pub(super) struct Pass<'b> {
    breaker: &'b Breaker,
    probe: bool,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            dead_after: DEAD_AFTER,
            health: Mutex::new(Health {
                failures: 0,
                since: None,
                unreached: true,
                streams: Vec::new(),
                lately: VecDeque::new(),
                probing: false,
                budget: BUDGET,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Health {
    fn is_open(&self) -> bool {
        let failed = self.lately.iter().filter(|worked| !**worked).count();
        self.failures >= IN_A_ROW || self.failures > 0 && self.lately.len() >= LATELY && failed * 2 >= LATELY
    }
}

impl Breaker {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock()
    }

    /// Waits while another thread probes whether the vendor is back.
    pub(super) fn enter(&self, stop: &Stop) -> Result<Pass<'_>> {
        let mut health = self.health();
        while health.is_open() && health.probing {
            stop.check()?;
            self.changed.wait_for(&mut health, Duration::from_millis(200));
        }
        let probe = health.is_open();
        health.probing |= probe;
        Ok(Pass { breaker: self, probe })
    }

    /// Records a failed exchange: the vendor was not `reached`, or it answered with a server error. Returns a fault
    /// when the vendor is dead for this run: nothing worked for a minute, and more than one stream is affected.
    pub(super) fn failed(&self, stream: &str, reached: bool) -> Result<()> {
        let mut health = self.health();
        health.failures += 1;
        health.unreached &= !reached;
        let since = *health.since.get_or_insert_with(Instant::now);
        if health.streams.len() < 2 && !health.streams.iter().any(|s| s == stream) {
            health.streams.push(stream.to_owned());
        }
        health.note(false);
        let everywhere = health.unreached || health.streams.len() > 1;
        if health.failures >= IN_A_ROW && everywhere && since.elapsed() >= self.dead_after {
            let (failures, seconds) = (health.failures, since.elapsed().as_secs());
            return Err(Fault::new(
                Kind::Unavailable,
                format!("the vendor is down: the last {failures} requests failed over {seconds} s"),
            )
            .hint("run again later; finished work is saved"));
        }
        Ok(())
    }

    /// Records a successful exchange.
    pub(super) fn worked(&self) {
        let mut health = self.health();
        let open = health.is_open();
        (health.failures, health.since, health.unreached) = (0, None, true);
        health.streams.clear();
        if open {
            health.lately.clear();
        }
        health.note(true);
        health.budget = (health.budget + 1).min(BUDGET);
    }

    /// May a request be retried? This takes from the budget.
    pub(super) fn may_retry(&self, throttled: bool) -> bool {
        let mut health = self.health();
        let cost = if throttled { THROTTLE } else { TRANSIENT };
        let enough = health.budget >= cost;
        if enough {
            health.budget -= cost;
        }
        enough
    }
}

impl Health {
    fn note(&mut self, worked: bool) {
        self.lately.push_back(worked);
        if self.lately.len() > LATELY {
            self.lately.pop_front();
        }
    }
}

impl Pass<'_> {
    /// Is the pass still valid? Not if the breaker opened in the meantime, and another thread probes.
    pub(super) fn holds(&self) -> bool {
        self.probe || !self.breaker.health().is_open()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.health().probing = false;
        }
        self.breaker.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick() -> Breaker {
        Breaker { dead_after: Duration::from_millis(1), ..Breaker::default() }
    }

    #[test]
    fn a_vendor_that_nobody_reaches_is_dead_after_a_while() {
        let breaker = quick();
        for _ in 1..IN_A_ROW {
            assert!(breaker.failed("a", false).is_ok());
        }
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(breaker.failed("a", false).map_err(|f| f.kind), Err(Kind::Unavailable));
        breaker.worked();
        assert!(breaker.failed("a", false).is_ok());
        // Some time has to pass.
        let patient = Breaker::default();
        assert!((0..100).all(|_| patient.failed("a", false).is_ok()));
    }

    #[test]
    fn one_stream_that_fails_is_no_dead_vendor() {
        let breaker = quick();
        std::thread::sleep(Duration::from_millis(2));
        for _ in 0..50 {
            assert!(breaker.failed("a", true).is_ok());
            std::thread::sleep(Duration::from_micros(100));
        }
        assert!(breaker.failed("b", true).is_err(), "another one fails too, and nothing worked between");
    }

    #[test]
    fn while_it_is_open_one_thread_asks() {
        let breaker = Breaker::default();
        let stop = Stop::default();
        for _ in 0..IN_A_ROW {
            breaker.failed("a", false).unwrap_or_else(|f| panic!("{f}"));
        }
        let probe = breaker.enter(&stop).unwrap_or_else(|f| panic!("{f}"));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| breaker.enter(&stop).map(|pass| pass.probe));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!other.is_finished());
            breaker.worked();
            drop(probe);
            assert!(matches!(other.join(), Ok(Ok(false))), "it is closed again");
        });
    }

    #[test]
    fn tries_cost_and_successes_give_back() {
        let breaker = Breaker::default();
        let tries = |throttled| (0..1000).take_while(|_| breaker.may_retry(throttled)).count();
        assert_eq!(tries(false), 35);
        assert_eq!(tries(true), 2);
        (0..14).for_each(|_| breaker.worked());
        assert_eq!(tries(false), 1);
    }
}
