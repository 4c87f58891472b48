//! Detects repeated pages of a slice by their records.
//!
//! Input: each record of a page, as bytes. Output: whether the page contained anything new, and the fault for endless
//! paging. Called by [`super::Pager`]. Data around the records does not count: a vendor may put another request id
//! into each response. A record costs one hash of its bytes; its key is parsed only if the page's first key also
//! started an earlier page of this slice.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use crate::base::fault::{Fault, Result};
use crate::base::json::scan::{JsonKind, Scanner};

/// Hashes, of records or pages or keys.
type Hashes = HashSet<u64, foldhash::fast::RandomState>;

/// The minimum number of recent records that are remembered individually, at most twice as many plus a page; whole
/// pages are all remembered.
const MAX_RECORDS: usize = 1 << 12;
/// The maximum number of consecutive pages with known records only, by key and content.
const MAX_REPEATED: u32 = 3;
/// The maximum number of consecutive pages with known keys but different content.
const MAX_SAME_KEYS: u32 = 50;
/// The maximum number of consecutive empty pages.
const MAX_EMPTY: u32 = 50;
/// The maximum number of consecutive equal pages if records have no key.
const MAX_EQUAL: u32 = 1000;

/// The hashes of a record with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// The hash of its key.
    pub(super) key: u64,
    /// The hash of all its bytes.
    pub(super) content: u64,
}

/// The hashes of one page's records.
#[derive(Debug, Default)]
pub struct PageRecords {
    records: Vec<u64>,
    /// Records with a key, if pages are compared with each other.
    rows: Vec<Row>,
    /// The keys of all records, if they are needed.
    keys: Option<Vec<u64>>,
    /// The key of the first record.
    first_key: Option<u64>,
}

impl PageRecords {
    /// Adds a record for the comparison of pages.
    pub(super) fn add_row(&mut self, row: Option<Row>) {
        self.rows.extend(row);
    }

    /// The records in their order, if each has a key.
    pub(super) fn rows(&self) -> &[Row] {
        if self.rows.len() == self.records.len() { &self.rows } else { &[] }
    }
}

/// What a page repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The page has something new, or nothing at all.
    No,
    /// The page has only records that the slice already had, by key and content.
    Known,
    /// The page equals the previous one.
    Last,
}

/// The pages of one slice so far.
#[derive(Debug)]
pub(super) struct Repeats<'p> {
    /// The paths of a record's key; empty if records have no key.
    key_paths: &'p [Vec<String>],
    hasher: FixedState,
    /// The most recent records.
    records: Hashes,
    /// The records before them.
    earlier_records: Hashes,
    /// The hash of every page.
    pages: Hashes,
    last_page: Option<u64>,
    /// The first key of each page.
    first_keys: Hashes,
    /// Keys since pages appear to repeat keys.
    keys: Hashes,
    /// Consecutive pages of each kind.
    repeated: u32,
    same_keys: u32,
    equal: u32,
    empty: u32,
}

impl<'p> Repeats<'p> {
    pub(super) fn new(key_paths: &'p [Vec<String>]) -> Self {
        Repeats {
            key_paths,
            hasher: FixedState::default(),
            records: Hashes::default(),
            earlier_records: Hashes::default(),
            pages: Hashes::default(),
            last_page: None,
            first_keys: Hashes::default(),
            keys: Hashes::default(),
            repeated: 0,
            same_keys: 0,
            equal: 0,
            empty: 0,
        }
    }

    /// Adds a record of the current page.
    pub(super) fn add(&self, page: &mut PageRecords, record: &[u8]) {
        if page.records.is_empty() {
            page.first_key = self.key(record);
            let looks = self.same_keys > 0 || page.first_key.is_some_and(|key| self.first_keys.contains(&key));
            page.keys = looks.then(Vec::new);
        }
        page.records.push(self.hasher.hash_one(record));
        if let Some(keys) = &mut page.keys {
            // A record without a key always counts as a different one.
            keys.push(self.key(record).unwrap_or_else(|| page.records[page.records.len() - 1]));
        }
    }

    /// The hash of a record's key, if it has one.
    fn key(&self, record: &[u8]) -> Option<u64> {
        let mut key = None;
        for path in self.key_paths {
            let value = value_at(record, path)?;
            key = Some(self.hasher.hash_one((key, value)));
        }
        key
    }

    /// The hashes of a record, if it has a key.
    pub(super) fn row(&self, record: &[u8]) -> Option<Row> {
        let record = record.trim_ascii();
        Some(Row { key: self.key(record)?, content: self.hasher.hash_one(record) })
    }

    /// Completes a page: does it repeat earlier ones?
    pub(super) fn page_read(&mut self, page: &PageRecords) -> Repeat {
        if page.records.is_empty() {
            self.empty += 1;
            return Repeat::No;
        }
        self.empty = 0;
        let hash = page.records.iter().fold(0, |sum: u64, record| {
            // The order of records matters.
            (sum.rotate_left(5) ^ record).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let equal = self.last_page.replace(hash) == Some(hash);
        self.equal = if equal { self.equal + 1 } else { 0 };
        if self.key_paths.is_empty() {
            return Repeat::No;
        }
        let known_page = !self.pages.insert(hash);
        if self.records.len() >= MAX_RECORDS {
            self.earlier_records.clear();
            std::mem::swap(&mut self.records, &mut self.earlier_records);
        }
        let (latest, earlier) = (&mut self.records, &self.earlier_records);
        let known = page.records.iter().filter(|record| !latest.insert(**record) || earlier.contains(record)).count();
        let known = known == page.records.len();
        let repeats = known_page || known;
        self.repeated = if repeats { self.repeated + 1 } else { 0 };
        self.same_keys = if self.only_known_keys(page) { self.same_keys + 1 } else { 0 };
        match (repeats, equal) {
            (true, true) => Repeat::Last,
            (true, false) => Repeat::Known,
            _ => Repeat::No,
        }
    }

    /// Did the page contain only keys of earlier pages?
    fn only_known_keys(&mut self, page: &PageRecords) -> bool {
        if let Some(key) = page.first_key {
            self.first_keys.insert(key);
        }
        let Some(keys) = &page.keys else {
            self.keys.clear();
            return false;
        };
        // Later pages are compared with the first page whose keys are known.
        let begins = self.keys.is_empty();
        let known = keys.iter().filter(|key| !self.keys.insert(**key)).count() == keys.len();
        begins || known
    }

    /// Checks for endless paging; called when paging would continue.
    pub(super) fn check(&self) -> Result<()> {
        let message = if self.repeated >= MAX_REPEATED {
            format!("{MAX_REPEATED} pages in a row had only records of earlier pages")
        } else if self.same_keys >= MAX_SAME_KEYS {
            format!("{MAX_SAME_KEYS} pages in a row had only records with keys of earlier pages")
        } else if self.empty > MAX_EMPTY {
            format!("{} pages in a row were empty, each with a token for another page", self.empty)
        } else if self.key_paths.is_empty() && self.equal >= MAX_EQUAL {
            format!("{MAX_EQUAL} pages in a row were identical")
        } else {
            return Ok(());
        };
        Err(Fault::data(format!("{message}: dripfeed would request the same pages forever")).hint(
            "the vendor may ignore the page token: check `page_token_option` and `stop_condition` of the paginator",
        ))
    }
}

/// The bytes of the value at a path of a record.
fn value_at<'a>(record: &'a [u8], path: &[String]) -> Option<&'a [u8]> {
    let mut scanner = Scanner::new(record);
    for name in path {
        if scanner.peek().ok()? != JsonKind::Object {
            return None;
        }
        scanner.enter().ok()?;
        let mut first = true;
        loop {
            if scanner.key(&mut first).ok()??.is(name) {
                break;
            }
            scanner.skip().ok()?;
        }
    }
    if scanner.peek().ok()? == JsonKind::Null {
        return None;
    }
    let start = scanner.at();
    scanner.skip().ok()?;
    Some(scanner.slice(start..scanner.at()))
}
