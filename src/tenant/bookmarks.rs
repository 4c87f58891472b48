//! Stores a tenant's bookmarks between the runs of `sync`.
//!
//! Input: bookmarks that a target has echoed. Output: a Singer state document, in the state directory or in a file
//! that the user chose; other kinds of stores can implement [`StateStore`]. Called by `run::sync`. Bookmarks are
//! merged stream by stream under a lock: runs of other tiers keep theirs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use crate::base::store::{self, Store, StoredFile, file_name};
use crate::protocol::state::StateDoc;

/// Bookmarks by stream; `None` for a stream that was read and has none.
pub type Bookmarks = BTreeMap<String, Option<Json>>;

/// Stores one document.
pub trait StateStore: Send + Sync {
    /// The name in messages.
    fn shown(&self) -> String;

    /// The document; `None` before the first run. An unreadable document is a fault, not `None`.
    fn read(&self) -> Result<Option<Vec<u8>>>;

    /// Replaces the document atomically with the result of `change`, under a lock. After this returns, the new
    /// document survives a crash of the machine.
    fn update(&self, stop: &Stop, change: &mut dyn FnMut(Option<Vec<u8>>) -> Result<String>) -> Result<()>;
}

/// A store in a file.
#[derive(Debug)]
pub struct StateFile(StoredFile);

/// The files of a tenant's bookmarks in the state directory. The first target has `TENANT.json`, which contains its
/// id; so files from versions without targets stay valid. Each other target has `TENANT.target-ID.json`.
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

    /// The file of a target; backfills have a separate one.
    pub fn of(&self, target: &str, backfill: bool) -> Result<StateFile> {
        let own = self.file(Some(target), false).read()?.is_some();
        let first = !own && self.first()?.is_none_or(|owner| owner == target);
        Ok(self.file(Some(target).filter(|_| !first), backfill))
    }

    /// The targets with bookmarks.
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

    /// Are there bookmarks that do not belong to a target yet?
    pub fn is_unclaimed(&self) -> Result<bool> {
        Ok(self.first()?.is_none() && self.file(None, false).has_bookmarks())
    }

    /// The target that owns the file without a target's name.
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

/// The target in a document, if it has one.
fn owner(bytes: &[u8]) -> Option<String> {
    let doc: Json = serde_json::from_slice(bytes).ok()?;
    doc["dripfeed"]["target"].as_str().map(str::to_owned)
}

impl StateFile {
    fn has_bookmarks(&self) -> bool {
        let doc = self.read().ok().flatten().and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok());
        doc.is_some_and(|doc| doc["bookmarks"].as_object().is_some_and(|bookmarks| !bookmarks.is_empty()))
    }

    /// A file that the user chose; the file for a backfill is next to it.
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

/// The document that a run resumes from: `fresh` with the stored bookmarks; `reset` names streams that start over.
pub fn load(store: &dyn StateStore, fresh: StateDoc, reset: &[String]) -> Result<StateDoc> {
    match store.read()? {
        None => Ok(fresh),
        Some(bytes) => fresh.with_bytes(&bytes, &store.shown(), reset),
    }
}

/// Checks that bookmarks can be saved, before any is produced.
pub fn prepare(store: &dyn StateStore, stop: &Stop) -> Result<()> {
    let unusable = |fault: Fault| Fault { kind: Kind::Config, ..fault };
    // Unchanged: an unreadable document was refused before.
    let mut same =
        |bytes: Option<Vec<u8>>| Ok(bytes.map_or_else(|| "{}\n".into(), |b| String::from_utf8_lossy(&b).into()));
    store.update(stop, &mut same).map_err(|fault| {
        unusable(fault).hint("bookmarks are saved there: make it usable, or choose another state directory")
    })
}

/// Assigns a document without a target to this target.
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

/// Saves the bookmarks of these streams; those of others stay unchanged. `fresh` is a document without bookmarks.
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
