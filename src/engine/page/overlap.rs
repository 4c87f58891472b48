//! Whether rows were skipped between two pages by offset or number, as rows before them were deleted meanwhile.
//!
//! Input: the rows of each page. Output: whether a page joins the one before it, and which records were sent
//! already. Called by [`super::Pager`] where `safety.overlap` is on and records have a key. A page by offset begins
//! with the last row of the page before. A page number cannot ask for that row alone: the page before is asked for
//! again after the one that follows it.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::repeats::{PageRecords, Row};

/// So many records of a slice are remembered, so that they are not sent again.
const MAX_SENT: usize = 1 << 17;

/// The rows of the last pages of a slice.
#[derive(Debug)]
pub(super) struct Overlap {
    by_number: bool,
    /// Are pages compared still?
    compares: bool,
    /// The content that was sent last of each key.
    sent: HashMap<u64, u64>,
    earlier: ReadPage,
    latest: ReadPage,
    /// Does the page that is asked for begin with the last row of the latest one?
    expected: bool,
    /// Rows of the page that was read last which were asked for again.
    again: u64,
    skipped: bool,
}

/// A page that was read: its rows, and what asked for it.
#[derive(Debug, Default)]
struct ReadPage {
    token: Option<Json>,
    /// Nothing where a record has no key.
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

    /// Was the record sent already, as the last version of its key?
    pub(super) fn has_sent(&self, row: Row) -> bool {
        self.sent.get(&row.key) == Some(&row.content)
    }

    /// The slice is read again: what `before` knows as sent is not sent again.
    pub(super) fn continue_from(&mut self, before: Overlap) {
        self.sent = before.sent;
    }

    /// Pages are compared no more.
    pub(super) fn stop(&mut self) {
        self.compares = false;
        self.expected = false;
        self.skipped = false;
    }

    /// Were rows skipped?
    pub(super) fn has_skipped(&self) -> bool {
        self.skipped
    }

    /// So many rows of the page that was read last had come with the page before.
    pub(super) fn again(&self) -> u64 {
        self.again
    }

    /// The page was read that `token` asked for.
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

    /// Does a page go on where the latest one ended? Where rows were inserted before, it begins with others of its
    /// rows. Behind the first, only a row that nobody edited proves it: an edit may move a row to any place.
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

    /// By how many rows the next page by offset begins earlier, after a page of `extracted` rows; `size` are asked for.
    /// A page of one row would not get on.
    pub(super) fn step_back(&mut self, extracted: u64, size: Option<u64>) -> u64 {
        let has_room = extracted > 1 && size.is_none_or(|size| size > 1);
        self.expected = self.compares && !self.by_number && has_room && !self.latest.rows.is_empty();
        u64::from(self.expected)
    }

    /// What asks for the page before the latest one, where that is to be read again.
    pub(super) fn page_before(&self) -> Option<Option<Json>> {
        let looks = self.compares && self.by_number && !self.earlier.rows.is_empty();
        looks.then(|| self.earlier.token.clone())
    }

    /// The page before the latest one was read again. Rows behind those that it had are rows that moved there: each
    /// must have come with the latest page.
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
