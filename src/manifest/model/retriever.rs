//! Retrievers, and how they recover if a slice cannot be read as requested.
//!
//! See [`super`] for how definitions are read and used.

use super::{AsyncRetriever, Decoder, Paginator, PartitionRouter, RecordSelector, Requester};
use crate::manifest::node::{OneOrMany, choice, component};

choice! {
    /// How records are fetched.
    Retriever { SimpleRetriever, AsyncRetriever: Box } later {}
}

component! {
    /// Requests pages and selects the records in them.
    SimpleRetriever {
        /// The request.
        requester: Requester,
        /// Selects the records in a response.
        record_selector: RecordSelector,
        /// How the next page is requested.
        paginator: Option<Paginator>,
        /// Splits the stream into partitions.
        partition_router: Option<OneOrMany<PartitionRouter>>,
        /// Sends the router's options only with the first page.
        ignore_stream_slicer_parameters_on_paginated_requests: Option<bool>,
        /// The format of a response body.
        decoder: Option<Decoder>,
        /// Starts a slice over.
        pagination_reset: Option<PaginationReset>,
        /// Requests smaller pages.
        page_size_reduction: Option<PageSizeReduction>,
        /// Requests shorter windows.
        request_window_splitting: Option<RequestWindowSplitting>,
    }
}

component! {
    /// How a slice is started over.
    PaginationReset {
        /// Unchanged (`RESET`), or from the newest record (`SPLIT_USING_CURSOR`).
        action: String,
        /// When a slice is started over without an error.
        limits: Option<PaginationResetLimits>,
    }
}

component! {
    /// The limits of one sequence of pages.
    PaginationResetLimits {
        /// The maximum number of records.
        number_of_records: Option<u64>,
    }
}

component! {
    /// How pages become smaller on REDUCE_PAGE_SIZE.
    PageSizeReduction {
        /// The divisor of the page size.
        reduction_factor: Option<f64>,
        /// The minimum page size.
        minimum_page_size: Option<u64>,
        /// The maximum number of reductions without a successful page.
        max_attempts: Option<u64>,
        /// The wait after the first reduction; it doubles after each.
        backoff_seconds: Option<f64>,
        /// The number of retries at the minimum page size.
        retries_at_minimum_page_size: Option<u64>,
        /// The error message if nothing helps.
        failure_message: Option<String>,
        /// When the original page size is restored: `NEVER` or `AFTER_SUCCESSFUL_PAGE`.
        reset_policy: Option<String>,
    }
}

component! {
    /// How windows become shorter on SPLIT_REQUEST_WINDOW.
    RequestWindowSplitting {
        /// The error message if nothing helps.
        failure_message: Option<String>,
        /// Windows of this length or less are not split.
        min_split_window: Option<String>,
    }
}
