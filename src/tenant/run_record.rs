//! What a tenant's runs came to: facts for `status` and for alerts, which no run depends on.
//!
//! Input: the beginning and the end of each run. Output: `runs/<source>/<tenant>.json` of the state directory,
//! replaced as a whole under its lock. Called by `cli`: `read` and `sync` write it, `status` reads it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;
use crate::base::store::{Store, StoredFile, file_name, names};

/// The version of the file's form.
const VERSION: u64 = 1;
/// The slot of runs that name no tier.
pub const ALL: &str = "all";
/// The slot of backfills.
pub const BACKFILL: &str = "backfill";

/// All that is known of a tenant's runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The version of the form.
    pub v: u64,
    /// The source.
    pub source: String,
    /// The tenant.
    pub tenant: String,
    /// The last run of each slot: a tier's name, [`ALL`] or [`BACKFILL`].
    pub runs: BTreeMap<String, RunEntry>,
    /// Each stream that was ever read.
    pub streams: BTreeMap<String, Stream>,
    /// Sums over all runs that ended.
    pub totals: Totals,
}

/// The last run of a slot. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunEntry {
    /// Its name in events and drift.
    pub run_id: String,
    /// `read` or `sync`.
    pub verb: String,
    /// Its process.
    pub pid: u32,
    /// The configs it was given, as they were named.
    pub config: Vec<String>,
    /// When it began.
    pub began: String,
    /// When it ended; nothing while it runs, and for one that was killed.
    pub ended: Option<String>,
    /// How it ended.
    pub exit_code: Option<u8>,
    /// Why it did not end with 0: the gravest fault, without secrets.
    pub why: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What became of the target, in words: `exit code 1`, `killed by signal 9`; nothing when it ended well or there
    /// was none.
    pub target: Option<String>,
    /// The streams it was to read.
    pub streams: Vec<String>,
    /// How many of them it read to their end.
    pub complete: u64,
    /// Records it sent.
    pub records: u64,
    /// Calls it made.
    pub calls: u64,
    /// Of these, how many were tried again.
    pub retried: u64,
    /// How often the vendor said that it was too much.
    pub rate_limited: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// The share of the account's cap that it used, where that is known.
    pub cap_use: Option<f64>,
    /// Seconds its calls waited for the pace, all threads together.
    pub paced_seconds: f64,
    /// When it can go on, where a wait was too long for it.
    pub resume_at: Option<String>,
    /// The last of the slot's runs that ended with 0: when it began.
    pub last_good: Option<String>,
    /// Since when the slot's runs do not end with 0 (75, 76 and signals aside): when the first of them began.
    pub failing_since: Option<String>,
    /// How many of the slot's runs in a row ended with 75.
    pub unfinished_in_a_row: u64,
}

/// A stream of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// The slot of the last live run that read it.
    pub slot: String,
    /// Does it keep a bookmark?
    pub incremental: bool,
    /// How far it is: the newest cursor value that is kept, as the vendor writes it.
    pub bookmark: Option<String>,
    /// When the last live run began that read it to its end: so fresh its data is.
    pub fresh: Option<String>,
    /// Records of the last run that read it.
    pub records: u64,
    /// Why the last run did not read it to its end.
    pub fault: Option<String>,
    /// Since when it is not: when the first of these runs began.
    pub failing_since: Option<String>,
    /// How far its backfills are.
    pub backfill: Option<BackfillRecord>,
}

/// How far a stream's backfill is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackfillRecord {
    /// From when.
    pub from: String,
    /// Until when.
    pub to: String,
    /// Slices that were read.
    pub done: u64,
    /// Slices that are known.
    pub of: u64,
    /// Are all slices known?
    pub listed: bool,
    /// Calls of its last run so far.
    pub calls: u64,
    /// When it was read to its end.
    pub ended: Option<String>,
}

/// Sums over all runs of a tenant that ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Totals {
    pub runs: u64,
    /// Of these, by exit code, as text.
    pub by_exit: BTreeMap<String, u64>,
    pub records: u64,
    pub calls: u64,
    pub retried: u64,
    pub rate_limited: u64,
    pub bytes: u64,
    /// Seconds that runs took, all together.
    pub seconds: f64,
}

/// The file of a tenant's record.
#[derive(Debug, Clone)]
pub struct RunRecords(StoredFile);

impl RunRecords {
    /// In the state directory at `root`.
    pub fn new(root: &Path, source: &str, tenant: &str) -> RunRecords {
        RunRecords(Store::new(root).file(&format!("runs/{}", file_name(source)), &file_name(tenant)))
    }

    /// What is there; nothing before the first run.
    pub fn read(&self) -> Result<Option<Record>> {
        self.0.read()?.map(decoded).transpose()
    }

    /// Changes it under its lock.
    pub fn update(&self, stop: &Stop, change: impl FnOnce(&mut Record)) -> Result<()> {
        let file = self.0.lock(stop)?;
        let mut record: Record = file.read()?.map(decoded).transpose()?.unwrap_or_default();
        change(&mut record);
        record.v = VERSION;
        let json = serde_json::to_value(&record).map_err(|e| Fault::bug(e.to_string()))?;
        file.draft()?.put_pretty(&json)
    }
}

/// Source and tenant of every record in the state directory at `root`.
pub fn all(root: &Path) -> Result<Vec<(String, String)>> {
    let folder = root.join("runs");
    let mut all = Vec::new();
    for source in names(&folder, |name| Some(name.to_owned()))? {
        let tenants = names(&folder.join(file_name(&source)), |name| name.strip_suffix(".json").map(str::to_owned))?;
        all.extend(tenants.into_iter().map(|tenant| (source.clone(), tenant)));
    }
    Ok(all)
}

fn decoded(json: serde_json::Value) -> Result<Record> {
    serde_json::from_value(json).map_err(|e| {
        Fault::config(format!("the record of a tenant's runs cannot be read: {e}"))
            .hint("it is of another version, or was edited: take it away, it tells of runs only")
    })
}
