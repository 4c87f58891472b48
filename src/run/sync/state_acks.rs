//! Tracks the bookmarks that were sent to a target, and which of them it has echoed.
//!
//! Input: every bookmark before it is sent, and every line that the target prints. Output: the bookmarks that may be
//! saved, because the target has everything they cover. Called by `sync` while it feeds a target.
//!
//! An echo counts only if it matches: the bookmark was sent to the target in this run, and is not older than the last
//! echo. Targets echo the last state, or assemble one stream by stream from several; therefore each stream is checked
//! separately.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::base::json::python;
use crate::tenant::bookmarks::Bookmarks;

/// The hash that identifies a bookmark.
type Mark = [u8; 32];

/// The meaning of a target's output line.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetLine {
    /// A state.
    State {
        /// Bookmarks that may be saved now, by stream; empty if they were echoed before.
        echoed: Bookmarks,
        /// Streams with a bookmark that was never sent, or is older than the last echo.
        strange: Vec<String>,
    },
    /// Not a state.
    Nonsense,
}

/// The sent bookmarks of a run's streams.
#[derive(Debug, Default)]
pub struct AckTracker(BTreeMap<String, SentStates>);

/// The bookmarks of a stream: the first is the last one echoed, the others were sent after it.
#[derive(Debug)]
struct SentStates {
    sent: VecDeque<Sent>,
    /// Were records sent after the last bookmark?
    records: bool,
}

/// A bookmark that was sent.
#[derive(Debug)]
struct Sent {
    mark: Mark,
    /// Were records sent between the previous bookmark and this one?
    covers: bool,
    /// The bookmark itself, if it covers no records and is the last such one.
    value: Option<Json>,
}

impl AckTracker {
    /// A tracker for streams with their initial bookmarks, which need no echo.
    pub fn new<'s>(streams: impl IntoIterator<Item = (&'s str, Option<&'s Json>)>) -> AckTracker {
        let trail = |bookmark| SentStates {
            sent: VecDeque::from([Sent { mark: mark(bookmark), covers: false, value: None }]),
            records: false,
        };
        AckTracker(streams.into_iter().map(|(stream, bookmark)| (stream.to_owned(), trail(bookmark))).collect())
    }

    /// Called before records of a stream are sent.
    pub fn records(&mut self, stream: &str) {
        if let Some(trail) = self.0.get_mut(stream) {
            trail.records = true;
        }
    }

    /// Called before a bookmark is sent.
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

    /// The target has consumed everything and exited with success: bookmarks without new records since the last echo
    /// need no echo. Some targets echo only after they have loaded records.
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

    /// The streams whose last bookmark was not echoed.
    pub fn silent(&self) -> Vec<String> {
        let silent = self.0.iter().filter(|(_, trail)| trail.sent.len() > 1);
        silent.map(|(stream, _)| stream.clone()).collect()
    }

    /// Evaluates a line that the target printed.
    pub fn take(&mut self, line: &[u8]) -> TargetLine {
        let Ok(mut json) = serde_json::from_slice::<Json>(line) else { return TargetLine::Nonsense };
        // A whole STATE message is accepted too.
        if json["type"] == "STATE" && json["value"].is_object() {
            json = json["value"].take();
        }
        let Some(bookmarks) = json.get("bookmarks").and_then(Json::as_object) else { return TargetLine::Nonsense };
        let (mut echoed, mut strange) = (Bookmarks::new(), Vec::new());
        for (stream, trail) in &mut self.0 {
            // The target may not have processed a missing stream yet.
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

/// A hash that does not depend on the order of keys: targets serialize the value again.
fn mark(bookmark: Option<&Json>) -> Mark {
    Sha256::digest(bookmark.map_or_else(String::new, python::canonical)).into()
}
