//! What is requested, how often, and what is done about errors.
//!
//! Read and used as [`super`] says.

use serde_json::Value as Json;

use super::{Authenticator, PropertiesFromEndpoint, QueryProperties};
use crate::manifest::node::{Text, choice, component};

choice! {
    /// How often the vendor may be called.
    ApiBudget { HTTPAPIBudget } later {}
}

component! {
    /// Policies over requests; the first that matches one governs it.
    HTTPAPIBudget {
        /// Them.
        policies: Vec<CallRatePolicy>,
        /// The header of an answer that says how many calls are left; `ratelimit-remaining` when not said.
        ratelimit_remaining_header: Option<String>,
        /// The header that says when there are more; `ratelimit-reset` when not said.
        ratelimit_reset_header: Option<String>,
        /// Statuses that say that none is left; 429 when not said.
        status_codes_for_ratelimit_hit: Option<Vec<u64>>,
    }
}

choice! {
    /// How often requests of a kind may be sent.
    CallRatePolicy { FixedWindowCallRatePolicy, MovingWindowCallRatePolicy, UnlimitedCallRatePolicy } later {}
}

component! {
    /// So many calls in each period.
    FixedWindowCallRatePolicy {
        /// Its length, an ISO-8601 duration.
        period: Text,
        /// Calls.
        call_limit: Text,
        /// Which requests; all when empty.
        matchers: Vec<HttpRequestRegexMatcher>,
    }
}

component! {
    /// So many calls in any window of a length; several rates hold at once.
    MovingWindowCallRatePolicy {
        /// Them.
        rates: Vec<Rate>,
        /// Which requests; all when empty.
        matchers: Vec<HttpRequestRegexMatcher>,
    }
}

component! {
    /// As often as one likes.
    UnlimitedCallRatePolicy {
        /// Which requests; all when empty.
        matchers: Vec<HttpRequestRegexMatcher>,
    }
}

component! {
    /// Calls in a time.
    Rate {
        /// Calls.
        limit: Text,
        /// The time, an ISO-8601 duration.
        interval: Text,
    }
}

component! {
    /// Requests of a kind: everything that is given must hold.
    HttpRequestRegexMatcher {
        /// The method.
        method: Option<String>,
        /// Scheme and host.
        url_base: Option<String>,
        /// A pattern found anywhere in the path.
        url_path_pattern: Option<String>,
        /// Query parameters with their values.
        params: Option<Json>,
        /// Headers with their values.
        headers: Option<Json>,
        /// How many calls one counts for.
        weight: Option<Text>,
    }
}

choice! {
    /// What is requested.
    Requester { HttpRequester } later {}
}

component! {
    /// An HTTP request.
    HttpRequester {
        /// The whole address (newer manifests).
        url: Option<Text>,
        /// The address up to the path.
        url_base: Option<Text>,
        /// The path.
        path: Option<Text>,
        /// GET when not said.
        http_method: Option<String>,
        /// Who asks.
        authenticator: Option<Box<Authenticator>>,
        /// Query parameters.
        request_parameters: Option<Text>,
        /// Headers.
        request_headers: Option<Text>,
        /// A form, or a text.
        request_body_data: Option<Text>,
        /// A JSON body.
        request_body_json: Option<Text>,
        /// A body of a kind (newer manifests).
        request_body: Option<RequestBody>,
        /// What is done about errors.
        error_handler: Option<ErrorHandler>,
        /// Keeps answers for streams that read the same pages (a hint: parents are read once a run here).
        use_cache: Option<bool>,
        /// A connection is given up after that.
        connect_timeout_in_seconds: Option<Text>,
        /// So is an answer that does not begin.
        read_timeout_in_seconds: Option<Text>,
        /// Connections are kept alive in any case.
        use_tcp_keepalive: Option<Text>,
        /// Fields that requests name in templates.
        query_properties: Option<Box<QueryProperties>>,
        /// Fields that requests name in templates, all of them (older manifests).
        fetch_properties_from_endpoint: Option<Box<PropertiesFromEndpoint>>,
    }
}

choice! {
    /// What a request carries.
    RequestBody { RequestBodyPlainText, RequestBodyUrlEncodedForm, RequestBodyJsonObject, RequestBodyGraphQL } later {}
}

component! {
    /// A text.
    RequestBodyPlainText {
        /// It.
        value: Text,
    }
}

component! {
    /// A form.
    RequestBodyUrlEncodedForm {
        /// Its fields.
        value: Text,
    }
}

component! {
    /// A JSON object.
    RequestBodyJsonObject {
        /// It.
        value: Text,
    }
}

component! {
    /// A GraphQL query.
    RequestBodyGraphQL {
        /// An object with `query`, and more if need be.
        value: Text,
    }
}

component! {
    /// Where in a request a value goes.
    RequestOption {
        /// `request_parameter`, `header`, `body_data` or `body_json`.
        inject_into: String,
        /// Under which name.
        field_name: Option<Text>,
        /// At which path of a JSON body.
        field_path: Option<Vec<Text>>,
    }
}

choice! {
    /// What is done about errors.
    ErrorHandler { DefaultErrorHandler, CompositeErrorHandler } later {}
}

component! {
    /// Filters over answers, then the reference's default table.
    DefaultErrorHandler {
        /// Asked in order; the first that matches decides.
        response_filters: Option<Vec<HttpResponseFilter>>,
        /// Asked in order for how long to wait.
        backoff_strategies: Option<Vec<Backoff>>,
        /// Tries after the first.
        max_retries: Option<Text>,
    }
}

component! {
    /// Several handlers.
    CompositeErrorHandler {
        /// Asked in order.
        error_handlers: Vec<ErrorHandler>,
    }
}

component! {
    /// What certain answers mean.
    HttpResponseFilter {
        /// What to do.
        action: Option<String>,
        /// Whose fault it is.
        failure_type: Option<String>,
        /// What to say.
        error_message: Option<Text>,
        /// A text in the error.
        error_message_contains: Option<String>,
        /// Status codes.
        http_codes: Option<Vec<u64>>,
        /// A condition.
        predicate: Option<Text>,
    }
}

choice! {
    /// How long to wait before the next try.
    Backoff {
        ConstantBackoffStrategy, ExponentialBackoffStrategy, WaitTimeFromHeader, WaitUntilTimeFromHeader,
        WaitTimeFromResponse,
    } later {}
}

component! {
    /// Always the same.
    ConstantBackoffStrategy {
        /// Seconds.
        backoff_time_in_seconds: Text,
        /// Up to so many seconds more.
        jitter_range_in_seconds: Option<Text>,
    }
}

component! {
    /// Twice as long each time.
    ExponentialBackoffStrategy {
        /// Seconds of the first, halved.
        factor: Option<Text>,
        /// Up to twice so many seconds more.
        jitter_range_in_seconds: Option<Text>,
    }
}

component! {
    /// As long as a header says.
    WaitTimeFromHeader {
        /// The header.
        header: Text,
        /// What of it is the number.
        regex: Option<String>,
        /// Longer than this is an error.
        max_waiting_time_in_seconds: Option<Text>,
    }
}

component! {
    /// Until the time that a header says.
    WaitUntilTimeFromHeader {
        /// The header: epoch seconds.
        header: Text,
        /// At least so many seconds.
        min_wait: Option<Text>,
        /// What of it is the number.
        regex: Option<String>,
        /// Longer than this is an error.
        max_waiting_time_in_seconds: Option<Text>,
    }
}

component! {
    /// As long as the body of the answer says.
    WaitTimeFromResponse {
        /// A template over `response` and `headers` that gives seconds.
        wait_time_in_seconds: Text,
        /// Longer than this is an error.
        max_waiting_time_in_seconds: Option<Text>,
    }
}
