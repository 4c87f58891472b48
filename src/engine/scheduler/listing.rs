//! Lists the slices of a stream: its partitions, which may come from its parents, and their windows.
//!
//! Input: a stream that begins. Output: its slices, queued for the worker threads: all at once, or each when its job
//! is complete. Called by [`Worker::step`].

use super::progress::{Listing, SliceTask};
use super::stream_run::StreamRun;
use super::worker::Worker;
use crate::base::fault::{Fault, Result};
use crate::engine::async_job::AsyncJobs;
use crate::engine::build::StreamPlan;
use crate::engine::cursor::{CursorPlan, granularity};
use crate::engine::parents::ParentReader;
use crate::engine::slice::Partition;
use crate::engine::stream_slice::StreamSlice;
use crate::manifest::template::Vars;

impl Worker<'_> {
    /// Lists the slices of a stream.
    pub(super) fn list(&self, stream: &StreamRun) {
        let plan = &stream.job.plan;
        self.warn(plan);
        self.read_ids(stream);
        let mut parents = ParentReader::new(self.engine, plan, stream.job.state.as_ref());
        if stream.progress.lock().cursor_state.is_backfill() {
            parents = parents.without_pages();
        }
        if let Some(state) = parents.before() {
            stream.progress.lock().cursor_state.parents_begin(state);
        }
        let listed = match &stream.job.refused {
            Some(fault) => Err(fault.clone()),
            None => self.queue_slices(stream, &parents),
        };
        self.scheduler.release(&plan.parents_groups);
        let mut progress = stream.progress.lock();
        progress.listing = Listing::Done;
        match listed {
            Ok(()) => progress.cursor_state.listed(),
            // The fault that ended the listing was already sent.
            Err(_) if progress.over => {}
            Err(fault) => self.fail(stream, &mut progress, fault),
        }
        if let Some(state) = parents.state() {
            progress.cursor_state.parents_read(state);
        }
        self.settle(stream, progress);
    }

    /// Warns of manifest features that keep a stream, or one of its parents, from resuming.
    fn warn(&self, plan: &StreamPlan) {
        let stuck = plan.cursor.as_ref().and_then(CursorPlan::stuck_windows);
        let lost = plan.cursor.is_none() && plan.router.depends_incrementally();
        let lost = lost.then(|| format!("{}; {}", granularity::WITHOUT_CURSOR, granularity::WITH_CURSOR));
        stuck.into_iter().chain(lost).for_each(|message| self.engine.notice_once(&plan.name, &message));
        plan.parents.iter().for_each(|parent| self.warn(parent));
    }

    /// Queues the stream's slices: all at once, or each when its job is complete.
    fn queue_slices(&self, stream: &StreamRun, parents: &ParentReader<'_>) -> Result<()> {
        let plan = &stream.job.plan;
        let vars = Vars::new(&self.engine.cx);
        let queue = |slice: StreamSlice, job| self.queue(stream, [SliceTask { slice, job: Some(job) }]);
        let Some(jobs) = &plan.jobs else {
            return plan.router.each(parents, &vars, &mut |partition| {
                let slices = self.open(stream, partition)?;
                self.queue(stream, slices.into_iter().map(|slice| SliceTask { slice, job: None }))
            });
        };
        let mut jobs = AsyncJobs::new(self.engine, plan, jobs);
        // Parents that also need jobs must not wait for the jobs of their children.
        let mut later = plan.parents.iter().any(|parent| parent.needs_jobs()).then(Vec::new);
        plan.router.each(parents, &vars, &mut |partition| {
            let slices = self.open(stream, partition)?;
            match &mut later {
                Some(later) => later.extend(slices),
                None => slices.into_iter().try_for_each(|slice| jobs.offer(slice, &mut &queue))?,
            }
            Ok(())
        })?;
        later.into_iter().flatten().try_for_each(|slice| jobs.offer(slice, &mut &queue))?;
        jobs.finish(&mut &queue)
    }

    /// Registers a listed partition; returns its slices.
    fn open(&self, stream: &StreamRun, partition: Partition) -> Result<Vec<StreamSlice>> {
        self.engine.stop.check()?;
        let mut progress = stream.progress.lock();
        if progress.over {
            // A preview that has its records ends without a fault.
            return Err(progress.outcome.fault.clone().unwrap_or_else(|| Fault::bug("the stream is over")));
        }
        let slices = progress.cursor_state.open(&stream.job.plan, partition, self.engine.cx.moment())?;
        progress.has_neighbours |= slices.len() > 1;
        Ok(slices)
    }

    /// Queues slices, and reads some of them while too many are waiting.
    fn queue(&self, stream: &StreamRun, tasks: impl IntoIterator<Item = SliceTask>) -> Result<()> {
        stream.progress.lock().queue(tasks);
        self.scheduler.wake();
        loop {
            let mut progress = stream.progress.lock();
            if !progress.has_backlog() {
                return Ok(());
            }
            let Some(task) = progress.next_task() else { return Ok(()) };
            drop(progress);
            self.read(stream, &task);
        }
    }
}
