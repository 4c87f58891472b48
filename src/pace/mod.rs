//! Pace: decides when the next call may be sent.
//!
//! Input: the manifest's `api_budget` or the config's `dripfeed.pace`; then each call before it is sent, and the
//! vendor's rate-limit information. Output: a [`Permit`], once all limits have room. Called by `fetch`.
//!
//! Limits apply to the account, not the process: with a state directory, all processes that call for one account
//! share a ledger there ([`store`]). The [`limiter`] makes all decisions; this module makes threads wait.

pub mod account_key;
pub mod budget;
pub mod clock;
pub mod feedback;
mod learned_rate;
pub mod ledger;
pub mod limit;
pub mod limiter;
pub mod short_window;
pub mod store;

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use budget::Matcher;

use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use budget::Budget;
use clock::{BootTime, Clock};
use feedback::{Cost, Feedback};
use ledger::Ledger;
use limit::Nanos;
use limiter::{Admission, Limiter, Priority, Ticket, WaitReason};
use store::{LedgerStore, MemoryLedger};

/// Without a deadline, the longest wait requested by the vendor that a run sits out.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// The delay between two simultaneous threads, which does not count as a wait.
const SCARCELY: Duration = Duration::from_millis(5);
/// How often a waiting thread wakes up to show that its process is alive.
const AWAKE: Duration = Duration::from_secs(1);
/// How often long-running calls are reported to the other processes.
const HEARTBEAT: Duration = Duration::from_millis(1500);

/// A call that is about to be sent, as budgets match it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The HTTP method, in upper case.
    pub method: &'a str,
    /// The full URL.
    pub url: &'a str,
    /// The request headers.
    pub headers: &'a [(String, String)],
}

/// The storage of the account's ledger.
#[derive(Debug)]
pub enum LedgerBackend {
    /// In memory of this process.
    Own(MemoryLedger),
    /// In a shared file.
    Shared(store::SharedLedger),
}

impl LedgerStore for LedgerBackend {
    fn update<T>(&self, clock: &dyn Clock, change: impl FnOnce(&mut Ledger, Nanos) -> T) -> T {
        match self {
            LedgerBackend::Own(own) => own.update(clock, change),
            LedgerBackend::Shared(shared) => shared.update(clock, change),
        }
    }
}

/// Statistics of this process's calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Completed calls.
    pub answered: u64,
    /// Total duration of the calls.
    pub took: Duration,
    /// Total time that calls waited for their permit.
    pub waited: Duration,
    /// Rate-limited responses (HTTP 429 and its equivalents).
    pub limited: u64,
}

impl Counts {
    /// The difference to earlier statistics.
    pub fn since(&self, then: &Counts) -> Counts {
        Counts {
            answered: self.answered - then.answered,
            took: self.took.saturating_sub(then.took),
            waited: self.waited.saturating_sub(then.waited),
            limited: self.limited - then.limited,
        }
    }
}

/// The reason for a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The vendor requested the wait.
    ForVendor,
    /// The account's limits.
    ForPace,
    /// A retry after a failed attempt, independent of the limits.
    ToTryAgain,
}

/// The pace of one account: issues permits for calls.
#[derive(Debug)]
pub struct Pace {
    budget: Budget,
    limiter: Limiter<BootTime, LedgerBackend>,
    deadline: Option<Instant>,
    counts: Mutex<Counts>,
    /// The earliest time of the call that ended the run.
    resume_at: Mutex<Option<Instant>>,
    /// A counter that increases when a waiting thread of this process may continue.
    moved: Mutex<u64>,
    changed: Condvar,
}

/// Permission to send one call; released when the response arrives.
#[derive(Debug)]
pub struct Permit<'p> {
    pace: &'p Pace,
    sent_at: Nanos,
    policy: Option<usize>,
    weight: u32,
    /// The points charged for the call.
    charged: f64,
    outcome: Option<(bool, Feedback)>,
    /// How long the call waited.
    pub waited: Duration,
}

/// A place in the queue, released when its thread ends.
struct Place<'p> {
    pace: &'p Pace,
    ticket: Ticket,
    gone: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.gone {
            self.pace.limiter.leave(&self.ticket);
        }
        self.pace.wake();
    }
}

impl Pace {
    /// The pace of an account with its ledger. A call that must wait past the deadline ends the run.
    pub fn new(budget: Budget, ledger: LedgerBackend, priority: Priority, deadline: Option<Instant>) -> Arc<Pace> {
        let id = RandomState::new().hash_one(std::process::id());
        let shares = matches!(ledger, LedgerBackend::Shared(_));
        let limiter = Limiter::new(BootTime, ledger, budget.rules.clone(), id, priority);
        let pace = Arc::new(Pace {
            budget,
            limiter,
            deadline,
            counts: Mutex::default(),
            resume_at: Mutex::default(),
            moved: Mutex::new(0),
            changed: Condvar::new(),
        });
        if shares {
            // A call that outlasts its lease must stay registered.
            let watched = Arc::downgrade(&pace);
            std::thread::spawn(move || {
                loop {
                    std::thread::sleep(HEARTBEAT);
                    let Some(pace) = watched.upgrade() else { return };
                    if pace.limiter.flying() > 0 {
                        pace.limiter.renew();
                    }
                }
            });
        }
        pace
    }

    fn moved(&self) -> MutexGuard<'_, u64> {
        self.moved.lock()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }

    /// Statistics of this process's calls so far.
    pub fn counted(&self) -> Counts {
        *self.counts()
    }

    fn wake(&self) {
        *self.moved() += 1;
        self.changed.notify_all();
    }

    /// Waits for a change in this process since `seen`, at most `time`.
    fn rest(&self, seen: u64, time: Duration) {
        let mut guard = self.moved();
        if *guard == seen {
            self.changed.wait_for(&mut guard, time);
        }
    }

    /// Waits until every limit has room for the call; `waits` receives the minimum wait and its reason. A call that
    /// can never fit is a fault at once.
    pub fn acquire(&self, call: &Call<'_>, stop: &Stop, waits: impl Fn(Duration, WaitReason)) -> Result<Permit<'_>> {
        let (policy, weight) = self.budget.admit(call)?;
        let began = Instant::now();
        let mut place = Place { pace: self, ticket: self.limiter.ticket(policy, weight), gone: false };
        let (mut reason, mut behind) = (None, false);
        loop {
            stop.check()?;
            let seen = *self.moved();
            match self.limiter.ask(&mut place.ticket) {
                Admission::Go => break,
                Admission::Behind => {
                    behind = true;
                    self.rest(seen, AWAKE);
                }
                Admission::Wait(until, why) => {
                    let wait = Duration::from_nanos(until.saturating_sub(self.limiter.clock.now()));
                    self.bear(wait, why, stop)?;
                    if reason.replace(why) != Some(why) {
                        waits(wait, why);
                    }
                    match why {
                        // The wait may end when another call of this process completes.
                        WaitReason::InFlight | WaitReason::Quota => self.rest(seen, wait.min(AWAKE)),
                        WaitReason::Pace | WaitReason::Yield | WaitReason::Held => stop.sleep(wait.min(AWAKE))?,
                    }
                }
            }
        }
        place.gone = true;
        let sent_at = self.limiter.clock.now();
        // A thread queued behind another one of this process waited for the same reason.
        let waited = began.elapsed();
        let waited = if reason.is_some() || behind && waited > SCARCELY { waited } else { Duration::ZERO };
        self.counts().waited += waited;
        Ok(Permit { pace: self, sent_at, policy, weight, charged: place.ticket.charged, outcome: None, waited })
    }

    /// Registers a call that is part of another call with a permit: it counts, and later calls wait for it.
    pub fn charge(&self, call: &Call<'_>) -> Result<()> {
        let (policy, weight) = self.budget.admit(call)?;
        self.limiter.charge(policy, weight);
        Ok(())
    }

    /// Ends the stream if a wait is too long: past the deadline, or longer than the vendor may request. A wait that
    /// applies to all calls of the account ends the run.
    fn bear(&self, wait: Duration, why: WaitReason, stop: &Stop) -> Result<()> {
        let by_vendor = matches!(why, WaitReason::Held | WaitReason::Quota);
        self.bears(wait, if by_vendor { Waits::ForVendor } else { Waits::ForPace }).inspect_err(|fault| {
            if by_vendor {
                stop.ask(fault.kind);
            }
        })
    }

    /// Is a wait acceptable? If not, a later run continues.
    pub fn bears(&self, wait: Duration, what: Waits) -> Result<()> {
        let by_vendor = what == Waits::ForVendor;
        let subject = match what {
            Waits::ForVendor => "the vendor requests a wait of",
            Waits::ForPace => "the rate limit requires a wait of",
            Waits::ToTryAgain => "a retry requires a wait of",
        };
        let late = |why: &str| {
            if what != Waits::ToTryAgain {
                *self.resume_at.lock() = Instant::now().checked_add(wait);
            }
            let text = format!("{why}{subject} {:.0} s before the next request", wait.as_secs_f64().ceil());
            Err(Fault::new(Kind::Unfinished, text).hint("run again later; finished work is saved"))
        };
        match self.deadline {
            Some(deadline) if deadline.checked_duration_since(Instant::now()).is_none_or(|left| wait > left) => {
                late("the run's deadline is too close: ")
            }
            None if by_vendor && wait > PATIENCE => late(""),
            _ => Ok(()),
        }
    }

    /// The vendor rate-limited a call: no call of the account is sent for `wait`.
    pub fn limited(&self, call: &Call<'_>, wait: Duration) {
        self.limiter.limited(self.budget.place(call).0, wait);
        self.counts().limited += 1;
        self.wake();
    }

    /// The rate-limit information in a response.
    pub fn feedback(&self, status: u16, headers: &ureq::http::HeaderMap, now: time::OffsetDateTime) -> Feedback {
        let read = feedback::read(status, headers, &self.budget.names, now);
        Feedback { left: read.left.filter(|_| !self.budget.deaf), ..read }
    }

    /// Do limits count points, so that the cost of a request matters?
    pub fn counts_points(&self) -> bool {
        self.budget.points
    }

    /// The currently allowed calls per second, if known; the highest of several policies.
    pub fn rate(&self) -> Option<f64> {
        self.limiter.current_rate()
    }

    /// Does config or manifest declare a cap on calls?
    pub fn is_capped(&self) -> bool {
        !self.budget.caps.is_empty()
    }

    /// The share of the cap that `calls` use in `time`; known only if a single cap applies to all calls and `time` is
    /// at least its window.
    pub fn share(&self, calls: u64, time: Duration) -> Option<f64> {
        let (rate, per) = match &self.budget.caps[..] {
            [cap] if self.budget.rules.policies.len() == 1 => cap,
            _ => return None,
        };
        #[allow(clippy::cast_precision_loss)]
        (time >= *per).then(|| calls as f64 / time.as_secs_f64() / rate)
    }

    /// How long a run must wait that ended because of a too long rate-limit wait.
    pub fn resume_after(&self) -> Option<Duration> {
        let at = *self.resume_at.lock();
        at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// This process sends no more calls: others need not wait for it.
    pub fn end(&self) {
        self.limiter.end();
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.limiter.end();
    }
}

impl Permit<'_> {
    /// The response arrived; `good` if the vendor served it.
    pub fn answered(mut self, good: bool, feedback: Feedback) {
        self.outcome = Some((good, feedback));
    }

    /// Sets the cost that the vendor reports.
    pub fn cost(&self, cost: Cost) {
        if cost != Cost::default() {
            self.pace.limiter.cost(self.policy, self.weight, self.charged, cost);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let (good, feedback) = self.outcome.take().unwrap_or_default();
        let took = Duration::from_nanos(self.pace.limiter.clock.now().saturating_sub(self.sent_at));
        let mut counts = self.pace.counts();
        (counts.answered, counts.took) = (counts.answered + 1, counts.took + took);
        drop(counts);
        self.pace.limiter.answered(self.policy, self.sent_at, good, feedback.left);
        if let Some(limit) = feedback.limit {
            self.pace.limiter.named_limit(self.policy, limit);
        }
        self.pace.wake();
    }
}
