//! The cursor values of a slice's records: the highest, those outside of what was asked for, their order.
//!
//! Input: each record as it was scanned. Output: what a page's and a slice's records add up to; whether a record
//! is of the part of time that is read. Called by the writer of records.

use time::OffsetDateTime;

use super::RecordFilter;
use crate::engine::cursor::ceiling::{Beyond, Ceiling, Highest};
use crate::engine::cursor::{Cursor, CursorPlan};
use crate::engine::shape::wire::{CursorText, RecordScan};

/// Vendors round the bounds of windows, to days at most.
const TOLERANCE: time::Duration = time::Duration::days(1);

/// Follows the cursor of a slice's records.
pub(super) struct CursorTracker<'s> {
    pub(super) plan: Option<&'s CursorPlan>,
    pub(super) filter: RecordFilter,
    /// How far the bookmark may go.
    pub(super) ceiling: Option<Ceiling<'s>>,
    /// When the record before was changed, of a stream whose newest records come first.
    before_it: Option<OffsetDateTime>,
    /// The cursor text parsed last: many records share one.
    parsed_text: Vec<u8>,
    parsed_time: Option<OffsetDateTime>,
    pub(super) page: CursorCounts,
    /// Highest value and records without one, of pages that were read wholly.
    highest: Highest,
    without_cursor: u64,
    /// Is a value that is no whole number of granules away from its window's begin among them?
    page_is_finer: bool,
    is_finer: bool,
    /// Is everything read that is wanted: a record older than the cursor came (newest first), or no more may be taken?
    pub(super) past_the_end: bool,
}

/// What the cursor values of a page add up to.
#[derive(Clone, Copy, Default)]
pub(super) struct CursorCounts {
    highest: Highest,
    pub(super) without_cursor: u64,
    /// Records outside of the window that was asked for, of those compared with it.
    pub(super) outside: u64,
    pub(super) compared: u64,
    /// Neighbours of which the second is newer, of those compared.
    pub(super) newer: u64,
    pub(super) pairs: u64,
}

impl<'s> CursorTracker<'s> {
    pub(super) fn new(plan: Option<&'s CursorPlan>, filter: RecordFilter) -> Self {
        CursorTracker {
            plan,
            ceiling: plan.map(|plan| Ceiling::new(plan, filter.slice.as_ref())),
            filter,
            before_it: None,
            parsed_text: Vec::new(),
            parsed_time: None,
            page: CursorCounts::default(),
            highest: Highest::default(),
            without_cursor: 0,
            page_is_finer: false,
            is_finer: false,
            past_the_end: false,
        }
    }

    /// The highest value that the bookmark may take, of pages that were read wholly.
    pub(super) fn newest(&self) -> Option<OffsetDateTime> {
        self.highest.newest
    }

    /// Records of these pages that lie beyond it.
    pub(super) fn beyond(&self) -> Beyond {
        self.highest.beyond
    }

    /// Records of these pages without a value.
    pub(super) fn without_cursor(&self) -> u64 {
        self.without_cursor
    }

    /// Do values of these pages lie between two windows, as far apart as these are?
    pub(super) fn is_finer(&self) -> bool {
        self.is_finer
    }

    /// Does a client-side filter keep a record with this value?
    pub(super) fn keeps(&self, before: &Cursor, time: OffsetDateTime) -> bool {
        self.ceiling.as_ref().is_none_or(|ceiling| ceiling.keeps(before, time))
    }

    /// Is a record of the part of the past that is read, if one is? Whether a page ends with one from before it is
    /// noted where newest records come first.
    pub(super) fn is_of_the_past(&mut self, scan: &RecordScan<'_>) -> bool {
        let Some(past) = self.filter.past else { return true };
        let Some(time) = self.time(scan) else { return true };
        if self.plan.is_some_and(|cursor| cursor.data_feed) {
            self.compare(Some(time));
            self.past_the_end = past.is_before(time);
        }
        past.keeps(time)
    }

    /// Reading stops at the first old record: that holds only while newer ones come first.
    pub(super) fn compare(&mut self, time: Option<OffsetDateTime>) {
        if let (Some(before), Some(time)) = (self.before_it, time) {
            self.page.pairs += 1;
            self.page.newer += u64::from(time > before);
        }
        self.before_it = time.or(self.before_it);
    }

    /// A record's cursor value.
    fn time(&mut self, scan: &RecordScan<'_>) -> Option<OffsetDateTime> {
        let plan = self.plan?;
        scan.cursor.as_ref().and_then(|text| {
            let raw = text.value();
            if raw.as_bytes() != self.parsed_text.as_slice() {
                self.parsed_text.clear();
                self.parsed_text.extend_from_slice(raw.as_bytes());
                self.parsed_time = match text {
                    CursorText::Text(_) => plan.parse(&raw),
                    CursorText::Number(_) => plan.parse_number(&raw),
                };
            }
            self.parsed_time
        })
    }

    /// A record counts for the bookmark.
    pub(super) fn observe(&mut self, scan: &RecordScan<'_>) {
        if self.plan.is_none() {
            return;
        }
        let Some(time) = self.time(scan) else {
            self.page.without_cursor += 1;
            return;
        };
        if let Some(ceiling) = &self.ceiling {
            ceiling.take(time, &mut self.page.highest);
        }
        if let (false, Some(plan), Some(window)) = (self.is_finer || self.page_is_finer, self.plan, &self.filter.slice)
        {
            self.page_is_finer = plan.is_between_windows(window, time);
        }
        if let Some((start, end)) = self.filter.window.filter(|(start, end)| start.is_some() || end.is_some()) {
            self.page.compared += 1;
            let early = start.is_some_and(|start| time.saturating_add(TOLERANCE) < start);
            let late = end.is_some_and(|end| time > end.saturating_add(TOLERANCE));
            self.page.outside += u64::from(early || late);
        }
    }

    /// The page was read wholly: its values count.
    pub(super) fn page_done(&mut self) {
        let page = std::mem::take(&mut self.page);
        self.highest.add(page.highest);
        self.without_cursor += page.without_cursor;
        self.is_finer |= std::mem::take(&mut self.page_is_finer);
    }

    /// The page broke off: its values do not count.
    pub(super) fn page_failed(&mut self) {
        self.page = CursorCounts::default();
        self.page_is_finer = false;
    }
}
