//! The parts of time that were read.
//!
//! Comes in: finished windows, in any order. Goes out: merged, sorted ranges, of which the first tells how
//! far a state may go. Called by [`super::Cursor`].

use time::OffsetDateTime;

use crate::timefmt::Period;

/// A part of time that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// From here.
    pub start: OffsetDateTime,
    /// To here.
    pub end: OffsetDateTime,
    /// The highest cursor value seen in it.
    pub newest: Option<OffsetDateTime>,
}

/// Ranges, sorted, none touching another.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    /// Them.
    pub list: Vec<Range>,
}

impl Ranges {
    /// Ranges as they came in a state.
    pub fn of(mut list: Vec<Range>) -> Self {
        list.sort_by_key(|r| (r.start, r.end));
        Ranges { list }
    }

    /// Adds one; ranges no further apart than `gap` become one.
    pub fn add(&mut self, range: Range, gap: Period) {
        self.list.push(range);
        self.list.sort_by_key(|r| (r.start, r.end));
        let mut merged: Vec<Range> = Vec::with_capacity(self.list.len());
        for next in self.list.drain(..) {
            match merged.last_mut() {
                Some(last) if gap.after(last.end).is_none_or(|reach| reach >= next.start) => {
                    last.end = last.end.max(next.end);
                    last.newest = last.newest.max(next.newest);
                }
                _ => merged.push(next),
            }
        }
        self.list = merged;
    }
}
