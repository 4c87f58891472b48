//! Learns the rate that a vendor accepts: a 429 cuts it, successful calls let it grow.
//!
//! Input: the ledger of an account, and the result of a call under a policy. Output: the ledger with the adjusted
//! rate. Called by [`super::limiter`]. Pure arithmetic: no waits, no clock.

use super::ledger::{Learned, Ledger, Meter};
use super::limit::Nanos;

/// The shortest time between two cuts: several 429s of one moment are one event.
const BETWEEN_CUTS: Nanos = 5_000_000_000;
/// The factor of a cut; milder after many successful calls, since the rate was nearly right then.
const CUT: f64 = 0.7;
const SMALL_CUTS: [(u64, f64); 2] = [(500, 0.92), (100, 0.85)];
/// The number of successful calls before the rate grows.
const GOOD: u64 = 20;
/// The growth, and the slower growth near the rate that failed before.
const GROWTH: f64 = 0.02;
const CAREFUL_GROWTH: f64 = 0.002;
/// The range around the rate that failed before in which growth is slow, as parts of that rate.
const NEAR: f64 = 0.93;
const BEYOND: f64 = 1.05;
/// The minimum rate, in calls per second, or as a part of the allowed rate.
const SLOWEST: f64 = 1.0 / 30.0;
const MIN_PART: f64 = 0.02;
/// Cuts the rate of a policy. Without a known rate, it starts from the measured rate since the account was last held,
/// including the wait: that is what the vendor accepts. A few calls are not enough to measure it.
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

/// Registers a successful call of a policy.
pub(super) fn grow(ledger: &mut Ledger, policy: usize) {
    let Some(learned) = ledger.learned.get_mut(&policy) else { return };
    learned.good += 1;
    if !learned.good.is_multiple_of(GOOD) {
        return;
    }
    // Slow growth applies only near the rate that failed: beyond it, the rate was not the cause.
    let near = learned.rate > learned.broke_at * NEAR && learned.rate < learned.broke_at * BEYOND;
    learned.rate *= 1.0 + if near { CAREFUL_GROWTH } else { GROWTH };
    if learned.allowed.is_some_and(|allowed| learned.rate >= allowed) {
        ledger.learned.remove(&policy);
    }
}
