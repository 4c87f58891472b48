//! The keys of a stream that the warehouse has, between runs.
//!
//! Input: the state directory, and the generation that the stream's state names. Output: the keys of that generation,
//! and those that runs sent which did not come to an end; then a new generation. Called by `run` (opens it) and
//! [`super::sweep`].
//!
//! The memory is a file of keys, `STREAM.RUN.keys`, and `STREAM.RUN.json` with the rest; RUN is its generation. A run
//! writes a new one, and the stream's state names it. Keys whose tombstones were sent stay in it: they are dropped once
//! a state that names it comes back, because then the target has them; until then they are sent again. Keys are in a
//! journal, `STREAM.RUN.sent`, before their records are sent, so that a run that is killed forgets none.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::key_runs::{self, Entries, KeyEntry, KeyReader};
use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;
use crate::base::store::{Store, file_name};
use crate::protocol::Protocol;

/// The key of a stream's state that names the generation.
const KEY: &str = "dripfeed_deletes";
/// This bit of a flag marks an entry of an earlier run.
pub(super) const OLD: u8 = 0x80;
/// The tombstone was sent, and the target has not acknowledged it.
pub(super) const PENDING: u8 = 0x40;

/// What is remembered beside the keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct MemoryHead {
    v: u64,
    /// The number of generations before it: a run that is killed may leave two.
    number: u64,
    /// A hash of what the stream reads.
    pub(super) scope: String,
    /// When the keys were last compared with the vendor's, RFC 3339.
    pub(super) swept_at: Option<String>,
    /// The number of keys that each partition had, by its hash.
    pub(super) partitions: BTreeMap<u64, u64>,
    /// Open questions, by kind.
    pub(super) questions: BTreeMap<String, Question>,
}

/// A question that a person must answer before records are marked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// The text: stays the same while the question is open.
    pub(super) text: String,
    /// The number of records when it was asked.
    pub(super) count: u64,
}

/// Whose keys they are.
#[derive(Debug, Clone, Copy)]
pub struct MemoryOwner<'o> {
    /// The state directory.
    pub root: &'o Path,
    /// The source.
    pub source: &'o str,
    /// The account.
    pub tenant: &'o str,
    /// The target, or another name for what reads the records.
    pub target: &'o str,
    /// The stream.
    pub stream: &'o str,
    /// The run.
    pub run_id: &'o str,
}

/// The remembered keys of a stream.
#[derive(Debug)]
pub struct KeyMemory {
    store: Store,
    within: String,
    folder: PathBuf,
    stream: String,
    run: String,
    /// The generation to compare with, if there is one.
    base: Option<String>,
    /// The generation that the state names.
    named: Option<String>,
    pub(super) head: MemoryHead,
    /// Journals of runs that did not come to an end.
    journals: Vec<PathBuf>,
    journal: Option<File>,
}

fn failed(path: &Path) -> impl Fn(&std::io::Error) -> Fault {
    let message = format!("cannot remember the keys of a stream in {}", path.display());
    move |e| Fault::local(message.clone(), e)
}

/// Removes the name of the generation from a stream's state.
pub fn taken(state: &mut serde_json::Map<String, Json>) -> Option<String> {
    state.shift_remove(KEY).and_then(|name| name.as_str().map(str::to_owned))
}

/// Adds the name of the generation to a stream's state.
pub(in crate::engine) fn named(state: Option<Json>, protocol: Protocol, generation: &str) -> Json {
    let mut state = state.unwrap_or_else(|| protocol.no_state());
    state[KEY] = generation.into();
    state
}

impl KeyMemory {
    /// Opens the memory of a stream, whose state names a generation.
    pub fn open(owner: &MemoryOwner<'_>, generation: Option<&str>) -> Result<KeyMemory> {
        let parts = [owner.source, owner.tenant, owner.target].map(file_name);
        let within = format!("deletes/{}", parts.join("/"));
        let folder = owner.root.join(&within);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| failed(&folder)(&e))?;
        let mut memory = KeyMemory {
            store: Store::new(owner.root),
            within,
            folder,
            stream: file_name(owner.stream),
            run: file_name(owner.run_id),
            base: None,
            named: generation.map(str::to_owned),
            head: MemoryHead::default(),
            journals: Vec::new(),
            journal: None,
        };
        memory.find()?;
        Ok(memory)
    }

    /// Finds the files, and removes those that are no longer needed.
    fn find(&mut self) -> Result<()> {
        let mut heads = BTreeMap::new();
        for entry in std::fs::read_dir(&self.folder).map_err(|e| failed(&self.folder)(&e))? {
            let name = entry.map_err(|e| failed(&self.folder)(&e))?.file_name();
            let Some(rest) = name.to_str().and_then(|n| n.strip_prefix(&self.stream)?.strip_prefix('.')) else {
                continue;
            };
            if let Some(run) = rest.strip_suffix(".json") {
                heads.insert(run.to_owned(), self.read_head(run)?);
            } else if rest.strip_suffix(".sent").is_some() {
                self.journals.push(self.folder.join(&name));
            }
        }
        self.base = heads.iter().max_by_key(|(_, head)| head.number).map(|(name, _)| name.clone());
        self.head = self.base.as_ref().and_then(|base| heads.remove(base)).unwrap_or_default();
        // A run that was killed left them.
        for name in heads.keys() {
            self.remove(name);
        }
        Ok(())
    }

    /// Has the target acknowledged the generation, and with it the tombstones?
    fn is_acknowledged(&self) -> bool {
        self.base.is_some() && self.base == self.named
    }

    fn read_head(&self, generation: &str) -> Result<MemoryHead> {
        let head = self.store.file(&self.within, &format!("{}.{generation}", self.stream)).read()?.unwrap_or_default();
        serde_json::from_value(head).map_err(|e| {
            let fault = Fault::config(format!("the remembered keys of `{}` cannot be read: {e}", self.stream));
            fault.hint("move the folder `deletes` of the state directory away: the next run learns the keys anew")
        })
    }

    fn keys_of(&self, generation: &str) -> PathBuf {
        self.folder.join(format!("{}.{generation}.keys", self.stream))
    }

    fn remove(&self, generation: &str) {
        let json = self.folder.join(format!("{}.{generation}.json", self.stream));
        let lock = json.with_extension("lock");
        // In this order: keys without their JSON are not read. What is left takes only space.
        for path in [json, lock, self.keys_of(generation)] {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The folder of the files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// When the keys were last compared with the vendor's, RFC 3339.
    pub fn swept_at(&self) -> Option<&str> {
        self.head.swept_at.as_deref()
    }

    /// When a run last began to compare them, RFC 3339.
    pub fn tried_at(&self) -> Result<Option<String>> {
        let path = self.folder.join(format!("{}.tried", self.stream));
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(&path)(&e)),
        }
    }

    /// Notes that a run begins to compare them: one that fails is not repeated at once.
    pub fn tries(&self, now: &str) -> Result<()> {
        let path = self.folder.join(format!("{}.tried", self.stream));
        std::fs::write(&path, now).map_err(|e| failed(&path)(&e))
    }

    /// The generation that the state names until there is a new one.
    pub fn generation(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// Does a run that reads nothing leave the memory as it is?
    pub(super) fn is_settled(&self) -> bool {
        self.is_acknowledged() && self.journals.is_empty() && self.journal.is_none()
    }

    /// The keys of earlier runs in order, beside those of journals.
    pub(super) fn sources(&self) -> Result<Vec<Entries<'static>>> {
        let Some(generation) = &self.base else { return Ok(Vec::new()) };
        let path = self.keys_of(generation);
        let file = File::open(&path).map_err(|e| failed(&path)(&e))?;
        let is_acknowledged = self.is_acknowledged();
        let needed = move |entry: &Result<KeyEntry>| {
            !is_acknowledged || entry.as_ref().map_or(true, |entry| entry.flag != PENDING)
        };
        let old = |entry: Result<KeyEntry>| entry.map(|entry| KeyEntry { flag: OLD | entry.flag, ..entry });
        Ok(vec![Box::new(KeyReader::new(file).filter(needed).map(old))])
    }

    /// Passes on the keys that runs sent which did not come to an end.
    pub(super) fn unfinished(&self, each: &mut dyn FnMut(KeyEntry) -> Result<()>) -> Result<()> {
        for path in &self.journals {
            let file = File::open(path).map_err(|e| failed(path)(&e))?;
            let mut from = BufReader::new(file);
            let mut next = || {
                let (mut length, mut partition) = ([0; 4], [0; 8]);
                from.read_exact(&mut length)?;
                from.read_exact(&mut partition)?;
                let mut key = vec![0; u32::from_le_bytes(length).min(1 << 20) as usize];
                from.read_exact(&mut key)?;
                Ok(KeyEntry { key, partition: u64::from_le_bytes(partition), flag: OLD })
            };
            loop {
                match next() {
                    Ok(entry) => each(entry)?,
                    // The run was killed while it wrote: the records of that page were not sent.
                    Err(e) if ErrorKind::UnexpectedEof == std::io::Error::kind(&e) => break,
                    Err(e) => return Err(failed(path)(&e)),
                }
            }
        }
        Ok(())
    }

    /// Writes keys to the journal, before their records are sent.
    pub(super) fn sends(&mut self, partition: u64, keys: &[Vec<u8>]) -> Result<()> {
        let path = self.folder.join(format!("{}.{}.sent", self.stream, self.run));
        let broken = failed(&path);
        let file = match &mut self.journal {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
                let file = file.map_err(|e| broken(&e))?;
                // A backfill writes one while live runs read it.
                file.lock().map_err(|e| broken(&e))?;
                self.journal.insert(file)
            }
        };
        let mut bytes = Vec::new();
        for key in keys {
            bytes.extend_from_slice(&u32::try_from(key.len()).unwrap_or_default().to_le_bytes());
            bytes.extend_from_slice(&partition.to_le_bytes());
            bytes.extend_from_slice(key);
        }
        file.write_all(&bytes).map_err(|e| broken(&e))
    }

    /// Writes the new generation; returns its name, for the state.
    pub(super) fn put(&mut self, head: MemoryHead, entries: impl Iterator<Item = Result<KeyEntry>>) -> Result<String> {
        let broken = failed(&self.folder);
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(|e| broken(&e))?;
        key_runs::write(file.as_file_mut(), entries)?;
        file.as_file().sync_all().map_err(|e| broken(&e))?;
        file.persist(self.keys_of(&self.run)).map_err(|e| broken(&e.error))?;
        let head = MemoryHead { v: 1, number: self.head.number + 1, ..head };
        let json = serde_json::to_value(&head).map_err(|e| Fault::bug(e.to_string()))?;
        let head_file = self.store.file(&self.within, &format!("{}.{}", self.stream, self.run));
        head_file.lock(&Stop::default())?.draft()?.put(&json)?;
        // The new generation has their keys.
        self.journal = None;
        self.journals.push(self.folder.join(format!("{}.{}.sent", self.stream, self.run)));
        for path in self.journals.drain(..) {
            // Another run that still writes it holds its lock.
            let ended = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if ended {
                let _ = std::fs::remove_file(&path);
            }
        }
        if let Some(before) = self.base.replace(self.run.clone()).filter(|before| *before != self.run) {
            self.remove(&before);
        }
        self.head = head;
        Ok(self.run.clone())
    }
}
