//! Which bookmarks a target was sent, and which of them it has echoed.
//!
//! Input: every bookmark before it is sent, and every line that the target prints. Output: the bookmarks that may
//! be kept, for all that they cover is in the target's hands. Called by `cli` while it feeds a target.
//!
//! A target is believed only what it was told: a bookmark counts when it was sent to it in this run, and never one
//! older than what it has echoed before. Targets echo the last state, or put one together stream by stream from
//! several; so it is judged by stream.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::base::json::python;
use crate::tenant::bookmarks::Bookmarks;

/// What a bookmark is known by.
type Mark = [u8; 32];

/// What a line of a target says.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetLine {
    /// A state.
    State {
        /// Bookmarks that may be kept now, by stream; none where they were said before.
        echoed: Bookmarks,
        /// Streams with a bookmark that was never sent to it, or is older than what it has echoed.
        strange: Vec<String>,
    },
    /// No state at all.
    Nonsense,
}

/// The bookmarks of a run's streams on their way.
#[derive(Debug, Default)]
pub struct AckTracker(BTreeMap<String, SentStates>);

/// A stream's bookmarks: the first is the last that was echoed, those behind it were sent after it.
#[derive(Debug)]
struct SentStates {
    sent: VecDeque<Sent>,
    /// Did records go out since the last of them?
    records: bool,
}

/// A bookmark that was sent.
#[derive(Debug)]
struct Sent {
    mark: Mark,
    /// Did records go out between the one before and this one?
    covers: bool,
    /// Itself, where it covers nothing and is the last of those.
    value: Option<Json>,
}

impl AckTracker {
    /// Streams with the bookmarks that the run goes on from, which need no echo.
    pub fn new<'s>(streams: impl IntoIterator<Item = (&'s str, Option<&'s Json>)>) -> AckTracker {
        let trail = |bookmark| SentStates {
            sent: VecDeque::from([Sent { mark: mark(bookmark), covers: false, value: None }]),
            records: false,
        };
        AckTracker(streams.into_iter().map(|(stream, bookmark)| (stream.to_owned(), trail(bookmark))).collect())
    }

    /// Records of a stream are about to be sent.
    pub fn records(&mut self, stream: &str) {
        if let Some(trail) = self.0.get_mut(stream) {
            trail.records = true;
        }
    }

    /// This bookmark is about to be sent.
    pub fn sent(&mut self, stream: &str, bookmark: Option<&Json>) {
        let Some(trail) = self.0.get_mut(stream) else { return };
        let mark = mark(bookmark);
        if trail.sent.back().is_some_and(|last| last.mark == mark) {
            return;
        }
        let covers = std::mem::take(&mut trail.records);
        if let Some(last) = trail.sent.back_mut().filter(|_| !covers) {
            last.value = None;
        }
        trail.sent.push_back(Sent { mark, covers, value: bookmark.filter(|_| !covers).cloned() });
    }

    /// The target has taken everything and ended well: bookmarks that cover no record beyond what was echoed need no
    /// echo. Some targets echo only when they have loaded something.
    pub fn settled(&mut self) -> Bookmarks {
        let mut settled = Bookmarks::new();
        for (stream, trail) in &mut self.0 {
            let last = trail.sent.iter().skip(1).take_while(|sent| !sent.covers).count();
            if let Some(value) = trail.sent.get(last).and_then(|sent| sent.value.clone()) {
                trail.sent.drain(..last);
                settled.insert(stream.clone(), Some(value));
            }
        }
        settled
    }

    /// The streams whose last bookmark is not echoed.
    pub fn silent(&self) -> Vec<String> {
        let silent = self.0.iter().filter(|(_, trail)| trail.sent.len() > 1);
        silent.map(|(stream, _)| stream.clone()).collect()
    }

    /// The target printed a line.
    pub fn take(&mut self, line: &[u8]) -> TargetLine {
        let Ok(mut json) = serde_json::from_slice::<Json>(line) else { return TargetLine::Nonsense };
        // The message as a whole is taken too.
        if json["type"] == "STATE" && json["value"].is_object() {
            json = json["value"].take();
        }
        let Some(bookmarks) = json.get("bookmarks").and_then(Json::as_object) else { return TargetLine::Nonsense };
        let (mut echoed, mut strange) = (Bookmarks::new(), Vec::new());
        for (stream, trail) in &mut self.0 {
            // A stream that is not there may be one that the target has not come to yet.
            let Some(bookmark) = bookmarks.get(stream) else { continue };
            let mark = mark(Some(bookmark));
            match trail.sent.iter().rposition(|sent| sent.mark == mark) {
                Some(0) => {}
                Some(at) => {
                    trail.sent.drain(..at);
                    echoed.insert(stream.clone(), Some(bookmark.clone()));
                }
                None => strange.push(stream.clone()),
            }
        }
        TargetLine::State { echoed, strange }
    }
}

/// The same for the same value, however its keys are ordered: targets write it anew.
fn mark(bookmark: Option<&Json>) -> Mark {
    Sha256::digest(bookmark.map_or_else(String::new, python::canonical)).into()
}
