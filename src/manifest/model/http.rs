//! Requests, rate limits and error handling.
//!
//! See [`super`] for how definitions are read and used.

use serde_json::Value as Json;

use super::{Authenticator, PropertiesFromEndpoint, QueryProperties};
use crate::manifest::node::{Text, choice, component};

choice! {
    /// The rate limits of the vendor.
    ApiBudget { HTTPAPIBudget } later {}
}

component! {
    /// Rate limit policies for requests; the first matching policy applies.
    HTTPAPIBudget {
        /// The policies.
        policies: Vec<CallRatePolicy>,
        /// The response header with the number of remaining calls; `ratelimit-remaining` by default.
        ratelimit_remaining_header: Option<String>,
        /// The response header with the reset time; `ratelimit-reset` by default.
        ratelimit_reset_header: Option<String>,
        /// Statuses that mean that no call is left; 429 by default.
        status_codes_for_ratelimit_hit: Option<Vec<u64>>,
    }
}

choice! {
    /// The rate limit for a kind of requests.
    CallRatePolicy { FixedWindowCallRatePolicy, MovingWindowCallRatePolicy, UnlimitedCallRatePolicy } later {}
}

component! {
    /// A fixed number of calls per period.
    FixedWindowCallRatePolicy {
        /// The length of the period, an ISO-8601 duration.
        period: Text,
        /// The number of calls.
        call_limit: Text,
        /// The requests that it applies to; all if empty.
        matchers: Vec<HttpRequestRegexMatcher>,
    }
}

component! {
    /// A maximum number of calls in any window of a given length; several rates apply together.
    MovingWindowCallRatePolicy {
        /// The rates.
        rates: Vec<Rate>,
        /// The requests that it applies to; all if empty.
        matchers: Vec<HttpRequestRegexMatcher>,
    }
}

component! {
    /// No rate limit.
    UnlimitedCallRatePolicy {
        /// The requests that it applies to; all if empty.
        matchers: Vec<HttpRequestRegexMatcher>,
    }
}

component! {
    /// A number of calls per time.
    Rate {
        /// The number of calls.
        limit: Text,
        /// The length of the window, an ISO-8601 duration.
        interval: Text,
    }
}

component! {
    /// Matches requests: all given conditions must hold.
    HttpRequestRegexMatcher {
        /// The HTTP method.
        method: Option<String>,
        /// Scheme and host.
        url_base: Option<String>,
        /// A pattern that occurs in the path.
        url_path_pattern: Option<String>,
        /// Query parameters with their values.
        params: Option<Json>,
        /// Headers with their values.
        headers: Option<Json>,
        /// The number of calls that a matching request counts as.
        weight: Option<Text>,
    }
}

choice! {
    /// A request.
    Requester { HttpRequester } later {}
}

component! {
    /// An HTTP request.
    HttpRequester {
        /// The full URL (newer manifests).
        url: Option<Text>,
        /// The base URL.
        url_base: Option<Text>,
        /// The path.
        path: Option<Text>,
        /// The HTTP method; GET by default.
        http_method: Option<String>,
        /// The authenticator.
        authenticator: Option<Box<Authenticator>>,
        /// Query parameters.
        request_parameters: Option<Text>,
        /// Headers.
        request_headers: Option<Text>,
        /// The body: form fields, or a text.
        request_body_data: Option<Text>,
        /// A JSON body.
        request_body_json: Option<Text>,
        /// A typed body (newer manifests).
        request_body: Option<RequestBody>,
        /// How errors are handled.
        error_handler: Option<ErrorHandler>,
        /// Caches responses for streams that request the same pages (a hint: dripfeed reads each parent once per
        /// run).
        use_cache: Option<bool>,
        /// The connect timeout.
        connect_timeout_in_seconds: Option<Text>,
        /// The timeout for the start of a response.
        read_timeout_in_seconds: Option<Text>,
        /// Ignored: connections are always kept alive.
        use_tcp_keepalive: Option<Text>,
        /// Fields that requests name through templates.
        query_properties: Option<Box<QueryProperties>>,
        /// Fields that requests name through templates, all at once (older manifests).
        fetch_properties_from_endpoint: Option<Box<PropertiesFromEndpoint>>,
    }
}

choice! {
    /// The body of a request.
    RequestBody { RequestBodyPlainText, RequestBodyUrlEncodedForm, RequestBodyJsonObject, RequestBodyGraphQL } later {}
}

component! {
    /// A text.
    RequestBodyPlainText {
        /// The text.
        value: Text,
    }
}

component! {
    /// A form.
    RequestBodyUrlEncodedForm {
        /// The form fields.
        value: Text,
    }
}

component! {
    /// A JSON object.
    RequestBodyJsonObject {
        /// The object.
        value: Text,
    }
}

component! {
    /// A GraphQL query.
    RequestBodyGraphQL {
        /// An object with `query`, and optional further keys.
        value: Text,
    }
}

component! {
    /// Where a value is injected into a request.
    RequestOption {
        /// `request_parameter`, `header`, `body_data` or `body_json`.
        inject_into: String,
        /// The field name.
        field_name: Option<Text>,
        /// The path in a JSON body.
        field_path: Option<Vec<Text>>,
    }
}

choice! {
    /// How errors are handled.
    ErrorHandler { DefaultErrorHandler, CompositeErrorHandler } later {}
}

component! {
    /// Response filters, followed by the reference's default table.
    DefaultErrorHandler {
        /// Filters in order; the first match decides.
        response_filters: Option<Vec<HttpResponseFilter>>,
        /// Backoff strategies in order; the first with a wait applies.
        backoff_strategies: Option<Vec<Backoff>>,
        /// Retries after the first attempt.
        max_retries: Option<Text>,
    }
}

component! {
    /// Several handlers.
    CompositeErrorHandler {
        /// The handlers in order.
        error_handlers: Vec<ErrorHandler>,
    }
}

component! {
    /// Defines the meaning of matching responses.
    HttpResponseFilter {
        /// The action.
        action: Option<String>,
        /// The failure type.
        failure_type: Option<String>,
        /// The message for the user.
        error_message: Option<Text>,
        /// A text that the error contains.
        error_message_contains: Option<String>,
        /// Status codes.
        http_codes: Option<Vec<u64>>,
        /// A condition.
        predicate: Option<Text>,
    }
}

choice! {
    /// The wait before the next attempt.
    Backoff {
        ConstantBackoffStrategy, ExponentialBackoffStrategy, WaitTimeFromHeader, WaitUntilTimeFromHeader,
        WaitTimeFromResponse,
    } later {}
}

component! {
    /// A constant wait.
    ConstantBackoffStrategy {
        /// Seconds.
        backoff_time_in_seconds: Text,
        /// Adds a random wait of up to twice this many seconds.
        jitter_range_in_seconds: Option<Text>,
    }
}

component! {
    /// A wait that doubles each time.
    ExponentialBackoffStrategy {
        /// Half the seconds of the first wait.
        factor: Option<Text>,
        /// Adds a random wait of up to twice this many seconds.
        jitter_range_in_seconds: Option<Text>,
    }
}

component! {
    /// A wait given by a response header.
    WaitTimeFromHeader {
        /// The header.
        header: Text,
        /// A pattern that extracts the number.
        regex: Option<String>,
        /// A longer wait is an error.
        max_waiting_time_in_seconds: Option<Text>,
    }
}

component! {
    /// A wait until the time in a response header.
    WaitUntilTimeFromHeader {
        /// The header: epoch seconds.
        header: Text,
        /// The minimum wait in seconds.
        min_wait: Option<Text>,
        /// A pattern that extracts the number.
        regex: Option<String>,
        /// A longer wait is an error.
        max_waiting_time_in_seconds: Option<Text>,
    }
}

component! {
    /// A wait given by the response body.
    WaitTimeFromResponse {
        /// A template over `response` and `headers` that evaluates to seconds.
        wait_time_in_seconds: Text,
        /// A longer wait is an error.
        max_waiting_time_in_seconds: Option<Text>,
    }
}
