//! What every thread of a run shares.
//!
//! Made by `run`, handed by reference through the engine.

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

/// What every thread of a run shares.
pub struct EngineContext {
    /// Sends requests.
    pub fetcher: Fetcher,
    /// Config and now.
    pub cx: Arc<EvalContext>,
    /// The wish to stop.
    pub stop: Arc<Stop>,
    /// Hears of new tokens.
    pub token_listener: Arc<dyn TokenListener>,
    /// Hears of a stream that begins, before anything is asked for it.
    pub started: Box<dyn Fn(&str) + Send + Sync>,
    /// Between two questions how a job stands.
    pub poll: Duration,
    /// Jobs that run at the vendor's.
    pub jobs: AtomicUsize,
    /// Where files of records go.
    pub files: PathBuf,
    /// Hears what changed in a stream's data.
    pub drifted: Box<dyn Fn(&MonitorReport) + Send + Sync>,
    /// Hears what a person should know of a stream.
    pub noticed: Box<dyn Fn(&str, &str) + Send + Sync>,
    /// Notices of streams that are not repeated in this run.
    pub notices: Mutex<HashSet<String>>,
    /// Fields of a stream's answers that promised more records than there were.
    pub broken_promises: Mutex<HashSet<(String, String)>>,
}

impl EngineContext {
    /// Tells what a person should know of a stream, if that was not told in this run.
    pub(super) fn notice_once(&self, stream: &str, message: &str) {
        if self.notices.lock().insert(format!("{stream}: {message}")) {
            (self.noticed)(stream, message);
        }
    }

    /// Is a field of a stream's answers believed that says that there are more records?
    pub(super) fn trusts(&self, stream: &str, field: &str) -> bool {
        !self.broken_promises.lock().contains(&(stream.to_owned(), field.to_owned()))
    }

    /// A field of a stream's answers promised more records than there were: in this run it is not believed again.
    pub(super) fn distrust(&self, stream: &str, field: &str) {
        if self.broken_promises.lock().insert((stream.to_owned(), field.to_owned())) {
            let message = format!(
                "`{field}` said that there are more records, but the next page brought none: it is not believed again \
                 in this run"
            );
            (self.noticed)(stream, &message);
        }
    }
}
