//! Takes the records of a stream's slice and makes lines of them.
//!
//! Comes in: the scanner at each record. Goes out: finished RECORD lines, a page at a time. Called by
//! [`super::reader`]. A record that nothing asks to change is copied as the vendor wrote it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::build::StreamPlan;
use super::files::FilePlan;
use super::reader::{self, Shared, Taker, later};
use crate::cursor::Cursor;
use crate::emit::Protocol;
use crate::emit::singer::schema_line;
use crate::extract::Stop as Halt;
use crate::fault::{Fault, Result};
use crate::plan::Vars;
use crate::scan::Scanner;
use crate::shape::wire::{CursorText, Seen, Wire};

/// What all slices of a stream share.
pub(super) struct StreamOut {
    /// The SCHEMA line.
    pub(super) schema: Vec<u8>,
    protocol: Protocol,
    prefix: Vec<u8>,
    wire: Arc<Wire>,
}

impl StreamOut {
    pub(super) fn new(plan: &StreamPlan, wire: &Arc<Wire>, protocol: Protocol) -> Self {
        let cursor = plan.cursor.as_ref().map(|c| c.field.as_str());
        StreamOut {
            schema: schema_line(&plan.name, &wire.schema, &plan.keys(), cursor),
            protocol,
            prefix: protocol.before_record(&plan.name),
            wire: wire.clone(),
        }
    }
}

/// Pages that follow each other faster than this may wait for one another.
const FAST: Duration = Duration::from_millis(20);
/// Bytes that are sent together.
const TOGETHER: usize = 192 << 10;

/// Sends a page's lines with their number; the flag tells that the stream's SCHEMA must have been said.
pub(super) type Send<'s> = &'s mut dyn FnMut(Vec<u8>, u64, bool);

/// Makes lines of one slice's records.
pub(super) struct Emitting<'s> {
    plan: &'s StreamPlan,
    out: &'s StreamOut,
    /// How the file of each record is fetched.
    files: Option<(&'s FilePlan, &'s Shared)>,
    /// The cursor before the slice, where records are compared with it.
    before: Option<Cursor>,
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
}

impl<'s> Emitting<'s> {
    pub(super) fn new(
        shared: &'s Shared,
        plan: &'s StreamPlan,
        out: &'s StreamOut,
        before: Option<Cursor>,
        left: &'s AtomicU64,
        send: Send<'s>,
    ) -> Self {
        Emitting {
            plan,
            out,
            files: plan.files.as_ref().filter(|_| out.protocol.carries_files()).map(|files| (files, shared)),
            before,
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
        (self.send)(lines, count, true);
    }

    /// Highest cursor value, values sent as null, records without cursor.
    pub(super) fn sums(&self) -> (Option<OffsetDateTime>, u64, u64) {
        (self.sums.newest, self.sums.nulled, self.sums.without_cursor)
    }

    /// Appends the line of the record at which the scanner stands.
    fn line(&mut self, scanner: &mut Scanner<'_>) -> std::result::Result<(), Halt<Fault>> {
        let one_less = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if one_less.is_err() {
            self.past_the_end = true;
            return Ok(scanner.skip()?);
        }
        if self.suffix.is_empty() {
            self.suffix = self.out.protocol.after_record(OffsetDateTime::now_utc());
        }
        let mut again = scanner.clone();
        let start = scanner.at();
        let seen = self.out.wire.look(scanner, true, &mut ())?;
        if let Some(key) = self.out.wire.missing_key(&seen) {
            return Err(Halt::Caller(Fault::data(format!("a record has no value for its key `{key}`")).hint(
                "no target can store it; check `primary_key`, or filter such records out with a `record_filter`",
            )));
        }
        let file = match self.files {
            Some((files, shared)) => {
                let record = reader::parsed(scanner.slice(start..scanner.at())).map_err(Halt::Caller)?;
                files.fetch(shared, &self.plan.name, &record).map_err(Halt::Caller)?
            }
            None => None,
        };
        self.observe(&seen);
        self.lines.extend_from_slice(&self.out.prefix);
        let at = self.lines.len();
        if seen.change {
            self.page.nulled += u64::from(self.out.wire.rewrite(&mut again, &mut self.lines)?);
        } else {
            self.lines.extend_from_slice(scanner.slice(start..scanner.at()));
        }
        if self.keep_last {
            let last = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(scanner.slice(start..scanner.at()));
        }
        debug_assert!(self.lines.len() > at);
        match file {
            Some(file) => self.lines.extend(self.out.protocol.with_file(&self.suffix, &file)),
            None => self.lines.extend_from_slice(&self.suffix),
        }
        self.count += 1;
        Ok(())
    }

    fn observe(&mut self, seen: &Seen<'_>) {
        let Some(plan) = &self.plan.cursor else { return };
        let time = seen.cursor.as_ref().and_then(|text| {
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
        });
        match time {
            Some(time) => self.page.newest = later(self.page.newest, Some(time)),
            None => self.page.without_cursor += 1,
        }
    }
}

impl Taker for Emitting<'_> {
    fn take(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> std::result::Result<bool, Halt<Fault>> {
        let plan = self.plan;
        if plan.shape.is_empty() && self.before.is_none() {
            reader::start_of_record(scanner)?;
            self.line(scanner)?;
            return Ok(true);
        }
        scanner.peek()?;
        let mut again = scanner.clone();
        let mut record = reader::record_json(scanner)?;
        let mut old = false;
        let inside = |record: &Json| match (&plan.cursor, &self.before) {
            (Some(c), Some(before)) => {
                let value = record.get(&c.field).and_then(|v| c.read(v));
                value.is_none_or(|v| before.keeps(c, v))
            }
            _ => true,
        };
        if plan.cursor.as_ref().is_some_and(|c| c.data_feed) {
            old = !inside(&record);
            self.past_the_end = false;
        }
        let kept = plan.shape.apply(&mut record, vars, inside).map_err(Halt::Caller)?;
        self.past_the_end |= old;
        if !kept {
            return Ok(false);
        }
        if !record.is_object() {
            return Err(Halt::Caller(reader::not_an_object()));
        }
        if !plan.shape.changes() {
            self.line(&mut again)?;
            return Ok(true);
        }
        let mut bytes = std::mem::take(&mut self.transformed);
        bytes.clear();
        serde_json::to_writer(&mut bytes, &record).map_err(|e| Halt::Caller(Fault::bug(e.to_string())))?;
        let result = self.line(&mut Scanner::new(&bytes));
        self.transformed = bytes;
        result?;
        Ok(true)
    }

    fn put(&mut self, record: Json) -> Result<bool> {
        if let (Some(cursor), Some(before)) = (&self.plan.cursor, &self.before) {
            let value = record.get(&cursor.field).and_then(|v| cursor.read(v));
            if value.is_some_and(|value| !before.keeps(cursor, value)) {
                self.past_the_end |= cursor.data_feed;
                return Ok(false);
            }
        }
        if !record.is_object() {
            return Err(reader::not_an_object());
        }
        self.line(&mut Scanner::new(record.to_string().as_bytes())).map_err(|halt| match halt {
            Halt::Caller(fault) => fault,
            Halt::Broken(error) => Fault::bug(error.to_string()),
        })?;
        Ok(true)
    }

    fn page_done(&mut self) -> Result<bool> {
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
        self.lines.truncate(self.whole.0);
        if self.left.load(Ordering::Relaxed) < u64::MAX {
            self.left.fetch_add(self.count, Ordering::Relaxed);
        }
        self.page = Sums::default();
        self.count = 0;
    }

    fn newest(&self) -> Option<OffsetDateTime> {
        self.sums.newest
    }

    fn last_record(&self) -> Option<Json> {
        reader::parsed(self.last.as_ref()?).ok()
    }
}
