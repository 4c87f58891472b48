//! Detects rows that were skipped between two pages by offset or number, because earlier rows were deleted meanwhile.
//!
//! Input: the rows of each page. Output: whether a page joins the previous one, and which records were already sent.
//! Called by [`super::Pager`] if `safety.overlap` is on and records have a key. A page by offset starts with the last
//! row of the previous page. A page number cannot request that row alone: the previous page is requested again after
//! the next one.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::repeats::{PageRecords, Row};

/// The number of records of a slice that are remembered, so that they are not sent again.
const MAX_SENT: usize = 1 << 17;

/// The rows of the last pages of a slice.
#[derive(Debug)]
pub(super) struct Overlap {
    by_number: bool,
    /// Are pages still compared?
    compares: bool,
    /// The last content sent for each key.
    sent: HashMap<u64, u64>,
    earlier: ReadPage,
    latest: ReadPage,
    /// Should the requested page start with the last row of the latest one?
    expected: bool,
    /// The number of repeated rows in the last page.
    again: u64,
    skipped: bool,
}

/// A page that was read: its rows and its token.
#[derive(Debug, Default)]
struct ReadPage {
    token: Option<Json>,
    /// Empty if a record has no key.
    rows: Vec<Row>,
}

impl ReadPage {
    fn keys(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().map(|row| row.key)
    }
}

impl Overlap {
    /// Pages by number, or by offset.
    pub(super) fn new(by_number: bool) -> Self {
        Overlap {
            by_number,
            compares: true,
            sent: HashMap::new(),
            earlier: ReadPage::default(),
            latest: ReadPage::default(),
            expected: false,
            again: 0,
            skipped: false,
        }
    }

    /// Was the record already sent, as the last version of its key?
    pub(super) fn has_sent(&self, row: Row) -> bool {
        self.sent.get(&row.key) == Some(&row.content)
    }

    /// Called when the slice is read again: records that `before` knows as sent are not sent again.
    pub(super) fn continue_from(&mut self, before: Overlap) {
        self.sent = before.sent;
    }

    /// Stops comparing pages.
    pub(super) fn stop(&mut self) {
        self.compares = false;
        self.expected = false;
        self.skipped = false;
    }

    /// Were rows skipped?
    pub(super) fn has_skipped(&self) -> bool {
        self.skipped
    }

    /// The number of rows in the last page that were already in the previous one.
    pub(super) fn again(&self) -> u64 {
        self.again
    }

    /// Adds a page that was requested with `token`.
    pub(super) fn page_read(&mut self, page: &PageRecords, token: Option<&Json>) {
        let rows = page.rows();
        let expected = std::mem::take(&mut self.expected);
        let joins = self.joins(rows);
        self.again = u64::from(expected && joins);
        self.skipped = expected && !joins;
        self.remember(rows);
        let read = ReadPage { token: token.cloned(), rows: rows.to_vec() };
        self.earlier = std::mem::replace(&mut self.latest, read);
    }

    /// Does a page continue where the latest one ended? If rows were inserted earlier, it starts with other rows of
    /// that page. After the first row, only an unedited row proves this: an edit may move a row anywhere.
    fn joins(&self, rows: &[Row]) -> bool {
        let (Some(first), Some(last)) = (rows.first(), self.latest.rows.last()) else { return false };
        let latest: HashSet<&Row> = self.latest.rows.iter().collect();
        first.key == last.key || rows.iter().any(|row| latest.contains(row))
    }

    fn remember(&mut self, rows: &[Row]) {
        if self.sent.len() + rows.len() > MAX_SENT {
            self.sent.clear();
        }
        self.sent.extend(rows.iter().map(|row| (row.key, row.content)));
    }

    /// The number of rows by which the next page by offset starts earlier, after a page of `extracted` rows; `size`
    /// is the requested size. Pages of one row would make no progress.
    pub(super) fn step_back(&mut self, extracted: u64, size: Option<u64>) -> u64 {
        let has_room = extracted > 1 && size.is_none_or(|size| size > 1);
        self.expected = self.compares && !self.by_number && has_room && !self.latest.rows.is_empty();
        u64::from(self.expected)
    }

    /// The token of the page before the latest one, if it must be read again.
    pub(super) fn page_before(&self) -> Option<Option<Json>> {
        let looks = self.compares && self.by_number && !self.earlier.rows.is_empty();
        looks.then(|| self.earlier.token.clone())
    }

    /// Adds the repeated page before the latest one. Rows after its original ones moved there: each must be in the
    /// latest page.
    pub(super) fn page_read_again(&mut self, page: &PageRecords) {
        let rows = page.rows();
        let earlier: HashSet<u64> = self.earlier.keys().collect();
        let known: HashSet<u64> = self.earlier.keys().chain(self.latest.keys()).collect();
        let mut rest = rows.iter().skip_while(|row| !earlier.contains(&row.key)).peekable();
        let has_any = rest.peek().is_some();
        self.skipped = !has_any || !rest.all(|row| known.contains(&row.key));
        self.remember(rows);
    }
}
