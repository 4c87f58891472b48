//! Retrievers, and how they go on after a slice that cannot be read as asked.
//!
//! Read and used as [`super`] says.

use super::{AsyncRetriever, Decoder, Paginator, PartitionRouter, RecordSelector, Requester};
use crate::manifest::node::{OneOrMany, choice, component};

choice! {
    /// How records are fetched.
    Retriever { SimpleRetriever, AsyncRetriever: Box } later {}
}

component! {
    /// Requests, page by page, and the records in them.
    SimpleRetriever {
        /// What is requested.
        requester: Requester,
        /// Where the records stand in an answer.
        record_selector: RecordSelector,
        /// How the next page is asked for.
        paginator: Option<Paginator>,
        /// Which requests beside the first there are.
        partition_router: Option<OneOrMany<PartitionRouter>>,
        /// Sends the router's options with the first page only.
        ignore_stream_slicer_parameters_on_paginated_requests: Option<bool>,
        /// What the body of an answer is.
        decoder: Option<Decoder>,
        /// Begins a slice again.
        pagination_reset: Option<PaginationReset>,
        /// Asks for smaller pages.
        page_size_reduction: Option<PageSizeReduction>,
        /// Asks for shorter windows.
        request_window_splitting: Option<RequestWindowSplitting>,
    }
}

component! {
    /// How a slice begins again.
    PaginationReset {
        /// As it was (`RESET`), or from the newest record seen (`SPLIT_USING_CURSOR`).
        action: String,
        /// When it does so without an error.
        limits: Option<PaginationResetLimits>,
    }
}

component! {
    /// What ends a run of pages.
    PaginationResetLimits {
        /// As many records.
        number_of_records: Option<u64>,
    }
}

component! {
    /// How pages become smaller on REDUCE_PAGE_SIZE.
    PageSizeReduction {
        /// What the size is divided by.
        reduction_factor: Option<f64>,
        /// No smaller than that.
        minimum_page_size: Option<u64>,
        /// So often without a page between.
        max_attempts: Option<u64>,
        /// Waits so long after the first, twice after the second.
        backoff_seconds: Option<f64>,
        /// So often is the smallest page asked for again.
        retries_at_minimum_page_size: Option<u64>,
        /// Said when nothing helps.
        failure_message: Option<String>,
        /// `NEVER`, or `AFTER_SUCCESSFUL_PAGE`: when pages are as large as before.
        reset_policy: Option<String>,
    }
}

component! {
    /// How windows become shorter on SPLIT_REQUEST_WINDOW.
    RequestWindowSplitting {
        /// Said when nothing helps.
        failure_message: Option<String>,
        /// No window of this length or less is split.
        min_split_window: Option<String>,
    }
}
