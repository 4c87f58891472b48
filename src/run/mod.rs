//! One run of one tenant, from its config to its exit code.
//!
//! Input: the options of a command ([`options`]). Output: messages on stdout or into a target, events, the run
//! record, an exit code. Called by `cli`. [`load`] builds a plan from config and manifest, [`read`] runs it to
//! stdout, [`sync`] into a target; [`reporter`] receives events meanwhile; [`outcome`] is the result. Start reading
//! at [`read`].

pub mod active_run;
pub mod alerts;
pub mod backfill;
pub(crate) mod catalog;
pub mod check;
pub mod context;
mod deletes;
pub(crate) mod exchange;
pub mod identity;
pub(crate) mod infer;
pub mod load;
pub(crate) mod log;
pub mod options;
pub mod outcome;
pub mod read;
pub mod reporter;
pub(crate) mod schema_sample;
pub mod sync;
pub(crate) mod test_read;
