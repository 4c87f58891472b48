//! Where a tenant's bookmarks are kept between the runs of `sync`.
//!
//! Comes in: bookmarks that a target has echoed. Goes out: a Singer state document, in the state directory or in a file
//! of the user's own; another kind of store implements [`StateStore`]. Called by `cli`. What is kept is merged stream
//! by stream under a lock: runs of other tiers keep what they have.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use crate::base::store::{Store, StoredFile, file_name};
use crate::protocol::state::StateDoc;

/// Bookmarks by stream; none for a stream that was read and keeps none.
pub type Bookmarks = BTreeMap<String, Option<Json>>;

/// Keeps one document.
pub trait StateStore: Send + Sync {
    /// Its name for people.
    fn shown(&self) -> String;

    /// The document; nothing before the first run. A fault where it cannot be had: that is not the same.
    fn read(&self) -> Result<Option<Vec<u8>>>;

    /// Replaces the document as a whole or not at all, by what `change` makes of it, while nobody else does. When this
    /// returns, the new one survives a crash of the machine.
    fn update(&self, stop: &Stop, change: &mut dyn FnMut(Option<Vec<u8>>) -> Result<String>) -> Result<()>;
}

/// A store that is a file.
#[derive(Debug)]
pub struct StateFile(StoredFile);

impl StateFile {
    /// The tenant's file in the state directory at `root`; a backfill has one of its own.
    pub fn in_folder(root: &Path, source: &str, tenant: &str, backfill: bool) -> StateFile {
        let name = file_name(tenant);
        let name = if backfill { format!("{name}.backfill") } else { name };
        StateFile(Store::new(root).file(&format!("state/{}", file_name(source)), &name))
    }

    /// A file of the user's own; that of a backfill stands beside it.
    pub fn at(path: &Path, backfill: bool) -> Result<StateFile> {
        if !backfill {
            return StoredFile::at(path).map(StateFile);
        }
        let extension = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
        StoredFile::at(&path.with_extension(format!("backfill{extension}"))).map(StateFile)
    }
}

impl StateStore for StateFile {
    fn shown(&self) -> String {
        self.0.path().display().to_string()
    }

    fn read(&self) -> Result<Option<Vec<u8>>> {
        self.0.bytes()
    }

    fn update(&self, stop: &Stop, change: &mut dyn FnMut(Option<Vec<u8>>) -> Result<String>) -> Result<()> {
        let file = self.0.lock(stop)?;
        let text = change(self.0.bytes()?)?;
        file.draft()?.put_text(&text)
    }
}

/// The document that a run goes on from: `fresh` with what is kept; `reset` names streams that start anew.
pub fn load(store: &dyn StateStore, fresh: StateDoc, reset: &[String]) -> Result<StateDoc> {
    match store.read()? {
        None => Ok(fresh),
        Some(bytes) => fresh.with_bytes(&bytes, &store.shown(), reset),
    }
}

/// Sees that bookmarks can be kept, before any is worth it.
pub fn prepare(store: &dyn StateStore, stop: &Stop) -> Result<()> {
    let unusable = |fault: Fault| Fault { kind: Kind::Config, ..fault };
    // As it is: what cannot be read was refused before.
    let mut same =
        |bytes: Option<Vec<u8>>| Ok(bytes.map_or_else(|| "{}\n".into(), |b| String::from_utf8_lossy(&b).into()));
    store
        .update(stop, &mut same)
        .map_err(|fault| unusable(fault).hint("bookmarks must be kept there: mend it, or name another"))
}

/// Keeps these streams' bookmarks; those of others stay as they are. `fresh` is a document without any.
pub fn keep(store: &dyn StateStore, fresh: &StateDoc, bookmarks: &Bookmarks, stop: &Stop) -> Result<()> {
    let streams: Vec<String> = bookmarks.keys().cloned().collect();
    let fresh = fresh.clone().about(&streams);
    store.update(stop, &mut |bytes| {
        let mut doc = match bytes {
            None => fresh.clone(),
            Some(bytes) => fresh.clone().with_bytes(&bytes, &store.shown(), &streams)?,
        };
        for (stream, bookmark) in bookmarks {
            doc.put(stream, bookmark.clone());
        }
        Ok(format!("{}\n", doc.json()))
    })
}
