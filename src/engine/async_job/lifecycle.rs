//! The lifecycle of a stream's jobs: each is created as soon as another may run, polled until it ends, aborted when
//! it takes too long, and created again if it failed.
//!
//! Input: slices. Output: each with its completed job. Called by the scheduler, and by [`super::read`] for one slice.
//! The order of these steps is that of airbyte-cdk's `AsyncJobOrchestrator`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::requests::JobRequests;
use super::{CompletedJob, JobStart};
use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::engine::build::StreamPlan;
use crate::engine::context::EngineContext;
use crate::engine::job_plan::{JobPlan, JobStatus};
use crate::engine::stream_slice::StreamSlice;

/// The number of times that a job is created.
const MAX_ATTEMPTS: u32 = 3;

/// A job that is not complete.
struct AsyncJob {
    slice: StreamSlice,
    attempts: u32,
    state: JobState,
}

enum JobState {
    /// To be created, not before this time.
    Due(Instant),
    /// Created, with the response to the creation request.
    Running(Json, JobStart),
    Ended(JobStatus, Option<CompletedJob>),
}

/// The jobs of one stream.
pub(in crate::engine) struct AsyncJobs<'r> {
    engine: &'r EngineContext,
    plan: &'r JobPlan,
    requests: JobRequests<'r>,
    running: VecDeque<AsyncJob>,
    /// A fault although other jobs continue.
    fault: Option<Fault>,
}

/// Receives a slice with its completed job.
type Deliver<'d> = &'d mut dyn FnMut(StreamSlice, CompletedJob) -> Result<()>;

impl Drop for AsyncJobs<'_> {
    fn drop(&mut self) {
        self.engine.jobs.fetch_sub(self.running.len(), Ordering::Relaxed);
    }
}

impl<'r> AsyncJobs<'r> {
    pub(in crate::engine) fn new(engine: &'r EngineContext, stream: &'r StreamPlan, plan: &'r JobPlan) -> Self {
        let requests = JobRequests { engine, stream, plan };
        AsyncJobs { engine, plan, requests, running: VecDeque::new(), fault: None }
    }

    /// Creates a job for the slice as soon as another may run.
    pub(in crate::engine) fn offer(&mut self, slice: StreamSlice, deliver: Deliver<'_>) -> Result<()> {
        loop {
            self.engine.stop.check()?;
            self.create_due()?;
            if take_place(&self.engine.jobs, self.plan.max_jobs) {
                let state = JobState::Due(Instant::now());
                self.running.push_back(AsyncJob { slice, attempts: 0, state });
                return self.create_due();
            }
            if self.running.is_empty() {
                // Other streams use all places.
                self.engine.stop.sleep(self.engine.poll)?;
            }
            self.round(deliver)?;
        }
    }

    /// Waits for all jobs.
    ///
    /// # Errors
    /// The first fault that made a slice unreadable.
    pub(in crate::engine) fn finish(&mut self, deliver: Deliver<'_>) -> Result<()> {
        while !self.running.is_empty() {
            self.engine.stop.check()?;
            self.create_due()?;
            self.round(deliver)?;
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Creates the jobs that are due.
    fn create_due(&mut self) -> Result<()> {
        for number in 0..self.running.len() {
            let job = &self.running[number];
            if !matches!(job.state, JobState::Due(at) if at <= Instant::now()) {
                continue;
            }
            let state = match self.requests.create(&job.slice) {
                Ok((creation, started)) => JobState::Running(creation, started),
                Err(fault) => {
                    self.check_fatal(&fault)?;
                    self.requests.notice(&fault);
                    JobState::Ended(JobStatus::Failed, None)
                }
            };
            self.running[number].attempts += 1;
            self.running[number].state = state;
        }
        Ok(())
    }

    /// Polls each job once, delivers those that are done, and waits while others run.
    fn round(&mut self, deliver: Deliver<'_>) -> Result<()> {
        self.poll_running()?;
        for (slice, job) in self.take_ended() {
            deliver(slice, job)?;
        }
        if self.running.is_empty() {
            return Ok(());
        }
        self.engine.stop.sleep(self.engine.poll)
    }

    /// Polls each running job.
    fn poll_running(&mut self) -> Result<()> {
        for number in 0..self.running.len() {
            let job = &self.running[number];
            let JobState::Running(creation, started) = &job.state else { continue };
            let late = started.here.elapsed() >= self.plan.timeout;
            let state = match self.requests.poll(&job.slice, creation, *started) {
                Ok((JobStatus::Running, _)) if !late => continue,
                Ok((JobStatus::Running | JobStatus::TimedOut, _)) => {
                    self.requests.abort(&job.slice, creation);
                    JobState::Ended(JobStatus::TimedOut, None)
                }
                Ok((status, done)) => JobState::Ended(status, Some(done)),
                Err(fault) => {
                    self.check_fatal(&fault)?;
                    if late {
                        self.requests.abort(&job.slice, creation);
                    }
                    self.fault.get_or_insert(fault);
                    if !late {
                        continue;
                    }
                    JobState::Ended(JobStatus::TimedOut, None)
                }
            };
            self.running[number].state = state;
        }
        Ok(())
    }

    /// Removes the jobs that ended: returns the completed ones, and queues failed ones that may be created again.
    fn take_ended(&mut self) -> Vec<(StreamSlice, CompletedJob)> {
        let (mut again, mut ready) = (VecDeque::new(), Vec::new());
        for job in std::mem::take(&mut self.running) {
            match job.state {
                JobState::Ended(JobStatus::Failed | JobStatus::TimedOut, _) if job.attempts >= MAX_ATTEMPTS => {
                    self.engine.jobs.fetch_sub(1, Ordering::Relaxed);
                    let message = "One or more async jobs failed after exhausting all retry attempts.";
                    let fault = Fault::data(format!("the vendor's job failed {MAX_ATTEMPTS} times"));
                    let fault = fault.hint("check the job at the vendor").airbyte_message(message, Failure::System);
                    self.fault.get_or_insert(fault);
                }
                JobState::Ended(status @ (JobStatus::Failed | JobStatus::TimedOut), ref done) => {
                    let failed = status == JobStatus::Failed && done.is_some();
                    let wait = if failed { self.plan.retry_wait } else { Duration::ZERO };
                    again.push_back(AsyncJob { state: JobState::Due(Instant::now() + wait), ..job });
                }
                JobState::Ended(status, done) => {
                    self.engine.jobs.fetch_sub(1, Ordering::Relaxed);
                    if let (JobStatus::Completed, Some(done)) = (status, done) {
                        ready.push((job.slice, done));
                    }
                }
                _ => self.running.push_back(job),
            }
        }
        // Jobs to be created again come first.
        again.append(&mut self.running);
        self.running = again;
        ready
    }

    /// A fault that applies to every job ends the stream and its jobs.
    fn check_fatal(&self, fault: &Fault) -> Result<()> {
        let all = matches!(fault.kind, Kind::Signal(_) | Kind::Downstream | Kind::Bug | Kind::Auth);
        if !all && fault.failure() != Failure::Config {
            return Ok(());
        }
        for job in &self.running {
            if let JobState::Running(creation, _) = &job.state {
                self.requests.abort(&job.slice, creation);
            }
        }
        Err(fault.clone())
    }
}

/// Takes one of `places`, if one is free.
fn take_place(taken: &AtomicUsize, places: usize) -> bool {
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < places).then_some(n + 1)).is_ok()
}
