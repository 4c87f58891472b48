//! Tools with which the stages compile their definitions.
//!
//! Input: texts of the manifest. Output: templates and variables. Called by each stage's `build`, and during the run.
//! This module depends on no stage.

pub mod compiled;
pub mod request_options;
pub mod variables;

pub use compiled::{Template, Types, text_of};
pub use request_options::{Injection, RequestOptions};
pub use variables::{EvalContext, Vars};

/// Names in request templates.
pub const REQUEST: &[&str] = &["stream_slice", "stream_partition", "stream_interval", "next_page_token"];
/// The names of a slice in templates: all refer to the same object.
pub const SLICE: &[&str] = &["stream_slice", "stream_partition", "stream_interval"];
/// Names in record templates.
pub const RECORD: &[&str] = &["record", "stream_slice", "stream_partition", "stream_interval", "next_page_token"];
/// Names in paging templates.
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
/// All names that a template may use somewhere, apart from those that a manifest defines.
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
/// Names in templates about a response that may be an error.
pub const ANSWER: &[&str] = &["response", "headers", "request_url"];
