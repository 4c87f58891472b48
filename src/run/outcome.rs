//! The result of a run: its exit code and what led to it.
//!
//! Input: the outcome of every stream, counts of requests. Output: one value from which the record, the alerts and
//! the exit code are derived. Created by `reporter::summary`.

use crate::base::fault::Fault;
use crate::engine::scheduler::StreamOutcome;
use crate::run::options::RunOptions;
use crate::tenant::run_record::{ALL, BACKFILL};

/// Statistics of the requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    pub(crate) retried: u64,
    pub(crate) limited: u64,
    pub(crate) bytes: u64,
    pub(crate) paced_seconds: f64,
    pub(crate) cap_use: Option<f64>,
    /// Seconds until the run can continue, if a wait was too long.
    pub(crate) resume_after: Option<f64>,
    pub(crate) seconds: f64,
}

/// The result of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOutcome {
    pub(crate) exit_code: u8,
    /// The most severe fault.
    pub(crate) fault: Option<Fault>,
    pub(crate) outcomes: Vec<StreamOutcome>,
    pub(crate) figures: Figures,
    /// The saved bookmark of each stream that has one, in readable form.
    pub(crate) bookmarks: Vec<(String, Option<String>)>,
    /// How the target failed, if it did.
    pub(crate) target: Option<String>,
    /// Streams whose last bookmark the target did not echo.
    pub(crate) silent: Vec<String>,
    /// The fault that ended the run, if it was not reported yet.
    pub(crate) unreported: Option<Fault>,
}

/// The slot of a run: only one run of a slot is active at a time.
pub(crate) fn slot(options: &RunOptions) -> &str {
    if options.backfill.is_some() { BACKFILL } else { options.tier.as_deref().unwrap_or(ALL) }
}
