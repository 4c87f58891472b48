//! Converts the records of a slice into output lines.
//!
//! Input: the scanner at each record. Output: finished RECORD lines, one page at a time. Called by
//! [`super::slice_reader`]. A record that needs no change is copied byte for byte.
//!
//! Four objects do the work: [`CursorTracker`] follows the bookmark, [`DriftWatch`] decides about deviating records,
//! [`SchemaVersion`] defines the wire form of a record, [`LineBatch`] sends lines.

mod cursor_tracker;
mod drift_watch;
mod line_batch;
mod page_keys;
mod plain_cursors;
mod schema_version;
mod tombstones;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::answer;
use super::build::StreamPlan;
use super::context::EngineContext;
use super::files::FilePlan;
use super::record_sink::{PageObserver, RecordSink};
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::Scanner;
use crate::drift::monitor::Without;
use crate::drift::rules::Rule;
use crate::engine::cursor::backfill_cursor::PastFilter;
use crate::engine::cursor::ceiling::Beyond;
use crate::engine::cursor::{Cursor, CursorPlan, Window};
use crate::engine::extract::WalkError;
use crate::engine::fetch::Reply;
use crate::engine::shape::wire::RecordScan;
use crate::engine::shape::wire::track::Track;
use crate::manifest::template::Vars;

use cursor_tracker::CursorTracker;
use drift_watch::{DriftWatch, Fate};
use line_batch::LineBatch;
pub(super) use line_batch::Send;
use page_keys::PageKeys;
pub(super) use schema_version::{SchemaVersion, StreamOut};
pub(super) use tombstones::DeletedField;

/// Why the keys of a read are not complete.
const QUARANTINED: &str = "a record was quarantined";

/// The first and the last time that a request asks for, if it has bounds.
pub(super) type Bounds = (Option<OffsetDateTime>, Option<OffsetDateTime>);

/// Decides which records of a slice are wanted.
#[derive(Default)]
pub(super) struct RecordFilter {
    /// The window of the slice.
    pub(super) slice: Option<Window>,
    /// The cursor before the slice, if records are compared with it.
    pub(super) before: Option<Cursor>,
    /// The bounds in requests, if they are meaningful.
    pub(super) window: Option<Bounds>,
    /// The filter for the part of the past that a backfill reads.
    pub(super) past: Option<PastFilter>,
    /// A hash of the slice's partition, if the keys of its records are noted.
    pub(super) partition: u64,
}

/// Writes the lines of one slice's records.
pub(super) struct RecordWriter<'s> {
    plan: &'s StreamPlan,
    out: &'s StreamOut,
    version: Arc<SchemaVersion>,
    /// Passes records of a known form.
    track: Track,
    cursor: CursorTracker<'s>,
    drift: DriftWatch<'s>,
    batch: LineBatch<'s>,
    quota: Quota<'s>,
    /// How the file of each record is downloaded.
    files: Option<(&'s FilePlan, &'s EngineContext)>,
    /// The field of deletes, if the stream has one.
    deleted_field: Option<DeletedField>,
    /// The keys of this page.
    keys: PageKeys<'s>,
    /// The end of each line of this page.
    suffix: Vec<u8>,
    /// Responses received.
    answers: u64,
    /// Values that did not fit and were sent as null: in this page, and in complete pages.
    nulled: (u64, u64),
    keeps_last: bool,
    last: Option<Vec<u8>>,
    transformed: Vec<u8>,
}

/// Totals over the records of a slice.
pub(super) struct SliceTotals {
    /// The highest cursor value.
    pub(super) newest: Option<OffsetDateTime>,
    /// Values sent as null.
    pub(super) nulled: u64,
    /// Records without a cursor value.
    pub(super) without_cursor: u64,
    /// Records past the limit of the bookmark.
    pub(super) beyond: Beyond,
    /// Do cursor values fall into the gap between two windows?
    pub(super) is_finer: bool,
    /// Responses received.
    pub(super) answers: u64,
}

/// The number of records that the stream may still send, over all slices.
struct Quota<'s>(&'s AtomicU64);

impl Quota<'_> {
    /// Takes one record from the quota; false if it is used up.
    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) == u64::MAX
            || self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Returns records to the quota.
    fn give_back(&self, count: u64) {
        if self.0.load(Ordering::Relaxed) < u64::MAX {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }
}

type Walked<T> = std::result::Result<T, WalkError<Fault>>;

impl<'s> RecordWriter<'s> {
    /// A writer for one slice; `left` is the number of records that the stream may still send.
    pub(super) fn new(
        engine: &'s EngineContext,
        (plan, out): (&'s StreamPlan, &'s StreamOut),
        filter: RecordFilter,
        left: &'s AtomicU64,
        send: Send<'s>,
    ) -> Self {
        let version = out.version(plan);
        RecordWriter {
            plan,
            out,
            track: version.take_track(),
            version,
            keys: PageKeys::new(out, filter.partition),
            cursor: CursorTracker::new(plan.cursor.as_ref(), filter),
            drift: DriftWatch::new(out.watched.as_ref()),
            batch: LineBatch::new(send),
            quota: Quota(left),
            files: plan.files.as_ref().filter(|_| out.protocol.carries_files()).map(|files| (files, engine)),
            deleted_field: out.marks_deletes.then(|| DeletedField::new(out.protocol.deleted_at())),
            suffix: Vec::new(),
            answers: 0,
            nulled: (0, 0),
            keeps_last: plan.pages.uses("last_record"),
            last: None,
            transformed: Vec::new(),
        }
    }

    /// Are pages waiting to be sent?
    pub(super) fn has_pages(&self) -> bool {
        self.batch.has_pages()
    }

    /// Sends the waiting pages.
    pub(super) fn finish(&mut self) {
        self.batch.flush(&self.version);
    }

    /// The totals over the records of complete pages.
    pub(super) fn totals(&self) -> SliceTotals {
        SliceTotals {
            newest: self.cursor.newest(),
            nulled: self.nulled.1,
            without_cursor: self.cursor.without_cursor(),
            beyond: self.cursor.beyond(),
            is_finer: self.cursor.is_finer(),
            answers: self.answers,
        }
    }

    /// Appends the line of the record at which the scanner stands.
    fn line(&mut self, scanner: &mut Scanner<'_>) -> Walked<()> {
        if !self.quota.take() {
            self.cursor.past_the_end = true;
            return Ok(scanner.skip()?);
        }
        let again = scanner.clone();
        let start = scanner.at();
        let scan = self.drift.scan((&self.version, &mut self.track), scanner)?;
        let bytes = scanner.slice(start..scanner.at());
        if !self.cursor.is_of_the_past(&scan) {
            self.cursor.observe(&scan);
            self.keep_last(bytes);
            self.quota.give_back(1);
            return Ok(());
        }
        let (scan, without) = match self.drift.decide(bytes)? {
            Fate::Regular => (scan, None),
            Fate::Odd(without) => (self.grown(scan, &again)?, without),
            Fate::PutAside => {
                // The bookmark may move past this record: it is written to disk first.
                self.cursor.observe(&scan);
                self.keys.doubt(QUARANTINED);
                return Ok(());
            }
        };
        if let Some(key) = self.version.wire.missing_key(&scan) {
            return Err(WalkError::Callback(missing_key(key)));
        }
        let file = match self.files {
            Some((files, engine)) => {
                let record = answer::parsed(bytes).map_err(WalkError::Callback)?;
                files.fetch(engine, &self.plan.name, &record).map_err(WalkError::Callback)?
            }
            None => None,
        };
        self.cursor.observe(&scan);
        self.write(&scan, again, bytes, without.as_ref())?;
        self.keys.sent(bytes);
        if without.is_none() {
            self.drift.sent(bytes);
        }
        self.keep_last(bytes);
        let file = file.map(|file| self.out.protocol.with_file(self.suffix(), &file));
        self.end_line(file, without);
        Ok(())
    }

    /// Scans the record again with the current schema, which may have grown because of it.
    fn grown<'a>(&mut self, scan: RecordScan<'a>, record: &Scanner<'a>) -> Walked<RecordScan<'a>> {
        let version = self.out.version(self.plan);
        if version.generation == self.version.generation {
            return Ok(scan);
        }
        self.follow(version);
        self.drift.scan_grown(&self.version, record.clone())
    }

    /// Switches to a newer schema; waiting lines were written with the older one.
    fn follow(&mut self, version: Arc<SchemaVersion>) {
        if Arc::ptr_eq(&version, &self.version) {
            return;
        }
        self.drift.settle(&mut self.track);
        self.version.give_back(std::mem::replace(&mut self.track, version.take_track()));
        if version.retypes_keys(&self.version) {
            self.batch.rewrite(|lines| version.with_its_keys(lines));
        }
        self.version = version;
    }

    /// Writes the record's part of its line: verbatim, unless the wire or drift requires a change.
    fn write(
        &mut self,
        scan: &RecordScan<'_>,
        mut record: Scanner<'_>,
        bytes: &[u8],
        without: Option<&Without>,
    ) -> Walked<()> {
        let (wire, lines) = (&self.version.wire, &mut self.batch.lines);
        lines.reserve(self.out.prefix.len() + bytes.len() + self.suffix.len());
        lines.extend_from_slice(&self.out.prefix);
        let rewritten = if let Some(values) = without {
            let mut record = answer::parsed(bytes).map_err(WalkError::Callback)?;
            values.apply(&mut record);
            wire.rewrite(&mut Scanner::new(record.to_string().as_bytes()), lines)?
        } else if scan.change {
            wire.rewrite(&mut record, lines)?
        } else {
            lines.extend_from_slice(bytes);
            return Ok(());
        };
        self.nulled.0 += u64::from(rewritten.nulled);
        if rewritten.bad_key { Err(WalkError::Callback(bad_key())) } else { Ok(()) }
    }

    /// The end of the lines of this page.
    fn suffix(&mut self) -> &[u8] {
        if self.suffix.is_empty() {
            self.suffix = self.out.protocol.after_record(OffsetDateTime::now_utc());
            if let Some(rows) = &self.out.rows {
                self.suffix = rows.suffix(&self.suffix);
            }
        }
        &self.suffix
    }

    /// Ends the line; `own` replaces the usual end.
    fn end_line(&mut self, own: Option<Vec<u8>>, without: Option<Without>) {
        self.end_line_of(None, own, without);
    }

    /// Ends the line of a record that was deleted at that time, if it was.
    fn end_line_of(&mut self, deleted_at: Option<OffsetDateTime>, own: Option<Vec<u8>>, without: Option<Without>) {
        if let Some(field) = &self.deleted_field {
            field.add(&mut self.batch.lines, deleted_at);
        }
        let mut own = own;
        if let Some(values) = without {
            let fields = values.fields();
            let protocol = self.out.protocol;
            own = Some(protocol.with_nulled(own.as_deref().unwrap_or_else(|| self.suffix()), &fields));
            self.drift.put_aside(values.aside);
        }
        if own.is_none() {
            self.suffix();
        }
        self.batch.lines.extend_from_slice(own.as_deref().unwrap_or(&self.suffix));
        self.batch.record_done();
    }

    /// Keeps a record for paging, if paging uses the last one.
    fn keep_last(&mut self, bytes: &[u8]) {
        if self.keeps_last {
            let last = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(bytes);
        }
    }
}

/// The fault for a record without a key: no target can store it.
fn missing_key(key: &str) -> Fault {
    Fault::data(format!("a record has no value for its key `{key}`")).of_rule(Rule::KeyMissing.id()).hint(
        "no target can store it; set dripfeed.state_dir to quarantine it and continue; otherwise check \
        `primary_key`, or exclude such records with a `record_filter`",
    )
}

/// The fault for a record whose key does not fit its column.
fn bad_key() -> Fault {
    let fault = Fault::data("a record's key has another type than its column, which was announced earlier");
    fault
        .of_rule(Rule::KeyTypeChanged.id())
        .hint("declare the types of the `primary_key` fields in the manifest's schema")
}

impl Drop for RecordWriter<'_> {
    fn drop(&mut self) {
        self.track.forget_counts();
        self.version.give_back(std::mem::take(&mut self.track));
    }
}

impl RecordSink for RecordWriter<'_> {
    fn take(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> std::result::Result<bool, WalkError<Fault>> {
        let plan = self.plan;
        if self.drift.takes_no_record(scanner)? {
            self.keys.doubt(QUARANTINED);
            return Ok(true);
        }
        if let Some(taken) = self.take_deleted(scanner, vars)? {
            return Ok(taken);
        }
        if plan.shape.is_empty() && self.cursor.filter.before.is_none() {
            answer::start_of_record(scanner)?;
            self.line(scanner)?;
            return Ok(true);
        }
        scanner.peek()?;
        let mut again = scanner.clone();
        let mut record = answer::record_json(scanner)?;
        let mut old = false;
        let feed = plan.cursor.as_ref().filter(|c| c.data_feed && self.cursor.filter.past.is_none());
        if let Some(cursor) = feed {
            self.cursor.compare(record.get(&cursor.field).and_then(|v| cursor.read(v)));
        }
        let value = |cursor: &CursorPlan, record: &Json| record.get(&cursor.field).and_then(|v| cursor.read(v));
        let tracker = &self.cursor;
        let inside = |record: &Json| match (&plan.cursor, &tracker.filter.before) {
            (Some(c), Some(before)) => value(c, record).is_none_or(|v| tracker.keeps(before, v)),
            _ => true,
        };
        if let (Some(cursor), Some(before)) = (feed, &tracker.filter.before) {
            // A record after the window allows no conclusion about those that follow.
            old = value(cursor, &record).is_some_and(|v| before.is_before(cursor, v));
        }
        let is_selected = plan.shape.apply(&mut record, vars, inside).map_err(WalkError::Callback)?;
        if feed.is_some() {
            self.cursor.past_the_end = false;
        }
        self.cursor.past_the_end |= old;
        if !is_selected {
            self.keys.filtered(&record);
            return Ok(false);
        }
        if !record.is_object() {
            return Err(WalkError::Callback(answer::not_an_object()));
        }
        if !plan.shape.changes() {
            self.line(&mut again)?;
            return Ok(true);
        }
        let mut bytes = std::mem::take(&mut self.transformed);
        bytes.clear();
        serde_json::to_writer(&mut bytes, &record).map_err(|e| WalkError::Callback(Fault::bug(e.to_string())))?;
        let result = self.line(&mut Scanner::new(&bytes));
        self.transformed = bytes;
        result?;
        Ok(true)
    }

    fn put(&mut self, record: Json) -> Result<bool> {
        if let (Some(cursor), Some(before)) = (&self.plan.cursor, &self.cursor.filter.before) {
            let value = record.get(&cursor.field).and_then(|v| cursor.read(v));
            if let Some(value) = value.filter(|value| !self.cursor.keeps(before, *value)) {
                self.cursor.past_the_end |= cursor.data_feed && before.is_before(cursor, value);
                return Ok(false);
            }
        }
        if !record.is_object() {
            return Err(answer::not_an_object());
        }
        self.line(&mut Scanner::new(record.to_string().as_bytes())).map_err(|halt| match halt {
            WalkError::Callback(fault) => fault,
            WalkError::Json(error) => Fault::bug(error.to_string()),
        })?;
        Ok(true)
    }

    fn page_done(&mut self) -> Result<bool> {
        self.drift.settle(&mut self.track);
        if let Err(fault) = self.drift.page_read(self.cursor.page) {
            self.page_failed();
            return Err(fault);
        }
        if let Err(fault) = self.keys.page_done() {
            self.page_failed();
            return Err(fault);
        }
        let version = self.out.version(self.plan);
        self.follow(version);
        self.drift.follow();
        self.drift.page_done();
        self.cursor.page_done();
        self.nulled.1 += std::mem::take(&mut self.nulled.0);
        self.suffix.clear();
        self.batch.page_done(&self.version);
        Ok(!self.cursor.past_the_end)
    }

    fn page_failed(&mut self) {
        self.track.forget_counts();
        self.keys.page_failed();
        self.drift.page_failed();
        self.quota.give_back(self.batch.page_failed());
        self.cursor.page_failed();
        self.nulled.0 = 0;
    }

    fn answered_at(&mut self, at: Option<OffsetDateTime>) {
        self.cursor.answered(at);
    }

    fn last_record(&self) -> Option<Json> {
        answer::parsed(self.last.as_ref()?).ok()
    }

    fn newest(&self) -> Option<OffsetDateTime> {
        self.cursor.newest()
    }

    fn observer(&mut self) -> Option<&mut dyn PageObserver> {
        Some(self)
    }
}

impl PageObserver for RecordWriter<'_> {
    fn answered(&mut self, reply: &Reply) {
        self.answers += 1;
        self.drift.answered(reply);
    }

    fn takes_broken_text(&mut self) -> bool {
        self.drift.takes_broken_text()
    }

    fn page_shape(&mut self, list: bool, alone: bool) {
        self.drift.page_shape(list, alone);
    }

    fn partial_errors(&mut self) {
        self.keys.doubt("a response reports errors beside its records");
        self.drift.partial_errors();
    }

    fn page_followed(&mut self, records: u64, asked: Option<u64>) {
        self.drift.page_followed(records, asked);
    }
}
