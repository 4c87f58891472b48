//! The cursor values of a slice's records: the highest, those outside of what was asked for, their order.
//!
//! Comes in: each record as it was scanned. Goes out: what a page's and a slice's records add up to; whether a record
//! is of the part of time that is read. Called by the writer of records.

use time::OffsetDateTime;

use super::RecordFilter;
use crate::engine::cursor::CursorPlan;
use crate::engine::record_sink::later;
use crate::engine::shape::wire::{CursorText, RecordScan};

/// Vendors round the bounds of windows, to days at most.
const TOLERANCE: time::Duration = time::Duration::days(1);

/// Follows the cursor of a slice's records.
pub(super) struct CursorTracker<'s> {
    pub(super) plan: Option<&'s CursorPlan>,
    pub(super) filter: RecordFilter,
    /// When the record before was changed, of a stream whose newest records come first.
    before_it: Option<OffsetDateTime>,
    /// The cursor text parsed last: many records share one.
    parsed_text: Vec<u8>,
    parsed_time: Option<OffsetDateTime>,
    pub(super) page: CursorCounts,
    /// Highest value and records without one, of pages that were read wholly.
    newest: Option<OffsetDateTime>,
    without_cursor: u64,
    /// Is everything read that is wanted: a record older than the cursor came (newest first), or no more may be taken?
    pub(super) past_the_end: bool,
}

/// What the cursor values of a page add up to.
#[derive(Clone, Copy, Default)]
pub(super) struct CursorCounts {
    newest: Option<OffsetDateTime>,
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
            filter,
            before_it: None,
            parsed_text: Vec::new(),
            parsed_time: None,
            page: CursorCounts::default(),
            newest: None,
            without_cursor: 0,
            past_the_end: false,
        }
    }

    /// Highest value and records without one, of pages that were read wholly.
    pub(super) fn totals(&self) -> (Option<OffsetDateTime>, u64) {
        (self.newest, self.without_cursor)
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
        self.page.newest = later(self.page.newest, Some(time));
        if let Some((start, end)) = self.filter.window.filter(|(start, end)| start.is_some() || end.is_some()) {
            self.page.compared += 1;
            let early = start.is_some_and(|start| time + TOLERANCE < start);
            self.page.outside += u64::from(early || end.is_some_and(|end| time > end + TOLERANCE));
        }
    }

    /// The page was read wholly: its values count.
    pub(super) fn page_done(&mut self) {
        let page = std::mem::take(&mut self.page);
        self.newest = later(self.newest, page.newest);
        self.without_cursor += page.without_cursor;
    }

    /// The page broke off: its values do not count.
    pub(super) fn page_failed(&mut self) {
        self.page = CursorCounts::default();
    }
}
