//! Connects a slice's records to the drift monitor, and decides about deviating records.
//!
//! Input: each record as it is scanned, and its page. Output: how a record is sent, or that it is quarantined. Called
//! by the record writer. Without a monitor, nothing is observed.

use std::collections::HashSet;
use std::sync::Arc;

use super::cursor_tracker::CursorCounts;
use super::schema_version::SchemaVersion;
use crate::base::fault::{Fault, Result};
use crate::base::json::observe::CountingObserver as _;
use crate::base::json::scan::{JsonKind, Scanner};
use crate::drift::monitor::{DriftMonitor, Judged, Page, Without};
use crate::drift::quarantine::Quarantined;
use crate::drift::record_observer::RecordListener;
use crate::drift::rules::Rule;
use crate::engine::answer;
use crate::engine::extract::WalkError;
use crate::engine::fetch::Reply;
use crate::engine::shape::wire::RecordScan;
use crate::engine::shape::wire::track::Track;

/// The number of record ids that are remembered to detect repeats within a slice: a few pages of them. One more, and
/// the table would be twice as large.
const MAX_IDS: usize = 7 << 10;
/// One record in this many becomes a witness of its fields, if witnesses are wanted.
const WITNESS_EVERY: u64 = 20;

/// Watches the records of a slice for drift.
pub(super) struct DriftWatch<'s> {
    monitor: Option<&'s Arc<DriftMonitor>>,
    listener: Option<RecordListener>,
    /// Records of this page that are quarantined, or sent without some values; and marks of newer versions.
    quarantined: Vec<Quarantined>,
    /// The keys of these records.
    keys: HashSet<String>,
    ids: HashSet<u64, foldhash::fast::RandomState>,
    /// Records scanned, from which witnesses are sampled.
    scanned: u64,
    /// Is the text of the page invalid somewhere?
    broken_text: bool,
    /// Records of this page whose id already occurred in the slice.
    again: u64,
    /// Whether the page's records were in a list; whether a single record was in place of a list.
    shape: (bool, bool),
}

/// The decision about a record.
pub(super) enum Fate {
    /// Nothing in it is new.
    Regular,
    /// The record is sent, possibly without some values; the schema may have grown for it.
    Odd(Option<Without>),
    /// The record is quarantined, and not sent.
    PutAside,
}

type Walked<T> = std::result::Result<T, WalkError<Fault>>;

impl<'s> DriftWatch<'s> {
    pub(super) fn new(monitor: Option<&'s Arc<DriftMonitor>>) -> Self {
        DriftWatch {
            monitor,
            listener: monitor.map(|monitor| monitor.listener()),
            quarantined: Vec::new(),
            keys: HashSet::new(),
            ids: HashSet::default(),
            scanned: 0,
            broken_text: false,
            again: 0,
            shape: (false, false),
        }
    }

    /// Scans the next record and moves past it.
    pub(super) fn scan<'a>(
        &mut self,
        (version, track): (&SchemaVersion, &mut Track),
        scanner: &mut Scanner<'a>,
    ) -> Walked<RecordScan<'a>> {
        Ok(match &mut self.listener {
            Some(listener) => {
                listener.begin();
                version.wire.scan_on(track, scanner, listener)?
            }
            None => version.wire.scan_on(track, scanner, &mut ())?,
        })
    }

    /// Takes over what `track` counted.
    pub(super) fn settle(&mut self, track: &mut Track) {
        match &mut self.listener {
            Some(listener) => track.settle(listener),
            None => track.forget_counts(),
        }
    }

    /// Scans a record again, after the schema grew for it.
    pub(super) fn scan_grown<'a>(
        &mut self,
        version: &SchemaVersion,
        mut record: Scanner<'a>,
    ) -> Walked<RecordScan<'a>> {
        let (Some(monitor), Some(listener)) = (self.monitor, &mut self.listener) else {
            return Ok(version.wire.scan(&mut record, &mut ())?);
        };
        // Another slice may have extended the schema: an observer must know all places of the schema that it
        // observes.
        monitor.follow(listener);
        Ok(version.wire.scan(&mut record, &mut listener.newcomers())?)
    }

    /// Decides about the scanned record.
    pub(super) fn decide(&mut self, bytes: &[u8]) -> Walked<Fate> {
        let (Some(monitor), Some(listener)) = (self.monitor, &mut self.listener) else { return Ok(Fate::Regular) };
        if bytes.len() as u64 > monitor.max_record() && monitor.can_put_aside() {
            let sample = format!("<record, {} MiB>", bytes.len() >> 20);
            self.quarantined.push(monitor.poison(Rule::RecordTooLarge, bytes, sample).map_err(WalkError::Callback)?);
            return Ok(Fate::PutAside);
        }
        if let Some(id) = listener.identity() {
            if self.ids.len() == MAX_IDS {
                self.ids.clear();
            }
            self.again += u64::from(!self.ids.insert(id));
        }
        self.scanned += 1;
        if monitor.wants_witnesses() && self.scanned % WITNESS_EVERY == 1 {
            monitor.witness(&answer::parsed(bytes).map_err(WalkError::Callback)?);
        }
        if !listener.is_odd() {
            return Ok(Fate::Regular);
        }
        let judged = monitor.judge(listener, bytes).map_err(WalkError::Callback)?;
        if judged != Judged::Sent {
            self.keys.extend(monitor.key(bytes));
        }
        Ok(match judged {
            Judged::Sent => Fate::Odd(None),
            Judged::Without(values) => Fate::Odd(Some(values)),
            Judged::Quarantined(record) => {
                self.quarantined.push(record);
                Fate::PutAside
            }
        })
    }

    /// A record is sent whole: an older version in quarantine is marked.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.quarantined.extend(self.monitor.and_then(|monitor| monitor.newer_version(bytes, &self.keys)));
    }

    /// Quarantines the values that were removed from a record.
    pub(super) fn put_aside(&mut self, values: Quarantined) {
        self.quarantined.push(values);
    }

    /// Quarantines data that is not a record, and moves past it: bytes that are not text, a value that is not an
    /// object. Returns false for a record.
    pub(super) fn takes_no_record(&mut self, scanner: &mut Scanner<'_>) -> Walked<bool> {
        let Some(monitor) = self.monitor.filter(|monitor| monitor.can_put_aside()) else { return Ok(false) };
        let kind = scanner.peek()?;
        if kind == JsonKind::Object && !self.broken_text {
            return Ok(false);
        }
        let mut ahead = scanner.clone();
        let start = ahead.at();
        ahead.skip()?;
        let bytes = ahead.slice(start..ahead.at());
        let (rule, sample) = if simdutf8::basic::from_utf8(bytes).is_err() {
            (Rule::RecordNotUtf8, "bytes that are not UTF-8")
        } else if kind == JsonKind::Object || !monitor.knows() {
            return Ok(false);
        } else {
            (Rule::RecordNotObject, "a value that is not an object")
        };
        *scanner = ahead;
        self.quarantined.push(monitor.poison(rule, bytes, sample.to_owned()).map_err(WalkError::Callback)?);
        Ok(true)
    }

    /// Completes a page: quarantined records are on disk when this returns.
    pub(super) fn page_read(&mut self, cursor: CursorCounts) -> Result<()> {
        let (Some(monitor), Some(listener)) = (self.monitor, &mut self.listener) else { return Ok(()) };
        let CursorCounts { without_cursor, outside, compared, newer, pairs, .. } = cursor;
        let (list, alone) = self.shape;
        let page = Page { without_cursor, outside, compared, again: self.again, pairs, newer, list, alone };
        self.keys.clear();
        monitor.page(listener, page, &std::mem::take(&mut self.quarantined))
    }

    /// Updates the observer to the places of the current schema.
    pub(super) fn follow(&mut self) {
        if let (Some(monitor), Some(listener)) = (self.monitor, &mut self.listener) {
            monitor.follow(listener);
        }
    }

    /// Starts the next page.
    pub(super) fn page_done(&mut self) {
        self.broken_text = false;
        (self.again, self.shape) = (0, (false, false));
    }

    /// Discards the observations of an incomplete page.
    pub(super) fn page_failed(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.forget();
        }
        self.quarantined.clear();
        self.keys.clear();
        (self.again, self.shape) = (0, (false, false));
    }

    /// Called for each response.
    pub(super) fn answered(&self, reply: &Reply) {
        if let Some(monitor) = self.monitor {
            monitor.answered(|name| reply.header(name));
        }
    }

    /// The response reports errors that the config accepts.
    pub(super) fn partial_errors(&self) {
        if let Some(monitor) = self.monitor {
            monitor.partial_errors();
        }
    }

    /// Called when another page followed.
    pub(super) fn page_followed(&self, records: u64, asked: Option<u64>) {
        if let Some(monitor) = self.monitor {
            monitor.page_followed(records, asked);
        }
    }

    /// Records where the page's records were.
    pub(super) fn page_shape(&mut self, list: bool, alone: bool) {
        self.shape = (list, alone);
    }

    /// May records contain bytes that are not text? If so, they are quarantined.
    pub(super) fn takes_broken_text(&mut self) -> bool {
        self.broken_text = self.monitor.is_some_and(|monitor| monitor.can_put_aside());
        self.broken_text
    }
}
