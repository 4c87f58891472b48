//! Pace: when the next call may go out.
//!
//! Input: the manifest's `api_budget` or the config's `dripfeed.pace`; then each call before it is sent, and what
//! the vendor says about its rate. Output: a [`Permit`], once all limits have room. Called by `fetch`.
//!
//! The limits are the account's, not the process's: with a state directory all processes that call for one account
//! share a ledger there ([`store`]). What is decided is decided by the [`limiter`]; here threads wait.

pub mod account_key;
pub mod budget;
pub mod clock;
pub mod feedback;
mod learned_rate;
pub mod ledger;
pub mod limit;
pub mod limiter;
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

/// Without a deadline, a wait that the vendor asks for is slept through up to so long.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Two threads that ask at once need some time, which is no wait.
const SCARCELY: Duration = Duration::from_millis(5);
/// A thread that waits looks up this often: its process is still there.
const AWAKE: Duration = Duration::from_secs(1);
/// How often calls that take long are made known to the other processes.
const HEARTBEAT: Duration = Duration::from_millis(1500);

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

/// Where the account's ledger is.
#[derive(Debug)]
pub enum LedgerBackend {
    /// In this process.
    Own(MemoryLedger),
    /// In a file.
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

/// What happened to the calls of this process so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that came back.
    pub answered: u64,
    /// How long they took, together.
    pub took: Duration,
    /// How long they waited before they could go, together.
    pub waited: Duration,
    /// Times that the vendor said that it is too much.
    pub limited: u64,
}

impl Counts {
    /// What happened since then.
    pub fn since(&self, then: &Counts) -> Counts {
        Counts {
            answered: self.answered - then.answered,
            took: self.took.saturating_sub(then.took),
            waited: self.waited.saturating_sub(then.waited),
            limited: self.limited - then.limited,
        }
    }
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The vendor said how long.
    ForVendor,
    /// The account's limits.
    ForPace,
    /// Another try, after one that failed: the limits have nothing to do with it.
    ToTryAgain,
}

/// The pace of one account.
#[derive(Debug)]
pub struct Pace {
    budget: Budget,
    limiter: Limiter<BootTime, LedgerBackend>,
    deadline: Option<Instant>,
    counts: Mutex<Counts>,
    /// When a call could have gone that ended the run.
    resume_at: Mutex<Option<Instant>>,
    /// Counts what may let a thread of this process go on.
    moved: Mutex<u64>,
    changed: Condvar,
}

/// Leave to send one call; given back when the answer is there.
#[derive(Debug)]
pub struct Permit<'p> {
    pace: &'p Pace,
    sent_at: Nanos,
    policy: Option<usize>,
    weight: u32,
    /// What it was charged in points.
    charged: f64,
    outcome: Option<(bool, Feedback)>,
    /// How long the call waited.
    pub waited: Duration,
}

/// A place in the row, left when its thread goes away.
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
    /// The pace of an account, kept in that ledger. A call that could go only after the deadline ends the run.
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
            // A call that takes longer than a lease must not be forgotten.
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

    /// What happened to the calls of this process so far.
    pub fn counted(&self) -> Counts {
        *self.counts()
    }

    fn wake(&self) {
        *self.moved() += 1;
        self.changed.notify_all();
    }

    /// Waits until something of this process moved since `seen`, for so long at most.
    fn rest(&self, seen: u64, time: Duration) {
        let mut guard = self.moved();
        if *guard == seen {
            self.changed.wait_for(&mut guard, time);
        }
    }

    /// Waits until every limit has room for the call; `waits` hears for how long it will be at least, and why. A call
    /// that could never go is a fault at once.
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
                        // A call of this process that comes back may be what is waited for.
                        WaitReason::InFlight | WaitReason::Quota => self.rest(seen, wait.min(AWAKE)),
                        WaitReason::Pace | WaitReason::Yield | WaitReason::Held => stop.sleep(wait.min(AWAKE))?,
                    }
                }
            }
        }
        place.gone = true;
        let sent_at = self.limiter.clock.now();
        // Who was behind another thread of this process waited for what that one waited for, if for anything.
        let waited = began.elapsed();
        let waited = if reason.is_some() || behind && waited > SCARCELY { waited } else { Duration::ZERO };
        self.counts().waited += waited;
        Ok(Permit { pace: self, sent_at, policy, weight, charged: place.ticket.charged, outcome: None, waited })
    }

    /// A call that is part of another one, which has leave to be sent: it counts, and the next ones wait for it.
    pub fn charge(&self, call: &Call<'_>) -> Result<()> {
        let (policy, weight) = self.budget.admit(call)?;
        self.limiter.charge(policy, weight);
        Ok(())
    }

    /// Ends the stream where a wait is not worth it: it would end after the deadline, or the vendor asks for too long.
    /// What all calls of the account wait for ends the run.
    fn bear(&self, wait: Duration, why: WaitReason, stop: &Stop) -> Result<()> {
        let by_vendor = matches!(why, WaitReason::Held | WaitReason::Quota);
        self.bears(wait, if by_vendor { Waits::ForVendor } else { Waits::ForPace }).inspect_err(|fault| {
            if by_vendor {
                stop.ask(fault.kind);
            }
        })
    }

    /// Is so long a wait worth it? Else it goes on another time.
    pub fn bears(&self, wait: Duration, what: Waits) -> Result<()> {
        let by_vendor = what == Waits::ForVendor;
        let subject = if by_vendor { "the vendor asks to wait" } else { "it would wait" };
        let late = |why: &str| {
            if what != Waits::ToTryAgain {
                *self.resume_at.lock() = Instant::now().checked_add(wait);
            }
            let text = format!("{why}{subject} {:.0} s before the next request", wait.as_secs_f64().ceil());
            Err(Fault::new(Kind::Unfinished, text).hint("run again later; what was finished is saved"))
        };
        match self.deadline {
            Some(deadline) if deadline.checked_duration_since(Instant::now()).is_none_or(|left| wait > left) => {
                late("the run's deadline comes first: ")
            }
            None if by_vendor && wait > PATIENCE => late(""),
            _ => Ok(()),
        }
    }

    /// The vendor said that a call was too much: nothing of the account goes out for so long.
    pub fn limited(&self, call: &Call<'_>, wait: Duration) {
        self.limiter.limited(self.budget.place(call).0, wait);
        self.counts().limited += 1;
        self.wake();
    }

    /// What an answer says of the vendor's limits.
    pub fn feedback(&self, status: u16, headers: &ureq::http::HeaderMap, now: time::OffsetDateTime) -> Feedback {
        let read = feedback::read(status, headers, &self.budget.names, now);
        Feedback { left: read.left.filter(|_| !self.budget.deaf), ..read }
    }

    /// Do points count, so that it matters what a request cost?
    pub fn counts_points(&self) -> bool {
        self.budget.points
    }

    /// Calls a second that the account allows now, as far as it is known; the most, where there are several policies.
    pub fn rate(&self) -> Option<f64> {
        self.limiter.current_rate()
    }

    /// Does config or manifest declare a cap on calls?
    pub fn is_capped(&self) -> bool {
        !self.budget.caps.is_empty()
    }

    /// The share of the cap that so many calls in a time are: where one cap on calls holds for all of them, and the
    /// time is as long as its own.
    pub fn share(&self, calls: u64, time: Duration) -> Option<f64> {
        let (rate, per) = match &self.budget.caps[..] {
            [cap] if self.budget.rules.policies.len() == 1 => cap,
            _ => return None,
        };
        #[allow(clippy::cast_precision_loss)]
        (time >= *per).then(|| calls as f64 / time.as_secs_f64() / rate)
    }

    /// How long from now a run has to wait that ended because the account's limit asked for too long a wait.
    pub fn resume_after(&self) -> Option<Duration> {
        let at = *self.resume_at.lock();
        at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// This process calls no more: others need not wait for it.
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
    /// The answer came; `good` when the vendor served it.
    pub fn answered(mut self, good: bool, feedback: Feedback) {
        self.outcome = Some((good, feedback));
    }

    /// What the vendor says that it cost.
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
        self.pace.wake();
    }
}
