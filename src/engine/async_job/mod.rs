//! Records that the vendor prepares in a job: it is created, polled until it is done, and then its results are read.
//!
//! Input: the slices of a stream, and its `JobPlan`. Output: each slice with its job
//! done, to be read like any other; or the fault that is left when a job failed too often. Called by
//! [`super::scheduler`] while slices are listed, and by `parents` and `check` for one slice at a time.
//!
//! `lifecycle` decides when a job is created, polled, aborted and retried; `requests` sends what that takes; `results`
//! reads the results of a job that is done; `values` finds single values in answers.

mod lifecycle;
mod requests;
mod results;
mod values;

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::build::StreamPlan;
use super::context::EngineContext;
use super::query_properties::Properties;
use super::record_sink::{RecordSink, SliceOutcome};
use super::slice_reader;
use super::stream_slice::StreamSlice;
use crate::base::fault::Result;
use crate::engine::cursor::Window;
use crate::engine::slice::Partition;
pub(super) use lifecycle::AsyncJobs;
pub(super) use results::download;
pub(super) use values::extract_values;

/// A job that is done.
#[derive(Debug, Clone)]
pub(super) struct CompletedJob {
    /// The answer to its creation.
    creation: Json,
    /// The last answer to a poll.
    polling: Json,
    /// The body of that, in which the extractor of the results' names looks.
    body: Arc<Vec<u8>>,
    started: JobStart,
}

/// When a job was created: by this machine's clock, and by the vendor's, which tells what its results can hold.
#[derive(Debug, Clone, Copy)]
struct JobStart {
    here: Instant,
    there: OffsetDateTime,
}

/// Reads a slice, by a job of its own where the stream has such.
pub fn read(
    engine: &EngineContext,
    stream: &StreamPlan,
    partition: &Partition,
    window: Option<&Window>,
    sink: &mut dyn RecordSink,
) -> Result<SliceOutcome> {
    let Some(plan) = &stream.jobs else { return slice_reader::read(engine, stream, partition, window, sink) };
    let mut outcome = SliceOutcome::default();
    let mut jobs = AsyncJobs::new(engine, stream, plan);
    let mut deliver = |slice: StreamSlice, job: CompletedJob| {
        outcome = download(engine, stream, &slice, &job, sink)?;
        Ok(())
    };
    let slice = StreamSlice { partition: Arc::new(partition.clone()), window: window.copied() };
    jobs.offer(slice, &mut deliver)?;
    jobs.finish(&mut deliver)?;
    Ok(outcome)
}

impl StreamPlan {
    /// Are its records, or those of its parents, prepared in jobs?
    pub(super) fn needs_jobs(&self) -> bool {
        let inner = self.with_state.iter().map(|with| &with.stream).chain(&self.lists).chain(&self.parents);
        let names = self.properties.as_ref().and_then(Properties::source);
        self.jobs.is_some() || inner.chain(names).any(|stream| stream.needs_jobs())
    }
}
