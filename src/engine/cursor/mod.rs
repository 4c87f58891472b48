//! Incremental reads: cursors over time, or over a growing number (stored as a time).
//!
//! Input: a cursor's definition, and the stream's state from an earlier run. Output: windows to read, and a state
//! that never runs ahead of the records read. Called by `scheduler`, under one lock per stream. Windows, merging and
//! the format of the state are those of airbyte-cdk's `ConcurrentCursor`.

pub mod backfill;
pub mod backfill_cursor;
mod build;
pub mod ceiling;
mod clamp;
pub mod granularity;
pub mod partitions;
pub mod ranges;
mod slice_range;

pub use build::build;
pub use granularity::warnings;

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use crate::base::config::{NewPartitions, Safety};
use crate::base::fault::{Fault, Result};
use clamp::Clamp;

use crate::base::timefmt::{Format, Period};
use crate::manifest::node::Place;
use crate::manifest::template::{Injection, RequestOptions, text_of};
use ranges::{Range, Ranges};
use slice_range::SliceRange;

/// A compiled cursor.
#[derive(Debug, Clone)]
pub struct CursorPlan {
    /// The field of each record.
    pub field: String,
    /// One cursor for all partitions?
    pub global: bool,
    /// Are records outside the bounds dropped by the client?
    pub filters: bool,
    /// Are records sorted newest first, so that an old record ends paging?
    pub data_feed: bool,
    format: Format,
    formats: Vec<Format>,
    /// Do all formats lack a time of day?
    tells_days: bool,
    start: OffsetDateTime,
    end: OffsetDateTime,
    /// The run's "now".
    now: OffsetDateTime,
    /// Is "now" fixed rather than a running clock?
    now_is_fixed: bool,
    /// Do requests contain the end of a window?
    asks_end: bool,
    step: Option<Period>,
    granularity: Option<Period>,
    lookback: Period,
    safety: Safety,
    strict: bool,
    clamp: Option<Clamp>,
    start_name: String,
    end_name: String,
    start_into: Option<Injection>,
    end_into: Option<Injection>,
    /// The backfill of a part of the past, if one is read.
    history: Option<backfill_cursor::BackfillCursor>,
    /// The start of the range that is always read again.
    again: Option<OffsetDateTime>,
    at: Place,
}

/// A time range to read, with bounds as they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The start, inclusive.
    pub start: OffsetDateTime,
    /// The end, inclusive if the API's own bounds are.
    pub end: OffsetDateTime,
}

impl CursorPlan {
    /// Parses a record's cursor value.
    pub fn read(&self, value: &Json) -> Option<OffsetDateTime> {
        match value {
            Json::Number(number) => self.parse_number(&number.to_string()),
            value => self.parse(&text_of(value)),
        }
    }

    /// Parses a cursor value that is a text.
    pub fn parse(&self, text: &str) -> Option<OffsetDateTime> {
        self.formats.iter().find_map(|f| f.parse(text))
    }

    /// Parses a cursor value that is a number; seconds and smaller units drop the fraction.
    pub fn parse_number(&self, text: &str) -> Option<OffsetDateTime> {
        let whole = text.split('.').next().filter(|_| !text.contains(['e', 'E'])).unwrap_or(text);
        self.formats.iter().find_map(|f| f.parse(if f.is_epoch() { whole } else { text }))
    }

    /// The format that a record's cursor value has, as the manifest writes it; `None` if it has none of them.
    pub fn format_of(&self, value: &Json) -> Option<&str> {
        let text = text_of(value);
        let whole = text.split('.').next().filter(|_| value.is_number()).unwrap_or(&text);
        let is = |format: &&Format| format.parse(if format.is_epoch() { whole } else { &text }).is_some();
        self.formats.iter().find(is).map(Format::source)
    }

    /// Is the cursor a plain number rather than a time?
    pub fn counts(&self) -> bool {
        self.format.is_count()
    }

    /// Does the cursor read in several windows?
    pub fn has_steps(&self) -> bool {
        self.step.is_some()
    }

    /// Formats a time for requests and state. A format without an offset gets UTC: the reference writes the record's
    /// local time, which the next run then takes for UTC.
    pub fn write(&self, time: OffsetDateTime) -> String {
        // The last hours of the year 9999 cannot be expressed in UTC.
        let in_utc = || time.checked_to_offset(time::UtcOffset::UTC).unwrap_or(time);
        self.format.format(if self.format.tells_offset() { time } else { in_utc() })
    }

    /// The current time of the local clock.
    fn clock(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        if self.now_is_fixed { now.max(self.now) } else { now }
    }

    /// Sets whether requests contain the end of a window other than by a request option.
    pub fn set_asks_end(&mut self, by_template: bool) {
        self.asks_end = by_template || self.end_into.is_some();
    }

    /// Does the cursor read up to now or beyond?
    pub fn reads_up_to_now(&self) -> bool {
        self.end >= self.written(self.now)
    }

    /// The time as JSON: times are texts, plain numbers are numbers.
    pub fn json(&self, time: OffsetDateTime) -> Json {
        let written = self.write(time);
        match self.counts() {
            // Shown as Python's infinity.
            true if time == self.end => json!("inf"),
            true => serde_json::from_str(&written).unwrap_or_default(),
            false => json!(written),
        }
    }

    /// A new cursor, or one resumed from a state, minus `earlier` seconds: for a partition that has no state of its
    /// own and starts from the stream's.
    pub fn begin(&self, state: Option<&Map<String, Json>>, earlier: u64) -> Result<Cursor> {
        let mut ahead = false;
        let ranges = match state {
            Some(state) if matches!(state.get("state_type").and_then(Json::as_str), Some("date-range" | "integer")) => {
                let mut list = self.read_ranges(state)?;
                ahead = list.iter().any(|range| range.end > self.now);
                for range in &mut list {
                    range.start = self.not_ahead(range.start)?;
                    range.end = self.not_ahead(range.end)?;
                    range.newest = range.newest.map(|newest| self.not_ahead(newest)).transpose()?;
                }
                Ranges::of(list)
            }
            Some(state) if state.get(&self.field).is_some_and(|v| !v.is_null()) => {
                let value = state.get(&self.field).map(text_of).unwrap_or_default();
                let at = self.parse(&value).ok_or_else(|| self.unreadable())?;
                ahead = at > self.now;
                let at = self.not_ahead(at)?;
                let earlier = time::Duration::seconds(i64::try_from(earlier).unwrap_or(i64::MAX));
                let at = at.checked_sub(earlier).unwrap_or(self.start).max(self.start);
                Ranges::of(vec![Range { start: self.start, end: at, newest: Some(at) }])
            }
            _ => Ranges::of(vec![Range { start: self.start, end: self.start, newest: Some(self.start) }]),
        };
        // We own only the date-range keys of the state; all others are kept unchanged.
        let mut foreign = state.cloned().unwrap_or_default();
        for ours in ["state_type", "slices", "legacy", "replication_key", "replication_key_value"] {
            foreign.shift_remove(ours);
        }
        Ok(Cursor {
            previous: ranges.list.first().map(|r| r.newest.unwrap_or(r.start)),
            ranges,
            reads_now: ahead,
            open: Vec::new(),
            foreign,
        })
    }

    /// A time from a state. A time ahead of now by less than the time zones explain is treated as now.
    fn not_ahead(&self, at: OffsetDateTime) -> Result<OffsetDateTime> {
        if self.counts() || at <= self.now {
            return Ok(at);
        }
        // A state of the reference may contain a future time that the manifest requested.
        if at <= self.now.max(self.end).saturating_add(ceiling::ZONES) {
            return Ok(self.now);
        }
        let message = format!("the state's `{}` is {}, which is in the future", self.field, self.write(at));
        Err(Fault::config(format!("{message}: changes until then would never be read"))
            .at(&self.at.location)
            .hint("set it to the time of the last complete read, or read the stream from the start with --reset"))
    }

    /// Is a state rejected because it is ahead of now?
    pub fn is_ahead(&self, state: &Map<String, Json>) -> bool {
        let at = state.get(&self.field).and_then(|value| self.parse(&text_of(value)));
        at.is_some_and(|at| self.not_ahead(at).is_err())
    }

    fn unreadable(&self) -> Fault {
        Fault::config(format!("the state's `{}` is not a time in any of the stream's formats", self.field))
            .at(&self.at.location)
            .hint("pass the state of this stream from this source, or start without a state")
    }

    fn read_ranges(&self, state: &Map<String, Json>) -> Result<Vec<Range>> {
        let slices = state.get("slices").and_then(Json::as_array).ok_or_else(|| self.unreadable())?;
        let time = |slice: &Json, key: &str| -> Result<OffsetDateTime> {
            let text = slice.get(key).filter(|v| !v.is_null()).map(text_of).ok_or_else(|| self.unreadable())?;
            self.parse(&text).or_else(|| crate::base::timefmt::parse_iso(&text)).ok_or_else(|| self.unreadable())
        };
        let mut list = Vec::new();
        for slice in slices {
            let newest = if slice["most_recent_cursor_value"].is_null() {
                None
            } else {
                Some(time(slice, "most_recent_cursor_value")?)
            };
            list.push(Range { start: time(slice, "start")?, end: time(slice, "end")?, newest });
        }
        if list.is_empty() {
            list.push(Range { start: self.start, end: self.start, newest: Some(self.start) });
        }
        Ok(list)
    }

    /// Can windows be split? The fault explains why not.
    pub fn check_splittable(&self, at: &Place) -> Result<()> {
        let refused = |what: &str| Err(at.fault(format!("recovery with shorter windows does not work here: {what}")));
        let Some(granularity) = self.granularity else {
            return refused("the cursor has no `step` and `cursor_granularity`");
        };
        if self.filters {
            return refused("the cursor requests no windows");
        }
        if granularity.months != 0 || !granularity.exact.is_positive() {
            return refused("`cursor_granularity` must be a duration of fixed length");
        }
        if granularity.after(self.start).is_some_and(|next| self.write(next) == self.write(self.start)) {
            return refused("`datetime_format` is less precise than `cursor_granularity`");
        }
        Ok(())
    }

    /// Splits a window into two non-empty windows, unless it already has the shortest length.
    pub fn halves(&self, window: &Window, shortest: Option<time::Duration>) -> Option<[Window; 2]> {
        let Window { start, end } = self.as_sent(window);
        let granule = self.granularity?.exact;
        let length = end - start;
        if !length.is_positive() || shortest.is_some_and(|shortest| length <= shortest) {
            return None;
        }
        let units = length.whole_nanoseconds() / granule.whole_nanoseconds() + 1;
        if units <= 1 {
            return None;
        }
        let nanoseconds = granule.whole_nanoseconds() * (units / 2 - 1);
        let seconds = i64::try_from(nanoseconds / 1_000_000_000).ok()?;
        let first = start + time::Duration::new(seconds, i32::try_from(nanoseconds % 1_000_000_000).ok()?);
        Some([Window { start, end: first }, Window { start: first + granule, end }])
    }

    /// The rest of a window after records up to `newest` were read.
    pub fn rest(&self, window: &Window, newest: Option<OffsetDateTime>) -> Window {
        self.as_sent(&Window { start: newest.map_or(window.start, |t| t.max(window.start)), end: window.end })
    }

    /// A window with bounds rounded to the format's precision.
    fn as_sent(&self, window: &Window) -> Window {
        let exact = |time: OffsetDateTime| self.format.parse(&self.write(time)).unwrap_or(time);
        Window { start: exact(window.start), end: if self.counts() { window.end } else { exact(window.end) } }
    }

    /// The template variables of a window: its bounds under their names.
    pub fn names(&self, window: &Window) -> [(String, Json); 2] {
        [(self.start_name.clone(), self.json(window.start)), (self.end_name.clone(), self.json(window.end))]
    }

    /// How far the bookmark may move for a slice whose reading began at `began` and whose newest record is `newest`.
    /// With `settle`, records that changed during the read or appear late are left to the next run.
    pub fn settled(&self, newest: Option<OffsetDateTime>, began: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
        match (self.safety.settle, began, newest) {
            (Some(settle), Some(began), Some(newest)) => Some(newest.min(settle.0.before(began).unwrap_or(newest))),
            _ => newest,
        }
    }

    /// Does a partition without any state begin at the start date?
    fn new_partitions_whole(&self) -> bool {
        self.safety.new_partitions == Some(NewPartitions::Whole)
    }

    /// The window bounds that requests contain as options: the vendor must respect them.
    pub fn asked(&self, window: &Window) -> (Option<OffsetDateTime>, Option<OffsetDateTime>) {
        (self.start_into.as_ref().map(|_| window.start), self.end_into.as_ref().map(|_| window.end))
    }

    /// Adds the bounds of a window to request options.
    pub fn options(&self, window: &Window, options: &mut RequestOptions) {
        for (inject, time) in [(&self.start_into, window.start), (&self.end_into, window.end)] {
            if let Some(inject) = inject {
                inject.put(self.json(time), options);
            }
        }
    }

    /// The cursor field and its value for Singer's bookmarks.
    pub fn shown(&self, state: &Json) -> Option<Json> {
        let find = |object: &Json| object.get(&self.field).filter(|v| !v.is_null()).cloned();
        find(state).or_else(|| find(&state["state"]))
    }

    /// Where the next read starts after a read up to `time`: earlier by the manifest's `lookback_window` and the
    /// config's overlap.
    fn looked_back(&self, time: OffsetDateTime) -> OffsetDateTime {
        let overlap = self.safety.overlap.map_or_else(Period::default, |o| o.0);
        let from = self.lookback.before(time).and_then(|t| overlap.before(t));
        let from = from.unwrap_or(self.start);
        self.again.map_or(from, |again| from.min(again)).max(self.start)
    }

    fn merge_gap(&self) -> Period {
        self.granularity.unwrap_or(Period { months: 0, exact: time::Duration::milliseconds(1) })
    }
}

/// The running cursor of a stream or a partition.
#[derive(Debug, Clone)]
pub struct Cursor {
    ranges: Ranges,
    previous: Option<OffsetDateTime>,
    /// Was the state ahead of now, so that reading starts now?
    reads_now: bool,
    /// Windows that have not been read yet.
    open: Vec<Window>,
    foreign: Map<String, Json>,
}

impl Cursor {
    /// The windows still to be read, oldest first.
    pub fn windows(&mut self, plan: &CursorPlan) -> Vec<Window> {
        let mut out = Vec::new();
        let list = &self.ranges.list;
        let (Some(first), Some(last)) = (list.first(), list.last()) else { return out };
        let after = |t: OffsetDateTime| plan.granularity.and_then(|g| g.after(t)).unwrap_or(t);
        let mut read_up_to = |lower, upper| out.extend(SliceRange { lower, upper, is_end: false }.windows(plan));
        if plan.start < first.start {
            read_up_to(plan.start, first.start);
        }
        for pair in list.windows(2) {
            read_up_to(after(pair[0].end), pair[1].start);
        }
        let last = SliceRange { lower: plan.looked_back(last.end), upper: plan.end, is_end: true };
        let last_windows = last.windows(plan);
        if last_windows.is_empty() && self.reads_now && plan.reads_up_to_now() && !plan.strict {
            out.push(Window { start: plan.now, end: plan.end });
        }
        out.extend(last_windows);
        // Bounds are rounded as they are sent: no finer than the format.
        for window in &mut out {
            window.start = plan.format.parse(&plan.write(window.start)).unwrap_or(window.start);
            window.end = plan.format.parse(&plan.write(window.end)).unwrap_or(window.end);
        }
        self.open.clone_from(&out);
        out
    }

    /// Does the client-side filter keep a record with this cursor value?
    pub fn keeps(&self, plan: &CursorPlan, value: OffsetDateTime) -> bool {
        !self.is_before(plan, value) && value <= plan.end
    }

    /// Is the value older than everything that the client-side filter keeps?
    pub fn is_before(&self, plan: &CursorPlan, value: OffsetDateTime) -> bool {
        value < self.previous.map_or(plan.start, |p| plan.looked_back(p))
    }

    /// Marks a window as completely read; `newest` is its highest cursor value.
    pub fn close(&mut self, plan: &CursorPlan, window: &Window, newest: Option<OffsetDateTime>) {
        if let Some(at) = self.open.iter().position(|open| open == window) {
            self.open.remove(at);
        }
        self.ranges.add(Range { start: window.start, end: window.end, newest }, plan.merge_gap());
    }

    /// Are all windows read?
    pub fn is_read(&self) -> bool {
        self.open.is_empty()
    }

    /// The point up to which everything was read. It never passes the start of a window that is open or failed, even
    /// if the granularity makes separate ranges adjacent (a step of one granule). The reference loses such a window.
    pub fn position(&self) -> Option<OffsetDateTime> {
        let first = self.ranges.list.first()?;
        let now = first.newest.unwrap_or(first.start);
        let now = self.open.iter().map(|w| w.start).fold(now, OffsetDateTime::min);
        Some(self.previous.map_or(now, |p| p.max(now)))
    }

    /// The state to save.
    pub fn state(&self, plan: &CursorPlan) -> Map<String, Json> {
        let mut state = self.foreign.clone();
        if let Some(position) = self.position() {
            state.insert(plan.field.clone(), plan.json(position));
        }
        state
    }
}
