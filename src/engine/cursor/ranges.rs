//! The parts of time that were read.
//!
//! Input: finished windows, in any order. Output: merged, sorted ranges, of which the first tells how
//! far a state may go; for backfills, what is left of a part of time. Called by [`super::Cursor`] and
//! [`super::backfill`].

use time::OffsetDateTime;

use crate::base::timefmt::Period;

/// A part of time that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// From here.
    pub start: OffsetDateTime,
    /// To here.
    pub end: OffsetDateTime,
    /// The highest cursor value seen in it.
    pub newest: Option<OffsetDateTime>,
}

/// Ranges, sorted, none touching another.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    /// Them.
    pub list: Vec<Range>,
}

impl Ranges {
    /// Ranges as they came in a state.
    pub fn of(mut list: Vec<Range>) -> Self {
        list.sort_by_key(|r| (r.start, r.end));
        Ranges { list }
    }

    /// Adds one; ranges no further apart than `gap` become one.
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

/// A part of time, of which its end is no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From here.
    pub start: OffsetDateTime,
    /// To here, which is outside.
    pub end: OffsetDateTime,
}

/// Parts of time: sorted, none of them empty, none touching another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Them, oldest first.
    pub fn list(&self) -> &[Span] {
        &self.0
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one; it becomes one with those that it touches.
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

    /// What of `span` is not among them.
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
