//! The limiter: decides which call is sent next, and when.
//!
//! Input: [`Rules`], a clock and a store; then tickets of callers, and the vendor's rate-limit information. Output:
//! an [`Admission`]. Called by [`super::Pace`], by the simulation and by tests, which run the same code: nothing here
//! sleeps.
//!
//! How the runs of an account share its limits:
//! - runs of the highest active priority reserve: the next call gets the next free time, in order of arrival. A
//!   process reserves one call at a time, so that many threads get no more than few;
//! - all lower runs yield: they take free capacity while no higher run waits; otherwise they share the floor, a part
//!   of the limits;
//! - lower priorities leave a part of each burst free, so that a higher run that arrives later finds room;
//! - a 429 holds all runs, and lowers the rate: a little if it may be jitter, else by a cut that grows back with
//!   successful calls.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::feedback::Cost;
use super::learned_rate::{Refusal, cut, grow, part_left, refused};
use super::ledger::{Ledger, Meter, Quota};
use super::limit::{Limit, Nanos, Unit};
use super::short_window::{Free, ShortWindow, WindowPlaces};
use super::store::LedgerStore;

/// How often a wait without a known end is checked: a call that returns, a run that stops waiting.
const POLL: Nanos = 20_000_000;
/// The longest hold: after it, the vendor is asked again.
const MAX_HOLD: Nanos = 86_400_000_000_000;
/// While headers report that no call is left, one call per this time probes it.
const PROBE: Nanos = 600_000_000_000;
/// After this pause the measurement of calls restarts.
const IDLE: Nanos = 60_000_000_000;
/// A 429 that names a limit below this part of the declared one means that the limit is lower.
const LOWER: f64 = 0.9;
/// The weight of the latest cost in the estimate of a request's cost.
const NEWEST: f64 = 0.3;

/// The priority of a run, from lowest to highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Backfills, which yield to all others.
    Backfill,
    /// Daily reads.
    Daily,
    /// Hourly reads, for dashboards.
    Hourly,
}

impl Priority {
    /// The part of a burst that is left for higher priorities.
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
    /// Every limit, with its name in the ledger.
    pub limits: Vec<(String, Limit)>,
    /// The limits of each policy.
    pub policies: Vec<Vec<usize>>,
    /// The maximum number of calls in flight, if limited.
    pub in_flight: Option<u64>,
    /// The share of the limits for yielding runs while others wait.
    pub floor: f64,
}

/// The decision about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The call may be sent now, and counts as in flight.
    Go,
    /// Ask again at this time, with the reason.
    Wait(Nanos, WaitReason),
    /// Calls of the same process come first: ask again after one of them was sent.
    Behind,
}

/// Why a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// The account's limits.
    Pace,
    /// Runs of a higher priority.
    Yield,
    /// The vendor requested a wait.
    Held,
    /// The vendor reports that no call is left.
    Quota,
    /// Too many calls are in flight.
    InFlight,
}

/// A caller's place in the queue. If the call is not sent, return it with [`Limiter::leave`].
#[derive(Debug)]
pub struct Ticket {
    policy: usize,
    cost: f64,
    number: u64,
    reserved: Option<Reserved>,
    /// The points charged for the call.
    pub charged: f64,
}

/// A reserved time, and since when its limits had room.
#[derive(Debug)]
struct Reserved {
    at: Nanos,
    cost: f64,
    bases: Vec<Base>,
}

/// What a reserved call took of a limit.
#[derive(Debug)]
struct Base {
    limit: usize,
    at: Nanos,
    /// Until when it takes its place in a short window.
    until: Nanos,
}

/// The callers of one policy in this process.
#[derive(Debug, Default)]
struct Row {
    next: u64,
    waiting: VecDeque<u64>,
}

/// The limiter of one process.
#[derive(Debug)]
pub struct Limiter<C, S> {
    /// The clock.
    pub clock: C,
    store: S,
    rules: Rules,
    id: u64,
    priority: Priority,
    rows: Mutex<Vec<Row>>,
    flying: AtomicU64,
    /// Has this process requested any call? Until then it is not registered.
    asked: AtomicBool,
}

/// A limit that applies to a call.
struct Claim<'l> {
    /// The limit's index, and its name in the ledger; `None` for the learned rate.
    named: Option<(usize, &'l str)>,
    limit: Limit,
    cost: f64,
    free_at: Nanos,
    /// The free places of a short window.
    places: Option<Free>,
}

impl Claim<'_> {
    /// When the call fits. In a short window no part of a burst is left for others: a group is small.
    fn earliest(&self, spare: f64, now: Nanos) -> Nanos {
        let fits = |cost, spare| self.limit.earliest(self.free_at, cost, spare, now);
        match &self.places {
            Some(places) => places.earliest(fits(self.cost, 0.0), fits(self.cost.max(self.limit.group()), 0.0), now),
            None => fits(self.cost, spare),
        }
    }
}

impl<C: Clock, S: LedgerStore> Limiter<C, S> {
    /// A limiter for the process `id`. The last policy is for calls without limits.
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

    /// A place in the queue of `policy`, for a call with this weight.
    pub fn ticket(&self, policy: Option<usize>, weight: u32) -> Ticket {
        let policy = policy.unwrap_or(self.rules.policies.len());
        let mut rows = self.rows();
        let row = &mut rows[policy];
        let number = row.next;
        row.next += 1;
        row.waiting.push_back(number);
        Ticket { policy, cost: f64::from(weight), number, reserved: None, charged: 0.0 }
    }

    /// May the call be sent?
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

    /// Called when a caller gives up before its call was sent.
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

    /// Renews the lease of this process.
    pub fn renew(&self) {
        self.store.update(&self.clock, |ledger, now| self.here(ledger, now));
    }

    /// Removes this process from the ledger.
    pub fn end(&self) {
        if self.asked.load(Ordering::Relaxed) {
            self.store.update(&self.clock, |ledger, _| ledger.members.retain(|m| m.id != self.id));
        }
    }

    fn here(&self, ledger: &mut Ledger, now: Nanos) {
        ledger.prune(now);
        ledger.member(self.id, self.priority, now).flying = self.flying.load(Ordering::Relaxed);
    }

    /// The number of calls in flight of this process.
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
                // This call probes; the next probe follows later.
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
            // The reservation used a rate that is no longer valid.
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
                // Calls in flight may already be counted or not: their responses show it.
                return Admission::Wait(quota.until.min(now + POLL), WaitReason::Quota);
            }
            if quota.probe_at > now {
                return Admission::Wait(quota.until.min(quota.probe_at), WaitReason::Quota);
            }
        }
        if let Some(Reserved { at, cost, bases }) = &ticket.reserved {
            if *at > now {
                return Admission::Wait(*at, WaitReason::Pace);
            }
            for base in bases {
                let (name, limit) = &self.rules.limits[base.limit];
                if let Some(free_at) = ledger.limits.get_mut(name) {
                    *free_at = free_at.saturating_add(limit.late(base.at, now));
                }
                if let Some(places) = ledger.places.get_mut(name) {
                    places.moved(base.until, *cost, now - *at);
                }
            }
            return Admission::Go;
        }
        let claims = self.claims(ledger, ticket, now);
        let spare = self.priority.spare();
        let earliest = |spare| claims.iter().map(|c| c.earliest(spare, now)).max();
        let Some(mut at) = earliest(spare) else {
            // Without a limit: one call at a time while higher runs wait for what they share.
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
                // The floor applies: this call is treated once like one of the highest priority.
                let slowest = claims.iter().map(|c| c.limit.evenly(c.cost)).max().unwrap_or(0);
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
                let until = claim.limit.short.as_ref().map_or(0, |window| {
                    let joins = claim.earliest(spare, now);
                    ledger.places.entry(name.to_owned()).or_default().take(window, claim.cost, at, joins)
                });
                bases.push(Base { limit: number, at: claim.free_at.max(at), until });
                ledger.limits.insert(name.to_owned(), free_at);
            } else if let Some(learned) = ledger.learned.get_mut(&ticket.policy) {
                learned.free_at = free_at;
            }
        }
        if at <= now {
            return Admission::Go;
        }
        ticket.reserved = Some(Reserved { at, cost: ticket.cost, bases });
        Admission::Wait(at, WaitReason::Pace)
    }

    /// Registers a call that did not wait for a limit: later calls wait for it.
    pub fn charge(&self, policy: Option<usize>, weight: u32) {
        let policy = self.row(policy);
        self.store.update(&self.clock, |ledger, now| {
            for (_, name, limit) in self.limits(policy).filter(|(_, _, limit)| limit.unit == Unit::Calls) {
                let free_at = limit.taken(free_at(ledger, name, limit), f64::from(weight), now);
                ledger.limits.insert(name.to_owned(), free_at);
                if let Some(window) = &limit.short {
                    ledger.places.entry(name.to_owned()).or_default().take(window, f64::from(weight), now, 0);
                }
            }
        });
    }

    /// The limits that apply to a call.
    fn claims(&self, ledger: &Ledger, ticket: &Ticket, now: Nanos) -> Vec<Claim<'_>> {
        let mut claims: Vec<Claim<'_>> = Vec::new();
        let left = part_left(ledger, ticket.policy, now);
        let (learned, share) = (ledger.learned.get(&ticket.policy), ledger.share.unwrap_or(1.0));
        let mut short = false;
        for (number, name, limit) in self.limits(ticket.policy) {
            let cost = match limit.unit {
                Unit::Calls => ticket.cost,
                Unit::Points => ledger.points.unwrap_or(1.0) * ticket.cost,
            };
            let mut limit = ledger.share.map_or_else(|| limit.clone(), |share| limit.share(share)).slowed(left);
            if let Some(learned) = learned.filter(|_| limit.short.is_some()) {
                (limit, short) = (limit.reduced(learned.rate * share), true);
            }
            let free_at = free_at(ledger, name, &limit);
            let places = limit.short.as_ref().map(|window| free_places(ledger, name, window, cost));
            claims.push(Claim { named: Some((number, name)), limit, cost, free_at, places });
        }
        // A short window stays in groups when its rate is cut; other limits get a steady rate.
        if let Some(learned) = learned.filter(|_| !short) {
            let limit = Limit::steady(learned.rate * share);
            claims.push(Claim { named: None, limit, cost: ticket.cost, free_at: learned.free_at, places: None });
        }
        claims
    }

    fn limits(&self, policy: usize) -> impl Iterator<Item = (usize, &str, &Limit)> {
        let of_policy = self.rules.policies.get(policy).into_iter().flatten();
        of_policy.filter_map(|at| self.rules.limits.get(*at).map(|(name, limit)| (*at, name.as_str(), limit)))
    }

    /// The allowed rate of a policy from config or manifest, in calls per second.
    fn rate(&self, policy: usize) -> Option<f64> {
        let limits = self.limits(policy);
        limits.filter(|(_, _, l)| l.unit == Unit::Calls).map(|(_, _, l)| l.rate()).min_by(f64::total_cmp)
    }

    /// The longest time that a limit of a policy counts over.
    fn longest(&self, policy: usize) -> Nanos {
        self.limits(policy).map(|(_, _, limit)| limit.per()).max().unwrap_or(0)
    }

    /// A call returned; `good` if the vendor served it. `left` calls remain until `until`, if reported.
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
            // A higher number is accepted only from a request sent after the last report: responses to earlier
            // requests are outdated, whatever their order.
            if ledger.quota.as_ref().is_none_or(|q| left <= q.left || sent_at >= q.read_at) {
                ledger.quota = Some(Quota { left, read_at: now, until, probe_at: now.saturating_add(PROBE) });
            }
        });
    }

    /// The vendor rate-limited a call: no call of the account is sent for `wait`, and afterwards its policy is
    /// slower.
    pub fn limited(&self, policy: Option<usize>, wait: Duration) {
        let policy = self.row(policy);
        let wait = nanos(wait).min(MAX_HOLD);
        let (allowed, per) = (self.rate(policy), self.longest(policy));
        self.store.update(&self.clock, |ledger, now| {
            self.here(ledger, now);
            let (until, held) = (now.saturating_add(wait), ledger.hold > now);
            if until > ledger.hold {
                ledger.hold = until;
                for (_, name, limit) in self.limits(policy) {
                    // After the hold, calls continue evenly.
                    let drained = limit.drained(free_at(ledger, name, limit), limit.group(), until);
                    ledger.limits.insert(name.to_owned(), drained);
                }
            }
            refused(ledger, policy, allowed, per, Refusal { now, wait, held });
        });
    }

    /// A 429 names the vendor's limit: if it is lower than the declared ones, the rate is cut at once.
    pub fn named_limit(&self, policy: Option<usize>, calls: u64) {
        let policy = self.row(policy);
        let declared = self.limits(policy).filter(|(_, _, limit)| limit.unit == Unit::Calls);
        let lower = declared.map(|(_, _, limit)| limit.units()).min_by(f64::total_cmp);
        #[allow(clippy::cast_precision_loss)]
        if lower.is_some_and(|declared| (calls as f64) < declared * LOWER) {
            let allowed = self.rate(policy);
            self.store.update(&self.clock, |ledger, now| cut(ledger, policy, allowed, now, 0));
        }
    }

    /// Corrects the estimate after a request: its real cost compared with `charged`, and the remaining points
    /// reported by the vendor.
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

    /// The queue of a policy; the last is for calls without a policy.
    fn row(&self, policy: Option<usize>) -> usize {
        policy.unwrap_or(self.rules.policies.len())
    }

    /// The highest rate that a policy currently allows, in calls per second, if known.
    pub fn current_rate(&self) -> Option<f64> {
        self.store.update(&self.clock, |ledger, now| {
            let rates = (0..=self.rules.policies.len()).filter_map(|policy| {
                let declared = self.rate(policy).map(|rate| rate * part_left(ledger, policy, now));
                let found = ledger.learned.get(&policy).map(|l| l.rate);
                [declared, found].into_iter().flatten().min_by(f64::total_cmp)
            });
            rates.max_by(f64::total_cmp)
        })
    }
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When a limit is completely free.
fn free_at(ledger: &Ledger, name: &str, limit: &Limit) -> Nanos {
    let lost = || ledger.lost_at.map_or(0, |at| limit.drained(0, 0.0, at));
    ledger.limits.get(name).copied().unwrap_or_else(lost)
}

/// When places of a short window are free.
fn free_places(ledger: &Ledger, name: &str, window: &ShortWindow, cost: f64) -> Free {
    let nothing = WindowPlaces::default();
    ledger.places.get(name).unwrap_or(&nothing).free(window, cost, ledger.lost_at)
}

/// A share of a number, at least one.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn part(most: u64, share: f64) -> u64 {
    ((most as f64 * share) as u64).max(1)
}
