//! Whether the pages of a slice repeat, found by their records.
//!
//! Input: each record of a page, as bytes. Output: whether the page brought anything, and the fault of paging that
//! would go on for ever. Called by [`super::Pager`]. What stands around the records does not count: a vendor may write
//! another request id into each answer. A record costs one hash of its bytes; its key is looked for only where the
//! first record of the page has a key that a page of this slice began with before.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use crate::base::fault::{Fault, Result};
use crate::base::json::scan::{JsonKind, Scanner};

/// Hashes, of records or pages or keys.
type Hashes = HashSet<u64, foldhash::fast::RandomState>;

/// At least so many of a slice's last records are remembered one by one, and at most twice as many and a page; whole
/// pages all are.
const MAX_RECORDS: usize = 1 << 12;
/// So many pages in a row may bring records that the slice had already, key and content.
const MAX_REPEATED: u32 = 3;
/// So many pages in a row may bring keys that the slice had already, with other content.
const MAX_SAME_KEYS: u32 = 50;
/// So many pages in a row may be empty.
const MAX_EMPTY: u32 = 50;
/// So many pages in a row may be equal where records have no key to tell them apart.
const MAX_EQUAL: u32 = 1000;

/// A record that has a key, as hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// Of its key.
    pub(super) key: u64,
    /// Of all its bytes.
    pub(super) content: u64,
}

/// The records of one page, as hashes.
#[derive(Debug, Default)]
pub struct PageRecords {
    records: Vec<u64>,
    /// Those that have a key, where pages are compared with each other.
    rows: Vec<Row>,
    /// The keys of all records, where those of the page are looked at.
    keys: Option<Vec<u64>>,
    /// The key of the first record.
    first_key: Option<u64>,
}

impl PageRecords {
    /// Takes a record for the comparison of pages.
    pub(super) fn add_row(&mut self, row: Option<Row>) {
        self.rows.extend(row);
    }

    /// Its records in their order, if each has a key.
    pub(super) fn rows(&self) -> &[Row] {
        if self.rows.len() == self.records.len() { &self.rows } else { &[] }
    }
}

/// What a page brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Something new, or nothing at all.
    No,
    /// Only records that the slice had already, key and content.
    Known,
    /// The page before it once more.
    Last,
}

/// The pages of one slice so far.
#[derive(Debug)]
pub(super) struct Repeats<'p> {
    /// The paths of a record's key; none where records have no key.
    key_paths: &'p [Vec<String>],
    hasher: FixedState,
    /// The last records.
    records: Hashes,
    /// Those that came before them.
    earlier_records: Hashes,
    /// Every page, as one hash.
    pages: Hashes,
    last_page: Option<u64>,
    /// The key that each page began with.
    first_keys: Hashes,
    /// Keys since pages seem to bring the same ones.
    keys: Hashes,
    /// Pages in a row.
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

    /// Takes a record of the page that is read.
    pub(super) fn add(&self, page: &mut PageRecords, record: &[u8]) {
        if page.records.is_empty() {
            page.first_key = self.key(record);
            let looks = self.same_keys > 0 || page.first_key.is_some_and(|key| self.first_keys.contains(&key));
            page.keys = looks.then(Vec::new);
        }
        page.records.push(self.hasher.hash_one(record));
        if let Some(keys) = &mut page.keys {
            // A record without a key is another each time.
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

    /// A record as pages are compared by it, if it has a key.
    pub(super) fn row(&self, record: &[u8]) -> Option<Row> {
        let record = record.trim_ascii();
        Some(Row { key: self.key(record)?, content: self.hasher.hash_one(record) })
    }

    /// The page was read: what did it bring?
    pub(super) fn page_read(&mut self, page: &PageRecords) -> Repeat {
        if page.records.is_empty() {
            self.empty += 1;
            return Repeat::No;
        }
        self.empty = 0;
        let hash = page.records.iter().fold(0, |sum: u64, record| {
            // The order of records counts.
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

    /// Did the page bring only keys that pages before it had?
    fn only_known_keys(&mut self, page: &PageRecords) -> bool {
        if let Some(key) = page.first_key {
            self.first_keys.insert(key);
        }
        let Some(keys) = &page.keys else {
            self.keys.clear();
            return false;
        };
        // The first page whose keys are looked at is what later ones are compared with.
        let begins = self.keys.is_empty();
        let known = keys.iter().filter(|key| !self.keys.insert(**key)).count() == keys.len();
        begins || known
    }

    /// Is there an end to it? Called where paging would go on.
    pub(super) fn check(&self) -> Result<()> {
        let message = if self.repeated >= MAX_REPEATED {
            format!("{MAX_REPEATED} pages in a row brought only records that came before")
        } else if self.same_keys >= MAX_SAME_KEYS {
            format!("{MAX_SAME_KEYS} pages in a row brought only records whose keys came before")
        } else if self.empty > MAX_EMPTY {
            format!("{} pages in a row were empty, each with a token for another one", self.empty)
        } else if self.key_paths.is_empty() && self.equal >= MAX_EQUAL {
            format!("{MAX_EQUAL} pages in a row were the same")
        } else {
            return Ok(());
        };
        Err(Fault::data(format!("{message}: the vendor would be asked for the same pages for ever")).hint(
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
