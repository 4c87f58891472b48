//! A backfill: a part of the past that is read independently of live runs, with its own windows and state.
//!
//! Input: the requested span and the state of earlier backfills; then partitions as they are found, and windows as
//! they are read. Output: windows to read, a filter for their records, and a state. The state never claims a time as
//! read before every partition has been read for it. Called by `scheduler`, under one lock per stream.
//!
//! The state stores what was read as time spans, independent of the requested span: what is missing is the requested
//! span minus the stored ones. A partition is done only after everything that changed meanwhile is read again: a live
//! run may have delivered a newer version of a record before the backfill's older one reached the warehouse, so the
//! backfill must send the newer version after it.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::backfill_cursor::{PastFilter, Piece};
use super::ceiling::ZONES;
use super::partitions::identity;
use super::ranges::{Span, Spans};
use super::{CursorPlan, Window};
use crate::base::fault::{Fault, Result};
use crate::base::timefmt::{parse_iso, rfc3339};

/// The progress of a stream's backfill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillProgress {
    /// The requested span.
    pub asked: Span,
    /// Slices that were read, by this run and earlier ones.
    pub done: u64,
    /// How many of these were read by earlier runs.
    pub earlier: u64,
    /// Slices known so far.
    pub of: u64,
    /// Are all slices known?
    pub listed: bool,
    /// Requests for the stream's own records that were answered in this run.
    pub calls: u64,
    /// Was the whole requested span read?
    pub ended: bool,
}

/// The short hash of a partition.
type Name = [u8; 12];

/// A clock that is further behind is considered broken.
const MOST_BEHIND: Duration = Duration::days(1);

/// A partition that is being read.
#[derive(Debug, Default)]
struct Part {
    /// The spans that were read.
    read: Spans,
    /// The pieces still to be read, oldest last; their windows are distinct.
    left: Vec<Piece>,
    /// Records sent.
    sent: u64,
    /// Were the changes made meanwhile requested?
    caught_up: bool,
    /// Reading failed: the partition is left to the next run.
    failed: bool,
    /// The requested span is done; the partition has further spans from an earlier, larger request.
    done: bool,
}

/// A stream's backfill.
#[derive(Debug)]
pub struct Backfill {
    asked: Span,
    /// The start of the earliest read that is not finished.
    since: OffsetDateTime,
    /// How far the vendor's clock is behind the local one.
    behind: Duration,
    /// Was `since` saved by an earlier run, or sent in a state by this one?
    is_reported: bool,
    /// Did an earlier run send records of it?
    resumed: bool,
    /// The spans that were read for every partition.
    read: Spans,
    /// Partitions that are partly done.
    parts: IndexMap<String, Part>,
    /// Partitions that are done, grouped by their spans.
    done: Vec<(Span, IndexSet<Name>)>,
    /// Partitions found in this run.
    seen: HashSet<Name>,
    /// How many partitions an earlier run found.
    known: Option<u64>,
    counts: BackfillProgress,
}

fn name(id: &str) -> Name {
    let hash = Sha256::digest(id.as_bytes());
    let mut name = Name::default();
    name.copy_from_slice(&hash[..12]);
    name
}

impl Backfill {
    /// Starts a backfill, or resumes one from the stream's state. `now` is the start of this run.
    pub fn begin(asked: Span, state: Option<&Map<String, Json>>, now: OffsetDateTime) -> Result<Backfill> {
        let counts = BackfillProgress { asked, done: 0, earlier: 0, of: 0, listed: false, calls: 0, ended: false };
        let mut out = Backfill {
            asked,
            since: now,
            behind: Duration::ZERO,
            is_reported: false,
            resumed: false,
            read: Spans::default(),
            parts: IndexMap::new(),
            done: Vec::new(),
            seen: HashSet::new(),
            known: None,
            counts,
        };
        let Some(state) = state else { return Ok(out) };
        out.read = spans(state.get("backfilled").unwrap_or(&Json::Null))?;
        not_ahead(&out.read, now)?;
        out.known = state.get("partitions").and_then(Json::as_u64);
        let Some(open) = state.get("open").filter(|open| !open.is_null()) else { return Ok(out) };
        // A `since` in the future is treated as now.
        (out.since, out.is_reported, out.resumed) = (moment(&open["since"])?.min(now), true, true);
        for begun in list(&open["begun"])? {
            let partition = begun["partition"].as_object().ok_or_else(unreadable)?;
            let part = Part { read: spans(&begun["read"])?, ..Part::default() };
            not_ahead(&part.read, now)?;
            out.parts.insert(identity(partition), part);
        }
        for done in list(&open["done"])? {
            let names = list(&done["partitions"])?.iter().map(|name| {
                let bytes = URL_SAFE_NO_PAD.decode(name.as_str().unwrap_or_default()).unwrap_or_default();
                Name::try_from(bytes).map_err(|_| unreadable())
            });
            out.done.push((span(done)?, names.collect::<Result<_>>()?));
        }
        Ok(out)
    }

    /// The requested span.
    pub fn asked(&self) -> Span {
        self.asked
    }

    /// Was the whole requested span already read?
    pub fn is_read(&self) -> bool {
        self.read.missing(self.asked).is_empty()
    }

    /// The number of windows for the missing part of each partition.
    pub fn windows(&self, plan: &CursorPlan) -> u64 {
        plan.pieces(&self.read.missing(self.asked)).len() as u64
    }

    /// How many partitions an earlier backfill found, if it found all.
    pub fn known(&self) -> Option<u64> {
        self.known
    }

    /// The number of partitions that are done.
    pub fn partitions_done(&self) -> u64 {
        self.done.iter().filter(|(span, _)| self.covers(*span)).map(|(_, names)| names.len() as u64).sum()
    }

    /// The number of slices left for this many partitions.
    pub fn slices_left(&self, plan: &CursorPlan, partitions: u64) -> u64 {
        let left = |part: &Part| {
            let mut read = self.read.clone();
            part.read.list().iter().for_each(|span| read.add(*span));
            plan.pieces(&read.missing(self.asked)).len() as u64
        };
        let others = partitions.saturating_sub(self.partitions_done() + self.parts.len() as u64);
        others * self.windows(plan) + self.parts.values().map(left).sum::<u64>()
    }

    /// Does this span cover everything that is missing of a partition?
    fn covers(&self, span: Span) -> bool {
        let mut read = self.read.clone();
        read.add(span);
        read.missing(self.asked).is_empty()
    }

    /// Adds a partition that was found; returns its windows to read. Empty for a known partition.
    pub fn open(&mut self, plan: &CursorPlan, key: &Map<String, Json>, now: OffsetDateTime) -> Vec<Window> {
        let id = identity(key);
        let name = name(&id);
        if !self.seen.insert(name) {
            return Vec::new();
        }
        let mut part = self.parts.swap_remove(&id).unwrap_or_default();
        let mut read = self.read.clone();
        for (span, _) in self.done.iter().filter(|(_, names)| names.contains(&name)) {
            read.add(*span);
        }
        let done = read.missing(self.asked).is_empty();
        part.read.list().iter().for_each(|span| read.add(*span));
        part.left = plan.pieces(&read.missing(self.asked));
        part.left.reverse();
        let (all, left) = (self.windows(plan), part.left.len() as u64);
        self.counts.of += all.max(left);
        self.counts.earlier += all.saturating_sub(left);
        self.counts.done += all.saturating_sub(left);
        // The partition may have more spans from an earlier, larger request.
        part.done = done && !part.read.is_empty();
        if part.done || !done {
            self.parts.insert(id.clone(), part);
        }
        if done {
            return Vec::new();
        }
        if left == 0 { self.catch_up(plan, &id, Some(now)) } else { self.left(&id) }
    }

    fn left(&self, id: &str) -> Vec<Window> {
        self.parts.get(id).map_or_else(Vec::new, |part| part.left.iter().rev().map(|piece| piece.window).collect())
    }

    /// A filter for the records of a window.
    pub fn keep(&self, id: &str, window: &Window) -> PastFilter {
        let piece = self.parts.get(id).and_then(|part| part.left.iter().rfind(|piece| piece.window == *window));
        piece.map(|piece| piece.keep).unwrap_or_default()
    }

    /// Counts records sent for a partition, and responses to its requests.
    pub fn sent(&mut self, id: &str, records: u64, calls: u64) {
        self.counts.calls += calls;
        if let Some(part) = self.parts.get_mut(id) {
            part.sent += records;
        }
    }

    /// Records when the reading of a slice began: `here` by the local clock, `there` by the vendor's.
    pub fn began(&mut self, here: OffsetDateTime, there: OffsetDateTime) {
        self.behind = (here - there).min(MOST_BEHIND).max(self.behind);
    }

    /// Must the state be sent before the first record? It stores the time since when records may be older than live
    /// ones.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.is_reported, true)
    }

    /// Marks a window as read. Returns the partition's next windows: once everything else is read, those for changes
    /// until `now`. `now` is `None` for a preview, which repeats nothing.
    pub fn close(&mut self, plan: &CursorPlan, id: &str, window: &Window, now: Option<OffsetDateTime>) -> Vec<Window> {
        let Some(piece) = self.take(id, window) else { return Vec::new() };
        self.counts.done += 1;
        let Some(part) = self.parts.get_mut(id) else { return Vec::new() };
        if let Some(span) = piece.span {
            part.read.add(span);
        }
        if part.left.is_empty() && !part.failed { self.catch_up(plan, id, now) } else { Vec::new() }
    }

    fn take(&mut self, id: &str, window: &Window) -> Option<Piece> {
        let left = &mut self.parts.get_mut(id)?.left;
        let at = left.iter().rposition(|piece| piece.window == *window)?;
        Some(left.remove(at))
    }

    /// Called when a partition is read except for changes made meanwhile. If those were read too, or no record was
    /// sent, it is done.
    fn catch_up(&mut self, plan: &CursorPlan, id: &str, now: Option<OffsetDateTime>) -> Vec<Window> {
        let (since, resumed) = (self.since - self.behind, self.resumed);
        let Some(part) = self.parts.get_mut(id) else { return Vec::new() };
        if let Some(now) = now.filter(|_| !part.caught_up && (part.sent > 0 || resumed)) {
            part.caught_up = true;
            part.left = plan.changed(since, now);
            part.left.reverse();
            if !part.left.is_empty() {
                self.counts.of += part.left.len() as u64;
                return self.left(id);
            }
        }
        let asked = self.asked;
        part.done = part.read.list().iter().any(|read| !Spans::from_iter([asked]).missing(*read).is_empty());
        if !part.done {
            self.parts.swap_remove(id);
        }
        match self.done.iter_mut().find(|(span, _)| *span == asked) {
            Some((_, names)) => drop(names.insert(name(id))),
            None => self.done.push((asked, IndexSet::from([name(id)]))),
        }
        Vec::new()
    }

    /// A window failed: its partition is left to the next run.
    pub fn fail(&mut self, id: &str, window: &Window) {
        self.take(id, window);
        self.leave(id);
    }

    /// This run does not read the partition to its end.
    pub fn leave(&mut self, id: &str) {
        if let Some(part) = self.parts.get_mut(id) {
            part.failed = true;
        }
    }

    /// Called when all partitions are known.
    pub fn listed(&mut self) {
        self.counts.listed = true;
        // A stream without partitions has a single one with an empty key.
        self.known = Some(self.seen.len() as u64).filter(|_| !self.seen.contains(&name("{}")));
    }

    /// The stream was read without a fault: closes the requested span, unless one of its windows is still open.
    pub fn finish(&mut self) {
        let seen = &self.seen;
        if !self.counts.listed || self.parts.iter().any(|(id, part)| !part.done && seen.contains(&name(id))) {
            return;
        }
        self.read.add(self.asked);
        self.counts.ended = true;
        // Spans that an earlier run read beyond the requested span stay valid.
        let read = &self.read;
        let beyond = |span: &Span| !read.missing(*span).is_empty();
        self.done.retain(|(span, _)| beyond(span));
        self.parts.retain(|_, part| part.read.list().iter().any(beyond));
    }

    /// The progress.
    pub fn standing(&self) -> BackfillProgress {
        self.counts.clone()
    }

    /// The requested span; once it is closed, the rest of a larger request by an earlier run.
    fn still_open(&self) -> Span {
        let of_parts = self.parts.values().flat_map(|part| part.read.list().iter().copied());
        let all = self.done.iter().map(|(span, _)| *span).chain(of_parts).filter(|_| self.counts.ended);
        all.reduce(|a, b| Span { start: a.start.min(b.start), end: a.end.max(b.end) }).unwrap_or(self.asked)
    }

    /// The state to save.
    pub fn state(&self) -> Json {
        let mut state = Map::from_iter([("backfilled".to_owned(), written(&self.read))]);
        if let Some(known) = self.known {
            state.insert("partitions".into(), json!(known));
        }
        if self.counts.ended && self.done.is_empty() && self.parts.is_empty() {
            return Json::Object(state);
        }
        let begun = self.parts.iter().filter(|(_, part)| !part.read.is_empty()).map(|(id, part)| {
            let partition: Json = serde_json::from_str(id).unwrap_or(Json::Null);
            json!({"partition": partition, "read": written(&part.read)})
        });
        let done = self.done.iter().map(|(span, names)| {
            let names = names.iter().map(|name| json!(URL_SAFE_NO_PAD.encode(name)));
            let mut done = bounds(span);
            done["partitions"] = names.collect();
            done
        });
        let mut open = bounds(&self.still_open());
        open["since"] = json!(rfc3339(self.since));
        open["begun"] = begun.collect();
        open["done"] = done.collect();
        state.insert("open".into(), open);
        Json::Object(state)
    }
}

fn bounds(span: &Span) -> Json {
    json!({"start": rfc3339(span.start), "end": rfc3339(span.end)})
}

fn written(spans: &Spans) -> Json {
    spans.list().iter().map(bounds).collect()
}

fn unreadable() -> Fault {
    Fault::config("cannot read the state of its backfill")
        .hint("pass the last state of a backfill of this source, or start over with --reset")
}

/// Refuses a state that claims to have read the future.
fn not_ahead(read: &Spans, now: OffsetDateTime) -> Result<()> {
    match read.list().last().filter(|span| span.end > now.saturating_add(ZONES)) {
        None => Ok(()),
        Some(span) => Err(Fault::config(format!(
            "the state of its backfill reports {} as read, which is in the future",
            rfc3339(span.end)
        ))
        .hint("pass the last state of a backfill of this source, or start over with --reset")),
    }
}

fn list(json: &Json) -> Result<&[Json]> {
    match json {
        Json::Null => Ok(&[]),
        json => json.as_array().map(Vec::as_slice).ok_or_else(unreadable),
    }
}

fn moment(json: &Json) -> Result<OffsetDateTime> {
    json.as_str().and_then(parse_iso).ok_or_else(unreadable)
}

fn span(json: &Json) -> Result<Span> {
    Ok(Span { start: moment(&json["start"])?, end: moment(&json["end"])? })
}

fn spans(json: &Json) -> Result<Spans> {
    list(json)?.iter().map(span).collect()
}
