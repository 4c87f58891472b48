//! Pace: when the next call may go out.
//!
//! Comes in: the manifest's `api_budget` or the config's `dripfeed.pace`; then each call before it is sent, and what
//! the vendor says about its rate. Goes out: a [`Permit`], once all limits have room. Called by `fetch`. A
//! limit serves callers in the order in which they ask. The limits live in this process.

mod budget;
pub mod limit;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use budget::{Matcher, build};

use crate::fault::Result;
use crate::stop::Stop;
use budget::Policy;

/// A call that is about to be sent, as budgets see it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Its method, in capitals.
    pub method: &'a str,
    /// Its whole address.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a [(String, String)],
}

/// The limits of one account.
#[derive(Debug)]
pub struct Pace {
    state: Mutex<State>,
    returned: Condvar,
    most_in_flight: u64,
    began: Instant,
}

#[derive(Debug)]
struct State {
    policies: Vec<Policy>,
    /// Nothing goes out before this; time since `began`.
    hold: Duration,
    in_flight: u64,
}

/// Leave to send one call; given back when the answer is there.
#[derive(Debug)]
pub struct Permit<'p>(&'p Pace);

impl Pace {
    fn new(policies: Vec<Policy>, most_in_flight: u64) -> Pace {
        Pace {
            state: Mutex::new(State { policies, hold: Duration::ZERO, in_flight: 0 }),
            returned: Condvar::new(),
            most_in_flight,
            began: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every limit has room for the call; `waits` hears how long, if at all.
    pub fn acquire(&self, call: &Call<'_>, stop: &Stop, waits: impl Fn(Duration)) -> Result<Permit<'_>> {
        let mut state = self.lock();
        while state.in_flight >= self.most_in_flight {
            stop.check()?;
            let short = Duration::from_millis(100);
            state = self.returned.wait_timeout(state, short).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.in_flight += 1;
        drop(state);
        // Given back also when what follows breaks; never made while the lock is held, which giving back takes.
        let permit = Permit(self);
        loop {
            let now = self.began.elapsed();
            let wait = self.lock().reserve(call, now).saturating_sub(now);
            if !wait.is_zero() {
                waits(wait);
                stop.sleep(wait)?;
            }
            // A hold that came meanwhile makes the place in the row worthless: all who slept would go at its end at once.
            if self.lock().hold <= self.began.elapsed() {
                return Ok(permit);
            }
        }
    }

    /// The vendor said that it is too much: nothing goes out for so long.
    pub fn hold(&self, time: Duration) {
        let until = self.began.elapsed().saturating_add(time);
        let mut state = self.lock();
        state.hold = state.hold.max(until);
    }
}

impl State {
    /// Takes room for the call from every limit of the policy that governs it; gives the time at which it may go.
    fn reserve(&mut self, call: &Call<'_>, now: Duration) -> Duration {
        let from = now.max(self.hold);
        let Some((policy, cost)) = self.policies.iter_mut().find_map(|p| p.cost(call).map(|c| (p, c))) else {
            return from;
        };
        let at = policy.limits.iter().map(|l| l.earliest(cost, from)).fold(from, Duration::max);
        for limit in &mut policy.limits {
            limit.take(cost, at);
        }
        at
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
        self.0.returned.notify_one();
    }
}
