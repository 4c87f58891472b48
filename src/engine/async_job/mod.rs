//! Streams that the vendor exports in a job: create the job, poll it until it is complete, then read its results.
//!
//! Input: the slices of a stream, and its `JobPlan`. Output: each slice with its completed job, which is then read
//! like any other; or the fault of a job that failed too often. Called by [`super::scheduler`] while slices are
//! listed, and by `parents` and `check` for one slice at a time.
//!
//! `lifecycle` decides when a job is created, polled, aborted and retried; `requests` sends the requests for this;
//! `results` reads the results of a completed job; `values` finds single values in responses.

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

/// A completed job.
#[derive(Debug, Clone)]
pub(super) struct CompletedJob {
    /// The response to the creation request.
    creation: Json,
    /// The last response to a poll.
    polling: Json,
    /// The body of that response, in which the extractor of result URLs looks.
    body: Arc<Vec<u8>>,
    started: JobStart,
}

/// When a job was created, by the local clock and by the vendor's clock. The vendor's time limits what the results
/// can contain.
#[derive(Debug, Clone, Copy)]
struct JobStart {
    here: Instant,
    there: OffsetDateTime,
}

/// Reads a slice, through a job of its own if the stream uses jobs.
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
    /// Does the stream, or one of its parents, use jobs?
    pub(super) fn needs_jobs(&self) -> bool {
        let inner = self.with_state.iter().map(|with| &with.stream).chain(&self.lists).chain(&self.parents);
        let names = self.properties.as_ref().and_then(Properties::source);
        self.jobs.is_some() || inner.chain(names).any(|stream| stream.needs_jobs())
    }
}
