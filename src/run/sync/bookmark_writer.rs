//! What of a run is kept: bookmarks on their way from the target to the store.
//!
//! Input: bookmarks before they are sent, and the lines that the target prints. Output: the bookmarks that were
//! echoed, in the store. Called by `sync`, from the threads that feed, hear and watch the target.

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

/// Bookmarks are kept at most this often while the run goes on: what is lost with a crash is read again.
const BETWEEN: Duration = Duration::from_secs(1);

/// The bookmarks of a run that feeds a target.
pub(crate) struct BookmarkWriter {
    context: Context,
    store: Arc<StateFile>,
    /// A document without bookmarks.
    fresh_doc: StateDoc,
    echoes: Mutex<AckTracker>,
    /// Echoed, and not in the store yet.
    fresh: Mutex<Bookmarks>,
    /// The last of each stream in the store, for people.
    shown: Mutex<BTreeMap<String, Option<String>>>,
    last: Mutex<Option<Instant>>,
    trouble: Mutex<Option<Fault>>,
    nonsense: AtomicU64,
    strange: AtomicU64,
}

impl BookmarkWriter {
    /// Of a run that goes on from `doc`; `fresh_doc` is one without bookmarks.
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

    /// Records of a stream are about to be sent.
    pub(crate) fn records(&self, stream: &str) {
        self.echoes.lock().records(stream);
    }

    /// A bookmark is about to be sent.
    pub(crate) fn sends(&self, stream: &str, bookmark: Option<&Json>) {
        self.echoes.lock().sent(stream, bookmark);
    }

    /// The target printed a line, or one that is too long to be a state.
    pub(crate) fn on_line(&self, line: Option<&[u8]>) {
        let line = line.map_or(TargetLine::Nonsense, |line| self.echoes.lock().take(line));
        match line {
            TargetLine::Nonsense => {
                if self.nonsense.fetch_add(1, Ordering::Relaxed) == 0 {
                    let line = "the target prints lines that are no states; they are ignored";
                    self.context.log.line(Level::Warning, line);
                }
            }
            TargetLine::State { echoed, strange } => {
                self.fresh.lock().extend(echoed);
                if !strange.is_empty() && self.strange.fetch_add(1, Ordering::Relaxed) == 0 {
                    let streams = strange.join(", ");
                    let line = format!("the target echoes a state of {streams} that it was not sent; it is not kept");
                    self.context.log.line(Level::Warning, &line);
                }
            }
        }
    }

    /// The target has loaded all that it was sent. Of `whole`, the streams that were read to their end, those that keep
    /// no bookmark need none of an earlier definition either.
    pub(crate) fn loaded<'s>(&self, whole: impl Iterator<Item = &'s str>) {
        self.fresh.lock().extend(self.echoes.lock().settled());
        let shown = self.shown.lock();
        let whole = whole.filter(|stream| !shown.contains_key(*stream));
        self.fresh.lock().extend(whole.map(|stream| (stream.to_owned(), None)));
    }

    /// Keeps what was echoed: at once, or when it is time.
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
        // A run that is being stopped keeps what it has, too.
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
                // What cannot be remembered is not worth reading on.
                self.context.stop.ask(fault.kind);
                *self.trouble.lock() = Some(fault);
            }
        }
    }

    /// A document without bookmarks.
    pub(crate) fn fresh(&self) -> &StateDoc {
        &self.fresh_doc
    }

    /// Why bookmarks cannot be kept, if so.
    pub(crate) fn trouble(&self) -> Option<Fault> {
        self.trouble.lock().clone()
    }

    /// The streams whose last bookmark the target did not echo.
    pub(crate) fn silent(&self) -> Vec<String> {
        self.echoes.lock().silent()
    }

    /// How far each stream is that keeps a bookmark, as it stands in the store.
    pub(crate) fn shown(&self) -> Vec<(String, Option<String>)> {
        self.shown.lock().clone().into_iter().collect()
    }
}
