//! Tracks the cursor values of a slice's records: the highest one, those outside the requested window, their order.
//!
//! Input: each scanned record. Output: totals per page and slice; whether a record belongs to the requested part of
//! the past. Called by the record writer.

use time::OffsetDateTime;

use super::plain_cursors::PlainCursors;
use super::{Bounds, RecordFilter};
use crate::engine::cursor::ceiling::{Beyond, Ceiling, Highest};
use crate::engine::cursor::{Cursor, CursorPlan};
use crate::engine::shape::wire::{CursorText, RecordScan};

/// Vendors round the bounds of windows, at most to days.
const TOLERANCE: time::Duration = time::Duration::days(1);

/// Tracks the cursor of a slice's records.
pub(super) struct CursorTracker<'s> {
    pub(super) plan: Option<&'s CursorPlan>,
    pub(super) filter: RecordFilter,
    /// The bounds in requests, widened by what vendors round, if they are meaningful.
    bounds: Option<Bounds>,
    /// The limit of the bookmark.
    ceiling: Option<Ceiling<'s>>,
    /// The values of the page that need not be parsed.
    plain: Option<PlainCursors>,
    /// The cursor value of the previous record, if newest records come first.
    before_it: Option<OffsetDateTime>,
    /// The last parsed cursor text: many records share one.
    parsed_text: Vec<u8>,
    parsed_time: Option<OffsetDateTime>,
    pub(super) page: CursorCounts,
    /// The highest value, and records without one, over complete pages.
    highest: Highest,
    without_cursor: u64,
    /// Does the page have a value that is not a whole number of granules from its window's start?
    page_is_finer: bool,
    is_finer: bool,
    /// Is everything wanted already read? True after a record older than the cursor (newest first), or at the record
    /// limit.
    pub(super) past_the_end: bool,
}

/// Cursor statistics of a page.
#[derive(Clone, Copy, Default)]
pub(super) struct CursorCounts {
    highest: Highest,
    pub(super) without_cursor: u64,
    /// Records outside the requested window, among those compared with it.
    pub(super) outside: u64,
    pub(super) compared: u64,
    /// Neighbours in which the second is newer, among those compared.
    pub(super) newer: u64,
    pub(super) pairs: u64,
}

impl<'s> CursorTracker<'s> {
    pub(super) fn new(plan: Option<&'s CursorPlan>, filter: RecordFilter) -> Self {
        let widened = |(start, end): Bounds| {
            (start.map(|start| start.saturating_sub(TOLERANCE)), end.map(|end| end.saturating_add(TOLERANCE)))
        };
        CursorTracker {
            plan,
            bounds: filter.window.filter(|(start, end)| start.is_some() || end.is_some()).map(widened),
            ceiling: plan.map(|plan| Ceiling::new(plan, filter.slice.as_ref())),
            filter,
            plain: None,
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

    /// The highest value that the bookmark may reach, over complete pages.
    pub(super) fn newest(&self) -> Option<OffsetDateTime> {
        self.highest.newest
    }

    /// Records of these pages past the limit.
    pub(super) fn beyond(&self) -> Beyond {
        self.highest.beyond
    }

    /// Records of these pages without a value.
    pub(super) fn without_cursor(&self) -> u64 {
        self.without_cursor
    }

    /// Do values of these pages fall into the gap between two windows?
    pub(super) fn is_finer(&self) -> bool {
        self.is_finer
    }

    /// Does a client-side filter keep a record with this value?
    pub(super) fn keeps(&self, before: &Cursor, time: OffsetDateTime) -> bool {
        self.ceiling.as_ref().is_none_or(|ceiling| ceiling.keeps(before, time))
    }

    /// Does a record belong to the requested part of the past, if there is one? If newest records come first, this
    /// also notes whether the page ends before that part.
    pub(super) fn is_of_the_past(&mut self, scan: &RecordScan<'_>) -> bool {
        let Some(past) = self.filter.past else { return true };
        let Some(time) = self.time(scan) else { return true };
        if self.plan.is_some_and(|cursor| cursor.data_feed) {
            self.compare(Some(time));
            self.past_the_end = past.is_before(time);
        }
        past.keeps(time)
    }

    /// Checks the order: reading stops at the first old record, which is valid only while newer ones come first.
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

    /// Called for each response, with the vendor's clock if known.
    pub(super) fn answered(&mut self, at: Option<OffsetDateTime>) {
        // A page may take several answers.
        self.take_plain();
        let (Some(plan), Some(ceiling)) = (self.plan, &mut self.ceiling) else { return };
        ceiling.answered(at);
        let window = self.filter.slice.as_ref().filter(|_| !self.is_finer);
        self.plain = PlainCursors::new(plan, ceiling, self.bounds.unwrap_or_default(), window);
    }

    /// Includes a record in the bookmark.
    pub(super) fn observe(&mut self, scan: &RecordScan<'_>) {
        if self.plan.is_none() {
            return;
        }
        if let (Some(plain), Some(CursorText::Text(text))) = (&mut self.plain, &scan.cursor)
            && plain.takes(text.raw)
        {
            self.page.compared += u64::from(self.bounds.is_some());
            return;
        }
        let Some(time) = self.time(scan) else {
            self.page.without_cursor += 1;
            return;
        };
        // Of equal moments the first keeps its spelling.
        self.take_plain();
        if let Some(ceiling) = &self.ceiling {
            ceiling.take(time, &mut self.page.highest);
        }
        if let (false, Some(plan), Some(window)) = (self.is_finer || self.page_is_finer, self.plan, &self.filter.slice)
        {
            self.page_is_finer = plan.is_between_windows(window, time);
        }
        if let Some((start, end)) = self.bounds {
            self.page.compared += 1;
            let early = start.is_some_and(|start| time < start);
            let late = end.is_some_and(|end| time > end);
            self.page.outside += u64::from(early || late);
        }
    }

    /// Includes the plain values of the page so far.
    fn take_plain(&mut self) {
        let highest = self.plain.as_mut().and_then(PlainCursors::take_highest);
        if let (Some(plan), Some(ceiling), Some(text)) = (self.plan, &self.ceiling, highest) {
            plan.parse(&text).into_iter().for_each(|time| ceiling.take(time, &mut self.page.highest));
        }
    }

    /// Completes a page: its values count.
    pub(super) fn page_done(&mut self) {
        self.take_plain();
        let page = std::mem::take(&mut self.page);
        self.highest.add(page.highest);
        self.without_cursor += page.without_cursor;
        self.is_finer |= std::mem::take(&mut self.page_is_finer);
    }

    /// Discards the values of an incomplete page.
    pub(super) fn page_failed(&mut self) {
        self.plain.iter_mut().for_each(PlainCursors::page_failed);
        self.page = CursorCounts::default();
        self.page_is_finer = false;
    }
}
