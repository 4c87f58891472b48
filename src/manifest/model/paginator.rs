//! Paginators and their strategies.
//!
//! Read and used as [`super`] says.

use super::RequestOption;
use crate::manifest::node::{Text, choice, component};

choice! {
    /// How the next page is asked for.
    Paginator { DefaultPaginator, NoPagination } later {}
}

component! {
    /// One page is all.
    NoPagination {}
}

component! {
    /// Pages, by a token.
    DefaultPaginator {
        /// What the token is.
        pagination_strategy: PaginationStrategy,
        /// Where the page size goes.
        page_size_option: Option<RequestOption>,
        /// Where the token goes.
        page_token_option: Option<PageToken>,
    }
}

choice! {
    /// Where the token goes.
    PageToken { RequestOption, RequestPath } later {}
}

component! {
    /// The token is the path of the next request.
    RequestPath {}
}

choice! {
    /// What the token is.
    PaginationStrategy { PageIncrement, OffsetIncrement, CursorPagination } later {}
}

component! {
    /// Page 0, 1, 2.
    PageIncrement {
        /// Records a page.
        page_size: Option<Text>,
        /// The first page's number.
        start_from_page: Option<u64>,
        /// Says it on the first request too.
        inject_on_first_request: Option<bool>,
    }
}

component! {
    /// How many records were seen.
    OffsetIncrement {
        /// Records a page.
        page_size: Option<Text>,
        /// Says it on the first request too.
        inject_on_first_request: Option<bool>,
    }
}

component! {
    /// What the answer says.
    CursorPagination {
        /// The token.
        cursor_value: Text,
        /// Ends the pages.
        stop_condition: Option<Text>,
        /// Records a page.
        page_size: Option<Text>,
    }
}
