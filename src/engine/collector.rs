//! Collects the records of a page as JSON, after the stream's filter and transformations.
//!
//! Input: the records of a slice, as a [`RecordSink`] receives them. Output: the records of each complete page, passed
//! to a [`PageTaker`], and the highest cursor value. Called by the parent reader and by `sample`, which need few
//! records; the record writer takes the fast way over bytes.

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::answer;
use super::build::StreamPlan;
use super::record_sink::{PageEnd, RecordSink};
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::Scanner;
use crate::engine::cursor::ceiling::{Ceiling, Highest};
use crate::engine::cursor::{Cursor, CursorPlan, Window};
use crate::engine::extract::WalkError;
use crate::manifest::template::Vars;

/// Takes the records of complete pages.
pub(super) trait PageTaker {
    /// Takes the records of a page; returns false if no further page is wanted.
    fn take(&mut self, records: Vec<Json>) -> Result<bool>;

    /// Called when it is known how paging continues; returns false if no further page is wanted.
    fn ended(&mut self, _end: &PageEnd) -> bool {
        true
    }
}

/// Collects the records of a page.
pub(super) struct RecordCollector<'r> {
    pages: &'r mut dyn PageTaker,
    stream: &'r StreamPlan,
    cursor: Option<&'r Cursor>,
    records: Vec<Json>,
    last: Option<Json>,
    ceiling: Option<Ceiling<'r>>,
    highest: Highest,
    highest_of_page: Highest,
}

impl<'r> RecordCollector<'r> {
    /// A collector for a slice: with a client-side cursor filter, `cursor` decides which records are kept.
    pub(super) fn new(
        stream: &'r StreamPlan,
        cursor: Option<&'r Cursor>,
        window: Option<&Window>,
        pages: &'r mut dyn PageTaker,
    ) -> Self {
        RecordCollector {
            pages,
            stream,
            cursor,
            records: Vec::new(),
            last: None,
            ceiling: stream.cursor.as_ref().map(|plan| Ceiling::new(plan, window)),
            highest: Highest::default(),
            highest_of_page: Highest::default(),
        }
    }

    /// Adds a wanted record.
    fn add(&mut self, record: Json) {
        if let (Some(plan), Some(ceiling)) = (&self.stream.cursor, &self.ceiling)
            && let Some(time) = value(plan, &record)
        {
            ceiling.take(time, &mut self.highest_of_page);
        }
        self.records.push(record);
    }

    /// The highest cursor value that a bookmark may reach, and the records past it.
    pub(super) fn highest(&self) -> Highest {
        self.highest
    }
}

impl RecordSink for RecordCollector<'_> {
    fn take(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> std::result::Result<bool, WalkError<Fault>> {
        let mut record = answer::record_json(scanner)?;
        let RecordCollector { stream, cursor, ceiling, .. } = &*self;
        let inside = |record: &Json| match (&stream.cursor, cursor, ceiling) {
            (Some(plan), Some(cursor), Some(ceiling)) if plan.filters => {
                value(plan, record).is_none_or(|v| ceiling.keeps(cursor, v))
            }
            _ => true,
        };
        let is_selected = stream.shape.apply(&mut record, vars, inside).map_err(WalkError::Callback)?;
        if is_selected {
            self.add(record);
        }
        Ok(is_selected)
    }

    fn answered_at(&mut self, at: Option<OffsetDateTime>) {
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.answered(at);
        }
    }

    fn put(&mut self, record: Json) -> Result<bool> {
        self.add(record);
        Ok(true)
    }

    fn page_done(&mut self) -> Result<bool> {
        self.highest.add(std::mem::take(&mut self.highest_of_page));
        self.last = self.records.last().cloned();
        self.pages.take(std::mem::take(&mut self.records))
    }

    fn page_failed(&mut self) {
        self.highest_of_page = Highest::default();
        self.records.clear();
    }

    fn page_ended(&mut self, end: &PageEnd) -> bool {
        self.pages.ended(end)
    }

    fn newest(&self) -> Option<OffsetDateTime> {
        self.highest.newest
    }

    fn last_record(&self) -> Option<Json> {
        self.last.clone()
    }
}

/// A record's cursor value.
fn value(plan: &CursorPlan, record: &Json) -> Option<OffsetDateTime> {
    plan.read(record.get(&plan.field)?)
}
