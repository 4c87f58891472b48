//! What is taken out of a stream is kept: a file of records, a line each, on disk before any bookmark passes them.
//!
//! Comes in: records as the vendor wrote them, with the findings that they are kept for. Goes out: a JSONL file for its owner
//! alone. Written by [`super::watched`], read by `drift replay`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::rules::Rule;
use crate::fault::{Fault, Result};
use crate::timefmt::rfc3339;

/// The largest file when the config says nothing, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// A record that is kept, as a line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside(Vec<u8>);

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the form.
    pub v: u64,
    /// When it was kept, RFC 3339.
    pub at: String,
    /// By which run.
    pub run_id: String,
    /// `record` when it was not sent, `values` when it was sent with nulls.
    pub what: String,
    /// Why.
    pub causes: Vec<Cause>,
    /// The record as the vendor wrote it; nothing when that is no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<RawValue>>,
    /// Its bytes in base64, when they are no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

/// Why a record is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The finding.
    pub fingerprint: String,
    /// Its rule.
    pub rule: Rule,
    /// Where in the record.
    pub pointer: String,
}

impl Aside {
    pub(super) fn new(what: &str, run_id: &str, causes: &[(String, Rule, String)], record: &[u8]) -> Aside {
        let causes = causes.iter().map(|(fingerprint, rule, pointer)| Cause {
            fingerprint: fingerprint.clone(),
            rule: *rule,
            pointer: pointer.clone(),
        });
        // A record of one line, so that the file has a line for each.
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
        };
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        Aside(line)
    }
}

/// Appends records to the file. When this returns they survive a crash of the machine.
///
/// # Errors
/// The file is full, or cannot be written.
pub(super) fn keep(path: &Path, records: &[Aside], most: Option<u64>) -> Result<()> {
    let shown = path.display();
    let failed = |e: &std::io::Error| Fault::local(format!("cannot keep records in {shown}"), e);
    let folder = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| failed(&e))?;
    let is_new = !path.exists();
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|e| failed(&e))?;
    let size = file.metadata().map_err(|e| failed(&e))?.len();
    let lines: Vec<u8> = records.iter().flat_map(|record| record.0.iter().copied()).collect();
    let most = most.unwrap_or(MAX_BYTES);
    if size + lines.len() as u64 > most {
        return Err(Fault::data(format!("the quarantine file {shown} is full: {size} bytes, {most} may be")));
    }
    // One write: runs that share the file do not tear each other's lines.
    file.write_all(&lines).and_then(|()| file.sync_data()).map_err(|e| failed(&e))?;
    if is_new {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(&e))?;
    }
    Ok(())
}

/// Reads the file: its lines, oldest first; a torn last one is left out.
///
/// # Errors
/// It cannot be read, or a line of it is damaged.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Fault::local(format!("cannot read {}", path.display()), &e)),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let entry = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|_| {
            Fault::config(format!("{}:{}: this is no line of a quarantine file", path.display(), number + 1))
        })
    };
    whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(entry).collect()
}
