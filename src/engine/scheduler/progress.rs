//! The progress of a stream: its waiting and open slices, its cursor, its faults.
//!
//! Input: slices as they are listed, and faults. Output: the next slice to read, and the stream's
//! [`StreamOutcome`]. Called by the worker threads, each under the stream's lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cursor_state::CursorState;
use crate::base::fault::{Fault, Kind};
use crate::engine::async_job::CompletedJob;
use crate::engine::cursor::backfill::BackfillProgress;
use crate::engine::cursor::ceiling::Beyond;
use crate::engine::record_writer::{SchemaVersion, SliceTotals};
use crate::engine::stream_slice::StreamSlice;

/// When more slices than this are waiting, a listing helps to read them.
const MAX_PENDING: usize = 1000;

/// The shortest time between two states of a partitioned stream: each state contains every partition.
const STATE_INTERVAL: Duration = Duration::from_secs(10);

/// The result of reading a stream so far; final when the run ends.
#[derive(Debug, Clone)]
pub struct StreamOutcome {
    /// The stream.
    pub stream: Arc<str>,
    /// Records written.
    pub records: u64,
    /// Values that did not fit their schema and were sent as null.
    pub nulled: u64,
    /// Records whose cursor value is missing or cannot be read.
    pub without_cursor: u64,
    /// Records past the limit of the bookmark.
    pub beyond: Beyond,
    /// Why the stream is not complete.
    pub fault: Option<Fault>,
    /// Has reading begun?
    pub begun: bool,
    /// Is no work left?
    pub ended: bool,
    /// Was the stream read to its end?
    pub complete: bool,
    /// The progress of its backfill, if it is one.
    pub backfill: Option<BackfillProgress>,
}

/// A slice to read.
pub(super) struct SliceTask {
    pub(super) slice: StreamSlice,
    /// The job that prepared its records, if any.
    pub(super) job: Option<CompletedJob>,
}

#[derive(PartialEq, Eq, Clone, Copy)]
pub(super) enum Listing {
    Waiting,
    Running,
    Done,
}

/// The progress of a stream.
pub(super) struct Progress {
    pub(super) cursor_state: CursorState,
    pub(super) listing: Listing,
    pending: VecDeque<SliceTask>,
    /// The number of slices being read.
    open: usize,
    /// The last schema that was sent.
    pub(super) schema: Option<Arc<SchemaVersion>>,
    last_state: Option<Instant>,
    /// Does any partition have several windows?
    pub(super) has_neighbours: bool,
    /// Do cursor values fall into the gap between two windows?
    is_finer: bool,
    /// Has the cursor moved?
    pub(super) moved: bool,
    /// Is nothing left to read?
    pub(super) over: bool,
    /// The generation of the stream's remembered keys, for its state.
    pub(super) generation: Option<String>,
    pub(super) outcome: StreamOutcome,
}

impl Progress {
    /// The progress of a stream that has not begun.
    pub(super) fn new(stream: Arc<str>, cursor_state: CursorState) -> Progress {
        let outcome = StreamOutcome {
            stream,
            records: 0,
            nulled: 0,
            without_cursor: 0,
            beyond: Beyond::default(),
            fault: None,
            begun: false,
            ended: false,
            complete: false,
            backfill: None,
        };
        Progress {
            cursor_state,
            listing: Listing::Waiting,
            pending: VecDeque::new(),
            open: 0,
            schema: None,
            last_state: None,
            has_neighbours: false,
            is_finer: false,
            moved: false,
            over: false,
            generation: None,
            outcome,
        }
    }

    /// Queues listed slices.
    pub(super) fn queue(&mut self, tasks: impl IntoIterator<Item = SliceTask>) {
        self.pending.extend(tasks);
    }

    /// Queues slices before all waiting ones, in their order.
    pub(super) fn queue_first(&mut self, slices: Vec<StreamSlice>) {
        for slice in slices.into_iter().rev() {
            self.pending.push_front(SliceTask { slice, job: None });
        }
    }

    /// Are so many slices waiting that a listing thread should read one?
    pub(super) fn has_backlog(&self) -> bool {
        self.pending.len() > MAX_PENDING
    }

    /// Takes the next slice to read; it counts as open from now on.
    pub(super) fn next_task(&mut self) -> Option<SliceTask> {
        let task = self.pending.pop_front()?;
        self.open += 1;
        Some(task)
    }

    /// Closes an open slice, and adds the totals of its records.
    pub(super) fn task_done(&mut self, totals: &SliceTotals) {
        self.open -= 1;
        self.outcome.nulled += totals.nulled;
        self.outcome.without_cursor += totals.without_cursor;
        self.outcome.beyond.add(totals.beyond);
        self.is_finer |= totals.is_finer;
    }

    /// Were windows read whose gaps may contain records?
    pub(super) fn may_have_gaps(&self) -> bool {
        self.has_neighbours && self.is_finer
    }

    /// Is nothing left to list or to read?
    pub(super) fn is_drained(&self) -> bool {
        self.listing == Listing::Done && self.open == 0 && self.pending.is_empty()
    }

    /// Records that a state is saved now.
    pub(super) fn state_saved(&mut self) {
        self.last_state = Some(Instant::now());
    }

    /// Was a state saved so recently that a large one should wait?
    pub(super) fn saved_lately(&self) -> bool {
        self.last_state.is_some_and(|at| at.elapsed() < STATE_INTERVAL)
    }

    /// The result of the stream so far.
    pub(super) fn outcome(&self) -> StreamOutcome {
        StreamOutcome { backfill: self.cursor_state.backfill_progress(), ..self.outcome.clone() }
    }

    /// Stops reading the stream.
    pub(super) fn end_early(&mut self) {
        self.pending.clear();
        self.over = true;
    }

    /// Stores a fault; the most severe one is kept. The stream stops when the vendor refuses or is down.
    pub(super) fn fail(&mut self, fault: Fault) {
        if matches!(
            fault.kind,
            Kind::Signal(_) | Kind::Downstream | Kind::Auth | Kind::Unavailable | Kind::Drift | Kind::Bug
        ) {
            self.end_early();
        }
        self.cursor_state.failed();
        let graver =
            self.outcome.fault.as_ref().is_none_or(|old| fault.kind.severity_rank() > old.kind.severity_rank());
        if graver {
            self.outcome.fault = Some(fault);
        }
    }
}
