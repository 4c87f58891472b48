//! A thread of a run: reads slices, and ends streams that have no work left.
//!
//! Input: the streams of the run. Output: their messages. Called by [`Scheduler::work`]. [`super::listing`] lists a
//! stream's slices.

use std::cell::Cell;
use std::sync::Arc;

use parking_lot::MutexGuard;
use time::OffsetDateTime;

use super::Scheduler;
use super::cursor_state::ReadSlice;
use super::messages::MessageSender;
use super::progress::{Listing, Progress, SliceTask};
use super::stream_run::StreamRun;
use crate::base::fault::{Fault, Kind};
use crate::drift::monitor::DriftMonitor;
use crate::engine::async_job;
use crate::engine::context::EngineContext;
use crate::engine::cursor::granularity;
use crate::engine::deletes::sweep::partition_hash;
use crate::engine::record_sink::SliceOutcome;
use crate::engine::record_writer::{RecordWriter, SchemaVersion};
use crate::protocol::Message;

/// One thread of a run.
pub(super) struct Worker<'r> {
    pub(super) scheduler: &'r Scheduler,
    pub(super) engine: &'r EngineContext,
    pub(super) messages: MessageSender<'r>,
}

impl Worker<'_> {
    /// Does one piece of work, if there is any.
    pub(super) fn step(&self) -> bool {
        for stream in &self.scheduler.streams {
            let mut progress = stream.progress.lock();
            if progress.outcome.ended {
                continue;
            }
            if let Some(task) = progress.next_task() {
                drop(progress);
                self.read(stream, &task);
                return true;
            }
            if progress.listing == Listing::Waiting && self.scheduler.may_begin(stream) {
                progress.listing = Listing::Running;
                progress.outcome.begun = true;
                drop(progress);
                (self.engine.started)(&stream.job.plan.name);
                self.messages.send(Message::Begin(stream.job.plan.name.clone()));
                self.list(stream);
                return true;
            }
        }
        false
    }

    /// Reads a slice.
    pub(super) fn read(&self, stream: &StreamRun, task: &SliceTask) {
        let (plan, slice) = (&stream.job.plan, &task.slice);
        let mut filter = stream.progress.lock().cursor_state.filter(plan, slice);
        filter.window = stream.bounds(slice.window.as_ref());
        filter.slice = slice.window;
        if stream.out.sweep.is_some() {
            filter.partition = partition_hash(&slice.partition_id());
        }
        let partition = filter.partition;
        let sent = Cell::new(0);
        let mut send = |lines: Vec<u8>, count, version: &Arc<SchemaVersion>| {
            sent.set(sent.get() + count);
            self.messages.records(stream, lines, count, version);
        };
        let here = OffsetDateTime::now_utc();
        let mut writer = RecordWriter::new(self.engine, (plan, &stream.out), filter, &stream.left, &mut send);
        let outcome = match &task.job {
            None => async_job::read(self.engine, plan, &slice.partition, slice.window.as_ref(), &mut writer),
            Some(job) => async_job::download(self.engine, plan, slice, job, &mut writer),
        };
        if writer.has_pages() {
            writer.finish();
        }
        let totals = writer.totals();
        let mut progress = stream.progress.lock();
        progress.task_done(&totals);
        if stream.has_enough() {
            progress.end_early();
        }
        progress.cursor_state.sent(slice, sent.get(), totals.answers);
        if let (Some(sweep), Ok(read)) = (&stream.out.sweep, &outcome) {
            sweep.slice_read(partition, totals.answers, read.ignored || read.incomplete, false);
        }
        if let (Some(rows), Ok(read)) = (&stream.out.rows, &outcome)
            && (read.ignored || read.incomplete)
        {
            rows.doubt("the manifest ignores a response");
        }
        match outcome {
            Ok(SliceOutcome { incomplete: true, fault, .. }) => {
                progress.cursor_state.slice_failed(slice);
                if let Some(fault) = fault {
                    self.fail(stream, &mut progress, fault);
                }
            }
            Ok(SliceOutcome { began, .. }) => {
                if let Some(began) = began {
                    progress.cursor_state.began(here, began);
                }
                let cursor = plan.cursor.as_ref();
                let newest = cursor.and_then(|cursor| cursor.settled(totals.newest, began));
                self.close(stream, &mut progress, &ReadSlice { slice, newest });
            }
            Err(fault) => {
                progress.cursor_state.slice_failed(slice);
                self.fail(stream, &mut progress, fault);
            }
        }
        self.settle(stream, progress);
    }

    /// A slice was read: the cursor moves, and a state may be saved.
    fn close(&self, stream: &StreamRun, progress: &mut Progress, read: &ReadSlice<'_>) {
        let plan = &stream.job.plan;
        let (Some(cursor), Some(_)) = (&plan.cursor, &read.slice.window) else { return };
        progress.moved = true;
        if progress.over {
            progress.cursor_state.leave(read.slice);
        }
        // A preview repeats nothing.
        let now = stream.job.limit.is_none().then(|| self.engine.cx.moment());
        let again = progress.cursor_state.close(cursor, read, now);
        progress.queue_first(again);
        if progress.cursor_state.moves_at_end() || plan.router.is_some() && progress.saved_lately() {
            return;
        }
        self.messages.state(stream, progress, true);
    }

    /// Stores a fault of a stream, and sends it.
    pub(super) fn fail(&self, stream: &StreamRun, progress: &mut Progress, fault: Fault) {
        let monitor = stream.job.watched.as_ref();
        let fault = match monitor {
            Some(monitor) => monitor.failed(fault),
            None => fault,
        };
        if fault.kind == Kind::Drift {
            self.engine.stop.ask(Kind::Drift);
        }
        let fault = fault.of_stream(&progress.outcome.stream);
        if monitor.is_some() && DriftMonitor::ends_stream(&fault) {
            if progress.over && progress.outcome.fault.is_some() {
                // Another slice, read at the same time, already sent it.
                return;
            }
            progress.end_early();
        }
        self.messages.send(Message::Failed(fault.clone()));
        progress.fail(fault);
    }

    /// Ends the stream if it has no work left.
    pub(super) fn settle(&self, stream: &StreamRun, mut progress: MutexGuard<'_, Progress>) {
        if progress.outcome.ended || !progress.is_drained() {
            return;
        }
        progress.outcome.ended = true;
        let plan = &stream.job.plan;
        if progress.may_have_gaps() {
            self.engine.notice_once(&plan.name, granularity::BETWEEN_WINDOWS);
        }
        self.scheduler.release(plan.group.as_slice());
        let stopped = self.engine.stop.asked().is_some();
        let complete = progress.outcome.fault.is_none() && !stopped;
        let decision = self.decide_on_deletes(stream, &mut progress, complete);
        let version = Self::decide_on_rows(stream, &progress).filter(|_| complete);
        if let Some(fault) = stream.end_watch(self.engine, complete) {
            self.fail(stream, &mut progress, fault);
        }
        if let Some(decision) = decision {
            let complete = progress.outcome.fault.is_none() && !stopped;
            self.mark_deletes(stream, &mut progress, decision.unless_failed(complete));
        }
        let complete = progress.outcome.fault.is_none() && !stopped;
        if let Some(version) = version.filter(|_| complete) {
            self.activate_rows(stream, &mut progress, version);
        }
        progress.outcome.complete = complete;
        progress.cursor_state.finish(plan, complete && stream.job.limit.is_none());
        if complete && progress.schema.is_none() {
            self.messages.schema(&mut progress, &stream.out.version(plan));
        }
        self.messages.send(Message::End { stream: plan.name.clone(), complete });
        let checkpoint = complete || progress.moved;
        self.messages.state(stream, &mut progress, checkpoint);
    }
}
