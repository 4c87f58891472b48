//! One limit: so many calls in a time, spread evenly, with a burst.
//!
//! Comes in: what a call costs, and the time. Goes out: when it may go. Called by [`super::Pace`]. The algorithm is
//! GCRA (ITU-T I.371): one number, the time at which the limit would be wholly free again.

use std::time::Duration;

/// A limit, and how much of it is taken.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Time between two calls at the full rate.
    spacing: Duration,
    /// Calls that may go at once after a rest.
    burst: u32,
    /// When it is wholly free again.
    free_at: Duration,
}

/// The share of a window that may go at once: the rest is spread.
const BURST: f64 = 0.04;

impl Limit {
    /// A limit that the vendor may count over any window of `per`: in none there are more than `calls` times
    /// `headroom`. With a burst of b, a window of GCRA holds at most b - 1 + per / spacing calls.
    pub fn window(calls: u64, per: Duration, headroom: f64) -> Limit {
        #[allow(clippy::cast_precision_loss)]
        let usable = calls as f64 * headroom;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let burst = (usable * BURST).clamp(1.0, f64::from(u32::MAX)) as u32;
        let spread = usable - f64::from(burst - 1);
        Limit { spacing: per.div_f64(spread.max(f64::MIN_POSITIVE)), burst, free_at: Duration::ZERO }
    }

    /// A bucket that refills at `calls` a `per`, and holds `burst`.
    pub fn bucket(calls: u64, per: Duration, burst: u64, headroom: f64) -> Limit {
        #[allow(clippy::cast_precision_loss)]
        let spacing = per.div_f64(calls as f64 * headroom);
        Limit { spacing, burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1), free_at: Duration::ZERO }
    }

    /// The earliest time, not before `from`, at which a call of that cost fits. One that costs more than the burst
    /// waits for an empty limit.
    pub fn earliest(&self, cost: u32, from: Duration) -> Duration {
        let room = self.spacing.saturating_mul(self.burst.saturating_sub(cost));
        from.max(self.free_at.saturating_sub(room))
    }

    /// Takes a call of that cost at `at`.
    pub fn take(&mut self, cost: u32, at: Duration) {
        self.free_at = self.free_at.max(at).saturating_add(self.spacing.saturating_mul(cost));
    }
}
