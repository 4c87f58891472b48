//! The state directory: data that outlives a run.
//!
//! Input: a folder. Output: small JSON files in it, each with its own lock, replaced atomically. Called by `auth`
//! (single-use tokens), `drift` and `tenant`. Only the owner can read the files; each has its format version under
//! `v`.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

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
    /// May the file be a link? One that a user names may.
    may_be_link: bool,
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

/// Longer file names are cut and told apart by a hash, in bytes: file systems take 255, and suffixes follow.
const MAX_NAME: usize = 200;

/// Drafts that are older than this were left by runs that were killed.
const DRAFT_LIVES: Duration = Duration::from_secs(60 * 60);

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
    if out.len() > MAX_NAME {
        let hash: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = format!("-{hash}");
        out.truncate(MAX_NAME - hash.len());
        out += &hash;
    }
    out
}

/// Opens a file that only dripfeed writes. A link in its place is not followed: whoever can place one would choose
/// which file is overwritten. A pipe in its place is not waited for.
pub fn open_own(options: &mut OpenOptions, path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = options.custom_flags(flags).open(path).map_err(|e| match e.raw_os_error() {
        Some(code) if code == Errno::LOOP.raw_os_error() => std::io::Error::other("a symbolic link is in its place"),
        _ => e,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is no regular file")) }
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

/// Removes old drafts in a folder. One that cannot be removed stays: it harms nobody.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_draft = entry.file_name().to_str().is_some_and(|name| {
            let rest = name.strip_prefix(".tmp").unwrap_or_default();
            rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        // Of the entry itself, not of what a link leads to.
        let modified = || entry.metadata().ok().filter(std::fs::Metadata::is_file)?.modified().ok()?.elapsed().ok();
        if is_draft && modified().is_some_and(|age| age > DRAFT_LIVES) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Store {
    /// The state directory at `path`; it is created when something is first saved.
    pub fn new(path: &Path) -> Store {
        Store(path.to_owned())
    }

    /// The file `name` in the folder `folder`; both must be plain names.
    pub fn file(&self, folder: &str, name: &str) -> StoredFile {
        let (file, lock) = (format!("{name}.json"), format!("{name}.lock"));
        StoredFile { folder: self.0.join(folder), name: file, lock, may_be_link: false }
    }

    /// Removes the drafts that killed runs left in the folders of a tenant, and in those that tenants share.
    pub fn sweep(&self, source: &str, tenant: &str) {
        let (source, tenant) = (file_name(source), file_name(tenant));
        let folders = std::fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        for folder in folders.filter(|folder| folder.is_dir()) {
            sweep(&folder.join(&source).join(&tenant));
            sweep(&folder.join(&source));
            sweep(&folder);
        }
    }
}

impl StoredFile {
    /// A file outside the state directory. Its lock file is next to it.
    pub fn at(path: &Path) -> Result<StoredFile> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Fault::config(format!("{} is not a file name", path.display())));
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = format!("{name}.lock");
        Ok(StoredFile { folder: folder.to_owned(), name: name.to_owned(), lock, may_be_link: true })
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
        let lock = open_own(options.create(true).truncate(false).write(true).mode(0o600), &path);
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
        let opened = || {
            if self.may_be_link { File::open(&path) } else { open_own(OpenOptions::new().read(true), &path) }
        };
        let read = || {
            let mut bytes = Vec::new();
            opened()?.read_to_end(&mut bytes).map(|_| bytes)
        };
        match read() {
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

#[cfg(test)]
mod tests {
    use super::{file_name, name_of};

    #[test]
    fn long_names_have_short_files_of_their_own() {
        let (one, two) = ("s".repeat(5000), "s".repeat(5001));
        assert!(file_name(&one).len() <= 200 && file_name(&one) != file_name(&two));
        assert_eq!(name_of(&file_name("a/b")).as_deref(), Some("a/b"));
    }
}
