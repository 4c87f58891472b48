//! Drift: what the vendor changed, and how dripfeed reacts.
//!
//! Input: a stream's baseline, the tenant's overlay, and every value as the record scan passes it. Output: findings
//! and, by policy, a wider schema, quarantined records and values, or a stopped stream. Called by `engine`; reports
//! and the verbs of `drift` read the findings that it saves.

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
