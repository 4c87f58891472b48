//! Takes the records of a stream's slice and makes lines of them.
//!
//! Comes in: the scanner at each record. Goes out: finished RECORD lines, a page at a time. Called by
//! [`super::slice_reader`]. A record that nothing asks to change is copied as the vendor wrote it.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::build::StreamPlan;
use super::files::FilePlan;
use super::slice_reader::{self, EngineContext, RecordSink, later};
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::{Kind, Scanner};
use crate::drift::monitor::{DriftMonitor, Judged, Page, Without};
use crate::drift::quarantine::Quarantined;
use crate::drift::record_observer::Listener;
use crate::drift::rules::Rule;
use crate::engine::cursor::Cursor;
use crate::engine::cursor::backfill_cursor::PastFilter;
use crate::engine::extract::WalkError;
use crate::engine::fetch::Reply;
use crate::engine::shape::wire::{CursorText, RecordScan, RecordSchema};
use crate::manifest::template::Vars;
use crate::protocol::Protocol;
use crate::protocol::singer::schema_line;
use crate::protocol::singer_catalog::Selection;

/// What a stream's records look like on the wire by now.
pub(super) struct SchemaVersion {
    /// The SCHEMA line.
    pub(super) schema: Vec<u8>,
    wire: RecordSchema,
    generation: u32,
}

impl SchemaVersion {
    /// Does it know more than another?
    pub(super) fn is_later(&self, other: &SchemaVersion) -> bool {
        self.generation > other.generation
    }
}

/// What all slices of a stream share.
pub(super) struct StreamOut {
    protocol: Protocol,
    prefix: Vec<u8>,
    fields: Selection,
    watched: Option<Arc<DriftMonitor>>,
    form: Mutex<Arc<SchemaVersion>>,
}

impl StreamOut {
    pub(super) fn new(
        plan: &StreamPlan,
        fields: &Selection,
        watched: Option<&Arc<DriftMonitor>>,
        protocol: Protocol,
    ) -> Self {
        StreamOut {
            protocol,
            prefix: protocol.before_record(&plan.name),
            fields: fields.clone(),
            watched: watched.cloned(),
            form: Mutex::new(Arc::new(form(plan, fields, watched, protocol))),
        }
    }

    /// The form of now.
    pub(super) fn form(&self, plan: &StreamPlan) -> Arc<SchemaVersion> {
        let mut current = self.form.lock();
        if self.watched.as_ref().is_some_and(|watched| watched.generation() != current.generation) {
            *current = Arc::new(form(plan, &self.fields, self.watched.as_ref(), self.protocol));
        }
        current.clone()
    }
}

/// The form of a stream whose schema is as it is watched to be.
fn form(
    plan: &StreamPlan,
    fields: &Selection,
    watched: Option<&Arc<DriftMonitor>>,
    protocol: Protocol,
) -> SchemaVersion {
    // Read before the schema: what changes in between is seen once more.
    let generation = watched.map_or(0, |watched| watched.generation());
    let grown = watched.map(|watched| watched.schema());
    let wire = plan.wire(grown.as_deref().unwrap_or(&plan.schema), fields, protocol);
    let wire = match watched {
        Some(watched) => wire.numbered(&*watched.places()),
        None => wire,
    };
    let cursor = plan.cursor.as_ref().map(|c| c.field.as_str());
    SchemaVersion { schema: schema_line(&plan.name, &wire.schema, &plan.keys(), cursor), wire, generation }
}

impl StreamPlan {
    /// The stream's form on the wire, by the schema of now. Airbyte's is the vendor's own.
    pub fn wire(&self, schema: &Json, fields: &Selection, protocol: Protocol) -> RecordSchema {
        let cursor = self.cursor.as_ref().map(|c| c.field.as_str());
        match protocol {
            Protocol::Singer => RecordSchema::build(schema, &self.keys(), cursor, fields),
            Protocol::Airbyte => RecordSchema::build(schema, &self.keys(), cursor, fields).verbatim(),
        }
    }
}

/// Pages that follow each other faster than this may wait for one another.
const FAST: Duration = Duration::from_millis(20);
/// Bytes that are sent together.
const TOGETHER: usize = 192 << 10;

/// Sends a page's lines with their number, and the form that they are in.
pub(super) type Send<'s> = &'s mut dyn FnMut(Vec<u8>, u64, &Arc<SchemaVersion>);

/// The first and the last time that a request asks for, where it does.
pub(super) type Bounds = (Option<OffsetDateTime>, Option<OffsetDateTime>);

/// Vendors round the bounds of windows, to days at most.
const TOLERANCE: time::Duration = time::Duration::days(1);
/// So many ids of a slice's records are remembered, to see whether one comes again: some pages of them.
const MOST_IDS: usize = 1 << 13;
/// Every so many records one is a witness of the fields that it has, where witnesses are wanted.
const WITNESS_EVERY: u64 = 20;

/// Of a slice's records, which are wanted, and what is known of them.
#[derive(Default)]
pub(super) struct RecordFilter {
    /// The cursor before the slice, where records are compared with it.
    pub(super) before: Option<Cursor>,
    /// The bounds that requests carry, where they mean something.
    pub(super) window: Option<Bounds>,
    /// Which are of the part of the past that is read.
    pub(super) keep: Option<PastFilter>,
}

/// Makes lines of one slice's records.
pub(super) struct RecordWriter<'s> {
    plan: &'s StreamPlan,
    out: &'s StreamOut,
    form: Arc<SchemaVersion>,
    /// Listens for drift.
    listener: Option<Listener>,
    wanted: RecordFilter,
    /// Answers that came.
    answers: u64,
    /// Records of this page that are kept instead of being sent, or as they were.
    aside: Vec<Quarantined>,
    ids: HashSet<u64, foldhash::fast::RandomState>,
    /// When the record before was changed, of a stream whose newest records come first.
    before_it: Option<OffsetDateTime>,
    /// Records looked at, of which some become witnesses.
    looked: u64,
    /// Is the page's text broken somewhere?
    broken_text: bool,
    /// How the file of each record is fetched.
    files: Option<(&'s FilePlan, &'s EngineContext)>,
    /// Records that the stream may still take.
    left: &'s AtomicU64,
    send: Send<'s>,
    suffix: Vec<u8>,
    lines: Vec<u8>,
    count: u64,
    /// Bytes and records of pages that were read wholly and wait to be sent.
    whole: (usize, u64),
    last_page: Option<Instant>,
    /// Of this page, then of the slice: highest cursor value, values sent as null, records without cursor.
    page: Sums,
    sums: Sums,
    /// The cursor text parsed last: many records share one.
    seen_text: Vec<u8>,
    seen_time: Option<OffsetDateTime>,
    keep_last: bool,
    last: Option<Vec<u8>>,
    /// Did the page end with a record older than the cursor (newest first)?
    past_the_end: bool,
    transformed: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    newest: Option<OffsetDateTime>,
    nulled: u64,
    without_cursor: u64,
    outside: u64,
    compared: u64,
    again: u64,
    pairs: u64,
    newer: u64,
    list: bool,
    alone: bool,
}

impl<'s> RecordWriter<'s> {
    pub(super) fn new(
        shared: &'s EngineContext,
        plan: &'s StreamPlan,
        out: &'s StreamOut,
        wanted: RecordFilter,
        left: &'s AtomicU64,
        send: Send<'s>,
    ) -> Self {
        RecordWriter {
            plan,
            out,
            form: out.form(plan),
            listener: out.watched.as_ref().map(|watched| watched.listener()),
            wanted,
            answers: 0,
            aside: Vec::new(),
            ids: HashSet::default(),
            before_it: None,
            looked: 0,
            broken_text: false,
            files: plan.files.as_ref().filter(|_| out.protocol.carries_files()).map(|files| (files, shared)),
            left,
            send,
            suffix: Vec::new(),
            lines: Vec::new(),
            count: 0,
            whole: (0, 0),
            last_page: None,
            page: Sums::default(),
            sums: Sums::default(),
            seen_text: Vec::new(),
            seen_time: None,
            keep_last: plan.pages.uses("last_record"),
            last: None,
            past_the_end: false,
            transformed: Vec::new(),
        }
    }

    /// Do pages wait to be sent?
    pub(super) fn has_pages(&self) -> bool {
        self.whole.0 > 0
    }

    /// Sends the pages that wait.
    pub(super) fn finish(&mut self) {
        let capacity = self.lines.capacity();
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(capacity.min(2 * TOGETHER)));
        let (_, count) = std::mem::take(&mut self.whole);
        (self.send)(lines, count, &self.form);
    }

    /// Highest cursor value, values sent as null, records without cursor.
    pub(super) fn sums(&self) -> (Option<OffsetDateTime>, u64, u64) {
        (self.sums.newest, self.sums.nulled, self.sums.without_cursor)
    }

    /// Answers that came.
    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    /// Appends the line of the record at which the scanner stands.
    fn line(&mut self, scanner: &mut Scanner<'_>) -> std::result::Result<(), WalkError<Fault>> {
        let one_less = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if one_less.is_err() {
            self.past_the_end = true;
            return Ok(scanner.skip()?);
        }
        if self.suffix.is_empty() {
            self.suffix = self.out.protocol.after_record(OffsetDateTime::now_utc());
        }
        let again = scanner.clone();
        let start = scanner.at();
        let seen = match &mut self.listener {
            Some(listener) => {
                listener.begin();
                self.form.wire.scan(scanner, true, listener)?
            }
            None => self.form.wire.scan(scanner, true, &mut ())?,
        };
        let bytes = scanner.slice(start..scanner.at());
        if !self.is_of_the_past(&seen) {
            self.observe(&seen);
            self.keep_last(bytes);
            self.give_back(1);
            return Ok(());
        }
        let Some((seen, without)) = self.judged(seen, &again, bytes)? else { return Ok(()) };
        if let Some(key) = self.form.wire.missing_key(&seen) {
            let fault =
                Fault::data(format!("a record has no value for its key `{key}`")).of_rule(Rule::KeyMissing.id());
            return Err(WalkError::Callback(fault.hint(
                "no target can store it; with dripfeed.state_dir it is kept there and the others go on; else check \
                 `primary_key`, or filter such records out with a `record_filter`",
            )));
        }
        let file = match self.files {
            Some((files, shared)) => {
                let record = slice_reader::parsed(bytes).map_err(WalkError::Callback)?;
                files.fetch(shared, &self.plan.name, &record).map_err(WalkError::Callback)?
            }
            None => None,
        };
        self.observe(&seen);
        self.lines.extend_from_slice(&self.out.prefix);
        let at = self.lines.len();
        let mut rewrite = |mut record: Scanner<'_>, lines: &mut Vec<u8>| -> std::result::Result<(), WalkError<Fault>> {
            self.page.nulled += u64::from(self.form.wire.rewrite(&mut record, lines)?);
            Ok(())
        };
        if let Some(values) = &without {
            let mut record = slice_reader::parsed(bytes).map_err(WalkError::Callback)?;
            values.apply(&mut record);
            rewrite(Scanner::new(record.to_string().as_bytes()), &mut self.lines)?;
        } else if seen.change {
            rewrite(again, &mut self.lines)?;
        } else {
            self.lines.extend_from_slice(bytes);
        }
        self.keep_last(bytes);
        debug_assert!(self.lines.len() > at);
        let mut suffix = None;
        if let Some(file) = file {
            suffix = Some(self.out.protocol.with_file(&self.suffix, &file));
        }
        if let Some(values) = without {
            suffix = Some(self.out.protocol.with_nulled(suffix.as_ref().unwrap_or(&self.suffix), &values.fields()));
            self.aside.push(values.aside);
        }
        self.lines.extend_from_slice(suffix.as_ref().unwrap_or(&self.suffix));
        self.count += 1;
        Ok(())
    }

    /// Is a record of the part of the past that is read, if one is? Whether a page ends with one from before it is noted where
    /// newest records come first.
    fn is_of_the_past(&mut self, seen: &RecordScan<'_>) -> bool {
        let Some(keep) = self.wanted.keep else { return true };
        let Some(time) = self.time(seen) else { return true };
        if self.plan.cursor.as_ref().is_some_and(|cursor| cursor.data_feed) {
            self.compare(Some(time));
            self.past_the_end = keep.is_before(time);
        }
        keep.keeps(time)
    }

    /// Reading stops at the first old record: that holds only while newer ones come first.
    fn compare(&mut self, time: Option<OffsetDateTime>) {
        if let (Some(before), Some(time)) = (self.before_it, time) {
            self.page.pairs += 1;
            self.page.newer += u64::from(time > before);
        }
        self.before_it = time.or(self.before_it);
    }

    /// Keeps a record for paging, where that asks for the last one.
    fn keep_last(&mut self, bytes: &[u8]) {
        if self.keep_last {
            let last = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(bytes);
        }
    }

    /// So many records do not count among those that the stream may take.
    fn give_back(&self, count: u64) {
        if self.left.load(Ordering::Relaxed) < u64::MAX {
            self.left.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What the watch for drift says of a record: how it is sent, and without which values; nothing when it is kept instead.
    fn judged<'a>(
        &mut self,
        seen: RecordScan<'a>,
        record: &Scanner<'a>,
        bytes: &[u8],
    ) -> std::result::Result<Option<(RecordScan<'a>, Option<Without>)>, WalkError<Fault>> {
        let (Some(watched), Some(listener)) = (self.out.watched.as_deref(), &mut self.listener) else {
            return Ok(Some((seen, None)));
        };
        if bytes.len() as u64 > watched.max_record() && watched.can_put_aside() {
            let sample = format!("<record, {} MiB>", bytes.len() >> 20);
            self.aside.push(watched.poison(Rule::RecordTooLarge, bytes, sample).map_err(WalkError::Callback)?);
            self.observe(&seen);
            return Ok(None);
        }
        if let Some(id) = listener.identity() {
            if self.ids.len() == MOST_IDS {
                self.ids.clear();
            }
            self.page.again += u64::from(!self.ids.insert(id));
        }
        self.looked += 1;
        if watched.wants_witnesses() && self.looked % WITNESS_EVERY == 1 {
            watched.witness(&slice_reader::parsed(bytes).map_err(WalkError::Callback)?);
        }
        if !listener.is_odd() {
            return Ok(Some((seen, None)));
        }
        let without = match watched.judge(listener, bytes).map_err(WalkError::Callback)? {
            Judged::Sent => None,
            Judged::Without(values) => Some(values),
            Judged::Quarantined(aside) => {
                self.aside.push(aside);
                // The bookmark may pass it: it is on disk before that.
                self.observe(&seen);
                return Ok(None);
            }
        };
        let form = self.out.form(self.plan);
        if form.generation == self.form.generation {
            return Ok(Some((seen, without)));
        }
        self.form = form;
        // Others may have let it grow since: a listener knows no fewer places than the form that it listens to.
        watched.follow(listener);
        let seen = self.form.wire.scan(&mut record.clone(), true, &mut listener.newcomers())?;
        Ok(Some((seen, without)))
    }

    /// A record's cursor value.
    fn time(&mut self, seen: &RecordScan<'_>) -> Option<OffsetDateTime> {
        let plan = self.plan.cursor.as_ref()?;
        seen.cursor.as_ref().and_then(|text| {
            let raw = text.value();
            if raw.as_bytes() != self.seen_text.as_slice() {
                self.seen_text.clear();
                self.seen_text.extend_from_slice(raw.as_bytes());
                self.seen_time = match text {
                    CursorText::Text(_) => plan.parse(&raw),
                    CursorText::Number(_) => plan.parse_number(&raw),
                };
            }
            self.seen_time
        })
    }

    fn observe(&mut self, seen: &RecordScan<'_>) {
        if self.plan.cursor.is_none() {
            return;
        }
        match self.time(seen) {
            Some(time) => {
                self.page.newest = later(self.page.newest, Some(time));
                if let Some((start, end)) = self.wanted.window.filter(|(start, end)| start.is_some() || end.is_some()) {
                    self.page.compared += 1;
                    let early = start.is_some_and(|start| time + TOLERANCE < start);
                    self.page.outside += u64::from(early || end.is_some_and(|end| time > end + TOLERANCE));
                }
            }
            None => self.page.without_cursor += 1,
        }
    }
}

impl RecordWriter<'_> {
    /// Keeps what is no record, and passes it: bytes that are no text, a value that is no object.
    fn no_record(&mut self, scanner: &mut Scanner<'_>) -> std::result::Result<Option<Quarantined>, WalkError<Fault>> {
        let Some(watched) = self.out.watched.as_deref().filter(|watched| watched.can_put_aside()) else {
            return Ok(None);
        };
        let kind = scanner.peek()?;
        if kind == Kind::Object && !self.broken_text {
            return Ok(None);
        }
        let mut aside = scanner.clone();
        let start = aside.at();
        aside.skip()?;
        let bytes = aside.slice(start..aside.at());
        let (rule, sample) = if simdutf8::basic::from_utf8(bytes).is_err() {
            (Rule::RecordNotUtf8, "bytes that are not UTF-8")
        } else if kind == Kind::Object || !watched.knows() {
            return Ok(None);
        } else {
            (Rule::RecordNotObject, "a value that is not an object")
        };
        *scanner = aside;
        watched.poison(rule, bytes, sample.to_owned()).map(Some).map_err(WalkError::Callback)
    }

    /// The page as drift sees it.
    fn watch_page(&mut self) -> Result<()> {
        let (Some(watched), Some(listener)) = (&self.out.watched, &mut self.listener) else { return Ok(()) };
        let Sums { without_cursor, outside, compared, again, pairs, newer, list, alone, .. } = self.page;
        let page = Page { without_cursor, outside, compared, again, pairs, newer, list, alone };
        watched.page(listener, page, &std::mem::take(&mut self.aside))?;
        self.form = self.out.form(self.plan);
        watched.follow(listener);
        Ok(())
    }
}

impl RecordSink for RecordWriter<'_> {
    fn take(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> std::result::Result<bool, WalkError<Fault>> {
        let plan = self.plan;
        if let Some(aside) = self.no_record(scanner)? {
            self.aside.push(aside);
            return Ok(true);
        }
        if plan.shape.is_empty() && self.wanted.before.is_none() {
            slice_reader::start_of_record(scanner)?;
            self.line(scanner)?;
            return Ok(true);
        }
        scanner.peek()?;
        let mut again = scanner.clone();
        let mut record = slice_reader::record_json(scanner)?;
        let mut old = false;
        let feed = plan.cursor.as_ref().filter(|c| c.data_feed && self.wanted.keep.is_none());
        if let Some(cursor) = feed {
            self.compare(record.get(&cursor.field).and_then(|v| cursor.read(v)));
        }
        let inside = |record: &Json| match (&plan.cursor, &self.wanted.before) {
            (Some(c), Some(before)) => {
                let value = record.get(&c.field).and_then(|v| c.read(v));
                value.is_none_or(|v| before.keeps(c, v))
            }
            _ => true,
        };
        if feed.is_some() {
            old = !inside(&record);
            self.past_the_end = false;
        }
        let kept = plan.shape.apply(&mut record, vars, inside).map_err(WalkError::Callback)?;
        self.past_the_end |= old;
        if !kept {
            return Ok(false);
        }
        if !record.is_object() {
            return Err(WalkError::Callback(slice_reader::not_an_object()));
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
        if let (Some(cursor), Some(before)) = (&self.plan.cursor, &self.wanted.before) {
            let value = record.get(&cursor.field).and_then(|v| cursor.read(v));
            if value.is_some_and(|value| !before.keeps(cursor, value)) {
                self.past_the_end |= cursor.data_feed;
                return Ok(false);
            }
        }
        if !record.is_object() {
            return Err(slice_reader::not_an_object());
        }
        self.line(&mut Scanner::new(record.to_string().as_bytes())).map_err(|halt| match halt {
            WalkError::Callback(fault) => fault,
            WalkError::Json(error) => Fault::bug(error.to_string()),
        })?;
        Ok(true)
    }

    fn page_done(&mut self) -> Result<bool> {
        if let Err(fault) = self.watch_page() {
            self.page_failed();
            return Err(fault);
        }
        self.broken_text = false;
        self.whole = (self.lines.len(), self.whole.1 + self.count);
        self.sums.newest = later(self.sums.newest, self.page.newest);
        self.sums.nulled += self.page.nulled;
        self.sums.without_cursor += self.page.without_cursor;
        self.page = Sums::default();
        self.count = 0;
        self.suffix.clear();
        // Pages that come fast are sent together: each sending wakes the writer.
        let fast = self.last_page.replace(Instant::now()).is_some_and(|at| at.elapsed() < FAST);
        if !fast || self.whole.0 >= TOGETHER {
            self.finish();
        }
        Ok(!self.past_the_end)
    }

    fn page_failed(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.forget();
        }
        self.aside.clear();
        self.lines.truncate(self.whole.0);
        self.give_back(self.count);
        self.page = Sums::default();
        self.count = 0;
    }

    fn newest(&self) -> Option<OffsetDateTime> {
        self.sums.newest
    }

    fn answered(&mut self, reply: &Reply) {
        self.answers += 1;
        if let Some(watched) = &self.out.watched {
            watched.answered(|name| reply.header(name));
        }
    }

    fn page_followed(&mut self, records: u64, asked: Option<u64>) {
        if let Some(watched) = &self.out.watched {
            watched.page_followed(records, asked);
        }
    }

    fn stood(&mut self, list: bool, alone: bool) {
        (self.page.list, self.page.alone) = (list, alone);
    }

    fn takes_broken_text(&mut self) -> bool {
        self.broken_text = self.out.watched.as_deref().is_some_and(DriftMonitor::can_put_aside);
        self.broken_text
    }

    fn last_record(&self) -> Option<Json> {
        slice_reader::parsed(self.last.as_ref()?).ok()
    }
}
