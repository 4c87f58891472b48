//! The rate that a vendor bears, found by trial: a 429 cuts it, calls that go well let it grow.
//!
//! Input: the ledger of an account, and what happened to a call of a policy. Output: the ledger with the rate set
//! right. Called by [`super::limiter`]. Plain arithmetic: nothing here waits or looks at a clock.

use super::ledger::{Learned, Ledger, Meter};
use super::limit::Nanos;

/// A rate is cut at most once in this time: several 429s of one moment are one event.
const BETWEEN_CUTS: Nanos = 5_000_000_000;
/// What a 429 leaves of the rate; more of it when so many calls went well before, since it then was nearly right.
const CUT: f64 = 0.7;
const SMALL_CUTS: [(u64, f64); 2] = [(500, 0.92), (100, 0.85)];
/// Calls that must go well before the rate grows.
const GOOD: u64 = 20;
/// How much it grows, and how much where it broke before.
const GROWTH: f64 = 0.02;
const CAREFUL_GROWTH: f64 = 0.002;
/// From which part of the rate that broke it grows with care, and up to which.
const NEAR: f64 = 0.93;
const BEYOND: f64 = 1.05;
/// A rate is cut no further, in calls a second, or as a part of the rate that is allowed.
const SLOWEST: f64 = 1.0 / 30.0;
const MIN_PART: f64 = 0.02;
/// Cuts the rate of a policy. Where none is known it is the one at which calls went since the account was last held,
/// the wait included: that is what the vendor bears. After a few calls there is nothing to be told from them.
pub(super) fn cut(ledger: &mut Ledger, policy: usize, allowed: Option<f64>, now: Nanos, wait: Nanos) {
    let known = ledger.learned.get(&policy);
    if known.is_some_and(|l| now.saturating_sub(l.cut_at) < BETWEEN_CUTS) {
        return;
    }
    let calls = ledger.meter.calls;
    #[allow(clippy::cast_precision_loss)]
    let seconds = now.saturating_sub(ledger.meter.since).saturating_add(wait).max(1) as f64 / 1e9;
    #[allow(clippy::cast_precision_loss)]
    let seen = calls.max(1) as f64 / seconds;
    let (broke_at, good) = match (known, allowed) {
        (Some(learned), _) => (learned.rate, learned.good),
        (None, Some(allowed)) => (allowed, calls),
        (None, None) if calls < GOOD => return,
        (None, None) => (seen / CUT, 0),
    };
    let left = SMALL_CUTS.into_iter().find(|(calls, _)| good >= *calls).map_or(CUT, |(_, left)| left);
    let rate = (broke_at * left).max(allowed.map_or(SLOWEST, |allowed| allowed * MIN_PART));
    ledger.meter = Meter { since: now.saturating_add(wait), last: now.saturating_add(wait), calls: 0 };
    ledger.learned.insert(policy, Learned { rate, broke_at, allowed, free_at: ledger.hold, cut_at: now, good: 0 });
}

/// A call of a policy went well.
pub(super) fn grow(ledger: &mut Ledger, policy: usize) {
    let Some(learned) = ledger.learned.get_mut(&policy) else { return };
    learned.good += 1;
    if !learned.good.is_multiple_of(GOOD) {
        return;
    }
    // With care only around the rate that broke: beyond it, it was not the rate.
    let near = learned.rate > learned.broke_at * NEAR && learned.rate < learned.broke_at * BEYOND;
    learned.rate *= 1.0 + if near { CAREFUL_GROWTH } else { GROWTH };
    if learned.allowed.is_some_and(|allowed| learned.rate >= allowed) {
        ledger.learned.remove(&policy);
    }
}
