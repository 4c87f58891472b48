//! Drift: what the vendor changed, and what is done about it.
//!
//! Input: a stream's baseline, the tenant's overlay, and every value as the one walk over a record passes it.
//! Output: findings, by policy a wider schema, records and values put aside, or a stream that stops. Called by `run`;
//! reports and the verbs of `drift` read what it keeps.

mod absence;
pub mod across_tenants;
pub mod baseline;
mod checks;
mod deviations;
pub mod finding;
pub mod monitor;
pub mod overlay;
pub mod policy;
pub mod quarantine;
pub mod record_observer;
pub mod report;
pub mod rules;
pub mod statistics;
