//! The parts of a stream's state: no cursor, one cursor, one per partition, or a backfill.
//!
//! Input: the partitions of a stream as they are listed, and its slices as they are read or fail. Output: the slices
//! of a partition, a filter for their records, and the state to save. Called by the worker threads, under the lock of
//! the stream's [`Progress`](super::progress::Progress).

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use crate::base::fault::Result;
use crate::engine::build::StreamPlan;
use crate::engine::cursor::backfill::{Backfill, BackfillProgress};
use crate::engine::cursor::partitions::Partitions;
use crate::engine::cursor::{Cursor, CursorPlan};
use crate::engine::record_writer::RecordFilter;
use crate::engine::slice::Partition;
use crate::engine::stream_slice::StreamSlice;

/// The parts of a stream's state.
pub(super) enum CursorState {
    /// The stream has no cursor: it is read as a whole, and has no state.
    FullRefresh,
    /// One cursor for the stream.
    Single(Cursor),
    /// One cursor per partition.
    PerPartition(Partitions),
    /// The ranges of the past that a backfill has read.
    Backfill(Box<Backfill>),
}

/// A slice that was read, and the cursor values of its records.
pub(super) struct ReadSlice<'s> {
    pub(super) slice: &'s StreamSlice,
    /// The highest cursor value that the bookmark may reach.
    pub(super) newest: Option<OffsetDateTime>,
}

impl CursorState {
    /// Starts a backfill, or resumes one from an earlier run's state.
    pub(super) fn begin(
        plan: &StreamPlan,
        state: Option<&Map<String, Json>>,
        backfill: Option<Backfill>,
    ) -> Result<CursorState> {
        let Some(cursor) = &plan.cursor else { return Ok(CursorState::FullRefresh) };
        if let Some(backfill) = backfill {
            return Ok(CursorState::Backfill(Box::new(backfill)));
        }
        if plan.router.is_some() {
            let mut partitions = Partitions::begin(cursor, state, plan.router.tells_parents())?;
            partitions.migrates = plan.legacy_partition.is_some();
            return Ok(CursorState::PerPartition(partitions));
        }
        Ok(CursorState::Single(cursor.begin(state, 0)?))
    }

    /// Is this a backfill?
    pub(super) fn is_backfill(&self) -> bool {
        matches!(self, CursorState::Backfill(_))
    }

    /// Does the state stay the same until the stream ends?
    pub(super) fn moves_at_end(&self) -> bool {
        matches!(self, CursorState::PerPartition(partitions) if partitions.is_global())
    }

    /// Sets the parents' state before they are read.
    pub(super) fn parents_begin(&mut self, state: Json) {
        if let CursorState::PerPartition(partitions) = self {
            partitions.parents_begin(state);
        }
    }

    /// Sets the parents' state after they were read.
    pub(super) fn parents_read(&mut self, state: Json) {
        if let CursorState::PerPartition(partitions) = self {
            partitions.parents_read(state);
        }
    }

    /// Adds a listed partition; returns its slices to read.
    pub(super) fn open(
        &mut self,
        plan: &StreamPlan,
        partition: Partition,
        now: OffsetDateTime,
    ) -> Result<Vec<StreamSlice>> {
        let windows = match (self, &plan.cursor) {
            (CursorState::FullRefresh, _) | (_, None) => {
                return Ok(vec![StreamSlice { partition: Arc::new(partition), window: None }]);
            }
            (CursorState::Single(cursor), Some(plan)) => cursor.windows(plan),
            (CursorState::PerPartition(partitions), Some(plan)) => partitions.open(plan, &partition.key)?,
            (CursorState::Backfill(backfill), Some(plan)) => backfill.open(plan, &partition.key, now),
        };
        let partition = Arc::new(partition);
        let slice = |window| StreamSlice { partition: partition.clone(), window: Some(window) };
        Ok(windows.into_iter().map(slice).collect())
    }

    /// Called when all partitions are listed.
    pub(super) fn listed(&mut self) {
        match self {
            CursorState::FullRefresh | CursorState::Single(_) => {}
            CursorState::PerPartition(partitions) => partitions.listed(),
            CursorState::Backfill(backfill) => backfill.listed(),
        }
    }

    /// A filter for the records of a slice, as far as the cursor decides.
    pub(super) fn filter(&self, plan: &StreamPlan, slice: &StreamSlice) -> RecordFilter {
        let mut filter = RecordFilter::default();
        let compares = plan.cursor.as_ref().is_some_and(|cursor| cursor.filters);
        match self {
            CursorState::Single(cursor) if compares => filter.before = Some(cursor.clone()),
            CursorState::PerPartition(partitions) if compares => {
                filter.before = partitions.cursor(&slice.partition_id()).cloned();
            }
            CursorState::Backfill(backfill) => {
                filter.past = slice.window.map(|window| backfill.keep(&slice.partition_id(), &window));
            }
            _ => {}
        }
        filter
    }

    /// Must the state be saved before the next records are sent? True before the first records of a backfill.
    pub(super) fn saves_before_records(&mut self) -> bool {
        match self {
            CursorState::Backfill(backfill) => backfill.begins(),
            _ => false,
        }
    }

    /// Counts records sent for a slice, and responses to its requests.
    pub(super) fn sent(&mut self, slice: &StreamSlice, records: u64, answers: u64) {
        if let CursorState::Backfill(backfill) = self {
            backfill.sent(&slice.partition_id(), records, answers);
        }
    }

    /// Records when the reading of a slice began: `here` by the local clock, `there` by the vendor's.
    pub(super) fn began(&mut self, here: OffsetDateTime, there: OffsetDateTime) {
        if let CursorState::Backfill(backfill) = self {
            backfill.began(here, there);
        }
    }

    /// A slice was read: advances the cursor. Returns slices to read next: those that a backfill reads again because
    /// they changed until `now`.
    pub(super) fn close(
        &mut self,
        plan: &CursorPlan,
        read: &ReadSlice<'_>,
        now: Option<OffsetDateTime>,
    ) -> Vec<StreamSlice> {
        let Some(window) = &read.slice.window else { return Vec::new() };
        match self {
            CursorState::FullRefresh => Vec::new(),
            CursorState::Single(cursor) => {
                cursor.close(plan, window, read.newest);
                Vec::new()
            }
            CursorState::PerPartition(partitions) => {
                partitions.close(plan, &read.slice.partition_id(), window, read.newest);
                Vec::new()
            }
            CursorState::Backfill(backfill) => {
                let windows = backfill.close(plan, &read.slice.partition_id(), window, now);
                let again = |window| StreamSlice { window: Some(window), ..read.slice.clone() };
                windows.into_iter().map(again).collect()
            }
        }
    }

    /// Marks the slice's partition as not fully read by this run.
    pub(super) fn leave(&mut self, slice: &StreamSlice) {
        if let CursorState::Backfill(backfill) = self {
            backfill.leave(&slice.partition_id());
        }
    }

    /// A slice was not read to its end: its bookmark stays, and the next run reads the slice again.
    pub(super) fn slice_failed(&mut self, slice: &StreamSlice) {
        match (self, &slice.window) {
            (CursorState::Backfill(backfill), Some(window)) => backfill.fail(&slice.partition_id(), window),
            // A common bookmark of all partitions would move past the slice.
            (CursorState::PerPartition(partitions), _) => partitions.fail(),
            _ => {}
        }
    }

    /// Marks the stream as failed.
    pub(super) fn failed(&mut self) {
        if let CursorState::PerPartition(partitions) = self {
            partitions.fail();
        }
    }

    /// Nothing of the stream is left to read; `complete` states whether all of it was read, and not as a preview.
    pub(super) fn finish(&mut self, plan: &StreamPlan, complete: bool) {
        match (self, &plan.cursor) {
            (CursorState::PerPartition(partitions), Some(plan)) => partitions.finish(plan),
            (CursorState::Backfill(backfill), _) if complete => backfill.finish(),
            _ => {}
        }
    }

    /// The state to save.
    pub(super) fn state(&self, plan: &StreamPlan) -> Option<Json> {
        match (self, &plan.cursor) {
            (CursorState::Single(cursor), Some(plan)) => Some(Json::Object(cursor.state(plan))),
            (CursorState::PerPartition(partitions), Some(plan)) => Some(partitions.state(plan)),
            (CursorState::Backfill(backfill), _) => Some(backfill.state()),
            _ => None,
        }
    }

    /// The progress of the backfill, if there is one.
    pub(super) fn backfill_progress(&self) -> Option<BackfillProgress> {
        match self {
            CursorState::Backfill(backfill) => Some(backfill.standing()),
            _ => None,
        }
    }
}
