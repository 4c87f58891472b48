//! Saves bookmarks that the target echoed.
//!
//! Input: bookmarks before they are sent, and the lines that the target prints. Output: the echoed bookmarks, in the
//! store. Called by `sync`, from the threads that feed, read and watch the target.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::base::fault::Fault;
use crate::base::stop::Stop;
use crate::protocol::state::{self, StateDoc};
use crate::run::context::Context;
use crate::run::log::Level;
use crate::run::read::PreparedRun;
use crate::run::sync::state_acks::{AckTracker, TargetLine};
use crate::tenant::bookmarks::{self, Bookmarks, StateFile};

/// The shortest time between two saves during a run: what a crash loses is read again.
const BETWEEN: Duration = Duration::from_secs(1);

/// The bookmarks of a run that feeds a target.
pub(crate) struct BookmarkWriter {
    context: Context,
    store: Arc<StateFile>,
    /// A document without bookmarks.
    fresh_doc: StateDoc,
    echoes: Mutex<AckTracker>,
    /// Echoed, but not in the store yet.
    fresh: Mutex<Bookmarks>,
    /// The last saved bookmark of each stream, in readable form.
    shown: Mutex<BTreeMap<String, Option<String>>>,
    last: Mutex<Option<Instant>>,
    trouble: Mutex<Option<Fault>>,
    nonsense: AtomicU64,
    strange: AtomicU64,
}

impl BookmarkWriter {
    /// A writer for a run that resumes from `doc`; `fresh_doc` is a document without bookmarks.
    pub(crate) fn new(
        context: &Context,
        ready: &PreparedRun,
        (store, fresh_doc): (Arc<StateFile>, StateDoc),
        doc: &StateDoc,
    ) -> Arc<BookmarkWriter> {
        let names = ready.names();
        Arc::new(BookmarkWriter {
            context: context.clone(),
            store,
            fresh_doc,
            echoes: Mutex::new(AckTracker::new(names.iter().map(|name| (name.as_str(), doc.bookmark(name))))),
            fresh: Mutex::default(),
            shown: Mutex::new(ready.bookmarks(doc).into_iter().collect()),
            last: Mutex::default(),
            trouble: Mutex::default(),
            nonsense: AtomicU64::new(0),
            strange: AtomicU64::new(0),
        })
    }

    /// Called before records of a stream are sent.
    pub(crate) fn records(&self, stream: &str) {
        self.echoes.lock().records(stream);
    }

    /// Called before a bookmark is sent.
    pub(crate) fn sends(&self, stream: &str, bookmark: Option<&Json>) {
        self.echoes.lock().sent(stream, bookmark);
    }

    /// Called when the target printed a line; `None` for one that is too long to be a state.
    pub(crate) fn on_line(&self, line: Option<&[u8]>) {
        let line = line.map_or(TargetLine::Nonsense, |line| self.echoes.lock().take(line));
        match line {
            TargetLine::Nonsense => {
                if self.nonsense.fetch_add(1, Ordering::Relaxed) == 0 {
                    let line = "the target prints lines that are not states; they are ignored";
                    self.context.log.line(Level::Warning, line);
                }
            }
            TargetLine::State { echoed, strange } => {
                self.fresh.lock().extend(echoed);
                if !strange.is_empty() && self.strange.fetch_add(1, Ordering::Relaxed) == 0 {
                    let streams = strange.join(", ");
                    let line =
                        format!("the target echoed a state of {streams} that this run did not send; it is not saved");
                    self.context.log.line(Level::Warning, &line);
                }
            }
        }
    }

    /// Called when the target has loaded everything. `whole` are the streams that were read to their end: if one of
    /// them has no bookmark, a bookmark of an earlier definition is removed.
    pub(crate) fn loaded<'s>(&self, whole: impl Iterator<Item = &'s str>) {
        self.fresh.lock().extend(self.echoes.lock().settled());
        let shown = self.shown.lock();
        let whole = whole.filter(|stream| !shown.contains_key(*stream));
        self.fresh.lock().extend(whole.map(|stream| (stream.to_owned(), None)));
    }

    /// Saves echoed bookmarks: at once, or when the interval has passed.
    pub(crate) fn keep(&self, at_once: bool) {
        let mut last = self.last.lock();
        if !at_once && last.is_some_and(|at| at.elapsed() < BETWEEN) || self.trouble.lock().is_some() {
            return;
        }
        let bookmarks = std::mem::take(&mut *self.fresh.lock());
        if bookmarks.is_empty() || self.context.options.limit.is_some() {
            return;
        }
        *last = Some(Instant::now());
        // A run that is being stopped saves its bookmarks too.
        match bookmarks::keep(&*self.store, &self.fresh_doc, &bookmarks, &Stop::default()) {
            Ok(()) => {
                let mut shown = self.shown.lock();
                for (stream, bookmark) in &bookmarks {
                    if let (Some(shown), Some(bookmark)) = (shown.get_mut(stream), bookmark) {
                        *shown = state::shown(bookmark);
                    }
                }
            }
            Err(fault) => {
                // Without saved bookmarks there is no point in reading on.
                self.context.stop.ask(fault.kind);
                *self.trouble.lock() = Some(fault);
            }
        }
    }

    /// A document without bookmarks.
    pub(crate) fn fresh(&self) -> &StateDoc {
        &self.fresh_doc
    }

    /// Why bookmarks cannot be saved, if so.
    pub(crate) fn trouble(&self) -> Option<Fault> {
        self.trouble.lock().clone()
    }

    /// The streams whose last bookmark the target did not echo.
    pub(crate) fn silent(&self) -> Vec<String> {
        self.echoes.lock().silent()
    }

    /// The saved bookmark of each stream that has one.
    pub(crate) fn shown(&self) -> Vec<(String, Option<String>)> {
        self.shown.lock().clone().into_iter().collect()
    }
}
