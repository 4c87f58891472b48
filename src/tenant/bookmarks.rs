//! Where a tenant's bookmarks are kept between the runs of `sync`.
//!
//! Input: bookmarks that a target has echoed. Output: a Singer state document, in the state directory or in a file
//! of the user's own; another kind of store implements [`StateStore`]. Called by `cli`. What is kept is merged stream
//! by stream under a lock: runs of other tiers keep what they have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use crate::base::store::{self, Store, StoredFile, file_name};
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

/// The files of a tenant's bookmarks in the state directory. The first target that ran has `TENANT.json`, which bears
/// its mark; so files of versions that knew no targets go on. Each other has `TENANT.target-ID.json`.
#[derive(Debug, Clone)]
pub struct TargetFiles {
    root: PathBuf,
    source: String,
    tenant: String,
}

impl TargetFiles {
    /// The files in the state directory at `root`.
    pub fn new(root: &Path, source: &str, tenant: &str) -> TargetFiles {
        TargetFiles { root: root.to_owned(), source: source.to_owned(), tenant: tenant.to_owned() }
    }

    /// The file of a target; backfills have one of their own.
    pub fn of(&self, target: &str, backfill: bool) -> Result<StateFile> {
        let own = self.file(Some(target), false).read()?.is_some();
        let first = !own && self.first()?.is_none_or(|owner| owner == target);
        Ok(self.file(Some(target).filter(|_| !first), backfill))
    }

    /// The targets that have bookmarks.
    pub fn targets(&self) -> Result<Vec<String>> {
        let prefix = format!("{}.target-", file_name(&self.tenant));
        let of = |name: &str| {
            let id = name.strip_prefix(&prefix)?.strip_suffix(".json")?;
            (!id.contains('.')).then(|| id.to_owned())
        };
        let mut targets = store::names(&self.root.join(self.folder()), of)?;
        targets.retain(|target| self.file(Some(target), false).has_bookmarks());
        let first = self.first()?.filter(|_| self.file(None, false).has_bookmarks());
        targets.extend(first);
        Ok(targets)
    }

    /// Are there bookmarks that belong to no target yet?
    pub fn is_unclaimed(&self) -> Result<bool> {
        Ok(self.first()?.is_none() && self.file(None, false).has_bookmarks())
    }

    /// The target that the file without a target's name belongs to.
    fn first(&self) -> Result<Option<String>> {
        for backfill in [false, true] {
            if let Some(owner) = self.file(None, backfill).read()?.and_then(|bytes| owner(&bytes)) {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }

    fn file(&self, target: Option<&str>, backfill: bool) -> StateFile {
        let mut name = file_name(&self.tenant);
        if let Some(target) = target {
            name += &format!(".target-{}", file_name(target));
        }
        if backfill {
            name += ".backfill";
        }
        StateFile(Store::new(&self.root).file(&self.folder(), &name))
    }

    fn folder(&self) -> String {
        format!("state/{}", file_name(&self.source))
    }
}

/// The target that a document belongs to, where it names one.
fn owner(bytes: &[u8]) -> Option<String> {
    let doc: Json = serde_json::from_slice(bytes).ok()?;
    doc["dripfeed"]["target"].as_str().map(str::to_owned)
}

impl StateFile {
    fn has_bookmarks(&self) -> bool {
        let doc = self.read().ok().flatten().and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok());
        doc.is_some_and(|doc| doc["bookmarks"].as_object().is_some_and(|bookmarks| !bookmarks.is_empty()))
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

/// Marks a document that is no target's as this one's.
pub fn claim(store: &dyn StateStore, target: &str, stop: &Stop) -> Result<()> {
    if store.read()?.is_some_and(|bytes| owner(&bytes).is_some()) {
        return Ok(());
    }
    store.update(stop, &mut |bytes| {
        let text = bytes.as_ref().map_or("{}".into(), |bytes| String::from_utf8_lossy(bytes)).into_owned();
        let Some(Json::Object(mut doc)) = serde_json::from_str(&text).ok().filter(|_| owner(text.as_bytes()).is_none())
        else {
            return Ok(text);
        };
        match doc.entry("dripfeed").or_insert_with(|| json!({"v": 1})) {
            Json::Object(mark) => drop(mark.insert("target".into(), json!(target))),
            _ => return Ok(text),
        }
        Ok(format!("{}\n", Json::Object(doc)))
    })
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
