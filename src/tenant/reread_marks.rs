//! What a backfill may have overtaken on its way into the warehouse.
//!
//! Input: the begin of each backfill, and the live runs that read again. Output: marks beside the bookmarks of
//! backfills, by stream. Called by `cli`. A backfill reads a record, the record changes, a live run loads its new
//! version, and only then the backfill's target loads the old one: no live run would read it again. So once a backfill
//! and its target are gone, the next live run reads again what changed since the first of them began. The mark is made
//! before anything is sent, and needs no echo: it says of nothing that it was read.

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

/// Since when versions of a stream's records may be in the warehouse that are not the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When the first of the backfills began, RFC 3339.
    pub since: String,
    /// The last of them: who makes up for them must know whether there was another meanwhile.
    pub run: String,
}

/// The marks in the store of backfills' bookmarks.
pub fn read(store: &dyn StateStore) -> Result<RereadMarks> {
    // What cannot be read is for the next backfill to refuse.
    Ok(store
        .read()?
        .and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok())
        .map(|doc| marks(&doc))
        .unwrap_or_default())
}

/// A backfill of these streams begins, before anything of it is sent. `fresh` is a document without bookmarks.
pub fn begins(store: &dyn StateStore, fresh: &StateDoc, streams: &[String], mark: &Mark, stop: &Stop) -> Result<()> {
    change(store, fresh, stop, |all| {
        for stream in streams {
            let since = all.get(stream).map_or_else(|| mark.since.clone(), |earlier| earlier.since.clone());
            all.insert(stream.clone(), Mark { since, run: mark.run.clone() });
        }
    })
}

/// A live run that began after these backfills had ended has read again what changed since, and all of it is loaded.
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
        let map = map.ok_or_else(|| Fault::config(format!("the state {} is no JSON object", store.shown())))?;
        if all.is_empty() {
            map.shift_remove(KEY);
        } else {
            map.insert(KEY.into(), json!(all));
        }
        Ok(format!("{doc}\n"))
    })
}
