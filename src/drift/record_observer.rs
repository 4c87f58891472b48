//! Observes the record scan: counts values per place, and detects deviations.
//!
//! Input: every value of a record, through [`Observer`]. Output: counts, and whether the record must be examined. No
//! allocation is made for a record without deviations. Each thread has one for the slice that it reads; called by
//! `engine` through [`super::monitor`].

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::checks::{Checks, FRACTION, Format, KINDS, bit, number};
use crate::base::json::observe::{Attention, CountingObserver, NOWHERE, Observer};
use crate::base::json::scan::{JsonKind, JsonText, Number, Whole, whole};
use crate::base::json::spelling::{flag, spelled_by};
use crate::base::timefmt::{is_date, is_utc, parse_iso};

/// The number of magnitudes: three per power of ten.
pub(super) const MAGNITUDES: usize = 64;

/// The counts at the places of a schema.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Records.
    pub(super) records: u64,
    /// Counts by place and kind. Numbers with a fraction are also counted as numbers.
    pub(super) kinds: Vec<[u32; KINDS]>,
    /// Counts of magnitudes by place; empty if none were seen.
    pub(super) magnitudes: Vec<Vec<u32>>,
}

impl Counts {
    /// Adds other counts, for the same places or more.
    pub(super) fn add(&mut self, other: &Counts) {
        self.records += other.records;
        if self.kinds.len() < other.kinds.len() {
            self.kinds.resize(other.kinds.len(), [0; KINDS]);
            self.magnitudes.resize(other.kinds.len(), Vec::new());
        }
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        for (mine, theirs) in self.magnitudes.iter_mut().zip(&other.magnitudes) {
            if mine.len() < theirs.len() {
                mine.resize(theirs.len(), 0);
            }
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }

    fn clear(&mut self) {
        self.records = 0;
        self.kinds.iter_mut().for_each(|kinds| *kinds = [0; KINDS]);
        self.magnitudes.iter_mut().for_each(|m| m.iter_mut().for_each(|n| *n = 0));
    }
}

/// The checks of a place in compact form.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// The object in which a value was last seen here.
    last: u32,
    allowed: u8,
    looks: u16,
}

const DATE_TIME: u16 = 1;
const DATE: u16 = 2;
const LISTED: u16 = 4;
const KEY: u16 = 8;
const CURSOR: u16 = 16;
const NARROW: u16 = 32;
const UNDECLARED: u16 = 64;
/// Texts are accepted only if they are empty or spell a boolean.
const SPELLED: u16 = 128;
/// Numbers are accepted only if they spell a boolean.
const FLAG: u16 = 256;
/// Booleans are accepted only if false, which means that there is no object or list.
const NO_STRUCTURE: u16 = 512;

/// Observes the records of one slice.
#[derive(Debug)]
pub struct RecordListener {
    checks: Arc<Checks>,
    cells: Vec<Cell>,
    /// The counts of this page.
    page: Counts,
    objects: u32,
    /// Does this record deviate?
    odd: bool,
    keys: u8,
    all_keys: u8,
    /// Keys that are included in the identity.
    hashed: u8,
    /// Does a record have more keys than can be distinguished?
    many_keys: bool,
    /// A hash of this record's keys and cursor.
    identity: u64,
    hasher: FixedState,
    /// Places from this number on were added after the record was scanned.
    news: usize,
}

impl RecordListener {
    pub(super) fn new(checks: &Arc<Checks>) -> RecordListener {
        let mut listener = RecordListener {
            checks: checks.clone(),
            cells: Vec::new(),
            page: Counts::default(),
            objects: 0,
            odd: false,
            keys: 0,
            all_keys: 0,
            hashed: 0,
            many_keys: false,
            identity: 0,
            hasher: FixedState::default(),
            news: 0,
        };
        listener.follow(checks);
        listener
    }

    /// Switches to other checks (no-op if they are the same); existing places keep their numbers.
    pub(super) fn follow(&mut self, checks: &Arc<Checks>) {
        if Arc::ptr_eq(&self.checks, checks) && !self.cells.is_empty() {
            return;
        }
        self.checks = checks.clone();
        self.cells = checks
            .places
            .iter()
            .map(|place| {
                let looks = [
                    (place.format == Some(Format::DateTime), DATE_TIME),
                    (place.format == Some(Format::Date), DATE),
                    (!place.listed.is_empty(), LISTED),
                    (place.key.is_some(), KEY),
                    (place.cursor, CURSOR),
                    (!place.wide, NARROW),
                    (place.undeclared, UNDECLARED),
                    (place.is_spelled() && place.allowed & bit(2) == 0, SPELLED),
                    (place.is_spelled() && place.holds_flags(), FLAG),
                    (place.is_spelled() && place.holds_structure() && place.allowed & bit(4) == 0, NO_STRUCTURE),
                ];
                let looks = looks.into_iter().filter(|(yes, _)| *yes).fold(0, |all, (_, bit)| all | bit);
                // These kinds may be accepted by value: checked where their values are scanned.
                let by_value = [(SPELLED, 2), (FLAG, 3), (NO_STRUCTURE, 4)];
                let more = by_value.into_iter().filter(|(look, _)| looks & look != 0);
                Cell { last: 0, allowed: more.fold(place.allowed, |all, (_, kind)| all | bit(kind)), looks }
            })
            .collect();
        self.page.kinds.resize(self.cells.len(), [0; KINDS]);
        self.page.magnitudes.resize(self.cells.len(), Vec::new());
        self.all_keys = u8::try_from((1_u16 << checks.keys) - 1).unwrap_or(u8::MAX);
        self.many_keys = checks.keys >= 8;
    }

    /// Starts a record.
    #[inline]
    pub fn begin(&mut self) {
        (self.odd, self.keys, self.hashed, self.identity) = (false, 0, 0, 0);
        self.news = self.cells.len();
        self.page.records += 1;
    }

    /// A hash of the record's keys and cursor; `None` if a key is missing or cannot be hashed.
    pub fn identity(&self) -> Option<u64> {
        (self.all_keys != 0 && self.hashed == self.all_keys && !self.many_keys).then_some(self.identity)
    }

    /// Moves the counts of the page into `into`, and resets them.
    pub(super) fn take(&mut self, into: &mut Counts) {
        into.add(&self.page);
        self.page.clear();
    }

    /// The counts of the page.
    pub(super) fn page(&self) -> &Counts {
        &self.page
    }

    /// Discards the page.
    pub fn forget(&mut self) {
        self.page.clear();
    }

    /// Counts the record again, only at new places.
    pub fn newcomers(&mut self) -> Newcomers<'_> {
        Newcomers(self)
    }

    /// Adds a value of this kind to the identity.
    fn hash(&mut self, place: u32, kind: JsonKind, raw: &[u8]) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(self.identity);
        hasher.write_u32(place);
        hasher.write_usize(number(kind));
        hasher.write(raw);
        self.identity = hasher.finish();
        if let Some(key) = self.checks.places[place as usize].key {
            self.hashed |= 1 << key;
            self.keys |= 1 << key;
        }
    }
}

/// Counts at places that were unknown when the record was scanned first.
#[derive(Debug)]
pub struct Newcomers<'l>(&'l mut RecordListener);

impl Observer for Newcomers<'_> {
    fn value(&mut self, place: u32, kind: JsonKind, _: u32) {
        if place as usize >= self.0.news {
            self.0.page.kinds[place as usize][number(kind)] += 1;
        }
    }

    fn object(&mut self) -> u32 {
        0
    }

    fn text(&mut self, _: u32, _: &JsonText<'_>) {}

    fn number(&mut self, _: u32, _: &Number<'_>) {}

    fn boolean(&mut self, _: u32, _: bool) {}

    fn unknown(&mut self, _: u32, _: &JsonText<'_>, _: JsonKind) {}
}

impl Observer for RecordListener {
    #[inline]
    fn value(&mut self, place: u32, kind: JsonKind, object: u32) {
        let (at, kind) = (place as usize, number(kind));
        self.page.kinds[at][kind] += 1;
        let cell = &mut self.cells[at];
        self.odd |= cell.allowed & bit(kind) == 0 || cell.looks & UNDECLARED != 0 && kind != 5;
        if cell.looks & KEY != 0 && kind != 5 {
            self.keys |= 1 << self.checks.places[at].key.unwrap_or(0);
        }
        if object != 0 && place != NOWHERE {
            // Twice in the same object.
            self.odd |= cell.last == object;
            cell.last = object;
        }
    }

    #[inline]
    fn object(&mut self) -> u32 {
        self.objects = self.objects.wrapping_add(1).max(1);
        self.objects
    }

    #[inline]
    fn text(&mut self, place: u32, text: &JsonText<'_>) {
        let looks = self.cells[place as usize].looks;
        if looks == 0 {
            return;
        }
        if looks & DATE_TIME != 0 {
            self.odd |= !written_well(text, Format::DateTime);
        } else if looks & DATE != 0 {
            self.odd |= !written_well(text, Format::Date);
        } else if looks & LISTED != 0 {
            self.odd |= !self.checks.places[place as usize].lists(text);
        } else if looks & SPELLED != 0 {
            self.odd |= spelled_by(text.raw, looks & FLAG != 0).is_none();
        }
        if looks & (KEY | CURSOR) != 0 {
            self.hash(place, JsonKind::String, text.raw);
        }
    }

    #[inline]
    fn number(&mut self, place: u32, number: &Number<'_>) {
        let cell = self.cells[place as usize];
        let whole = if number.integer && number.raw.len() < 19 { Whole::Fits(0) } else { whole(number) };
        match whole {
            Whole::Fits(_) => {}
            Whole::Large => self.odd |= cell.looks & NARROW != 0,
            Whole::Not => {
                self.page.kinds[place as usize][FRACTION] += 1;
                self.odd |= cell.allowed & bit(FRACTION) == 0;
            }
        }
        if cell.looks & (KEY | CURSOR | FLAG) != 0 {
            if cell.looks & FLAG != 0 {
                self.odd |= flag(number.raw).is_none();
            } else {
                self.hash(place, JsonKind::Number, number.raw);
            }
        } else if place != NOWHERE {
            let magnitudes = &mut self.page.magnitudes[place as usize];
            if magnitudes.is_empty() {
                magnitudes.resize(MAGNITUDES, 0);
            }
            magnitudes[magnitude(number)] += 1;
        }
    }

    #[inline]
    fn boolean(&mut self, place: u32, value: bool) {
        let looks = self.cells[place as usize].looks;
        if looks & (KEY | CURSOR) != 0 {
            self.hash(place, JsonKind::Bool, &[u8::from(value)]);
        }
        self.odd |= value && looks & NO_STRUCTURE != 0;
    }

    fn unknown(&mut self, place: u32, key: &JsonText<'_>, kind: JsonKind) {
        // A null does not determine the type of the field.
        if kind != JsonKind::Null {
            let place = &self.checks.places[place as usize];
            let known = |key: &str| place.passed.contains(key) || place.fields.contains_key(key);
            self.odd |= place.closed && !known(&key.value());
        }
    }
}

impl CountingObserver for RecordListener {
    fn attention(&self, place: u32, kind: JsonKind) -> Attention {
        let Cell { looks, allowed, .. } = self.cells[place as usize];
        let looked_at = |mask: u16| if looks & mask == 0 { Attention::Count } else { Attention::Value };
        match kind {
            JsonKind::String if looks & (KEY | CURSOR | LISTED | SPELLED) == 0 => match looks {
                _ if looks & DATE_TIME != 0 => Attention::DateTime,
                _ if looks & DATE != 0 => Attention::Date,
                _ => Attention::Count,
            },
            // Each number has a magnitude.
            JsonKind::Number if allowed & bit(FRACTION) == 0 => Attention::Integer,
            JsonKind::String | JsonKind::Number => Attention::Value,
            JsonKind::Bool => looked_at(KEY | CURSOR | NO_STRUCTURE),
            JsonKind::Object | JsonKind::Array => looked_at(KEY | CURSOR),
            JsonKind::Null => Attention::Count,
        }
    }

    fn revision(&self) -> u32 {
        self.checks.revision
    }

    /// Must the scanned record be examined?
    #[inline]
    fn is_odd(&self) -> bool {
        self.odd || self.keys != self.all_keys
    }

    fn values(&mut self, place: u32, kind: JsonKind, times: u32) {
        self.page.kinds[place as usize][number(kind)] += times;
    }
}

/// Does a text match its format? An empty text carries no information, like null.
#[inline]
pub(super) fn written_well(text: &JsonText<'_>, format: Format) -> bool {
    match format {
        Format::DateTime if is_utc(text.raw) => true,
        Format::Date if is_date(text.raw) => true,
        _ => text.raw.is_empty() || parse_iso(&text.value()).is_some(),
    }
}

/// The magnitude of a number: three per power of ten, from its digits; 0 for zero, and 1 for values below one.
#[inline]
fn magnitude(number: &Number<'_>) -> usize {
    let digits = number.raw.strip_prefix(b"-").unwrap_or(number.raw);
    let whole = if number.integer {
        digits.len()
    } else {
        digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len())
    };
    match digits[0] {
        b'0' if digits[1..].iter().all(|b| matches!(b, b'0' | b'.')) => 0,
        b'0' => 1,
        first => (whole * 3 - 1 + usize::from(first >= b'2') + usize::from(first >= b'5')).min(MAGNITUDES - 1),
    }
}
