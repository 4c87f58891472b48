//! Drift: what the vendor changed, and what is done about it.
//!
//! Comes in: a stream's baseline, the tenant's overlay, and every value as the one walk over a record passes it. Goes out:
//! findings, by policy a wider schema, records and values put aside, or a stream that stops. Called by `run`; reports and
//! the verbs of `drift` read what it keeps.

pub mod baseline;
pub mod chance;
mod checks;
mod examine;
pub mod finding;
pub mod kept;
pub mod listen;
pub mod policy;
mod presence;
pub mod quarantine;
pub mod report;
pub mod rollup;
pub mod rules;
pub mod watched;
