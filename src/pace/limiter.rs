//! The limiter: decides which call goes next, and when.
//!
//! Input: [`Rules`], a clock and a store; then tickets of callers, and what the vendor says. Output: an
//! [`Admission`]. Called by [`super::Pace`], by the simulation and by tests, which run the same code: nothing here
//! sleeps.
//!
//! The runs of an account share its limits so:
//! - whoever has nobody above reserves: the next call gets the next free moment, in the order of asking. A process
//!   reserves one call at a time, so that many threads are worth no more than few;
//! - whoever has somebody above yields: it takes what is free while they do not wait; while they wait it gets the
//!   floor, a share of the limits that those who yield have among them;
//! - of a burst the lower priorities spare a part, so that who comes later and goes first finds it;
//! - a 429 holds everyone, and cuts the rate, which grows back as calls go well.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::feedback::Cost;
use super::learned_rate::{cut, grow};
use super::ledger::{Ledger, Meter, Quota};
use super::limit::{Limit, Nanos, Unit};
use super::store::LedgerStore;

/// How often it is looked again for what has no time of its own: a call that comes back, a run that stops to wait.
const POLL: Nanos = 20_000_000;
/// Nothing is held longer: whoever names a longer time is asked again after it.
const MAX_HOLD: Nanos = 86_400_000_000_000;
/// While headers say that nothing is left, one call in this time tries whether that is so.
const PROBE: Nanos = 600_000_000_000;
/// A pause after which calls are counted anew.
const IDLE: Nanos = 60_000_000_000;
/// Weight of the newest cost in what a request is expected to cost.
const NEWEST: f64 = 0.3;

/// Who goes first; the later the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// History, which yields to all else.
    Backfill,
    /// What is read once a day.
    Daily,
    /// What a dashboard waits for.
    Hourly,
}

impl Priority {
    /// The part of a burst that is left for who goes first.
    fn spare(self) -> f64 {
        match self {
            Priority::Backfill => 0.5,
            Priority::Daily => 0.25,
            Priority::Hourly => 0.0,
        }
    }
}

/// The limits of an account.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Every limit, under the name that it has in the ledger.
    pub limits: Vec<(String, Limit)>,
    /// For each policy, which of the limits hold.
    pub policies: Vec<Vec<usize>>,
    /// The most calls under way, if there is a most.
    pub in_flight: Option<u64>,
    /// The share of the limits of those who yield while others wait.
    pub floor: f64,
}

/// What the limiter decides about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The call may go now, and counts as under way.
    Go,
    /// Not before that time, when it is to ask again; why.
    Wait(Nanos, WaitReason),
    /// Others of the same process come first: ask again when one of them has gone.
    Behind,
}

/// Why a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// The account's limits.
    Pace,
    /// Runs of a higher priority.
    Yield,
    /// The vendor asked for it.
    Held,
    /// The vendor says that nothing is left.
    Quota,
    /// Too many calls are under way.
    InFlight,
}

/// A caller's place in the row. It must be given back with [`Limiter::leave`] when it does not go.
#[derive(Debug)]
pub struct Ticket {
    policy: usize,
    cost: f64,
    number: u64,
    reserved: Option<Reserved>,
    /// What it was charged in points.
    pub charged: f64,
}

/// A time that is reserved, and from when on its limits had room.
#[derive(Debug)]
struct Reserved {
    at: Nanos,
    bases: Vec<(usize, Nanos)>,
}

/// The callers of one policy in this process.
#[derive(Debug, Default)]
struct Row {
    next: u64,
    waiting: VecDeque<u64>,
}

/// Decides for one process.
#[derive(Debug)]
pub struct Limiter<C, S> {
    /// Tells the time.
    pub clock: C,
    store: S,
    rules: Rules,
    id: u64,
    priority: Priority,
    rows: Mutex<Vec<Row>>,
    flying: AtomicU64,
    /// Did this process ask for a call? Until then no one needs to know of it.
    asked: AtomicBool,
}

/// One of the limits that hold for a call.
struct Claim<'l> {
    /// Its number, and its name in the ledger; none for the rate that was learned.
    named: Option<(usize, &'l str)>,
    limit: Limit,
    cost: f64,
    free_at: Nanos,
}

impl<C: Clock, S: LedgerStore> Limiter<C, S> {
    /// A limiter for the process `id`. A policy that no call names is the one without limits.
    pub fn new(clock: C, store: S, rules: Rules, id: u64, priority: Priority) -> Limiter<C, S> {
        let rows = (0..=rules.policies.len()).map(|_| Row::default()).collect();
        Limiter {
            clock,
            store,
            rules,
            id,
            priority,
            rows: Mutex::new(rows),
            flying: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        }
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock()
    }

    /// A place in the row of `policy`, for a call of that weight.
    pub fn ticket(&self, policy: Option<usize>, weight: u32) -> Ticket {
        let policy = policy.unwrap_or(self.rules.policies.len());
        let mut rows = self.rows();
        let row = &mut rows[policy];
        let number = row.next;
        row.next += 1;
        row.waiting.push_back(number);
        Ticket { policy, cost: f64::from(weight), number, reserved: None, charged: 0.0 }
    }

    /// May the call go?
    pub fn ask(&self, ticket: &mut Ticket) -> Admission {
        let others = {
            let rows = self.rows();
            if rows[ticket.policy].waiting.front() != Some(&ticket.number) {
                return Admission::Behind;
            }
            rows[ticket.policy].waiting.len() > 1
        };
        self.asked.store(true, Ordering::Relaxed);
        let answer = self.store.update(&self.clock, |ledger, now| self.decide(ledger, ticket, now, others));
        if answer == Admission::Go {
            self.rows()[ticket.policy].waiting.pop_front();
        }
        answer
    }

    /// The caller went away before its call could go.
    pub fn leave(&self, ticket: &Ticket) {
        let empty = {
            let mut rows = self.rows();
            rows[ticket.policy].waiting.retain(|n| *n != ticket.number);
            rows[ticket.policy].waiting.is_empty()
        };
        if empty {
            self.store.update(&self.clock, |ledger, now| {
                ledger.member(self.id, self.priority, now).waits.retain(|policy| *policy != ticket.policy);
            });
        }
    }

    /// The account is still in use by this process.
    pub fn renew(&self) {
        self.store.update(&self.clock, |ledger, now| self.here(ledger, now));
    }

    /// This process calls no more.
    pub fn end(&self) {
        if self.asked.load(Ordering::Relaxed) {
            self.store.update(&self.clock, |ledger, _| ledger.members.retain(|m| m.id != self.id));
        }
    }

    fn here(&self, ledger: &mut Ledger, now: Nanos) {
        ledger.prune(now);
        ledger.member(self.id, self.priority, now).flying = self.flying.load(Ordering::Relaxed);
    }

    /// Calls that this process has under way.
    pub fn flying(&self) -> u64 {
        self.flying.load(Ordering::Relaxed)
    }

    fn decide(&self, ledger: &mut Ledger, ticket: &mut Ticket, now: Nanos, others: bool) -> Admission {
        self.here(ledger, now);
        let answer = self.answer(ledger, ticket, now);
        let waits = answer != Admission::Go || others;
        if answer == Admission::Go {
            self.flying.fetch_add(1, Ordering::Relaxed);
            let meter = &mut ledger.meter;
            if meter.last.saturating_add(IDLE) < now {
                *meter = Meter { since: now, ..Meter::default() };
            }
            (meter.last, meter.calls) = (now, meter.calls + 1);
            if let Some(quota) = ledger.quota.as_mut().filter(|q| q.probe_at <= now) {
                // This one tries; the next in a while.
                quota.probe_at = now.saturating_add(PROBE);
            }
        }
        let member = ledger.member(self.id, self.priority, now);
        member.flying = self.flying.load(Ordering::Relaxed);
        member.waits.retain(|policy| *policy != ticket.policy);
        if waits {
            member.waits.push(ticket.policy);
        }
        answer
    }

    fn answer(&self, ledger: &mut Ledger, ticket: &mut Ticket, now: Nanos) -> Admission {
        if ledger.hold > now {
            // What was reserved was reserved of a rate that is no more.
            ticket.reserved = None;
            return Admission::Wait(ledger.hold, WaitReason::Held);
        }
        let above = || ledger.members.iter().filter(|m| m.priority > self.priority);
        let (above_is_here, above_waits) =
            (above().next().is_some(), above().any(|m| m.waits.contains(&ticket.policy)));
        let flying = ledger.flying();
        let shared = |most: u64| ledger.share.map_or(most, |share| part(most, share));
        if self.rules.in_flight.is_some_and(|most| flying >= shared(most)) {
            return Admission::Wait(now + POLL, WaitReason::InFlight);
        }
        #[allow(clippy::cast_precision_loss)]
        if let Some(quota) = &ledger.quota
            && flying as f64 + ticket.cost > quota.left as f64
        {
            if flying > 0 {
                // Calls that are under way may have been counted already, or not: their answers tell.
                return Admission::Wait(quota.until.min(now + POLL), WaitReason::Quota);
            }
            if quota.probe_at > now {
                return Admission::Wait(quota.until.min(quota.probe_at), WaitReason::Quota);
            }
        }
        if let Some(Reserved { at, bases }) = &ticket.reserved {
            if *at > now {
                return Admission::Wait(*at, WaitReason::Pace);
            }
            for (number, base) in bases {
                let (name, limit) = &self.rules.limits[*number];
                if let Some(free_at) = ledger.limits.get_mut(name) {
                    *free_at = free_at.saturating_add(limit.late(*base, now));
                }
            }
            return Admission::Go;
        }
        let claims = self.claims(ledger, ticket);
        let spare = self.priority.spare();
        let earliest = |spare| claims.iter().map(|c| c.limit.earliest(c.free_at, c.cost, spare, now)).max();
        let Some(mut at) = earliest(spare) else {
            // No rate limits it: one call at a time while others of the account wait for what they have in common.
            let yields = above_waits && self.flying() > 0;
            return if yields { Admission::Wait(now + POLL, WaitReason::Yield) } else { Admission::Go };
        };
        if above_is_here {
            let free = at;
            at = earliest(0.0).unwrap_or(at);
            if free > now || above_waits {
                if ledger.floor > now || self.rules.floor <= 0.0 {
                    let look = if above_waits { at.max(now + POLL) } else { free };
                    let floor = if self.rules.floor > 0.0 { ledger.floor } else { Nanos::MAX };
                    return Admission::Wait(look.min(floor), WaitReason::Yield);
                }
                // The floor's turn: as one of those who do not yield, once.
                let slowest = claims.iter().map(|c| c.limit.refill(c.cost)).max().unwrap_or(0);
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let pause = (slowest as f64 / self.rules.floor) as Nanos;
                ledger.floor = now.saturating_add(pause);
            }
        }
        let mut bases = Vec::new();
        for claim in &claims {
            let free_at = claim.limit.taken(claim.free_at, claim.cost, at);
            if claim.limit.unit == Unit::Points {
                ticket.charged = claim.cost;
            }
            if let Some((number, name)) = claim.named {
                bases.push((number, claim.free_at.max(at)));
                ledger.limits.insert(name.to_owned(), free_at);
            } else if let Some(learned) = ledger.learned.get_mut(&ticket.policy) {
                learned.free_at = free_at;
            }
        }
        if at <= now {
            return Admission::Go;
        }
        ticket.reserved = Some(Reserved { at, bases });
        Admission::Wait(at, WaitReason::Pace)
    }

    /// A call goes out that waited for no limit: the next ones wait for it.
    pub fn charge(&self, policy: Option<usize>, weight: u32) {
        let policy = self.row(policy);
        self.store.update(&self.clock, |ledger, now| {
            for (_, name, limit) in self.limits(policy).filter(|(_, _, limit)| limit.unit == Unit::Calls) {
                let free_at = limit.taken(free_at(ledger, name, limit), f64::from(weight), now);
                ledger.limits.insert(name.to_owned(), free_at);
            }
        });
    }

    /// The limits that hold for a call.
    fn claims(&self, ledger: &Ledger, ticket: &Ticket) -> Vec<Claim<'_>> {
        let mut claims: Vec<Claim<'_>> = Vec::new();
        for (number, name, limit) in self.limits(ticket.policy) {
            let cost = match limit.unit {
                Unit::Calls => ticket.cost,
                Unit::Points => ledger.points.unwrap_or(1.0) * ticket.cost,
            };
            let limit = ledger.share.map_or_else(|| limit.clone(), |share| limit.share(share));
            let free_at = free_at(ledger, name, &limit);
            claims.push(Claim { named: Some((number, name)), limit, cost, free_at });
        }
        if let Some(learned) = ledger.learned.get(&ticket.policy) {
            let limit = Limit::steady(learned.rate * ledger.share.unwrap_or(1.0));
            claims.push(Claim { named: None, limit, cost: ticket.cost, free_at: learned.free_at });
        }
        claims
    }

    fn limits(&self, policy: usize) -> impl Iterator<Item = (usize, &str, &Limit)> {
        let of_policy = self.rules.policies.get(policy).into_iter().flatten();
        of_policy.filter_map(|at| self.rules.limits.get(*at).map(|(name, limit)| (*at, name.as_str(), limit)))
    }

    /// The rate of calls that the config or the manifest allows under a policy, in calls a second.
    fn rate(&self, policy: usize) -> Option<f64> {
        let limits = self.limits(policy);
        limits.filter(|(_, _, l)| l.unit == Unit::Calls).map(|(_, _, l)| l.rate()).min_by(f64::total_cmp)
    }

    /// A call came back; `good` when the vendor served it. `left` calls are to be had until `until`, if it says so.
    pub fn answered(&self, policy: Option<usize>, sent_at: Nanos, good: bool, left: Option<(u64, Duration)>) {
        let policy = self.row(policy);
        self.flying.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(1))).ok();
        self.store.update(&self.clock, |ledger, now| {
            self.here(ledger, now);
            if good {
                grow(ledger, policy);
            }
            let Some((left, time)) = left else { return };
            let until = now.saturating_add(nanos(time));
            // More than before is believed of a request that was sent after the last word: what is said of an earlier
            // one is older, in whatever order they come.
            if ledger.quota.as_ref().is_none_or(|q| left <= q.left || sent_at >= q.read_at) {
                ledger.quota = Some(Quota { left, read_at: now, until, probe_at: now.saturating_add(PROBE) });
            }
        });
    }

    /// The vendor says that it is too much: nothing of the account goes out for so long, and what it was about goes
    /// slower afterwards.
    pub fn limited(&self, policy: Option<usize>, wait: Duration) {
        let policy = self.row(policy);
        let wait = nanos(wait).min(MAX_HOLD);
        let allowed = self.rate(policy);
        self.store.update(&self.clock, |ledger, now| {
            self.here(ledger, now);
            let until = now.saturating_add(wait);
            if until > ledger.hold {
                ledger.hold = until;
                for (_, name, limit) in self.limits(policy) {
                    // When it goes on, it goes on evenly.
                    let drained = limit.drained(free_at(ledger, name, limit), 1.0, until);
                    ledger.limits.insert(name.to_owned(), drained);
                }
            }
            cut(ledger, policy, allowed, now, wait);
        });
    }

    /// What a request cost in points that was `charged` so many, and how many the vendor has left for us: the estimate
    /// is set right.
    pub fn cost(&self, policy: Option<usize>, weight: u32, charged: f64, Cost { cost, left }: Cost) {
        let policy = self.row(policy);
        self.store.update(&self.clock, |ledger, now| {
            for (_, name, limit) in self.limits(policy).filter(|(_, _, l)| l.unit == Unit::Points) {
                let mut free_at = free_at(ledger, name, limit);
                if let Some(cost) = cost {
                    let more = free_at.saturating_add(limit.refill(cost - charged));
                    free_at = more.saturating_sub(limit.refill(charged - cost));
                }
                if let Some(left) = left {
                    free_at = limit.drained(free_at, left, now);
                }
                ledger.limits.insert(name.to_owned(), free_at);
            }
            if let Some(cost) = cost {
                let one = cost / f64::from(weight.max(1));
                ledger.points = Some(ledger.points.map_or(one, |old| old + (one - old) * NEWEST));
            }
        });
    }

    /// The row of a policy; the last is for calls that none governs.
    fn row(&self, policy: Option<usize>) -> usize {
        policy.unwrap_or(self.rules.policies.len())
    }

    /// The highest rate that a policy allows now, in calls a second, where one is known.
    pub fn current_rate(&self) -> Option<f64> {
        let learned = self.store.update(&self.clock, |ledger, _| ledger.learned.clone());
        let rates = (0..=self.rules.policies.len()).filter_map(|policy| {
            let found = learned.get(&policy).map(|l| l.rate);
            [self.rate(policy), found].into_iter().flatten().min_by(f64::total_cmp)
        });
        rates.max_by(f64::total_cmp)
    }
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When a limit is wholly free again.
fn free_at(ledger: &Ledger, name: &str, limit: &Limit) -> Nanos {
    let lost = || ledger.lost_at.map_or(0, |at| limit.drained(0, 0.0, at));
    ledger.limits.get(name).copied().unwrap_or_else(lost)
}

/// A share of a number, but at least one.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn part(most: u64, share: f64) -> u64 {
    ((most as f64 * share) as u64).max(1)
}
