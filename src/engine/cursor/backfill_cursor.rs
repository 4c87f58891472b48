//! The windows of a backfill, and the filter for their records.
//!
//! Input: a compiled cursor, and time spans. Output: windows, each with the span that it covers. Called by
//! [`super::backfill`]; `record_writer` compares records with [`PastFilter`].
//!
//! Windows are those of live runs if the manifest defines windows: the manifest knows what a request with these
//! bounds returns. Records are compared with the requested span only if no bound enforces its end.

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
    /// The distance from the manifest's end to now.
    lag: Duration,
}

/// What enforces the bounds of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The vendor: requests contain both bounds; the manifest defines the length of windows.
    Windows,
    /// The vendor; the manifest defines no windows, so each is one month.
    Months,
    /// The manifest's author: it cuts time into steps, and requests contain only their start.
    Steps,
    /// The client: one window covers everything, and records outside the span are dropped.
    Reader,
}

/// A filter for the records of a window, by cursor value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PastFilter {
    /// The start, inclusive.
    from: Option<OffsetDateTime>,
    /// The end, exclusive.
    to: Option<OffsetDateTime>,
    /// The requested window, if it is larger: the vendor takes whole days, or omits a bound. Records outside the
    /// filter are not an error of the bounds: requests may refer to another time field than the cursor.
    asked: Option<Window>,
}

/// A window and the span that it covers; `None` if it only fetches changes made meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) span: Option<Span>,
    pub(super) window: Window,
    pub(super) keep: PastFilter,
}

const MONTH: Period = Period { months: 1, exact: Duration::ZERO };
/// The default lookback before the start, for clock differences and records that appear late.
const MARGIN: Duration = Duration::minutes(1);

/// The length for the single pass that reads changes again after a backfill.
const AGAIN: Duration = Duration::hours(1);

impl PastFilter {
    /// Is a record with this cursor value wanted?
    pub fn keeps(&self, time: OffsetDateTime) -> bool {
        let within = !self.is_before(time) && self.to.is_none_or(|to| time < to);
        within || self.asked.is_some_and(|asked| time < asked.start || time > asked.end)
    }

    /// Is the value older than everything that is wanted?
    pub fn is_before(&self, time: OffsetDateTime) -> bool {
        self.from.is_some_and(|from| time < from)
    }
}

impl Piece {
    /// Joins this piece with a later one.
    fn join(&mut self, later: Piece) {
        self.window.end = self.window.end.max(later.window.end);
        if let (Some(span), Some(later)) = (&mut self.span, later.span) {
            span.end = span.end.max(later.end);
        }
        self.keep.to = self.keep.to.max(later.keep.to);
        self.keep.asked = self.keep.asked.map(|_| self.window);
    }
}

/// Joins pieces with equal starts in request format, so that windows are distinct: a window identifies a piece while
/// it is read.
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
    /// The cursor for a backfill at `now`.
    pub fn of_history(&self, now: OffsetDateTime) -> CursorPlan {
        let reach = match (self.filters, self.asks_end, self.step) {
            (true, ..) | (_, false, None) => Reach::Reader,
            (_, true, None) => Reach::Months,
            (_, true, Some(_)) => Reach::Windows,
            (_, false, Some(_)) => Reach::Steps,
        };
        // Clamping is handled separately.
        let lag = if self.clamp.is_some() { Duration::ZERO } else { (now - self.end).max(Duration::ZERO) };
        CursorPlan {
            global: false,
            // Records are compared with `PastFilter` instead.
            filters: false,
            start: PrimitiveDateTime::MIN.assume_utc(),
            step: if reach == Reach::Months { Some(MONTH) } else { self.step },
            history: Some(BackfillCursor { reach, lag }),
            ..self.clone()
        }
    }

    /// The cursor with a start no later than `from`: for parents, whose records determine the partitions.
    pub fn beginning_by(&self, from: OffsetDateTime) -> CursorPlan {
        let start = if self.counts() { self.start } else { self.start.min(from) };
        CursorPlan { start, ..self.clone() }
    }

    /// The cursor that reads changes since `since` (local clock) again, whatever the bookmark is. A number cursor has
    /// no time.
    pub fn reading_again(&self, since: OffsetDateTime) -> CursorPlan {
        let again = (!self.counts()).then(|| since - AGAIN);
        CursorPlan { again, ..self.clone() }
    }

    /// The template name of a window's end.
    pub fn end_name(&self) -> &str {
        &self.end_name
    }

    /// The part of a span that can be read at `now`: no more than the manifest ever requests, in whole periods if the
    /// cursor is clamped.
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

    /// A time rounded to the format of requests.
    pub(super) fn written(&self, time: OffsetDateTime) -> OffsetDateTime {
        self.format.parse(&self.write(time)).unwrap_or(time)
    }

    /// The smallest step at a time that requests can express.
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

    /// The first time not before this one that requests can express.
    fn written_after(&self, time: OffsetDateTime) -> OffsetDateTime {
        let written = self.written(time);
        if written >= time {
            return written;
        }
        self.granule(time).after(time).map_or(time, |next| self.written(next))
    }

    /// The last time before this one that requests can express.
    fn written_before(&self, time: OffsetDateTime) -> OffsetDateTime {
        self.granule(time).before(time).map_or(time, |earlier| self.written(earlier))
    }

    fn reach(&self) -> Reach {
        self.history.map_or(Reach::Reader, |history| history.reach)
    }

    /// Cuts time spans, oldest first, into pieces that are read at once. If requests cannot distinguish two of them,
    /// the time between them is read again.
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
            // The manifest's ends are inclusive: they reach the last time that can be expressed.
            last.end = last.end.max(self.written(span.end - Duration::microseconds(1)));
        }
        for window in &mut windows {
            *window = Window { start: self.written(window.start), end: self.written(window.end) };
        }
        // If requests round a bound, the time around it belongs to the later window, which contains all of it.
        let inner = windows.iter().skip(1).map(|window| window.start.max(span.start).min(span.end));
        let bounds: Vec<OffsetDateTime> = iter::once(span.start).chain(inner).chain([span.end]).collect();
        // It is unknown whether the vendor includes the bound: it may be in the previous window or in this one.
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

    /// The pieces that are read again at the end: everything that changed since `since`.
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
