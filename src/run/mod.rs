//! One run of one tenant, from its config to its exit code.
//!
//! Input: what a person asked for ([`options`]). Output: messages on stdout or into a target, events, the run's
//! record, an exit code. Called by `cli`. [`load`] makes a plan of config and manifest, [`read`] reads it to stdout,
//! [`sync`] into a target; [`reporter`] hears of what happens meanwhile; [`outcome`] is what came of it. Start reading
//! at [`read`].

pub mod active_run;
pub mod alerts;
pub mod backfill;
pub(crate) mod catalog;
pub mod check;
pub mod context;
pub mod identity;
pub mod load;
pub(crate) mod log;
pub mod options;
pub mod outcome;
pub mod read;
pub mod reporter;
pub mod sync;
