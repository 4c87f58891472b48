//! What came of a run: its exit code and what led to it.
//!
//! Input: the outcome of every stream, counts of requests. Output: one value that the record, the alerts and the
//! exit code are made of. Made by `reporter::summary`.

use crate::base::fault::Fault;
use crate::engine::scheduler::StreamOutcome;
use crate::run::options::RunOptions;
use crate::tenant::run_record::{ALL, BACKFILL};

/// What requests came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    pub(crate) retried: u64,
    pub(crate) limited: u64,
    pub(crate) bytes: u64,
    pub(crate) paced_seconds: f64,
    pub(crate) cap_use: Option<f64>,
    /// Seconds until the run can go on that a wait was too long for.
    pub(crate) resume_after: Option<f64>,
    pub(crate) seconds: f64,
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOutcome {
    pub(crate) exit_code: u8,
    /// The gravest of what went wrong.
    pub(crate) fault: Option<Fault>,
    pub(crate) outcomes: Vec<StreamOutcome>,
    pub(crate) figures: Figures,
    /// How far each stream is that keeps a bookmark: what is kept of it, for people.
    pub(crate) bookmarks: Vec<(String, Option<String>)>,
    /// How the target ended, where it did not end well.
    pub(crate) target: Option<String>,
    /// Streams whose last bookmark the target did not echo.
    pub(crate) silent: Vec<String>,
    /// What ended it and was not told yet.
    pub(crate) unreported: Option<Fault>,
}

/// The name of what a run is: no two of one name run at a time.
pub(crate) fn slot(options: &RunOptions) -> &str {
    if options.backfill.is_some() { BACKFILL } else { options.tier.as_deref().unwrap_or(ALL) }
}
