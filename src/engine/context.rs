//! The context that all threads of a run share.
//!
//! Created by `run`, passed by reference through the engine.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::stop::Stop;
use crate::drift::monitor::MonitorReport;
use crate::engine::auth::TokenListener;
use crate::engine::fetch::Fetcher;
use crate::manifest::template::EvalContext;

/// The context that all threads of a run share.
pub struct EngineContext {
    /// Sends requests.
    pub fetcher: Fetcher,
    /// Config and now.
    pub cx: Arc<EvalContext>,
    /// The stop request.
    pub stop: Arc<Stop>,
    /// Receives new tokens.
    pub token_listener: Arc<dyn TokenListener>,
    /// Called when a stream begins, before any request for it.
    pub started: Box<dyn Fn(&str) + Send + Sync>,
    /// The time between two polls of a job.
    pub poll: Duration,
    /// The number of jobs running at the vendor.
    pub jobs: AtomicUsize,
    /// The folder for files of records.
    pub files: PathBuf,
    /// Receives drift findings of streams.
    pub drifted: Box<dyn Fn(&MonitorReport) + Send + Sync>,
    /// Receives notices about a stream for the user.
    pub noticed: Box<dyn Fn(&str, &str) + Send + Sync>,
    /// Notices that are not repeated in this run.
    pub notices: Mutex<HashSet<String>>,
    /// Response fields that promised more records than there were, by stream.
    pub broken_promises: Mutex<HashSet<(String, String)>>,
}

impl EngineContext {
    /// Sends a notice about a stream, once per run.
    pub(super) fn notice_once(&self, stream: &str, message: &str) {
        if self.notices.lock().insert(format!("{stream}: {message}")) {
            (self.noticed)(stream, message);
        }
    }

    /// Is a response field of a stream trusted that promises more records?
    pub(super) fn trusts(&self, stream: &str, field: &str) -> bool {
        !self.broken_promises.lock().contains(&(stream.to_owned(), field.to_owned()))
    }

    /// Stops trusting a response field that promised more records than there were, for this run.
    pub(super) fn distrust(&self, stream: &str, field: &str) {
        if self.broken_promises.lock().insert((stream.to_owned(), field.to_owned())) {
            let message = format!(
                "`{field}` announced more records, but the next page had none: this run no longer relies on `{field}`"
            );
            (self.noticed)(stream, &message);
        }
    }
}
