//! What of a run is kept: bookmarks on their way from the target to the store.
//!
//! Comes in: bookmarks before they are sent, and the lines that the target prints. Goes out: the bookmarks that were echoed,
//! in the store. Called by `sync`, from the threads that feed, hear and watch the target.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::cli::commands::Work;
use crate::cli::log::Level;
use crate::cli::read::{Ready, fresh};
use crate::fault::Fault;
use crate::mutex::lock;
use crate::state::{self, StateDoc};
use crate::stop::Stop;
use crate::tenant::bookmarks::{self, Bookmarks, StateFile};
use crate::tenant::echo::{Echoes, Said};

/// Bookmarks are kept at most this often while the run goes on: what is lost with a crash is read again.
const BETWEEN: Duration = Duration::from_secs(1);

/// The bookmarks of a run that feeds a target.
pub(super) struct Kept {
    work: Work,
    store: Arc<StateFile>,
    /// A document without bookmarks.
    fresh_doc: StateDoc,
    echoes: Mutex<Echoes>,
    /// Echoed, and not in the store yet.
    fresh: Mutex<Bookmarks>,
    /// The last of each stream in the store, for people.
    shown: Mutex<BTreeMap<String, Option<String>>>,
    last: Mutex<Option<Instant>>,
    trouble: Mutex<Option<Fault>>,
    nonsense: AtomicU64,
    strange: AtomicU64,
}

impl Kept {
    /// Of a run that goes on from `doc`.
    pub(super) fn new(work: &Work, ready: &Ready, store: Arc<StateFile>, doc: &StateDoc) -> Arc<Kept> {
        let names = ready.names();
        let plan = &ready.loaded.plan;
        Arc::new(Kept {
            work: work.clone(),
            store,
            fresh_doc: fresh(work, plan),
            echoes: Mutex::new(Echoes::new(names.iter().map(|name| (name.as_str(), doc.bookmark(name))))),
            fresh: Mutex::default(),
            shown: Mutex::new(ready.bookmarks(doc).into_iter().collect()),
            last: Mutex::default(),
            trouble: Mutex::default(),
            nonsense: AtomicU64::new(0),
            strange: AtomicU64::new(0),
        })
    }

    /// Records of a stream are about to be sent.
    pub(super) fn records(&self, stream: &str) {
        lock(&self.echoes).records(stream);
    }

    /// A bookmark is about to be sent.
    pub(super) fn sends(&self, stream: &str, bookmark: Option<&Json>) {
        lock(&self.echoes).sent(stream, bookmark);
    }

    /// The target printed a line, or one that is too long to be a state.
    pub(super) fn hears(&self, line: Option<&[u8]>) {
        let said = line.map_or(Said::Nonsense, |line| lock(&self.echoes).take(line));
        match said {
            Said::Nonsense => {
                if self.nonsense.fetch_add(1, Ordering::Relaxed) == 0 {
                    let said = "the target prints lines that are no states; they are ignored";
                    self.work.log.line(Level::Warning, said);
                }
            }
            Said::State { echoed, strange } => {
                lock(&self.fresh).extend(echoed);
                if !strange.is_empty() && self.strange.fetch_add(1, Ordering::Relaxed) == 0 {
                    let streams = strange.join(", ");
                    let said = format!("the target echoes a state of {streams} that it was not sent; it is not kept");
                    self.work.log.line(Level::Warning, &said);
                }
            }
        }
    }

    /// The target has loaded all that it was sent. Of `whole`, the streams that were read to their end, those that keep no
    /// bookmark need none of an earlier definition either.
    pub(super) fn loaded<'s>(&self, whole: impl Iterator<Item = &'s str>) {
        lock(&self.fresh).extend(lock(&self.echoes).settled());
        let shown = lock(&self.shown);
        let whole = whole.filter(|stream| !shown.contains_key(*stream));
        lock(&self.fresh).extend(whole.map(|stream| (stream.to_owned(), None)));
    }

    /// Keeps what was echoed: at once, or when it is time.
    pub(super) fn keep(&self, at_once: bool) {
        let mut last = lock(&self.last);
        if !at_once && last.is_some_and(|at| at.elapsed() < BETWEEN) || lock(&self.trouble).is_some() {
            return;
        }
        let bookmarks = std::mem::take(&mut *lock(&self.fresh));
        if bookmarks.is_empty() || self.work.options.limit.is_some() {
            return;
        }
        *last = Some(Instant::now());
        // A run that is being stopped keeps what it has, too.
        match bookmarks::keep(&*self.store, &self.fresh_doc, &bookmarks, &Stop::default()) {
            Ok(()) => {
                let mut shown = lock(&self.shown);
                for (stream, bookmark) in &bookmarks {
                    if let (Some(shown), Some(bookmark)) = (shown.get_mut(stream), bookmark) {
                        *shown = state::shown(bookmark);
                    }
                }
            }
            Err(fault) => {
                // What cannot be remembered is not worth reading on.
                self.work.stop.ask(fault.kind);
                *lock(&self.trouble) = Some(fault);
            }
        }
    }

    /// A document without bookmarks.
    pub(super) fn fresh(&self) -> &StateDoc {
        &self.fresh_doc
    }

    /// Why bookmarks cannot be kept, if so.
    pub(super) fn trouble(&self) -> Option<Fault> {
        lock(&self.trouble).clone()
    }

    /// The streams whose last bookmark the target did not echo.
    pub(super) fn silent(&self) -> Vec<String> {
        lock(&self.echoes).silent()
    }

    /// How far each stream is that keeps a bookmark, as it stands in the store.
    pub(super) fn shown(&self) -> Vec<(String, Option<String>)> {
        lock(&self.shown).clone().into_iter().collect()
    }
}
