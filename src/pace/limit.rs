//! One limit: so many calls in a time, spread evenly, with a burst.
//!
//! Comes in: what a call costs, and the time. Goes out: when it may go. Called by [`super::Pace`]. The algorithm is
//! GCRA (ITU-T I.371): one number, the time at which the limit would be wholly free again.

use std::time::Duration;

/// A limit, and how much of it is taken.
#[derive(Debug, Clone)]
pub(super) struct Limit {
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
    pub(super) fn window(calls: u64, per: Duration, headroom: f64) -> Limit {
        #[allow(clippy::cast_precision_loss)]
        let usable = calls as f64 * headroom;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let burst = (usable * BURST).clamp(1.0, f64::from(u32::MAX)) as u32;
        let spread = usable - f64::from(burst - 1);
        Limit { spacing: per.div_f64(spread.max(f64::MIN_POSITIVE)), burst, free_at: Duration::ZERO }
    }

    /// A bucket that refills at `calls` a `per`, and holds `burst`.
    pub(super) fn bucket(calls: u64, per: Duration, burst: u64, headroom: f64) -> Limit {
        #[allow(clippy::cast_precision_loss)]
        let spacing = per.div_f64(calls as f64 * headroom);
        Limit { spacing, burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1), free_at: Duration::ZERO }
    }

    /// The earliest time, not before `from`, at which a call of that cost fits. One that costs more than the burst
    /// waits for an empty limit.
    pub(super) fn earliest(&self, cost: u32, from: Duration) -> Duration {
        let room = self.spacing * self.burst.saturating_sub(cost);
        from.max(self.free_at.saturating_sub(room))
    }

    /// Takes a call of that cost at `at`.
    pub(super) fn take(&mut self, cost: u32, at: Duration) {
        self.free_at = self.free_at.max(at) + self.spacing * cost;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Times at which calls go, when one always waits.
    fn times(limit: &mut Limit, count: usize, pauses: &[u64]) -> Vec<Duration> {
        let mut now = Duration::ZERO;
        let mut out = Vec::new();
        for i in 0..count {
            now += Duration::from_millis(pauses.get(i).copied().unwrap_or(0));
            now = limit.earliest(1, now);
            limit.take(1, now);
            out.push(now);
        }
        out
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_limit(
            calls in 1u64..400, seconds in 1u64..120, pauses in proptest::collection::vec(0u64..20_000, 0..300)
        ) {
            let per = Duration::from_secs(seconds);
            let times = times(&mut Limit::window(calls, per, 0.98), 900, &pauses);
            for (i, start) in times.iter().enumerate() {
                let inside = times[i..].iter().take_while(|t| **t - *start < per).count() as u64;
                prop_assert!(inside <= calls, "{inside} of {calls}");
            }
        }

        #[test]
        fn who_always_asks_gets_nearly_all(calls in 20u64..400, seconds in 1u64..120) {
            let per = Duration::from_secs(seconds);
            let count = usize::try_from(calls * 4).unwrap();
            let took = times(&mut Limit::window(calls, per, 0.98), count, &[]).pop().unwrap();
            prop_assert!(took < per.mul_f64(4.0 / 0.9), "{took:?} for {count} calls");
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut limit = Limit::bucket(60, Duration::from_secs(60), 10, 1.0);
        let times = times(&mut limit, 12, &[]);
        assert_eq!(times[9], Duration::ZERO);
        assert_eq!(times[11], Duration::from_secs(2));
    }

    #[test]
    fn a_call_that_costs_more_than_the_burst_waits_for_an_empty_limit() {
        let mut limit = Limit::bucket(1, Duration::from_secs(1), 2, 1.0);
        limit.take(1, Duration::ZERO);
        assert_eq!(limit.earliest(5, Duration::ZERO), Duration::from_secs(1));
    }
}
