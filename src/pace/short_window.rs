//! Windows of a few seconds: calls are counted one by one, and sent in small groups.
//!
//! Input: a window with what is taken of it, and a call. Output: when the call may be sent. Called by
//! [`super::limiter`] and [`super::limit`]. Pure arithmetic: no waits, no clock.
//!
//! A vendor counts a call when it arrives, and the network shifts each arrival by some tens of milliseconds. That is
//! nothing in a window of a minute, and decisive in one of a second. So:
//! - a call takes its place for the window and an allowance for jitter, from the moment it is sent;
//! - calls that must wait go out in groups. The first of a group to arrive is always a quick one, and the last a slow
//!   one: groups keep their distance better than single calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limit::{Nanos, whole};

/// Windows from this length on need no allowance: the headroom has room for jitter.
const LONG: Duration = Duration::from_secs(5);
/// The most calls of a window that is counted one by one: the ledger holds a number for each.
const MOST: u64 = 128;
/// The most calls of a window that are sent all together.
const FEW: u64 = 5;
/// The most calls of a group, unless half the window has fewer.
const GROUP: u64 = 10;
/// A headroom below this is kept in full; one above is part of the allowance.
const WIDE: f64 = 0.9;
/// Places that are free within this part of the time between two groups become one group.
const TOGETHER: f64 = 0.75;
/// Times are rounded: by so many nanoseconds a call is never early.
const HAIR: Nanos = 1_000;

/// The allowance for jitter, by the size of a group. The numbers come from the simulation (`benches/pace.rs`).
fn allowance(group: u64) -> Duration {
    Duration::from_millis(match group {
        1 => 100,
        2..=4 => 90,
        5..=8 => 83,
        _ => 75,
    })
}

/// A short window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShortWindow {
    /// The number of calls in it.
    pub(super) calls: u64,
    /// The number of calls that are sent together.
    pub(super) group: u64,
    /// For how long a call takes its place, in nanoseconds.
    pub(super) per: f64,
}

/// The number of calls that are sent together: of more than a few, at most half of the window.
fn group_of(calls: u64) -> u64 {
    let groups = if calls <= FEW { 1 } else { calls.div_ceil(GROUP).max(2) };
    calls.div_ceil(groups)
}

impl ShortWindow {
    /// The window of `count` calls, if it is short.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn of(count: u64, per: Duration, headroom: f64, heaviest: u32) -> Option<ShortWindow> {
        if per >= LONG {
            return None;
        }
        let calls = if headroom < WIDE { ((count as f64 * headroom) as u64).max(1) } else { count };
        let group = group_of(calls).max(heaviest.into()).min(calls);
        let room = if headroom < WIDE { Duration::ZERO } else { per.mul_f64(1.0 / headroom - 1.0) };
        let per = per + room.max(allowance(group));
        Some(ShortWindow { calls, group, per: per.as_nanos() as f64 })
    }

    /// Is it counted one by one? A window of more calls is spread evenly: of many calls, few are shifted across its
    /// edges.
    pub(super) fn is_counted(&self) -> bool {
        self.calls <= MOST
    }

    /// The time between two groups.
    #[allow(clippy::cast_precision_loss)]
    fn apart(&self) -> f64 {
        self.per * self.group as f64 / self.calls as f64
    }

    /// Calls per second.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn rate(&self) -> f64 {
        self.calls as f64 * 1e9 / self.per
    }

    /// The window with fewer calls, so that it allows at most `rate` calls per second.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn reduced(self, rate: f64) -> ShortWindow {
        if rate >= self.rate() {
            return self;
        }
        let calls = ((rate * self.per / 1e9).ceil() as u64).clamp(1, self.calls);
        ShortWindow { calls, group: self.group.min(group_of(calls)), per: calls as f64 * 1e9 / rate }
    }

    /// The window reduced to a share from 0 to 1.
    pub(super) fn share(self, share: f64) -> ShortWindow {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let calls = ((self.calls as f64 * share) as u64).max(1);
        ShortWindow { calls, group: self.group.min(calls), ..self }
    }
}

/// What is taken of a short window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowPlaces {
    /// Until when each place is taken, from the earliest.
    taken: Vec<Nanos>,
    /// When the last group is sent.
    group_at: Nanos,
}

/// When places of a short window are free.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Free {
    /// For the call.
    call: Nanos,
    /// For a whole group.
    group: Nanos,
    /// When the last group is sent.
    group_at: Nanos,
}

impl WindowPlaces {
    /// When there are places for a call of this cost, and for a group; `lost_at` is when unknown places were taken.
    pub(super) fn free(&self, window: &ShortWindow, cost: f64, lost_at: Option<Nanos>) -> Free {
        let lost = lost_at.map_or(0, |at| at.saturating_add(whole(window.per)));
        let cost = units(cost).min(window.calls);
        let over = (self.taken.len() as u64 + cost).checked_sub(window.calls + 1);
        let last = over.and_then(|over| usize::try_from(over).ok()).filter(|last| *last < self.taken.len());
        let call = last.map_or(0, |last| self.taken[last]).max(lost);
        let together = call.saturating_add(whole(window.apart() * TOGETHER));
        let others = usize::try_from(window.group.saturating_sub(cost)).unwrap_or(0);
        let group = self.taken[last.unwrap_or(self.taken.len())..].iter().skip(1).take(others);
        let group = group.copied().take_while(|t| *t <= together).last().unwrap_or(call);
        Free { call, group: group.max(call), group_at: self.group_at }
    }

    /// Takes places for a call that is sent at `at`; returns until when. `joins` is when the window itself had room.
    pub(super) fn take(&mut self, window: &ShortWindow, cost: f64, at: Nanos, joins: Nanos) -> Nanos {
        let until = at.saturating_add(whole(window.per));
        for _ in 0..units(cost).min(window.calls) {
            let place = self.taken.partition_point(|t| *t <= until);
            self.taken.insert(place, until);
        }
        self.group_at = self.group_at.max(joins);
        until
    }

    /// A call left later than planned: its places are taken for longer.
    pub(super) fn moved(&mut self, until: Nanos, cost: f64, late: Nanos) {
        let first = self.taken.partition_point(|t| *t < until);
        let moved = self.taken[first..].iter().take_while(|t| **t == until).count();
        let moved = moved.min(usize::try_from(units(cost)).unwrap_or(0));
        self.taken[first..first + moved].iter_mut().for_each(|t| *t = t.saturating_add(late));
        self.taken.sort_unstable();
    }

    /// Frees the places whose time is over; is anything left?
    pub(super) fn prune(&mut self, now: Nanos) -> bool {
        self.taken.retain(|t| *t > now);
        !self.taken.is_empty() || self.group_at > now
    }

    /// Converts every time to another clock.
    pub(super) fn shift(&mut self, to: &dyn Fn(Nanos) -> Nanos) {
        self.taken.iter_mut().for_each(|t| *t = to(*t));
        self.group_at = to(self.group_at);
    }

    /// Merges places that were taken in another ledger.
    pub(super) fn merge(&mut self, other: WindowPlaces) {
        self.taken.extend(other.taken);
        self.taken.sort_unstable();
    }
}

impl Free {
    /// When the call may be sent, if the window spreads calls so that a call fits at `call` and a group at `group`. A
    /// call that must wait joins the last group, or waits until there is room for a new one.
    pub(super) fn earliest(&self, call: Nanos, group: Nanos, now: Nanos) -> Nanos {
        let call = call.max(self.call);
        if call <= now.saturating_add(HAIR) {
            now
        } else if call <= self.group_at.saturating_add(HAIR) {
            self.group_at
        } else {
            group.max(self.group)
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn units(cost: f64) -> u64 {
    cost.max(1.0).ceil() as u64
}
