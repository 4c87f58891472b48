//! The toolkit with which stages compile their definitions.
//!
//! Input: texts of the manifest. Output: templates and variables. Called by each stage's `build`, and
//! while running. Nothing here knows a stage.

pub mod compiled;
pub mod request_options;
pub mod variables;

pub use compiled::{Template, Types, text_of};
pub use request_options::{Injection, RequestOptions};
pub use variables::{EvalContext, Vars};

/// Names in templates of requests.
pub const REQUEST: &[&str] = &["stream_slice", "stream_partition", "stream_interval", "next_page_token"];
/// The names of a slice in templates: one and the same object.
pub const SLICE: &[&str] = &["stream_slice", "stream_partition", "stream_interval"];
/// Names in templates about records.
pub const RECORD: &[&str] = &["record", "stream_slice", "stream_partition", "stream_interval", "next_page_token"];
/// Names in templates about an answer's paging.
pub const PAGE: &[&str] = &[
    "response",
    "headers",
    "last_record",
    "last_page_size",
    "page_size",
    "stream_slice",
    "stream_partition",
    "stream_interval",
];
/// All names that a template may use somewhere, beside those that a manifest makes.
pub const NAMES: &[&str] = &[
    "stream_slice",
    "stream_partition",
    "stream_interval",
    "next_page_token",
    "record",
    "response",
    "headers",
    "last_record",
    "last_page_size",
    "page_size",
    "request_url",
    "property",
    "raw_schema",
    "components_values",
    "stream_template_config",
    "value",
    "path",
    "query_properties",
    "creation_response",
    "polling_response",
    "download_target",
    "jwt_payload",
    "session_token",
    "login_response",
    "parent_slice",
];
/// Names in templates about an answer that may be an error.
pub const ANSWER: &[&str] = &["response", "headers", "request_url"];
