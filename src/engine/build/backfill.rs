//! A stream as its past is read.
//!
//! Input: a stream, and the part of time. Output: the stream with a cursor that asks for that part alone, and with
//! parents that name every partition that there was. Called by `cli`, before anything is requested.

use std::sync::Arc;

use time::OffsetDateTime;

use super::StreamPlan;
use crate::engine::cursor::ranges::Span;

impl StreamPlan {
    /// The stream as its past is read at `now`; nothing when it has no cursor over time.
    pub fn of_history(&self, span: Span, now: OffsetDateTime) -> Option<Arc<StreamPlan>> {
        let cursor = self.cursor.as_ref().filter(|cursor| !cursor.counts())?;
        Some(Arc::new(StreamPlan {
            cursor: Some(cursor.of_history(now)),
            parents: self.parents.iter().map(|parent| parent.beginning_by(span.start)).collect(),
            // What is read again in the end must not be what was read before.
            keep_answers: false,
            ..self.clone()
        }))
    }

    /// The stream with what changed since `since` read again, by the clock here, whatever its bookmark says.
    pub fn reading_again(&self, since: OffsetDateTime) -> Arc<StreamPlan> {
        let cursor = self.cursor.as_ref().map(|cursor| cursor.reading_again(since));
        // What of it changed may be the child of a parent that did not change since.
        let parents = self.parents.iter().map(|parent| parent.reading_again(since)).collect();
        Arc::new(StreamPlan { parents, cursor, ..self.clone() })
    }

    /// The same as a parent, and its own parents: with all that a run finds whose start date is no later than `from`.
    fn beginning_by(&self, from: OffsetDateTime) -> Arc<StreamPlan> {
        Arc::new(StreamPlan {
            cursor: self.cursor.as_ref().map(|cursor| cursor.beginning_by(from)),
            parents: self.parents.iter().map(|parent| parent.beginning_by(from)).collect(),
            ..self.clone()
        })
    }
}
