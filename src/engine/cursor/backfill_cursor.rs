//! A cursor as a part of the past is read by it: which windows that makes, and which of their records are wanted.
//!
//! Input: a compiled cursor, and spans of time. Output: windows, each with the span that it covers. Called by
//! [`super::backfill`]; `run` compares records with [`PastFilter`].
//!
//! Windows are those of live runs wherever the manifest knows such: it is the manifest's word what a request with these
//! bounds gives. Only where nothing keeps to the end of the past, records are compared with it here.

use std::iter;

use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::ranges::Span;
use super::slice_range::SliceRange;
use super::{CursorPlan, Window};
use crate::base::timefmt::Period;

/// How the past is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackfillCursor {
    reach: Reach,
    /// How long before now the manifest's end is.
    lag: Duration,
}

/// Who keeps to the bounds of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
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
pub struct PastFilter {
    /// From here.
    from: Option<OffsetDateTime>,
    /// To here, which is outside.
    to: Option<OffsetDateTime>,
    /// What was asked for, where that is more: the vendor takes whole days, or leaves a bound out. What comes from
    /// beyond is no mistake of the bounds: requests may be about another time than the cursor.
    asked: Option<Window>,
}

/// A window, and the part of time that it covers; none when it only brings what changed meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) span: Option<Span>,
    pub(super) window: Window,
    pub(super) keep: PastFilter,
}

const MONTH: Period = Period { months: 1, exact: Duration::ZERO };
/// Looked back before the begin, for clocks that differ and records that show late, when nothing else is said.
const MARGIN: Duration = Duration::minutes(1);

/// The same for what is read again after a backfill, which happens once.
const AGAIN: Duration = Duration::hours(1);

impl PastFilter {
    /// Is a record with this cursor value wanted?
    pub fn keeps(&self, time: OffsetDateTime) -> bool {
        let within = !self.is_before(time) && self.to.is_none_or(|to| time < to);
        within || self.asked.is_some_and(|asked| time < asked.start || time > asked.end)
    }

    /// Is it from before all that is wanted?
    pub fn is_before(&self, time: OffsetDateTime) -> bool {
        self.from.is_some_and(|from| time < from)
    }
}

impl Piece {
    /// Makes one of two, of which this one is the earlier.
    fn join(&mut self, later: Piece) {
        self.window.end = self.window.end.max(later.window.end);
        if let (Some(span), Some(later)) = (&mut self.span, later.span) {
            span.end = span.end.max(later.end);
        }
        self.keep.to = self.keep.to.max(later.keep.to);
        self.keep.asked = self.keep.asked.map(|_| self.window);
    }
}

/// Makes one of those that begin with the same as requests write it: no two have the same window then, which tells one
/// from another while they are read.
fn joined(pieces: impl IntoIterator<Item = Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for piece in pieces {
        match out.last_mut() {
            Some(last) if piece.window.start <= last.window.start => last.join(piece),
            _ => out.push(piece),
        }
    }
    out
}

impl CursorPlan {
    /// The same for the past, as it is at `now`.
    pub fn of_history(&self, now: OffsetDateTime) -> CursorPlan {
        let reach = match (self.filters, self.asks_end, self.step) {
            (true, ..) | (_, false, None) => Reach::Reader,
            (_, true, None) => Reach::Months,
            (_, true, Some(_)) => Reach::Windows,
            (_, false, Some(_)) => Reach::Steps,
        };
        // Clamping is a matter of its own.
        let lag = if self.clamp.is_some() { Duration::ZERO } else { (now - self.end).max(Duration::ZERO) };
        CursorPlan {
            global: false,
            // Where records are compared with a window, they are compared with `PastFilter`.
            filters: false,
            start: PrimitiveDateTime::MIN.assume_utc(),
            step: if reach == Reach::Months { Some(MONTH) } else { self.step },
            history: Some(BackfillCursor { reach, lag }),
            ..self.clone()
        }
    }

    /// The same, beginning no later than `from`: for parents, whose records tell what there is to read.
    pub fn beginning_by(&self, from: OffsetDateTime) -> CursorPlan {
        let start = if self.counts() { self.start } else { self.start.min(from) };
        CursorPlan { start, ..self.clone() }
    }

    /// The same, reading again what changed since `since` by the clock here, whatever the bookmark says. A number knows
    /// no time.
    pub fn reading_again(&self, since: OffsetDateTime) -> CursorPlan {
        let again = (!self.counts()).then(|| since - AGAIN);
        CursorPlan { again, ..self.clone() }
    }

    /// The name by which templates know the end of a window.
    pub fn end_name(&self) -> &str {
        &self.end_name
    }

    /// What of a part of time there is to read at `now`: no more than the manifest ever asks for, in whole periods
    /// where it reads such.
    pub fn there_is(&self, span: Span, now: OffsetDateTime) -> Option<Span> {
        let Some(clamp) = self.clamp else {
            // The manifest's end is inclusive.
            let past_end = self.granule(self.end).after(self.written(self.end)).unwrap_or(self.end);
            let lags = self.history.is_some_and(|history| history.lag.is_positive());
            let end = if lags { span.end.min(past_end) } else { span.end };
            return (span.start < end).then_some(Span { end, ..span });
        };
        let Span { start, end } = clamp.whole(span);
        let end = end.min(clamp.floor(now));
        (start < end).then_some(Span { start, end })
    }

    /// A time as exact as requests write it.
    pub(super) fn written(&self, time: OffsetDateTime) -> OffsetDateTime {
        self.format.parse(&self.write(time)).unwrap_or(time)
    }

    /// The smallest step that requests can tell at that time.
    pub(super) fn granule(&self, time: OffsetDateTime) -> Period {
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
        let is_visible = |step: &Period| step.after(time).is_some_and(|next| self.written(next) > self.written(time));
        steps.into_iter().find(is_visible).unwrap_or_default()
    }

    /// The first time that requests can write which is not before this one.
    fn written_after(&self, time: OffsetDateTime) -> OffsetDateTime {
        let written = self.written(time);
        if written >= time {
            return written;
        }
        self.granule(time).after(time).map_or(time, |next| self.written(next))
    }

    /// The last time that requests can write which is before this one, itself such a time.
    fn written_before(&self, time: OffsetDateTime) -> OffsetDateTime {
        self.granule(time).before(time).map_or(time, |earlier| self.written(earlier))
    }

    fn reach(&self) -> Reach {
        self.history.map_or(Reach::Reader, |history| history.reach)
    }

    /// Cuts parts of time, oldest first, into what is read at once. Where requests cannot tell two of them apart, what
    /// was read between them is read again.
    pub(super) fn pieces(&self, spans: &[Span]) -> Vec<Piece> {
        joined(spans.iter().flat_map(|span| self.cut(*span)))
    }

    fn cut(&self, span: Span) -> Vec<Piece> {
        let reach = self.reach();
        let whole = self.clamp.map_or(span, |clamp| clamp.whole(span));
        let end = self.written_after(whole.end);
        let mut windows = match reach {
            Reach::Reader => Vec::new(),
            _ => SliceRange { lower: whole.start, upper: end, is_end: false }.windows(self),
        };
        if windows.is_empty() {
            windows.push(Window { start: whole.start, end });
        }
        if let (Some(_), false, None, Some(last)) = (self.granularity, self.strict, self.clamp, windows.last_mut()) {
            // The manifest's ends are inclusive: up to the last moment that can be written.
            last.end = last.end.max(self.written(span.end - Duration::microseconds(1)));
        }
        for window in &mut windows {
            *window = Window { start: self.written(window.start), end: self.written(window.end) };
        }
        // What lies on both sides of a bound that requests round belongs to the later window, which has all of it.
        let inner = windows.iter().skip(1).map(|window| window.start.max(span.start).min(span.end));
        let bounds: Vec<OffsetDateTime> = iter::once(span.start).chain(inner).chain([span.end]).collect();
        // Nobody said there whether the vendor counts what lies on a bound: it is in what is read before, or in this.
        let is_implicit = matches!(reach, Reach::Months | Reach::Reader);
        let from = is_implicit.then(|| self.written(span.start));
        let piece = |(number, mut window): (usize, Window)| {
            let part = Span { start: bounds[number], end: bounds[number + 1] };
            if is_implicit {
                window.start = self.written_before(window.start);
            }
            let asked = matches!(reach, Reach::Months | Reach::Windows).then_some(window);
            let keep = PastFilter { from, to: Some(span.end), asked };
            Piece { span: Some(part), window, keep }
        };
        windows.into_iter().enumerate().map(piece).collect()
    }

    /// What is read again, once all else was: what changed since then.
    pub(super) fn changed(&self, since: OffsetDateTime, now: OffsetDateTime) -> Vec<Piece> {
        let settle = self.safety.settle.map_or(Period { months: 0, exact: MARGIN }, |settle| settle.0);
        let overlap = self.safety.overlap.map_or_else(Period::default, |overlap| overlap.0);
        let from = settle.before(since).and_then(|t| overlap.before(t)).and_then(|t| self.lookback.before(t));
        let lag = self.history.map_or(Duration::ZERO, |history| history.lag);
        let (mut from, mut to) = (self.written(from.unwrap_or(since)), now - lag);
        if let Some(clamp) = self.clamp {
            (from, to) = (clamp.floor(from), clamp.end(now, self.granularity));
        }
        let windows = match self.reach() {
            Reach::Windows | Reach::Steps => SliceRange { lower: from, upper: to, is_end: true }.windows(self),
            Reach::Months | Reach::Reader if from <= to => vec![Window { start: from, end: to }],
            Reach::Months | Reach::Reader => Vec::new(),
        };
        let keep = PastFilter { from: Some(from).filter(|_| self.reach() == Reach::Reader), ..PastFilter::default() };
        let piece = |window: Window| {
            let window = Window { start: self.written(window.start), end: self.written(window.end) };
            Piece { span: None, window, keep }
        };
        joined(windows.into_iter().map(piece))
    }
}
