//! A compiled `AsyncRetriever`: how a stream's records are exported in jobs.
//!
//! Input: the definition. Output: a [`JobPlan`]. Called by [`super::build`]; read by [`super::async_job`], which
//! creates the jobs. It is outside of that folder because `build` depends on it, and that folder depends on `build`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::build::Build;
use super::query_properties;
use super::requester::{self, RequesterPlan};
use crate::base::fault::Result;
use crate::engine::extract::decode::{self, Decoder};
use crate::engine::extract::{self, Records};
use crate::manifest::model::{AsyncRetriever, PaginationStrategy, Paginator, PartitionRouter, Requester, Retriever};
use crate::manifest::node::Text;
use crate::manifest::template::{Template, Vars};

/// The longest wait before a failed job is created again.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Names in templates of job requests.
pub(super) const VARIABLES: [&str; 3] = ["creation_response", "polling_response", "download_target"];

/// A compiled job definition.
#[derive(Debug, Clone)]
pub struct JobPlan {
    pub(super) create: RequesterPlan,
    pub(super) poll: RequesterPlan,
    pub(super) abort: Option<RequesterPlan>,
    pub(super) delete: Option<RequesterPlan>,
    /// Requests the result URLs; without it they come from the responses to `poll`.
    pub(super) target: Option<RequesterPlan>,
    /// Finds the URLs in the response.
    pub(super) targets: Option<Records>,
    pub(super) decoder: Decoder,
    /// Finds a job's status in the responses to `poll`.
    pub(super) status: Records,
    /// The meaning of each of the vendor's statuses.
    pub(super) statuses: BTreeMap<String, JobStatus>,
    /// A job that runs longer is aborted.
    pub(super) timeout: Duration,
    /// The wait before a failed job is created again.
    pub(super) retry_wait: Duration,
    /// The maximum number of running jobs, over all streams.
    pub(super) max_jobs: usize,
}

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobStatus {
    Running,
    Completed,
    Failed,
    TimedOut,
    Skipped,
}

/// Compiles the jobs of a stream; `names` are additional template names.
pub(super) fn build(build: &Build<'_>, def: &AsyncRetriever, names: &[String]) -> Result<JobPlan> {
    let cx = build.cx;
    if def.download_target_requester.is_some() && def.download_target_extractor.is_none() {
        let at = def.at.field("download_target_requester", None);
        return Err(at.fault("`download_target_extractor` is missing; it finds the results' names in the response"));
    }
    let roams = roams(def);
    let requester = |def: &Requester, free| {
        let Requester::HttpRequester(def) = def;
        if query_properties::are_named(def) {
            return Err(def.at.fault("requests about jobs cannot use QueryProperties: only requests for results can"));
        }
        let requester = requester::build(build, def, names, free)?;
        if requester.errors.changes_requests() {
            return Err(def.at.fault("recovery with smaller pages or windows does not work for jobs"));
        }
        Ok(requester)
    };
    let some = |def: &Option<Requester>, free| def.as_ref().map(|def| requester(def, free)).transpose();
    let mapping = &def.status_mapping;
    let mut statuses = BTreeMap::new();
    let none = Vec::new();
    for (status, words) in [
        (JobStatus::Running, &mapping.running),
        (JobStatus::Completed, &mapping.completed),
        (JobStatus::Failed, &mapping.failed),
        (JobStatus::TimedOut, &mapping.timeout),
        (JobStatus::Skipped, mapping.skipped.as_ref().unwrap_or(&none)),
    ] {
        for word in words {
            if statuses.insert(word.clone(), status).is_some() {
                return Err(mapping.at.fault(format!("the status `{word}` is listed twice")));
            }
        }
    }
    let number = |text: &Option<Text>| -> Result<Option<Duration>> {
        let Some(text) = text.as_ref().filter(|t| !t.value.is_null()) else { return Ok(None) };
        let number = Template::compile(text, &[])?.number(&Vars::new(cx))?;
        let time = Duration::try_from_secs_f64(number).map_err(|_| text.at.fault("expected a time of 0 or more"))?;
        Ok(Some(time))
    };
    let retry_wait = match number(&def.failed_retry_wait_time_in_seconds)? {
        Some(time) if time.is_zero() => {
            let at = def.at.field("failed_retry_wait_time_in_seconds", None);
            return Err(at.fault("the wait must be more than 0 seconds"));
        }
        wait => wait.unwrap_or_default().min(MAX_RETRY_WAIT),
    };
    let max_jobs = build.manifest.source.max_concurrent_async_job_count.as_ref();
    let max_jobs = max_jobs.and_then(|text| text.value.as_u64()).and_then(|n| usize::try_from(n).ok());
    Ok(JobPlan {
        create: requester(&def.creation_requester, false)?,
        poll: requester(&def.polling_requester, false)?,
        target: some(&def.download_target_requester, roams)?,
        abort: some(&def.abort_requester, false)?,
        delete: some(&def.delete_requester, false)?,
        decoder: decode::build(def.decoder.as_ref(), None, &def.at)?,
        status: extract::build(&def.status_extractor, cx)?,
        targets: def.download_target_extractor.as_ref().map(|def| extract::build(def, cx)).transpose()?,
        statuses,
        timeout: number(&def.polling_job_timeout)?
            .map_or(Duration::from_secs(60 * 60), |minutes| minutes.saturating_mul(60)),
        retry_wait,
        max_jobs: max_jobs.unwrap_or(1).max(1),
    })
}

impl JobPlan {
    /// Can the job creation requests depend on that entry of their slice?
    pub(super) fn reads_of_slice(&self, entry: &str) -> bool {
        self.create.reads_of_slice(entry)
    }
}

/// May the results of its jobs be on any host? Yes if no config value is sent there, for example through paging or
/// partitions.
pub(super) fn may_roam(def: &Retriever) -> bool {
    matches!(def, Retriever::AsyncRetriever(def) if roams(def))
}

fn roams(def: &AsyncRetriever) -> bool {
    let pages = match &def.download_paginator {
        Some(Paginator::DefaultPaginator(def)) => match &def.pagination_strategy {
            PaginationStrategy::CursorPagination(def) => def.cursor_value.reads_config(),
            _ => false,
        },
        _ => false,
    };
    !pages && !def.partition_router.iter().flat_map(|routers| &routers.0).any(PartitionRouter::reads_config)
}
