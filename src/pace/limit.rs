//! One limit: so many calls, or points, in a time, spread evenly, with a burst.
//!
//! Input: what a call costs, and the time at which the limit would be wholly free again. Output: when the call may
//! go, and that time afterwards. Called by [`super::limiter`]. The algorithm is GCRA (ITU-T I.371): one number is all
//! that a limit remembers, so that a ledger holds it and processes share it.

use std::time::Duration;

/// Nanoseconds on the clock of the [`super::clock::Clock`].
pub type Nanos = u64;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Calls, each as many times as its weight says.
    Calls,
    /// Points: what the vendor says that a request cost.
    Points,
}

/// A limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// What it counts.
    pub unit: Unit,
    /// Nanoseconds between two units at the full rate.
    spacing: f64,
    /// Units that may go at once after a rest.
    burst: f64,
    /// A call may be so late, in nanoseconds, and the promise still holds: what the headroom leaves.
    slack: f64,
}

/// The share of a window that may go at once: the rest is spread.
const BURST: f64 = 0.04;

#[allow(clippy::cast_precision_loss)]
fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// Rounds up: a call is never early.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(nanos: f64) -> Nanos {
    nanos.ceil() as Nanos
}

impl Limit {
    /// A limit that the vendor may count over any window of `per`: in none there are more than `count` times
    /// `headroom`, when no call costs more than `heaviest`. With a burst of b, a window of GCRA holds at most b - 1 +
    /// per / spacing units.
    pub fn window(unit: Unit, count: u64, per: Duration, headroom: f64, heaviest: u32) -> Limit {
        #[allow(clippy::cast_precision_loss)]
        let usable = count as f64 * headroom;
        let burst = (usable * BURST).max(f64::from(heaviest)).min(usable).max(1.0).floor();
        let spread = (usable - (burst - 1.0)).max(1.0);
        Limit { unit, spacing: nanos(per) / spread.max(f64::MIN_POSITIVE), burst, slack: nanos(per) * (1.0 - headroom) }
    }

    /// A bucket that refills at `count` a `per`, and holds `burst`; of both, `headroom` is used.
    #[allow(clippy::cast_precision_loss)]
    pub fn bucket(unit: Unit, count: u64, per: Duration, burst: u64, headroom: f64) -> Limit {
        let (holds, spacing) = (burst as f64, nanos(per) / (count as f64 * headroom));
        let burst = (holds * headroom).floor().max(1.0);
        Limit { unit, spacing, burst, slack: spacing * (holds - burst) }
    }

    /// A steady rate of calls a second.
    pub fn steady(rate: f64) -> Limit {
        Limit { unit: Unit::Calls, spacing: 1e9 / rate.max(f64::MIN_POSITIVE), burst: 1.0, slack: f64::MAX }
    }

    /// Only so much of it: a share from 0 to 1.
    #[must_use]
    pub fn share(&self, share: f64) -> Limit {
        Limit { spacing: self.spacing / share, burst: (self.burst * share).floor().max(1.0), ..self.clone() }
    }

    /// Units a second.
    pub fn rate(&self) -> f64 {
        1e9 / self.spacing
    }

    /// How long it takes to refill so many units.
    pub fn refill(&self, units: f64) -> Nanos {
        whole(self.spacing * units.max(0.0))
    }

    /// The earliest time, not before `from`, at which `cost` fits and leaves the part `spare` of the burst, when it is
    /// wholly free at `free_at`. What costs more than the burst waits for an empty limit, and for what the burst lacks.
    pub fn earliest(&self, free_at: Nanos, cost: f64, spare: f64, from: Nanos) -> Nanos {
        let room = self.refill(self.burst - cost - (self.burst * spare).floor());
        from.max(free_at.saturating_sub(room).saturating_add(self.refill(cost - self.burst)))
    }

    /// When it is wholly free again after `cost` went at `at`.
    pub fn taken(&self, free_at: Nanos, cost: f64, at: Nanos) -> Nanos {
        free_at.max(at).saturating_add(self.refill(cost))
    }

    /// How much a call that went at `now` has to add, when it could have gone at `base`: who comes late leaves less
    /// room for the next, or a window could hold both the late ones and those in time.
    pub fn late(&self, base: Nanos, now: Nanos) -> Nanos {
        now.saturating_sub(base.saturating_add(whole(self.slack)))
    }

    /// When it is wholly free again if only `left` units are to be had at `at`: never sooner than it was.
    pub fn drained(&self, free_at: Nanos, left: f64, at: Nanos) -> Nanos {
        free_at.max(at.saturating_add(self.refill(self.burst - left)))
    }
}
