//! Learns the rate that a vendor accepts: a 429 cuts it, successful calls let it grow.
//!
//! A 429 while a declared limit was kept is taken for jitter of the network until it repeats: the rate dips a little,
//! and is back within a minute.
//!
//! Input: the ledger of an account, and the result of a call under a policy. Output: the ledger with the adjusted
//! rate. Called by [`super::limiter`]. Pure arithmetic: no waits, no clock.

use super::ledger::{Learned, Ledger, Meter};
use super::limit::Nanos;

/// The shortest time between two cuts: several 429s of one moment are one event.
const BETWEEN_CUTS: Nanos = 5_000_000_000;
/// 429s by jitter are forgotten after this time, or after this number of windows if that is longer.
const MINUTE: Nanos = 60_000_000_000;
const WINDOWS: Nanos = 3;
/// The number of 429s in that time that are taken for jitter; one more means that the limit is lower.
const TWICE: usize = 2;
/// The part of the rate that a 429 by jitter takes away at first.
const DIP: f64 = 0.03;
/// 429s of one moment are one event, even if the vendor requests no wait.
const MOMENT: Nanos = 1_000_000_000;
/// How much longer than its window a wait may be that a kept limit can cause: it is rounded and jittered.
const ROUNDED: Nanos = 2_000_000_000;
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

/// A 429.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    /// When it arrived.
    pub now: Nanos,
    /// The wait until calls go on.
    pub wait: Nanos,
    /// Was the account already held?
    pub held: bool,
}

/// Lowers the rate of a policy after a 429. `allowed` are its declared calls per second, and `per` its longest window.
pub(super) fn refused(ledger: &mut Ledger, policy: usize, allowed: Option<f64>, per: Nanos, refusal: Refusal) {
    let Refusal { now, wait, held } = refusal;
    // Whoever keeps a limit waits at most for its window.
    let plausible = wait <= per.saturating_add(per / 10).saturating_add(ROUNDED).min(MINUTE);
    if allowed.is_some() && plausible && !ledger.learned.contains_key(&policy) {
        let times = ledger.jitter.entry(policy).or_default();
        let memory = MINUTE.max(per.saturating_mul(WINDOWS));
        let same = times.last().is_some_and(|last| held || now.saturating_sub(*last) < MOMENT);
        if same {
            return;
        }
        times.retain(|t| t.saturating_add(memory) > now);
        if times.len() < TWICE {
            // The minute begins when calls go on.
            times.push(now.saturating_add(wait));
            return;
        }
    }
    cut(ledger, policy, allowed, now, wait);
}

/// The part of the declared rate that is left after 429s by jitter.
#[allow(clippy::cast_precision_loss)]
pub(super) fn part_left(ledger: &Ledger, policy: usize, now: Nanos) -> f64 {
    let dip = |t: &Nanos| DIP * (1.0 - now.saturating_sub(*t) as f64 / MINUTE as f64).max(0.0);
    1.0 - ledger.jitter.get(&policy).into_iter().flatten().map(dip).sum::<f64>()
}

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
    ledger.jitter.remove(&policy);
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
