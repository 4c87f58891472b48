//! Reads the results of a completed job, and deletes the job.
//!
//! Input: a slice and its [`CompletedJob`]. Output: the records of all results, passed to a [`RecordSink`]. Called by
//! the scheduler, and by [`super::read`] for one slice.

use super::CompletedJob;
use super::requests::{JobRequests, with_variables};
use crate::base::fault::{Fault, Result};
use crate::engine::build::StreamPlan;
use crate::engine::context::EngineContext;
use crate::engine::record_sink::{RecordSink, SliceOutcome};
use crate::engine::slice_reader;
use crate::engine::stream_slice::StreamSlice;

/// Reads the results of a completed job, and deletes the job.
pub(in crate::engine) fn download(
    engine: &EngineContext,
    stream: &StreamPlan,
    slice: &StreamSlice,
    job: &CompletedJob,
    sink: &mut dyn RecordSink,
) -> Result<SliceOutcome> {
    let plan = stream.jobs.as_ref().ok_or_else(|| Fault::bug("a job without its plan"))?;
    let requests = JobRequests { engine, stream, plan };
    // The results do not contain changes since the job was created.
    let mut outcome = SliceOutcome { began: Some(job.started.there), ..SliceOutcome::default() };
    for target in requests.targets(slice, job)? {
        let mut variables = job.variables();
        variables.insert("download_target".to_owned(), target);
        let partition = with_variables(&slice.partition, &variables);
        let of_target = slice_reader::read(engine, stream, &partition, slice.window.as_ref(), sink)?;
        if outcome.ends_with(of_target) {
            break;
        }
    }
    requests.delete(slice, job)?;
    Ok(outcome)
}
