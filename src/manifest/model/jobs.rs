//! Asynchronous jobs: records that the vendor exports.
//!
//! See [`super`] for how definitions are read and used.

use super::{
    Decoder, DpathExtractor, Extractor, Paginator, PartitionRouter, RecordSelector, Requester, Retriever,
    SimpleRetriever,
};
use crate::manifest::node::{OneOrMany, Spelling, Text, component};

component! {
    /// Creates a job, polls it until it is complete, and reads its results.
    AsyncRetriever {
        /// Selects, filters and transforms the records.
        record_selector: RecordSelector,
        /// Maps the vendor's job statuses.
        status_mapping: AsyncJobStatusMap,
        /// The path of the job status.
        status_extractor: Extractor,
        /// The path of the result URLs.
        download_target_extractor: Option<Extractor>,
        /// The path of the records in a result.
        download_extractor: Option<Extractor>,
        /// Creates the job.
        creation_requester: Requester,
        /// Polls the status.
        polling_requester: Requester,
        /// Minutes until the job counts as timed out.
        polling_job_timeout: Option<Text>,
        /// Seconds until a failed job is created again.
        failed_retry_wait_time_in_seconds: Option<Text>,
        /// Requests the result URLs.
        download_target_requester: Option<Requester>,
        /// Downloads a result.
        download_requester: Requester,
        /// The paging of results.
        download_paginator: Option<Paginator>,
        /// Aborts a job that is no longer needed.
        abort_requester: Option<Requester>,
        /// Deletes a job whose results were read.
        delete_requester: Option<Requester>,
        /// The slices; one job each.
        partition_router: Option<OneOrMany<PartitionRouter>>,
        /// The format of responses about jobs.
        decoder: Option<Decoder>,
        /// The format of results.
        download_decoder: Option<Decoder>,
    }
}

component! {
    /// The vendor's job statuses.
    AsyncJobStatusMap {
        /// Statuses of a running job.
        running: Vec<String>,
        /// Statuses of a completed job.
        completed: Vec<String>,
        /// Statuses of a failed job.
        failed: Vec<String>,
        /// Statuses of a timed out job.
        timeout: Vec<String>,
        /// Statuses of a job without results.
        skipped: Option<Vec<String>>,
    }
}

component! {
    /// The records of a table in a file.
    ResponseToFileExtractor {
        /// Is a text such as `NA` kept, rather than read as a missing value?
        preserve_na_values: Option<bool>,
    }
}

impl Retriever {
    /// A retriever for the results, which are read like pages.
    pub fn reading(&self) -> SimpleRetriever {
        let def = match self {
            Retriever::SimpleRetriever(def) => return def.clone(),
            Retriever::AsyncRetriever(def) => def,
        };
        let body = || DpathExtractor { at: def.at.clone(), field_path: Vec::new(), record_expander: None };
        SimpleRetriever {
            at: def.at.clone(),
            requester: def.download_requester.clone(),
            record_selector: RecordSelector {
                extractor: def.download_extractor.clone().unwrap_or_else(|| Extractor::DpathExtractor(body())),
                ..def.record_selector.clone()
            },
            paginator: def.download_paginator.clone(),
            partition_router: def.partition_router.clone(),
            ignore_stream_slicer_parameters_on_paginated_requests: None,
            decoder: def.download_decoder.clone(),
            pagination_reset: None,
            page_size_reduction: None,
            request_window_splitting: None,
        }
    }

    fn router_definition(&self) -> Option<&OneOrMany<PartitionRouter>> {
        match self {
            Retriever::SimpleRetriever(def) => def.partition_router.as_ref(),
            Retriever::AsyncRetriever(def) => def.partition_router.as_ref(),
        }
    }

    /// The partition routers.
    pub fn routers(&self) -> &[PartitionRouter] {
        self.router_definition().map_or(&[], |routers| &routers.0)
    }

    /// Are the routers written as a list, even with a single one?
    pub fn lists_routers(&self) -> bool {
        self.router_definition().is_some_and(|routers| routers.1 == Spelling::List)
    }
}
