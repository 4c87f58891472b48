//! A part of the past that is read beside the live runs: its windows, and a state of its own.
//!
//! Comes in: what was asked for and the state of earlier backfills; then partitions as they are found, and windows as they
//! are read. Goes out: windows to read, which of their records are wanted, and a state that says of no moment that it was
//! read before that is so for every partition. Called by `run`, under one lock a stream.
//!
//! What was read is kept as spans of time that do not depend on what was asked for: what is missing is what was asked for
//! without them. A partition is done once what changed meanwhile was read again too: a live run may have brought a newer
//! version of a record before ours, which is older, reached the warehouse; so the newer one follows it on the same way. What
//! changed even later, while that was on its way, a live run of `sync` reads again once the backfill's target has ended
//! ([`BEHIND`]).

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::partitions::identity;
use super::ranges::{Span, Spans};
use super::{CursorPlan, Window, split};
use crate::fault::{Fault, Result};
use crate::timefmt::{Period, parse_iso, rfc3339};

/// Who keeps to the bounds of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The vendor, by requests that carry both; the manifest says how long windows are.
    Windows,
    /// The vendor; the manifest knows no windows, they are of a month.
    Months,
    /// Whoever wrote the manifest: it cuts time into steps, of which requests name the begin alone.
    Steps,
    /// Nobody but who reads: one window for all, and what lies outside is left out.
    Reader,
}

/// Which of a window's records are wanted, as their cursor tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// From here.
    from: Option<OffsetDateTime>,
    /// To here, which is outside.
    to: Option<OffsetDateTime>,
    /// The end that was asked for, where it lies past `to`: the vendor takes whole days, or leaves the end out. What comes
    /// from beyond is no mistake of the bounds: requests may be about another time than the cursor.
    asked: Option<OffsetDateTime>,
}

/// A window, and the part of time that it covers; none when it only brings what changed meanwhile.
#[derive(Debug, Clone, Copy)]
struct Piece {
    span: Option<Span>,
    window: Window,
    keep: Keep,
}

/// How far a stream's backfill is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
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

/// A partition that is being read.
#[derive(Debug, Default)]
struct Part {
    /// What of it was read.
    read: Spans,
    /// What is to be read still.
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
    /// Was that kept by an earlier run, or said by this one?
    said: bool,
    /// Did this run send anything?
    sent: bool,
    /// When the reading began of what is closed, until a live run has read again what changed since then.
    behind: Option<OffsetDateTime>,
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
    counts: Standing,
}

/// The key under which a stream's state says since when live runs have to read again.
pub const BEHIND: &str = "behind_since";

const MONTH: Period = Period { months: 1, exact: Duration::ZERO };
/// Looked back before the begin, for clocks that differ and records that show late, when nothing else is said.
const MARGIN: Duration = Duration::minutes(1);

impl Keep {
    /// Is a record with this cursor value wanted?
    pub fn keeps(&self, time: OffsetDateTime) -> bool {
        let late = self.to.is_some_and(|to| time >= to) && self.asked.is_none_or(|asked| time <= asked);
        !late && !self.is_before(time)
    }

    /// Is it from before all that is wanted?
    pub fn is_before(&self, time: OffsetDateTime) -> bool {
        self.from.is_some_and(|from| time < from)
    }
}

impl CursorPlan {
    /// The same for the past; `asks_end` tells whether requests carry the end of a window.
    pub fn of_history(&self, asks_end: bool) -> CursorPlan {
        let reach = match (self.filters, asks_end, self.step) {
            (true, ..) | (_, false, None) => Reach::Reader,
            (_, true, None) => Reach::Months,
            (_, true, Some(_)) => Reach::Windows,
            (_, false, Some(_)) => Reach::Steps,
        };
        CursorPlan {
            global: false,
            // Where records are compared with a window, they are compared with `Keep`.
            filters: false,
            start: PrimitiveDateTime::MIN.assume_utc(),
            step: if reach == Reach::Months { Some(MONTH) } else { self.step },
            history: Some(reach),
            ..self.clone()
        }
    }

    /// The same, beginning no later than `from`: for parents, whose records tell what there is to read.
    pub fn beginning_by(&self, from: OffsetDateTime) -> CursorPlan {
        let start = if self.counts() { self.start } else { self.start.min(from) };
        CursorPlan { start, ..self.clone() }
    }

    /// The same, reading again what changed since `since` by the clock here, whatever the bookmark says.
    pub fn reading_again(&self, since: OffsetDateTime) -> CursorPlan {
        let settle = self.safety.settle.map_or(Period { months: 0, exact: MARGIN }, |settle| settle.0);
        CursorPlan { again: Some(settle.before(since).unwrap_or(since)), ..self.clone() }
    }

    /// Does the cursor put the end of a window into requests?
    pub fn sends_end(&self) -> bool {
        self.end_into.is_some()
    }

    /// The name by which templates know the end of a window.
    pub fn end_name(&self) -> &str {
        &self.end_name
    }

    /// A part of time in periods that are read as a whole, as far as they are over; nothing when none is.
    pub fn in_whole_periods(&self, span: Span, now: OffsetDateTime) -> Option<Span> {
        let Some(clamp) = self.clamp else { return Some(span) };
        let (start, over) = (clamp.floor(span.start), clamp.floor(now));
        let end = clamp.floor(span.end);
        // A period that holds the end is read with it.
        let end = if end < span.end { clamp.next(end) } else { end }.min(over);
        (start < end).then_some(Span { start, end })
    }

    /// A time as exact as requests write it.
    fn written(&self, time: OffsetDateTime) -> OffsetDateTime {
        self.format.parse(&self.write(time)).unwrap_or(time)
    }

    /// The smallest step that requests can tell at that time.
    fn granule(&self, time: OffsetDateTime) -> Period {
        let exact = |exact| Period { months: 0, exact };
        let steps = [
            exact(Duration::microseconds(1)),
            exact(Duration::milliseconds(1)),
            exact(Duration::seconds(1)),
            exact(Duration::minutes(1)),
            exact(Duration::hours(1)),
            exact(Duration::days(1)),
            MONTH,
            Period { months: 12, exact: Duration::ZERO },
        ];
        let told = |step: &Period| step.after(time).is_some_and(|next| self.written(next) > self.written(time));
        steps.into_iter().find(told).unwrap_or_default()
    }

    /// The first time that requests can write which is not before this one.
    fn written_after(&self, time: OffsetDateTime) -> OffsetDateTime {
        let written = self.written(time);
        if written >= time {
            return written;
        }
        self.granule(time).after(time).map_or(time, |next| self.written(next))
    }

    /// Cuts a part of time into what is read at once.
    fn pieces(&self, span: Span) -> Vec<Piece> {
        let reach = self.history.unwrap_or(Reach::Reader);
        let end = self.written_after(span.end);
        let mut windows = Vec::new();
        if reach != Reach::Reader {
            split(self, span.start, end, false, &mut windows);
        }
        if windows.is_empty() {
            windows.push(Window { start: span.start, end });
        }
        if let (Some(_), false, None, Some(last)) = (self.granularity, self.strict, self.clamp, windows.last_mut()) {
            // The manifest's ends are inclusive: up to the last moment that can be written.
            last.end = last.end.max(self.written(span.end - Duration::microseconds(1)));
        }
        let starts: Vec<OffsetDateTime> = windows.iter().map(|window| window.start).collect();
        let piece = |(number, window): (usize, Window)| {
            let part = Span {
                start: if number == 0 { span.start } else { starts[number] },
                end: starts.get(number + 1).copied().unwrap_or(span.end),
            };
            let mut start = self.written(window.start);
            if reach == Reach::Months && number > 0 {
                // Nobody said whether the vendor counts what lies on a bound: it is in the window before, or in this one.
                start = self.granule(start).before(start).map_or(start, |earlier| self.written(earlier));
            }
            let window = Window { start, end: self.written(window.end) };
            let keep = match reach {
                Reach::Windows | Reach::Months => Keep { from: None, to: Some(span.end), asked: Some(window.end) },
                Reach::Steps => Keep { from: None, to: Some(span.end), asked: None },
                Reach::Reader => Keep { from: Some(window.start), to: Some(span.end), asked: None },
            };
            Piece { span: Some(part), window, keep }
        };
        windows.into_iter().enumerate().map(piece).collect()
    }

    /// What is read again, once all else was: what changed since then.
    fn changed(&self, since: OffsetDateTime, now: OffsetDateTime) -> Vec<Piece> {
        let settle = self.safety.settle.map_or(Period { months: 0, exact: MARGIN }, |settle| settle.0);
        let overlap = self.safety.overlap.map_or_else(Period::default, |overlap| overlap.0);
        let from = settle.before(since).and_then(|t| overlap.before(t)).and_then(|t| self.lookback.before(t));
        let (mut from, mut to) = (self.written(from.unwrap_or(since)), now);
        if let Some(clamp) = self.clamp {
            (from, to) = (clamp.floor(from), clamp.end(now, self.granularity));
        }
        let mut windows = Vec::new();
        if self.history == Some(Reach::Reader) || self.history == Some(Reach::Months) {
            windows.push(Window { start: from, end: to.max(from) });
        } else {
            split(self, from, to, true, &mut windows);
        }
        let keep = Keep { from: Some(from).filter(|_| self.history == Some(Reach::Reader)), ..Keep::default() };
        let piece = |window: Window| {
            let window = Window { start: self.written(window.start), end: self.written(window.end) };
            Piece { span: None, window, keep }
        };
        windows.into_iter().map(piece).collect()
    }
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
        let counts = Standing { asked, done: 0, earlier: 0, of: 0, listed: false, calls: 0, ended: false };
        let mut out = Backfill {
            asked,
            since: now,
            said: false,
            sent: false,
            behind: None,
            resumed: false,
            read: Spans::default(),
            parts: IndexMap::new(),
            done: Vec::new(),
            seen: HashSet::new(),
            known: None,
            counts,
        };
        let Some(state) = state else { return Ok(out) };
        out.read = spans(&state["backfilled"])?;
        out.known = state.get("partitions").and_then(Json::as_u64);
        out.behind = state.get(BEHIND).map(moment).transpose()?;
        let Some(open) = state.get("open").filter(|open| !open.is_null()) else { return Ok(out) };
        (out.since, out.said, out.resumed) = (moment(&open["since"])?, true, true);
        for begun in list(&open["begun"])? {
            let partition = begun["partition"].as_object().ok_or_else(unreadable)?;
            let part = Part { read: spans(&begun["read"])?, ..Part::default() };
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
        self.read.missing(self.asked).into_iter().map(|span| plan.pieces(span).len() as u64).sum()
    }

    /// How many partitions an earlier backfill found, and how many of them are done.
    pub fn known(&self) -> (Option<u64>, u64) {
        let done = self.done.iter().filter(|(span, _)| self.covers(*span)).map(|(_, names)| names.len() as u64);
        (self.known, done.sum())
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
        part.left = read.missing(self.asked).into_iter().flat_map(|span| plan.pieces(span)).collect();
        let (all, left) = (self.windows(plan), part.left.len() as u64);
        self.counts.of += all.max(left);
        self.counts.earlier += all.saturating_sub(left);
        self.counts.done += all.saturating_sub(left);
        if done {
            return Vec::new();
        }
        self.parts.insert(id.clone(), part);
        if left == 0 { self.catch_up(plan, &id, Some(now)) } else { self.left(&id) }
    }

    fn left(&self, id: &str) -> Vec<Window> {
        self.parts.get(id).map_or_else(Vec::new, |part| part.left.iter().map(|piece| piece.window).collect())
    }

    /// Which records of a window are wanted.
    pub fn keep(&self, id: &str, window: &Window) -> Keep {
        let piece = self.parts.get(id).and_then(|part| part.left.iter().find(|piece| piece.window == *window));
        piece.map(|piece| piece.keep).unwrap_or_default()
    }

    /// Records of a partition went out, and requests for them were answered.
    pub fn sent(&mut self, id: &str, records: u64, calls: u64) {
        self.counts.calls += calls;
        self.sent |= records > 0;
        if let Some(part) = self.parts.get_mut(id) {
            part.sent += records;
        }
    }

    /// Must the state be said before the first record, so that it is known since when some may be older than the live ones?
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// A window was read wholly. What is to be read of the partition after it: what changed until `now`, once all else was.
    /// Without that time nothing (a preview).
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
        let at = left.iter().position(|piece| piece.window == *window)?;
        Some(left.remove(at))
    }

    /// All of a partition was read, but for what changed since; if that was read too, or nothing went out, it is done.
    fn catch_up(&mut self, plan: &CursorPlan, id: &str, now: Option<OffsetDateTime>) -> Vec<Window> {
        let (since, resumed) = (self.since, self.resumed);
        let Some(part) = self.parts.get_mut(id) else { return Vec::new() };
        if let Some(now) = now.filter(|_| !part.caught_up && (part.sent > 0 || resumed)) {
            part.caught_up = true;
            part.left = plan.changed(since, now);
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
        if self.sent || self.resumed {
            self.behind = Some(self.behind.map_or(self.since, |behind| behind.min(self.since)));
        }
        // What an earlier run read beyond what was asked for now goes on to count.
        let read = &self.read;
        let beyond = |span: &Span| !read.missing(*span).is_empty();
        self.done.retain(|(span, _)| beyond(span));
        self.parts.retain(|_, part| part.read.list().iter().any(beyond));
    }

    /// How far it is.
    pub fn standing(&self) -> Standing {
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
        if let Some(behind) = self.behind {
            state.insert(BEHIND.into(), json!(rfc3339(behind)));
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
