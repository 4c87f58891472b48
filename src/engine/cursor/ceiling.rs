//! How far a bookmark may go: no further than what was asked for, nor than the vendor's clock.
//!
//! Input: a window, the time of each answer, the cursor value of each record. Output: the highest value that the
//! bookmark may take, and how many records lie beyond. Called by whatever takes records: the writer, and the reader of
//! parents. A record beyond is sent like any other; it only does not count.

use time::{Duration, OffsetDateTime};

use super::{Cursor, CursorPlan, Window};

/// A vendor's clock and that of its database differ by so much.
const CLOCKS: Duration = Duration::minutes(1);

/// A vendor whose clock is further off has none: what lies beyond it no later run would go on from.
const MOST_OFF: Duration = Duration::days(1);

/// Vendors round the end of a window, to days at most.
const ROUNDING: Duration = Duration::days(1);

/// A date in another time zone is ahead by so much, and a little more.
pub(super) const ZONES: Duration = Duration::hours(26);

/// How far the bookmark may go for one slice.
#[derive(Debug, Clone)]
pub struct Ceiling<'p> {
    plan: &'p CursorPlan,
    /// The last moment that was asked for; nothing where that is now.
    end: Option<OffsetDateTime>,
    /// The vendor's time when it gave the records that come.
    now: OffsetDateTime,
}

/// The highest cursor value that the bookmark may take, and the records beyond it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Highest {
    /// It.
    pub newest: Option<OffsetDateTime>,
    /// The others.
    pub beyond: Beyond,
}

/// Records beyond what a bookmark may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beyond {
    /// Later than the vendor's clock.
    pub ahead: u64,
    /// Later than the window that was asked for.
    pub outside: u64,
    /// Of both, those that no rounding and no time zone explains.
    pub far: u64,
}

impl Beyond {
    /// Are there any?
    pub fn is_any(self) -> bool {
        self.ahead + self.outside > 0
    }

    /// Adds others.
    pub fn add(&mut self, other: Beyond) {
        self.ahead += other.ahead;
        self.outside += other.outside;
        self.far += other.far;
    }

    /// What is wrong, for people.
    pub fn message(self) -> String {
        let Beyond { ahead, outside, .. } = self;
        let what = match (ahead, outside) {
            (0, _) => format!("{outside} records lie beyond the window that was asked for"),
            (_, 0) => format!("{ahead} records lie ahead of the vendor's clock"),
            _ => format!(
                "{ahead} records lie ahead of the vendor's clock, {outside} beyond the window that was asked for"
            ),
        };
        format!("{what}, by their cursor; they were sent, and do not move the bookmark beyond")
    }
}

impl Highest {
    /// Others that count as well.
    pub fn add(&mut self, other: Highest) {
        other.newest.into_iter().for_each(|time| self.see(time));
        self.beyond.add(other.beyond);
    }

    /// Of two that are the same moment, the first stays as it is written.
    fn see(&mut self, time: OffsetDateTime) {
        if self.newest.is_none_or(|newest| time > newest) {
            self.newest = Some(time);
        }
    }
}

impl<'p> Ceiling<'p> {
    /// That of a slice with this window.
    pub fn new(plan: &'p CursorPlan, window: Option<&Window>) -> Self {
        // A backfill has no bookmark, and compares by itself.
        let end = window.filter(|_| plan.history.is_none()).map(|window| window.end);
        // What ends by now was not cut short, unless the vendor is told so.
        let end = end.filter(|end| plan.asks_end || *end < plan.written(plan.now));
        Ceiling { plan, end, now: plan.clock() }
    }

    /// An answer came, at that time by the vendor's clock where it tells one.
    pub fn answered(&mut self, at: Option<OffsetDateTime>) {
        let here = self.plan.clock();
        self.now = at.filter(|at| (here - *at).abs() <= MOST_OFF).unwrap_or(here);
    }

    /// Is a time ahead of the vendor's clock?
    fn is_ahead(&self, time: OffsetDateTime) -> bool {
        !self.plan.counts() && time > self.now.saturating_add(CLOCKS)
    }

    /// Does a client-side filter keep a record with this value? One that is ahead of the vendor's clock would not come
    /// until then, and is kept.
    pub fn keeps(&self, before: &Cursor, time: OffsetDateTime) -> bool {
        before.keeps(self.plan, time) || self.plan.reads_up_to_now() && self.is_ahead(time)
    }

    /// Takes a record's cursor value.
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
        // Whoever cuts time into steps and names their begin alone gets what comes after them with each.
        if self.plan.asks_end || !self.plan.has_steps() {
            into.beyond.outside += 1;
            into.beyond.far += u64::from(time > end.saturating_add(ROUNDING));
        }
    }
}
