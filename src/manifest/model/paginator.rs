//! Paginators and their strategies.
//!
//! See [`super`] for how definitions are read and used.

use super::RequestOption;
use crate::manifest::node::{Text, choice, component};

choice! {
    /// How the next page is requested.
    Paginator { DefaultPaginator, NoPagination } later {}
}

component! {
    /// No paging: a single page.
    NoPagination {}
}

component! {
    /// Paging by a token, number or offset.
    DefaultPaginator {
        /// Determines the token.
        pagination_strategy: PaginationStrategy,
        /// Where the page size is injected.
        page_size_option: Option<RequestOption>,
        /// Where the token is injected.
        page_token_option: Option<PageToken>,
    }
}

choice! {
    /// Where the token is injected.
    PageToken { RequestOption, RequestPath } later {}
}

component! {
    /// Uses the token as the path of the next request.
    RequestPath {}
}

choice! {
    /// Determines the token.
    PaginationStrategy { PageIncrement, OffsetIncrement, CursorPagination } later {}
}

component! {
    /// Page numbers: 0, 1, 2.
    PageIncrement {
        /// Records per page.
        page_size: Option<Text>,
        /// The number of the first page.
        start_from_page: Option<u64>,
        /// Also sends the number with the first request.
        inject_on_first_request: Option<bool>,
    }
}

component! {
    /// Offsets: the number of records so far.
    OffsetIncrement {
        /// Records per page.
        page_size: Option<Text>,
        /// Also sends the offset with the first request.
        inject_on_first_request: Option<bool>,
    }
}

component! {
    /// A token from the response.
    CursorPagination {
        /// The token.
        cursor_value: Text,
        /// The condition that ends paging.
        stop_condition: Option<Text>,
        /// Records per page.
        page_size: Option<Text>,
    }
}
