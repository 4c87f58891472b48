//! The quarantine: a file of records removed from a stream, one per line, on disk before any bookmark passes them.
//!
//! Input: records as the vendor wrote them, with the findings that caused it. Output: a JSONL file that only its
//! owner can read. When a newer version of a quarantined record is sent, a line with its key marks that: a replay then
//! replaces nothing newer. Written by [`super::monitor`], read by `drift replay`.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::rules::Rule;
use crate::base::fault::{Fault, Result};
use crate::base::store::open_own;
use crate::base::timefmt::rfc3339;

/// The default for the largest file, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// The content of a line that marks a newer version.
const NEWER: &str = "newer";

/// A line for the file: a quarantined record, or the mark that a newer version was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    line: Vec<u8>,
    is_record: bool,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The format version.
    pub v: u64,
    /// When the record was quarantined, RFC 3339.
    pub at: String,
    /// The run that quarantined it.
    pub run_id: String,
    /// `record` if it was not sent, `values` if it was sent with nulls, `newer` if a newer version of the record with
    /// this key was sent.
    pub what: String,
    /// The causes.
    pub causes: Vec<Cause>,
    /// The record as the vendor wrote it; `None` if it is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<RawValue>>,
    /// The record's bytes in base64, if they are not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// The key of the record of which a newer version was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Why a record is quarantined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The finding.
    pub fingerprint: String,
    /// The rule of the change.
    pub rule: Rule,
    /// The JSON pointer in the record.
    pub pointer: String,
}

impl Quarantined {
    pub(super) fn new(what: &str, run_id: &str, causes: &[(String, Rule, String)], record: &[u8]) -> Quarantined {
        let causes = causes.iter().map(|(fingerprint, rule, pointer)| Cause {
            fingerprint: fingerprint.clone(),
            rule: *rule,
            pointer: pointer.clone(),
        });
        // Line breaks are removed, so that the file has one record per line.
        let text = std::str::from_utf8(record).ok().map(|text| text.replace(['\n', '\r'], " "));
        let json = text.and_then(|text| RawValue::from_string(text).ok());
        let entry = Entry {
            v: 1,
            at: rfc3339(OffsetDateTime::now_utc()),
            run_id: run_id.to_owned(),
            what: what.to_owned(),
            causes: causes.collect(),
            bytes: if json.is_some() { None } else { Some(STANDARD.encode(record)) },
            record: json,
            key: None,
        };
        entry.line()
    }

    /// The mark that a newer version of the quarantined record with this key was sent.
    pub(super) fn newer(run_id: &str, key: String) -> Quarantined {
        let (at, run_id, what) = (rfc3339(OffsetDateTime::now_utc()), run_id.to_owned(), NEWER.to_owned());
        Entry { v: 1, at, run_id, what, causes: Vec::new(), record: None, bytes: None, key: Some(key) }.line()
    }

    /// Is it a record, not a mark?
    pub(super) fn is_record(&self) -> bool {
        self.is_record
    }
}

impl Entry {
    /// Is it a record, not a mark?
    pub fn is_record(&self) -> bool {
        self.what != NEWER
    }

    fn line(&self) -> Quarantined {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        Quarantined { line, is_record: self.is_record() }
    }
}

/// The keys of quarantined records of which no newer version was sent, as far as the file was read.
#[derive(Debug, Default)]
pub(super) struct AwaitedKeys {
    /// The file's inode, and the number of bytes that were read.
    read: (u64, u64),
    keys: HashSet<String>,
}

impl AwaitedKeys {
    /// Reads the lines that this or another run appended; the whole file if a replay replaced it.
    pub(super) fn refresh(&mut self, path: &Path, key: impl Fn(&[u8]) -> Option<String>) -> Result<()> {
        let failed = |e: &std::io::Error| Fault::local(format!("cannot read records of {}", path.display()), e);
        let metadata = match std::fs::metadata(path) {
            // What is no file is reported once a record must be written there.
            Ok(metadata) if metadata.is_file() => metadata,
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(&e)),
            _ => {
                *self = AwaitedKeys::default();
                return Ok(());
            }
        };
        let (inode, size) = (metadata.ino(), metadata.len());
        if self.read == (inode, size) {
            return Ok(());
        }
        if self.read.0 != inode || self.read.1 > size {
            *self = AwaitedKeys { read: (inode, 0), ..AwaitedKeys::default() };
        }
        let mut new = vec![0; usize::try_from(size - self.read.1).unwrap_or(usize::MAX)];
        open_own(OpenOptions::new().read(true), path)
            .and_then(|file| file.read_exact_at(&mut new, self.read.1))
            .map_err(|e| failed(&e))?;
        // Another run may be writing the last line.
        let end = memchr::memrchr(b'\n', &new).map_or(0, |last| last + 1);
        for line in new[..end].split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            // A line that a killed run left incomplete is no record.
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
            if let Some(key) = &entry.key {
                self.keys.remove(key);
            } else if let Some(key) = entry.record.as_ref().and_then(|record| key(record.get().as_bytes())) {
                self.keys.insert(key);
            }
        }
        self.read.1 += end as u64;
        Ok(())
    }

    /// Does the file contain no such record?
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Does the file contain a record with this key?
    pub(super) fn contains(&self, key: &str) -> bool {
        self.keys.contains(key)
    }
}

/// Appends records to the file. After this returns, they survive a crash of the machine.
///
/// # Errors
/// The file is full, or cannot be written.
pub(super) fn keep(path: &Path, records: &[Quarantined], most: Option<u64>) -> Result<()> {
    let shown = path.display();
    let failed = |e: &std::io::Error| Fault::local(format!("cannot write records to {shown}"), e);
    let folder = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| failed(&e))?;
    let is_new = !path.exists();
    let mut file = locked(path).map_err(|e| failed(&e))?;
    let size = file.metadata().map_err(|e| failed(&e))?.len();
    let lines: Vec<u8> = records.iter().flat_map(|record| record.line.iter().copied()).collect();
    let most = most.unwrap_or(MAX_BYTES);
    // Marks are few and short: a full file must not stop a stream that quarantines nothing.
    if size + lines.len() as u64 > most && records.iter().any(Quarantined::is_record) {
        return Err(Fault::data(format!("the quarantine file {shown} is full: it has {size} of at most {most} bytes")));
    }
    // Ends a line that a killed run left incomplete, so that it corrupts no other line.
    let mut torn = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut torn, size - 1).map_err(|e| failed(&e))?;
    }
    if torn != [b'\n'] {
        file.write_all(b"\n").map_err(|e| failed(&e))?;
    }
    file.write_all(&lines).and_then(|()| file.sync_data()).map_err(|e| failed(&e))?;
    if is_new {
        // The folders may be new too; each must be synced in its parent.
        for folder in folder.ancestors().take(4) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(&e))?;
        }
    }
    Ok(())
}

/// Opens the file for appending, with its lock: a replay may replace it meanwhile.
fn locked(path: &Path) -> std::io::Result<File> {
    loop {
        let file = open_own(OpenOptions::new().create(true).read(true).append(true).mode(0o600), path)?;
        file.lock()?;
        let same = std::fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|mine| mine.ino() == now.ino()));
        if same {
            return Ok(file);
        }
    }
}

/// Passes the lines to `send`, which returns for each whether it stays; the others move to a file next to it
/// (`.replayed.jsonl`). Nothing is appended meanwhile.
///
/// # Errors
/// Errors of `send` and of the files; all lines stay then.
pub fn replay(path: &Path, send: impl FnOnce(&[Entry]) -> Result<Vec<bool>>) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let failed = |e: &std::io::Error| Fault::local(format!("cannot replay {}", path.display()), e);
    let _lock = locked(path).map_err(|e| failed(&e))?;
    let text = std::fs::read(path).map_err(|e| failed(&e))?;
    let (entries, broken) = parsed(path, &text)?;
    let stays = send(&entries)?;
    let mut left = broken;
    let mut gone = Vec::new();
    for (entry, stays) in entries.iter().zip(&stays) {
        let mut line = serde_json::to_vec(entry).map_err(|e| Fault::bug(e.to_string()))?;
        line.push(b'\n');
        if *stays { left.extend(line) } else { gone.extend(line) }
    }
    if gone.is_empty() {
        return Ok(());
    }
    let beside = path.with_extension("replayed.jsonl");
    let mut replayed = locked(&beside).map_err(|e| failed(&e))?;
    replayed.write_all(&gone).and_then(|()| replayed.sync_data()).map_err(|e| failed(&e))?;
    let folder = path.parent().unwrap_or(path);
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    draft.write_all(&left).and_then(|()| draft.as_file().sync_all()).map_err(|e| failed(&e))?;
    draft.persist(path).map_err(|e| failed(&e.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(&e))
}

/// Does the file contain records of this finding? True if it cannot be read.
pub(super) fn holds(path: &Path, fingerprint: &str) -> bool {
    let mut file = match open_own(OpenOptions::new().read(true), path) {
        Ok(file) => BufReader::new(file),
        Err(e) => return e.kind() != ErrorKind::NotFound,
    };
    let cause = format!("\"fingerprint\":\"{fingerprint}\"");
    let mut line = Vec::new();
    loop {
        line.clear();
        match file.read_until(b'\n', &mut line) {
            Ok(0) => return false,
            Ok(_) if line.windows(cause.len()).any(|part| part == cause.as_bytes()) => return true,
            Ok(_) => {}
            Err(_) => return true,
        }
    }
}

/// Parses the lines of a file; invalid ones, such as the incomplete last line of a killed run, are returned
/// unchanged.
fn parsed(path: &Path, text: &[u8]) -> Result<(Vec<Entry>, Vec<u8>)> {
    let (mut entries, mut broken) = (Vec::new(), Vec::new());
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Entry>(line) {
            Ok(entry) if entry.v == 1 => entries.push(entry),
            Ok(_) => {
                return Err(Fault::config(format!("{} was written by another version of dripfeed", path.display()))
                    .hint("use that version"));
            }
            Err(_) => {
                broken.extend_from_slice(line);
                broken.push(b'\n');
            }
        }
    }
    Ok((entries, broken))
}
