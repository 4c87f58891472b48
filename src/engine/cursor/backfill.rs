//! A part of the past that is read beside the live runs: its windows, and a state of its own.
//!
//! Input: what was asked for and the state of earlier backfills; then partitions as they are found, and windows as
//! they are read. Output: windows to read, which of their records are wanted, and a state that says of no moment that
//! it was read before that is so for every partition. Called by `run`, under one lock a stream.
//!
//! What was read is kept as spans of time that do not depend on what was asked for: what is missing is what was asked
//! for without them. A partition is done once what changed meanwhile was read again too: a live run may have brought a
//! newer version of a record before ours, which is older, reached the warehouse; so the newer one follows it on the
//! same way.

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

/// How far a stream's backfill is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillProgress {
    /// What was asked for.
    pub asked: Span,
    /// Slices that were read, by this run and by those before.
    pub done: u64,
    /// Of these, those of earlier runs.
    pub earlier: u64,
    /// Slices that are known.
    pub of: u64,
    /// Are all known?
    pub listed: bool,
    /// Requests for its own records that were answered in this run.
    pub calls: u64,
    /// Was all that was asked for read?
    pub ended: bool,
}

/// The name of a partition in few bytes.
type Name = [u8; 12];

/// A vendor whose clock is further behind has none.
const MOST_BEHIND: Duration = Duration::days(1);

/// A partition that is being read.
#[derive(Debug, Default)]
struct Part {
    /// What of it was read.
    read: Spans,
    /// What is to be read still, the oldest last; no two have the same window.
    left: Vec<Piece>,
    /// Records that went out.
    sent: u64,
    /// Has what changed meanwhile been asked for?
    caught_up: bool,
    /// It stays for the next run.
    failed: bool,
    /// All that was asked for is done; more of it was read for something that was asked for earlier.
    done: bool,
}

/// A stream's backfill.
#[derive(Debug)]
pub struct Backfill {
    asked: Span,
    /// When the reading began of which something is open.
    since: OffsetDateTime,
    /// How much the vendor's clock is behind this machine's.
    behind: Duration,
    /// Was that kept by an earlier run, or said by this one?
    is_reported: bool,
    /// Did an earlier run send something of it?
    resumed: bool,
    /// What was read of every partition.
    read: Spans,
    /// Partitions with a part of that done.
    parts: IndexMap<String, Part>,
    /// Those that are done, by what of them is.
    done: Vec<(Span, IndexSet<Name>)>,
    /// Those that were found.
    seen: HashSet<Name>,
    /// How many an earlier run found.
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
    /// Begins, or goes on from the stream's state. `now` is when this run began.
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
        // What changed since a time that has not come is what changed since now.
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

    /// What was asked for.
    pub fn asked(&self) -> Span {
        self.asked
    }

    /// Was all that was asked for read before?
    pub fn is_read(&self) -> bool {
        self.read.missing(self.asked).is_empty()
    }

    /// Into how many windows is cut what is missing of each partition?
    pub fn windows(&self, plan: &CursorPlan) -> u64 {
        plan.pieces(&self.read.missing(self.asked)).len() as u64
    }

    /// How many partitions an earlier backfill found, if one found all.
    pub fn known(&self) -> Option<u64> {
        self.known
    }

    /// How many partitions are done.
    pub fn partitions_done(&self) -> u64 {
        self.done.iter().filter(|(span, _)| self.covers(*span)).map(|(_, names)| names.len() as u64).sum()
    }

    /// How many slices of so many partitions are left.
    pub fn slices_left(&self, plan: &CursorPlan, partitions: u64) -> u64 {
        let left = |part: &Part| {
            let mut read = self.read.clone();
            part.read.list().iter().for_each(|span| read.add(*span));
            plan.pieces(&read.missing(self.asked)).len() as u64
        };
        let others = partitions.saturating_sub(self.partitions_done() + self.parts.len() as u64);
        others * self.windows(plan) + self.parts.values().map(left).sum::<u64>()
    }

    /// Is nothing missing of a partition of which that was read?
    fn covers(&self, span: Span) -> bool {
        let mut read = self.read.clone();
        read.add(span);
        read.missing(self.asked).is_empty()
    }

    /// A partition was found: what of it is to be read. Nothing for one that was found before.
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
        // More of it may have been read, for something that was asked for earlier.
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

    /// Which records of a window are wanted.
    pub fn keep(&self, id: &str, window: &Window) -> PastFilter {
        let piece = self.parts.get(id).and_then(|part| part.left.iter().rfind(|piece| piece.window == *window));
        piece.map(|piece| piece.keep).unwrap_or_default()
    }

    /// Records of a partition went out, and requests for them were answered.
    pub fn sent(&mut self, id: &str, records: u64, calls: u64) {
        self.counts.calls += calls;
        if let Some(part) = self.parts.get_mut(id) {
            part.sent += records;
        }
    }

    /// A slice's reading began then by this machine's clock, and then by the vendor's.
    pub fn began(&mut self, here: OffsetDateTime, there: OffsetDateTime) {
        self.behind = (here - there).min(MOST_BEHIND).max(self.behind);
    }

    /// Must the state be said before the first record, so that it is known since when some may be older than the live
    /// ones?
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.is_reported, true)
    }

    /// A window was read wholly. What is to be read of the partition after it: what changed until `now`, once all else
    /// was. Without that time nothing (a preview).
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

    /// All of a partition was read, but for what changed since; if that was read too, or nothing went out, it is done.
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

    /// A window could not be read: its partition stays for the next run.
    pub fn fail(&mut self, id: &str, window: &Window) {
        self.take(id, window);
        self.leave(id);
    }

    /// A partition is not read to its end by this run.
    pub fn leave(&mut self, id: &str) {
        if let Some(part) = self.parts.get_mut(id) {
            part.failed = true;
        }
    }

    /// All partitions are known.
    pub fn listed(&mut self) {
        self.counts.listed = true;
        // A stream that is not divided has one, without a name.
        self.known = Some(self.seen.len() as u64).filter(|_| !self.seen.contains(&name("{}")));
    }

    /// The stream was read without a fault: what was asked for is closed, unless a window of it is still open.
    pub fn finish(&mut self) {
        let seen = &self.seen;
        if !self.counts.listed || self.parts.iter().any(|(id, part)| !part.done && seen.contains(&name(id))) {
            return;
        }
        self.read.add(self.asked);
        self.counts.ended = true;
        // What an earlier run read beyond what was asked for now goes on to count.
        let read = &self.read;
        let beyond = |span: &Span| !read.missing(*span).is_empty();
        self.done.retain(|(span, _)| beyond(span));
        self.parts.retain(|_, part| part.read.list().iter().any(beyond));
    }

    /// How far it is.
    pub fn standing(&self) -> BackfillProgress {
        self.counts.clone()
    }

    /// What was asked for; once that is closed, what an earlier run asked for beyond it.
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
    Fault::config("the state of its backfill cannot be read")
        .hint("give the last state of a backfill of this source, or begin anew with --reset")
}

/// Refuses a state by which something was read that has not come.
fn not_ahead(read: &Spans, now: OffsetDateTime) -> Result<()> {
    match read.list().last().filter(|span| span.end > now.saturating_add(ZONES)) {
        None => Ok(()),
        Some(span) => Err(Fault::config(format!(
            "the state of its backfill says that {} was read, which is ahead of now",
            rfc3339(span.end)
        ))
        .hint("give the last state of a backfill of this source, or begin anew with --reset")),
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
