//! Time ranges that were read.
//!
//! Input: finished windows, in any order. Output: merged, sorted ranges; the end of the first one limits the state.
//! For backfills: the rest of a time span. Called by [`super::Cursor`] and [`super::backfill`].

use time::OffsetDateTime;

use crate::base::timefmt::{Period, rfc3339};

/// A time range that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The start.
    pub start: OffsetDateTime,
    /// The end.
    pub end: OffsetDateTime,
    /// The highest cursor value in the range.
    pub newest: Option<OffsetDateTime>,
}

/// Sorted ranges that do not touch each other.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    /// The ranges.
    pub list: Vec<Range>,
}

impl Ranges {
    /// Ranges from a state.
    pub fn of(mut list: Vec<Range>) -> Self {
        list.sort_by_key(|r| (r.start, r.end));
        Ranges { list }
    }

    /// Adds a range; ranges no further apart than `gap` are merged.
    pub fn add(&mut self, range: Range, gap: Period) {
        self.list.push(range);
        self.list.sort_by_key(|r| (r.start, r.end));
        let mut merged: Vec<Range> = Vec::with_capacity(self.list.len());
        for next in self.list.drain(..) {
            match merged.last_mut() {
                Some(last) if gap.after(last.end).is_none_or(|reach| reach >= next.start) => {
                    last.end = last.end.max(next.end);
                    last.newest = last.newest.max(next.newest);
                }
                _ => merged.push(next),
            }
        }
        self.list = merged;
    }
}

/// A time span with an exclusive end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The start, inclusive.
    pub start: OffsetDateTime,
    /// The end, exclusive.
    pub end: OffsetDateTime,
}

impl Span {
    /// The span as `--backfill` takes it: dates if they are sufficient.
    pub fn written(self) -> String {
        let moment = |time: OffsetDateTime| {
            let text = rfc3339(time);
            text.strip_suffix("T00:00:00Z").map_or(text.clone(), str::to_owned)
        };
        format!("{}..{}", moment(self.start), moment(self.end))
    }
}

/// Sorted, non-empty time spans that do not touch each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// The spans, oldest first.
    pub fn list(&self) -> &[Span] {
        &self.0
    }

    /// Is there no span?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a span; it is merged with those that it touches.
    pub fn add(&mut self, span: Span) {
        if span.start >= span.end {
            return;
        }
        let mut one = span;
        self.0.retain(|other| {
            let apart = other.end < one.start || other.start > one.end;
            if !apart {
                one = Span { start: one.start.min(other.start), end: one.end.max(other.end) };
            }
            apart
        });
        let at = self.0.partition_point(|other| other.start < one.start);
        self.0.insert(at, one);
    }

    /// The parts of `span` that are not covered.
    pub fn missing(&self, span: Span) -> Vec<Span> {
        let (mut out, mut from) = (Vec::new(), span.start);
        for known in &self.0 {
            if known.end <= from {
                continue;
            }
            if known.start >= span.end {
                break;
            }
            if known.start > from {
                out.push(Span { start: from, end: known.start });
            }
            from = known.end;
        }
        if from < span.end {
            out.push(Span { start: from, end: span.end });
        }
        out
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<T: IntoIterator<Item = Span>>(spans: T) -> Self {
        let mut all = Spans::default();
        spans.into_iter().for_each(|span| all.add(span));
        all
    }
}
