//! One rate limit: a number of calls or points per time, spread evenly, with a burst.
//!
//! Input: the cost of a call, and the time at which the limit is completely free. Output: when the call may be sent,
//! and the new free time. Called by [`super::limiter`]. The algorithm is GCRA (ITU-T I.371): a limit stores a single
//! number, so a ledger can hold it and processes can share it.

use std::time::Duration;

use super::short_window::ShortWindow;

/// Nanoseconds on the clock of the [`super::clock::Clock`].
pub type Nanos = u64;

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Calls, multiplied by their weight.
    Calls,
    /// Points: the cost of a request, reported by the vendor.
    Points,
}

/// A limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// The unit.
    pub unit: Unit,
    /// Nanoseconds between two units at the full rate.
    spacing: f64,
    /// Units that may be sent at once after a rest.
    burst: f64,
    /// How late a call may be, in nanoseconds, without breaking the limit: the room left by the headroom.
    slack: f64,
    /// The time that the limit counts over, in nanoseconds.
    per: f64,
    /// A window of a few seconds, whose calls are counted one by one: then the spacing only spreads them.
    pub(super) short: Option<ShortWindow>,
}

/// The spacing of a short window's calls, as a part of what its rate needs: after a disturbance they catch up.
const CATCH_UP: f64 = 0.9;
/// The share of a window that may be sent at once; the rest is spread.
const BURST: f64 = 0.04;
/// The same for a short window of many calls.
const MANY_BURST: f64 = 0.01;

#[allow(clippy::cast_precision_loss)]
fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// Rounds up, so that a call is never early.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn whole(nanos: f64) -> Nanos {
    nanos.ceil() as Nanos
}

impl Limit {
    /// A limit that the vendor may count over any window of `per`: no window has more than `count` times `headroom`,
    /// if no call costs more than `heaviest`. With a burst of b, a GCRA window has at most b - 1 + per / spacing
    /// units.
    pub fn window(unit: Unit, count: u64, per: Duration, headroom: f64, heaviest: u32) -> Limit {
        if unit == Unit::Calls
            && let Some(window) = ShortWindow::of(count, per, headroom, heaviest)
        {
            return Limit::short(window, per, heaviest);
        }
        #[allow(clippy::cast_precision_loss)]
        let usable = count as f64 * headroom;
        let burst = (usable * BURST).max(f64::from(heaviest)).min(usable).max(1.0).floor();
        let spread = (usable - (burst - 1.0)).max(1.0);
        let (spacing, slack) = (nanos(per) / spread.max(f64::MIN_POSITIVE), nanos(per) * (1.0 - headroom));
        Limit { unit, spacing, burst, slack, per: nanos(per), short: None }
    }

    /// The limit of a short window.
    #[allow(clippy::cast_precision_loss)]
    fn short(window: ShortWindow, per: Duration, heaviest: u32) -> Limit {
        let (unit, per, calls) = (Unit::Calls, nanos(per), window.calls as f64);
        if window.is_counted() {
            let spacing = window.per / calls * CATCH_UP;
            return Limit { unit, spacing, burst: window.group as f64, slack: f64::MAX, per, short: Some(window) };
        }
        let burst = (calls * MANY_BURST).max(f64::from(heaviest)).min(calls).floor();
        Limit { unit, spacing: window.per / (calls - (burst - 1.0)), burst, slack: 0.0, per, short: None }
    }

    /// A bucket that refills `count` per `per`, and holds `burst`; both are multiplied by `headroom`.
    #[allow(clippy::cast_precision_loss)]
    pub fn bucket(unit: Unit, count: u64, per: Duration, burst: u64, headroom: f64) -> Limit {
        let (holds, spacing) = (burst as f64, nanos(per) / (count as f64 * headroom));
        let burst = (holds * headroom).floor().max(1.0);
        Limit { unit, spacing, burst, slack: spacing * (holds - burst), per: nanos(per), short: None }
    }

    /// A steady rate of calls per second.
    pub fn steady(rate: f64) -> Limit {
        let spacing = 1e9 / rate.max(f64::MIN_POSITIVE);
        Limit { unit: Unit::Calls, spacing, burst: 1.0, slack: f64::MAX, per: spacing, short: None }
    }

    /// The limit reduced to a share from 0 to 1.
    #[must_use]
    pub fn share(&self, share: f64) -> Limit {
        let short = self.short.map(|window| window.share(share));
        Limit { spacing: self.spacing / share, burst: (self.burst * share).floor().max(1.0), short, ..self.clone() }
    }

    /// The limit at a part of its rate, from 0 to 1, with the same burst.
    #[must_use]
    pub fn slowed(&self, part: f64) -> Limit {
        match self.short {
            // Its places decide; a spacing that changes would part the groups.
            Some(window) => Limit { short: Some(ShortWindow { per: window.per / part, ..window }), ..self.clone() },
            None => Limit { spacing: self.spacing / part, ..self.clone() },
        }
    }

    /// The limit of a short window with at most `rate` calls per second, sent in smaller groups.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn reduced(&self, rate: f64) -> Limit {
        let short = self.short.map(|window| window.reduced(rate));
        Limit { burst: short.map_or(self.burst, |window| window.group as f64), short, ..self.clone() }
    }

    /// Units per second.
    pub fn rate(&self) -> f64 {
        self.short.map_or(1e9 / self.spacing, |window| window.rate())
    }

    /// The time that the limit counts over.
    pub(super) fn per(&self) -> Nanos {
        whole(self.per)
    }

    /// The units that are used in that time.
    pub(super) fn units(&self) -> f64 {
        self.rate() * self.per / 1e9
    }

    /// The time between calls of this cost that are spread evenly at the full rate.
    pub(super) fn evenly(&self, cost: f64) -> Nanos {
        whole(cost * 1e9 / self.rate())
    }

    /// The time to refill `units`.
    pub fn refill(&self, units: f64) -> Nanos {
        whole(self.spacing * units.max(0.0))
    }

    /// The earliest time, not before `from`, at which `cost` fits and the part `spare` of the burst is left, given
    /// `free_at`. A cost above the burst waits for a free limit, plus the time for the excess.
    pub fn earliest(&self, free_at: Nanos, cost: f64, spare: f64, from: Nanos) -> Nanos {
        let room = self.refill(self.burst - cost - (self.burst * spare).floor());
        from.max(free_at.saturating_sub(room).saturating_add(self.refill(cost - self.burst)))
    }

    /// The number of calls that are sent together after a wait.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn group(&self) -> f64 {
        self.short.map_or(1.0, |window| window.group as f64)
    }

    /// When the limit is completely free after `cost` was taken at `at`.
    pub fn taken(&self, free_at: Nanos, cost: f64, at: Nanos) -> Nanos {
        free_at.max(at).saturating_add(self.refill(cost))
    }

    /// The penalty for a call that was sent at `now` instead of `base`: a late call leaves less room for the next,
    /// otherwise one window could contain both late and punctual calls.
    pub fn late(&self, base: Nanos, now: Nanos) -> Nanos {
        now.saturating_sub(base.saturating_add(whole(self.slack)))
    }

    /// When the limit is completely free if only `left` units are available at `at`; never earlier than before.
    pub fn drained(&self, free_at: Nanos, left: f64, at: Nanos) -> Nanos {
        free_at.max(at.saturating_add(self.refill(self.burst - left)))
    }
}
