//! A stream while it is read: what was asked for, and how far it is.
//!
//! Input: a [`StreamJob`], as `run` plans it. Output: what the worker threads share of it. Made by
//! [`Scheduler`](super::Scheduler).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

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
use crate::engine::parents;
use crate::engine::record_writer::{Bounds, StreamOut};
use crate::engine::reread_record;
use crate::protocol::Protocol;
use crate::protocol::singer_catalog::Selection;

/// A stream to read.
pub struct StreamJob {
    /// Its plan.
    pub plan: Arc<StreamPlan>,
    /// The fields that are wanted.
    pub fields: Selection,
    /// Watches it for drift.
    pub watched: Option<Arc<DriftMonitor>>,
    /// Its state of an earlier run.
    pub state: Option<Map<String, Json>>,
    /// A part of its past that is read instead of what is new.
    pub backfill: Option<Backfill>,
    /// Stop after so many records: a preview, which saves no state.
    pub limit: Option<u64>,
    /// Why nothing of it can be read.
    pub refused: Option<Fault>,
}

/// A stream while it is read.
pub(super) struct StreamRun {
    pub(super) job: StreamJob,
    pub(super) out: StreamOut,
    pub(super) progress: Mutex<Progress>,
    /// Records that may still be taken.
    pub(super) left: AtomicU64,
    /// Where its first window starts.
    first: Mutex<Option<OffsetDateTime>>,
}

impl StreamRun {
    /// Prepares a stream; a state that cannot be read is refused.
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
        Ok(StreamRun {
            out: StreamOut::new(&job.plan, &job.fields, job.watched.as_ref(), protocol),
            left: AtomicU64::new(job.limit.unwrap_or(u64::MAX)),
            first: Mutex::default(),
            progress: Mutex::new(Progress::new(name, cursor_state)),
            job,
        })
    }

    /// The bounds that requests for a window carry, where a record outside them tells that they were ignored.
    pub(super) fn bounds(&self, window: Option<&Window>) -> Option<Bounds> {
        // The vendor was never asked about what lies before the first window.
        let window = window.filter(|window| {
            let first = *self.first.lock().get_or_insert(window.start);
            self.job.state.is_some() || window.start > first
        });
        let cursor = self.job.plan.cursor.as_ref().filter(|cursor| !cursor.counts());
        window.zip(cursor).map(|(window, cursor)| cursor.asked(window))
    }

    /// Ends the watch for drift, and reports what it found. Gives a fault when that is one.
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
