//! A stream compiled for a backfill.
//!
//! Input: a stream and a time span. Output: the stream with a cursor for this span only, and with parents that yield
//! every partition that existed. Called by `run`, before any request.

use std::sync::Arc;

use time::OffsetDateTime;

use super::StreamPlan;
use crate::engine::cursor::ranges::Span;

impl StreamPlan {
    /// The stream for a backfill at `now`; `None` if it has no cursor over time.
    pub fn of_history(&self, span: Span, now: OffsetDateTime) -> Option<Arc<StreamPlan>> {
        let cursor = self.cursor.as_ref().filter(|cursor| !cursor.counts())?;
        Some(Arc::new(StreamPlan {
            cursor: Some(cursor.of_history(now)),
            parents: self.parents.iter().map(|parent| parent.beginning_by(span.start)).collect(),
            // Data that is read again at the end must not come from the cache.
            keep_answers: false,
            ..self.clone()
        }))
    }

    /// The stream that reads changes since `since` (local clock) again, whatever its bookmark is.
    pub fn reading_again(&self, since: OffsetDateTime) -> Arc<StreamPlan> {
        let cursor = self.cursor.as_ref().map(|cursor| cursor.reading_again(since));
        // A changed record may have a parent that did not change since.
        let parents = self.parents.iter().map(|parent| parent.reading_again(since)).collect();
        Arc::new(StreamPlan { parents, cursor, ..self.clone() })
    }

    /// The stream as a parent, with its own parents: as a run with a start date no later than `from` would read it.
    fn beginning_by(&self, from: OffsetDateTime) -> Arc<StreamPlan> {
        Arc::new(StreamPlan {
            cursor: self.cursor.as_ref().map(|cursor| cursor.beginning_by(from)),
            parents: self.parents.iter().map(|parent| parent.beginning_by(from)).collect(),
            ..self.clone()
        })
    }
}
