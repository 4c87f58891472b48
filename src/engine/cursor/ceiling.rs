//! How far a bookmark may move: no further than the end of the requested window, nor than the vendor's clock.
//!
//! Input: a window, the time of each response, the cursor value of each record. Output: the highest value that the
//! bookmark may reach, and the number of records past it. Called by the record writer and the parent reader. A record
//! past the ceiling is sent like any other; it only does not move the bookmark.

use time::{Duration, OffsetDateTime};

use super::{Cursor, CursorPlan, Window};
use crate::base::display::{number_of, thousands};

/// The allowed difference between the vendor's clock and that of its database.
const CLOCKS: Duration = Duration::minutes(1);

/// A clock that is further off is considered broken: no later run would resume from a value past it.
const MOST_OFF: Duration = Duration::days(1);

/// Vendors round the end of a window, at most to days.
const ROUNDING: Duration = Duration::days(1);

/// The most that a date in another time zone is ahead, plus a margin.
pub(super) const ZONES: Duration = Duration::hours(26);

/// The limit of the bookmark for one slice.
#[derive(Debug, Clone)]
pub struct Ceiling<'p> {
    plan: &'p CursorPlan,
    /// The end of the requested window; `None` if that is now.
    end: Option<OffsetDateTime>,
    /// The vendor's time when it returned the current records.
    now: OffsetDateTime,
    /// What is later than this is ahead of the vendor's clock.
    latest: OffsetDateTime,
}

/// The highest value that the bookmark may reach, and the records past it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Highest {
    /// The highest cursor value.
    pub newest: Option<OffsetDateTime>,
    /// The records past the limit.
    pub beyond: Beyond,
}

/// Counts of records past the limit of the bookmark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beyond {
    /// Records later than the vendor's clock.
    pub ahead: u64,
    /// Records later than the requested window.
    pub outside: u64,
    /// Records of both kinds that neither rounding nor time zones explain.
    pub far: u64,
}

impl Beyond {
    /// Are there any such records?
    pub fn is_any(self) -> bool {
        self.ahead + self.outside > 0
    }

    /// Adds other counts.
    pub fn add(&mut self, other: Beyond) {
        self.ahead += other.ahead;
        self.outside += other.outside;
        self.far += other.far;
    }

    /// The problem in readable form.
    pub fn message(self) -> String {
        let Beyond { ahead, outside, .. } = self;
        let what = match (ahead, outside) {
            (0, _) => format!("{} outside the requested window", number_of(outside, "record")),
            (_, 0) => format!("{} ahead of the vendor's clock", number_of(ahead, "record")),
            _ => format!(
                "{} ahead of the vendor's clock and {} outside the requested window",
                number_of(ahead, "record"),
                thousands(outside)
            ),
        };
        format!("sent {what}, by cursor value; this does not move the bookmark past that point")
    }
}

impl Highest {
    /// Merges another value and its counts.
    pub fn add(&mut self, other: Highest) {
        other.newest.into_iter().for_each(|time| self.see(time));
        self.beyond.add(other.beyond);
    }

    /// Takes a higher value. If both are the same moment, the first one keeps its spelling.
    fn see(&mut self, time: OffsetDateTime) {
        if self.newest.is_none_or(|newest| time > newest) {
            self.newest = Some(time);
        }
    }
}

impl<'p> Ceiling<'p> {
    /// The ceiling for a slice with this window.
    pub fn new(plan: &'p CursorPlan, window: Option<&Window>) -> Self {
        // A backfill has no bookmark, and compares separately.
        let end = window.filter(|_| plan.history.is_none()).map(|window| window.end);
        // A window that ends now is not limited, unless requests contain the end.
        let end = end.filter(|end| plan.asks_end || *end < plan.written(plan.now));
        let now = plan.clock();
        Ceiling { plan, end, now, latest: now.saturating_add(CLOCKS) }
    }

    /// Called for each response, with the vendor's clock if known.
    pub fn answered(&mut self, at: Option<OffsetDateTime>) {
        let here = self.plan.clock();
        self.now = at.filter(|at| (here - *at).abs() <= MOST_OFF).unwrap_or(here);
        self.latest = self.now.saturating_add(CLOCKS);
    }

    /// Up to this time a value is neither ahead of the vendor's clock nor outside of the window.
    pub fn end(&self) -> OffsetDateTime {
        self.end.map_or(self.latest, |end| end.min(self.latest))
    }

    /// Is a time ahead of the vendor's clock?
    fn is_ahead(&self, time: OffsetDateTime) -> bool {
        !self.plan.counts() && time > self.latest
    }

    /// Does a client-side filter keep a record with this value? Values ahead of the vendor's clock are kept, as they
    /// would otherwise be missing until then.
    pub fn keeps(&self, before: &Cursor, time: OffsetDateTime) -> bool {
        before.keeps(self.plan, time) || self.plan.reads_up_to_now() && self.is_ahead(time)
    }

    /// Adds a record's cursor value.
    pub fn take(&self, time: OffsetDateTime, into: &mut Highest) {
        if self.is_ahead(time) {
            into.beyond.ahead += 1;
            into.beyond.far += u64::from(!self.plan.tells_days || time > self.now.saturating_add(ZONES));
            return;
        }
        let outside = |end: &OffsetDateTime| time > *end && self.plan.written(time) > *end;
        let Some(end) = self.end.filter(outside) else {
            into.see(time);
            return;
        };
        into.see(end);
        // A cursor with steps whose requests contain only the start receives later records with each step.
        if self.plan.asks_end || !self.plan.has_steps() {
            into.beyond.outside += 1;
            into.beyond.far += u64::from(time > end.saturating_add(ROUNDING));
        }
    }
}
