//! A stream while it is read: its job and its progress.
//!
//! Input: a [`StreamJob`], planned by `run`. Output: the state that worker threads share for it. Created by
//! [`Scheduler`](super::Scheduler).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use super::cursor_state::CursorState;
use super::progress::Progress;
use crate::base::fault::{Fault, Result};
use crate::drift::monitor::DriftMonitor;
use crate::engine::build::StreamPlan;
use crate::engine::context::EngineContext;
use crate::engine::cursor::Window;
use crate::engine::cursor::backfill::Backfill;
use crate::engine::cursor::partitions::from_legacy;
use crate::engine::deletes::row_version::RowVersion;
use crate::engine::deletes::sweep::{Sweep, SweepJob};
use crate::engine::parents;
use crate::engine::record_writer::{Bounds, StreamOut};
use crate::engine::reread_record;
use crate::protocol::Protocol;
use crate::protocol::singer_catalog::Selection;

/// A stream to read.
pub struct StreamJob {
    /// The compiled stream.
    pub plan: Arc<StreamPlan>,
    /// The selected fields.
    pub fields: Selection,
    /// Monitors the stream for drift.
    pub watched: Option<Arc<DriftMonitor>>,
    /// The state from an earlier run.
    pub state: Option<Map<String, Json>>,
    /// A backfill that is read instead of new data.
    pub backfill: Option<Backfill>,
    /// The number of records after which a preview stops; a preview saves no state.
    pub limit: Option<u64>,
    /// Why nothing of the stream can be read.
    pub refused: Option<Fault>,
    /// Finds out which records are gone.
    pub sweep: Option<SweepJob>,
    /// The version of its rows, if the target marks those of older ones.
    pub rows: Option<RowVersion>,
}

/// A stream while it is read.
pub(super) struct StreamRun {
    pub(super) job: StreamJob,
    pub(super) out: StreamOut,
    pub(super) progress: Mutex<Progress>,
    /// The number of records that may still be sent.
    pub(super) left: AtomicU64,
    /// The start of its first window.
    first: Mutex<Option<OffsetDateTime>>,
}

impl StreamRun {
    /// Prepares a stream; an unreadable state is refused.
    pub(super) fn new(mut job: StreamJob, protocol: Protocol, now: OffsetDateTime) -> Result<StreamRun> {
        let name = job.plan.name.clone();
        if let (Some(legacy), Some(cursor), Some(state)) = (&job.plan.legacy_partition, &job.plan.cursor, &job.state)
            && let Some(state) = from_legacy(state, legacy, &cursor.field)
        {
            job.state = Some(state);
        }
        let backfill = job.backfill.take();
        let cursor_state =
            CursorState::begin(&job.plan, job.state.as_ref(), backfill).map_err(|fault| fault.of_stream(&name))?;
        parents::check_states(&job.plan, job.state.as_ref(), now)?;
        let mut out = StreamOut::new(&job.plan, &job.fields, job.watched.as_ref(), protocol);
        let mut progress = Progress::new(name, cursor_state);
        if let (Some(sweep), Some(deletes)) = (job.sweep.take(), &job.plan.deletes) {
            progress.generation = sweep.memory.generation().map(str::to_owned);
            out.sweep = Some(Sweep::new(deletes, &job.plan.key_paths, sweep));
        }
        out.rows = job.rows.take();
        if let Some(rows) = &out.rows {
            progress.generation = rows.generation();
        }
        Ok(StreamRun {
            out,
            left: AtomicU64::new(job.limit.unwrap_or(u64::MAX)),
            first: Mutex::default(),
            progress: Mutex::new(progress),
            job,
        })
    }

    /// Does a preview have all its records?
    pub(super) fn has_enough(&self) -> bool {
        self.job.limit.is_some() && self.left.load(Ordering::Relaxed) == 0
    }

    /// The bounds in requests for a window, if a record outside them shows that the vendor ignored them.
    pub(super) fn bounds(&self, window: Option<&Window>) -> Option<Bounds> {
        // No request covered the time before the first window.
        let window = window.filter(|window| {
            let first = *self.first.lock().get_or_insert(window.start);
            self.job.state.is_some() || window.start > first
        });
        let cursor = self.job.plan.cursor.as_ref().filter(|cursor| !cursor.counts());
        window.zip(cursor).map(|(window, cursor)| cursor.asked(window))
    }

    /// Ends the drift monitor and reports its findings. Returns a fault if they amount to one.
    pub(super) fn end_watch(&self, engine: &EngineContext, complete: bool) -> Option<Fault> {
        let monitor = self.job.watched.as_ref()?;
        let reread = |key: &str| reread_record::read(engine, &self.job.plan, monitor, key);
        let (reports, fault) = monitor.end(complete, &engine.stop, &reread);
        for report in &reports {
            (engine.drifted)(report);
        }
        fault
    }
}
