//! The engine: reads a manifest's streams and produces records, and states that never precede them.
//!
//! Input: a manifest, a tenant's config and earlier states. Output: [`Message`](crate::protocol::Message)s, then the
//! outcome of every stream. Called by `run`. [`build`] compiles a manifest to stream plans; [`scheduler`] gives
//! slices to threads; `slice_reader` reads the pages of one slice; `record_writer` turns records into lines. Start
//! reading there.
//!
//! The stages ([`auth`], [`fetch`], [`page`], [`mod@slice`], [`cursor`], [`extract`], [`shape`]) never depend on each
//! other: only the files next to them combine the stages.

mod answer;
pub mod async_job;
pub mod auth;
pub mod build;
mod collector;
pub mod config_rules;
pub mod context;
pub mod cursor;
pub mod deletes;
mod evidence;
pub mod extract;
pub mod fetch;
pub mod files;
mod job_plan;
pub mod page;
pub mod parents;
mod query_properties;
pub mod record_sink;
mod record_writer;
mod requester;
mod reread_record;
pub mod sample;
pub mod scheduler;
pub mod shape;
pub mod slice;
mod slice_reader;
mod slice_recovery;
mod stream_slice;
pub mod thread_pool;
