//! The state directory: data that outlives a run.
//!
//! Input: a folder. Output: small JSON files in it, each with its own lock, replaced atomically. Called by `auth`
//! (single-use tokens), `drift` and `tenant`. Only the owner can read the files; each has its format version under
//! `v`.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;

/// The state directory.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

/// A file of the state directory.
#[derive(Debug, Clone)]
pub struct StoredFile {
    folder: PathBuf,
    name: String,
    /// The name of the lock file: the file itself is replaced, so it cannot be locked.
    lock: String,
}

/// The new content of a file before it replaces the old one.
#[derive(Debug)]
pub struct Draft {
    file: tempfile::NamedTempFile,
    folder: PathBuf,
    path: PathBuf,
}

/// A file with its lock held; other processes wait until this is dropped.
#[derive(Debug)]
pub struct Locked<'k> {
    file: &'k StoredFile,
    _lock: File,
}

/// Encodes a name as a unique plain file name: everything except letters, digits, `-` and `_` is written as `%` and
/// its bytes.
pub fn file_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out
}

/// The decoded names in a folder, sorted; empty if there is no folder.
pub fn names(folder: &Path, of: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let failed = |e: &std::io::Error| Fault::local(format!("cannot list {}", folder.display()), e);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(&e)),
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(|e| failed(&e))?.file_name();
        found.extend(name.to_str().and_then(&of).and_then(|name| name_of(&name)));
    }
    Ok(found.into_iter().collect())
}

/// Decodes [`file_name`]; `None` for other file names.
fn name_of(file: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(file.len());
    let mut rest = file;
    while let Some(at) = rest.find('%') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(u8::from_str_radix(rest.get(at + 1..at + 3)?, 16).ok()?);
        rest = rest.get(at + 3..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    let name = String::from_utf8(bytes).ok()?;
    (file_name(&name) == file).then_some(name)
}

impl Store {
    /// The state directory at `path`; it is created when something is first saved.
    pub fn new(path: &Path) -> Store {
        Store(path.to_owned())
    }

    /// The file `name` in the folder `folder`; both must be plain names.
    pub fn file(&self, folder: &str, name: &str) -> StoredFile {
        StoredFile { folder: self.0.join(folder), name: format!("{name}.json"), lock: format!("{name}.lock") }
    }
}

impl StoredFile {
    /// A file outside the state directory. Its lock file is next to it.
    pub fn at(path: &Path) -> Result<StoredFile> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Fault::config(format!("{} is not a file name", path.display())));
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(StoredFile { folder: folder.to_owned(), name: name.to_owned(), lock: format!("{name}.lock") })
    }

    /// Waits for the file's lock, unless a stop is requested.
    pub fn lock(&self, stop: &Stop) -> Result<Locked<'_>> {
        let folder = self.folder.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|e| Fault::local(format!("cannot create the folder {folder} in the state directory"), &e))?;
        let path = self.folder.join(&self.lock);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let failed = |e: &std::io::Error| Fault::local(format!("cannot lock {}", path.display()), e);
        let lock = lock.map_err(|e| failed(&e))?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Locked { file: self, _lock: lock }),
                Err(std::fs::TryLockError::WouldBlock) => stop.sleep(Duration::from_millis(50))?,
                Err(std::fs::TryLockError::Error(e)) => return Err(failed(&e)),
            }
        }
    }

    /// The file's bytes; `None` if there is no file. Needs no lock, because files are replaced atomically.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>> {
        let path = self.path();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Fault::local(format!("cannot read {}", path.display()), &e)),
        }
    }

    /// The JSON value in the file; it contains the format version.
    pub fn read(&self) -> Result<Option<Json>> {
        let (path, Some(bytes)) = (self.path(), self.bytes()?) else { return Ok(None) };
        let json: Json = serde_json::from_slice(&bytes).map_err(|e| {
            Fault::config(format!("{} is damaged at line {}, column {}", path.display(), e.line(), e.column()))
                .hint("move it away: the next run starts without its content")
        })?;
        match json["v"].as_u64() {
            Some(1) => Ok(Some(json)),
            _ => Err(Fault::config(format!("{} was written by another version of dripfeed", path.display()))
                .hint("use that version, or move the file away")),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

impl Locked<'_> {
    /// The JSON value in the file; `None` if there is no file.
    pub fn read(&self) -> Result<Option<Json>> {
        self.file.read()
    }

    /// Starts to replace the file: fails if nothing can be written, before data is requested that must be saved.
    pub fn draft(&self) -> Result<Draft> {
        let (folder, path) = (self.file.folder.clone(), self.file.path());
        let file = tempfile::NamedTempFile::new_in(&folder)
            .map_err(|e| Fault::local(format!("cannot write {}", path.display()), &e))?;
        Ok(Draft { file, folder, path })
    }
}

impl Draft {
    /// Replaces the file. After this returns, the new content survives a crash of the machine.
    pub fn put(self, value: &Json) -> Result<()> {
        self.put_text(&value.to_string())
    }

    /// Writes JSON with indentation, for files that people read and compare.
    pub fn put_pretty(self, value: &Json) -> Result<()> {
        self.put_text(&format!("{value:#}\n"))
    }

    /// Writes text, for a file that others can read.
    pub fn put_text(mut self, text: &str) -> Result<()> {
        let failed = |e: &std::io::Error| Fault::local(format!("cannot write {}", self.path.display()), e);
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.as_file().sync_all()).map_err(|e| failed(&e))?;
        self.file.persist(&self.path).map_err(|e| failed(&e.error))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(&e))
    }
}
