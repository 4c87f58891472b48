//! Marks records that a backfill may have overwritten with older versions in the warehouse.
//!
//! Input: the start of each backfill, and the live runs that read again. Output: marks next to the bookmarks of
//! backfills, by stream. Called by `run::sync`. The problem: a backfill reads a record, the record changes, a live
//! run loads its new version, and only then the backfill's target loads the old one. No live run would read it again.
//! Therefore, once a backfill and its target have ended, the next live run reads everything again that changed since
//! the first of them began. The mark is saved before anything is sent, and needs no echo: it does not claim that
//! anything was read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::bookmarks::StateStore;
use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;
use crate::protocol::state::StateDoc;

/// The key of the marks in the document.
const KEY: &str = "overtaken";

/// Marks by stream.
pub type RereadMarks = BTreeMap<String, Mark>;

/// The time since when the warehouse may contain outdated versions of a stream's records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When the first of the backfills began, RFC 3339.
    pub since: String,
    /// The last of the backfills: a live run must detect whether another one started meanwhile.
    pub run: String,
}

/// The marks in the store of backfills' bookmarks.
pub fn read(store: &dyn StateStore) -> Result<RereadMarks> {
    // The next backfill reports an unreadable document.
    Ok(store
        .read()?
        .and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok())
        .map(|doc| marks(&doc))
        .unwrap_or_default())
}

/// Called when a backfill of these streams begins, before any record is sent. `fresh` is a document without
/// bookmarks.
pub fn begins(store: &dyn StateStore, fresh: &StateDoc, streams: &[String], mark: &Mark, stop: &Stop) -> Result<()> {
    change(store, fresh, stop, |all| {
        for stream in streams {
            let since = all.get(stream).map_or_else(|| mark.since.clone(), |earlier| earlier.since.clone());
            all.insert(stream.clone(), Mark { since, run: mark.run.clone() });
        }
    })
}

/// Called when a live run that began after these backfills has read the changes again, and all of it is loaded.
pub fn made_up(store: &dyn StateStore, fresh: &StateDoc, done: &RereadMarks, stop: &Stop) -> Result<()> {
    change(store, fresh, stop, |all| all.retain(|stream, mark| done.get(stream) != Some(mark)))
}

fn marks(doc: &Json) -> RereadMarks {
    doc.get(KEY).and_then(|marks| serde_json::from_value(marks.clone()).ok()).unwrap_or_default()
}

fn change(store: &dyn StateStore, fresh: &StateDoc, stop: &Stop, change: impl Fn(&mut RereadMarks)) -> Result<()> {
    store.update(stop, &mut |bytes| {
        let mut doc = match bytes {
            None => fresh.json(),
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        };
        let mut all = marks(&doc);
        change(&mut all);
        let map = doc.as_object_mut();
        let map = map.ok_or_else(|| Fault::config(format!("the state {} is not a JSON object", store.shown())))?;
        if all.is_empty() {
            map.shift_remove(KEY);
        } else {
            map.insert(KEY.into(), json!(all));
        }
        Ok(format!("{doc}\n"))
    })
}
