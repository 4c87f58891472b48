//! Records that the vendor prepares in a job.
//!
//! Read and used as [`super`] says.

use super::{
    Decoder, DpathExtractor, Extractor, Paginator, PartitionRouter, RecordSelector, Requester, Retriever,
    SimpleRetriever,
};
use crate::manifest::node::{OneOrMany, Spelling, Text, component};

component! {
    /// A job is made, asked for until it is done, and its results are read.
    AsyncRetriever {
        /// What is done to the records.
        record_selector: RecordSelector,
        /// The vendor's words for how a job stands.
        status_mapping: AsyncJobStatusMap,
        /// Where such a word stands.
        status_extractor: Extractor,
        /// Where the results' names stand.
        download_target_extractor: Option<Extractor>,
        /// Where the records of a result stand.
        download_extractor: Option<Extractor>,
        /// Makes the job.
        creation_requester: Requester,
        /// Asks how it stands.
        polling_requester: Requester,
        /// Minutes until it counts as lost.
        polling_job_timeout: Option<Text>,
        /// Seconds until a job that failed is made anew.
        failed_retry_wait_time_in_seconds: Option<Text>,
        /// Asks for the results' names.
        download_target_requester: Option<Requester>,
        /// Fetches a result.
        download_requester: Requester,
        /// Its pages.
        download_paginator: Option<Paginator>,
        /// Ends a job that is not wanted any more.
        abort_requester: Option<Requester>,
        /// Removes a job that was read.
        delete_requester: Option<Requester>,
        /// Which jobs there are.
        partition_router: Option<OneOrMany<PartitionRouter>>,
        /// What the answers about jobs are.
        decoder: Option<Decoder>,
        /// What a result is.
        download_decoder: Option<Decoder>,
    }
}

component! {
    /// The vendor's words.
    AsyncJobStatusMap {
        /// It runs.
        running: Vec<String>,
        /// It is done.
        completed: Vec<String>,
        /// It failed.
        failed: Vec<String>,
        /// It took too long.
        timeout: Vec<String>,
        /// There is nothing to read.
        skipped: Option<Vec<String>>,
    }
}

component! {
    /// The records of a table in a file.
    ResponseToFileExtractor {
        /// Is a text such as `NA` a text, and no missing value?
        preserve_na_values: Option<bool>,
    }
}

impl Retriever {
    /// How results are read: those of a job are read like pages.
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

    /// Which slices there are.
    pub fn routers(&self) -> &[PartitionRouter] {
        self.router_definition().map_or(&[], |routers| &routers.0)
    }

    /// Are the routers written as a list, be it of one?
    pub fn lists_routers(&self) -> bool {
        self.router_definition().is_some_and(|routers| routers.1 == Spelling::List)
    }
}
