//! The record of a tenant's runs: facts for `status` and alerts, on which no run depends.
//!
//! Input: the start and the end of each run. Output: `runs/<source>/<tenant>.json` in the state directory, replaced
//! as a whole under its lock. `read` and `sync` write it, `status` reads it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;
use crate::base::store::{Store, StoredFile, file_name, names};

/// The format version of the file.
const VERSION: u64 = 1;
/// The number of runs of a slot in the history.
const HISTORY: usize = 20;
/// The slot of runs without a tier.
pub const ALL: &str = "all";
/// The slot of backfills.
pub const BACKFILL: &str = "backfill";

/// Everything that is known about a tenant's runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The format version.
    pub v: u64,
    /// The source.
    pub source: String,
    /// The tenant.
    pub tenant: String,
    /// The last run of each slot: a tier's name, [`ALL`] or [`BACKFILL`].
    pub runs: BTreeMap<String, RunEntry>,
    /// The last runs of each slot, newest last; missing in records of older versions.
    pub history: BTreeMap<String, Vec<PastRun>>,
    /// Each stream that was ever read.
    pub streams: BTreeMap<String, Stream>,
    /// Totals over all runs that ended.
    pub totals: Totals,
}

/// A run in the history of a slot. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PastRun {
    /// `read` or `sync`.
    pub verb: String,
    /// When it began.
    pub began: String,
    /// When it ended; `None` while it runs, or if it was killed.
    pub ended: Option<String>,
    /// The exit code.
    pub exit_code: Option<u8>,
    /// Records sent.
    pub records: u64,
}

/// The last run of a slot. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunEntry {
    /// The run ID.
    pub run_id: String,
    /// `read` or `sync`.
    pub verb: String,
    /// The process ID.
    pub pid: u32,
    /// The paths of its configs.
    pub config: Vec<String>,
    /// The file that got its log lines, if stderr was a file.
    pub log: Option<String>,
    /// When it began.
    pub began: String,
    /// When it ended; `None` while it runs, or if it was killed.
    pub ended: Option<String>,
    /// The exit code.
    pub exit_code: Option<u8>,
    /// The most severe fault if the exit code is not 0, without secrets.
    pub why: Option<String>,
    /// The hint for it.
    pub hint: Option<String>,
    /// The failure of the target, in words: `exit code 1`, `killed by signal 9`; `None` if it succeeded or there was
    /// no target.
    pub target: Option<String>,
    /// The streams to read.
    pub streams: Vec<String>,
    /// The number of streams that were read to their end.
    pub complete: u64,
    /// Records sent.
    pub records: u64,
    /// Requests sent.
    pub calls: u64,
    /// Retried requests.
    pub retried: u64,
    /// Rate-limited responses (HTTP 429 and its equivalents).
    pub rate_limited: u64,
    /// Bytes of responses.
    pub bytes: u64,
    /// The used share of the account's cap, if known.
    pub cap_use: Option<f64>,
    /// Seconds that requests waited for the pace, summed over all threads.
    pub paced_seconds: f64,
    /// When the run can continue, if a wait was too long.
    pub resume_at: Option<String>,
    /// When the last run of the slot with exit code 0 began.
    pub last_good: Option<String>,
    /// When the first run of the current series of failures began (75, 76 and signals do not count as failures).
    pub failing_since: Option<String>,
    /// The number of consecutive runs of the slot with exit 75.
    pub unfinished_in_a_row: u64,
}

/// A stream of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// The slot of the last live run that read it.
    pub slot: String,
    /// Does it have a bookmark?
    pub incremental: bool,
    /// The bookmark: the newest saved cursor value, as the vendor writes it.
    pub bookmark: Option<String>,
    /// Data is complete up to this time: the start of the last live run that read the stream to its end.
    pub fresh: Option<String>,
    /// Records of the last run that read it.
    pub records: u64,
    /// Why the last run did not read it to its end.
    pub fault: Option<String>,
    /// When the first of the runs with this failure began.
    pub failing_since: Option<String>,
    /// The progress of its backfills.
    pub backfill: Option<BackfillRecord>,
}

/// The progress of a stream's backfill.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackfillRecord {
    /// The start of the requested span.
    pub from: String,
    /// The end of the requested span.
    pub to: String,
    /// Slices that were read.
    pub done: u64,
    /// Slices that are known.
    pub of: u64,
    /// Are all slices known?
    pub listed: bool,
    /// Requests of its last run so far.
    pub calls: u64,
    /// When the whole span was read.
    pub ended: Option<String>,
}

/// Totals over all runs of a tenant that ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Totals {
    pub runs: u64,
    /// The number of runs by exit code (as text).
    pub by_exit: BTreeMap<String, u64>,
    pub records: u64,
    pub calls: u64,
    pub retried: u64,
    pub rate_limited: u64,
    pub bytes: u64,
    /// The total duration of the runs, in seconds.
    pub seconds: f64,
}

impl From<&RunEntry> for PastRun {
    fn from(run: &RunEntry) -> PastRun {
        let RunEntry { verb, began, ended, exit_code, records, .. } = run.clone();
        PastRun { verb, began, ended, exit_code, records }
    }
}

impl Record {
    /// Sets the last run of a slot: adds it to the slot's history, or updates it there.
    pub fn set_run(&mut self, slot: &str, run: RunEntry) {
        let mut history = self.history_of(slot);
        match history.iter_mut().find(|past| past.began == run.began) {
            Some(same) => *same = PastRun::from(&run),
            None => history.push(PastRun::from(&run)),
        }
        history.drain(..history.len().saturating_sub(HISTORY));
        self.history.insert(slot.to_owned(), history);
        self.runs.insert(slot.to_owned(), run);
    }

    /// The last runs of a slot, newest last. A record of an older version has only the last one.
    pub fn history_of(&self, slot: &str) -> Vec<PastRun> {
        let last = || self.runs.get(slot).map(PastRun::from).into_iter().collect();
        self.history.get(slot).cloned().unwrap_or_else(last)
    }
}

/// The file of a tenant's record.
#[derive(Debug, Clone)]
pub struct RunRecords(StoredFile);

impl RunRecords {
    /// The file in the state directory at `root`.
    pub fn new(root: &Path, source: &str, tenant: &str) -> RunRecords {
        RunRecords(Store::new(root).file(&format!("runs/{}", file_name(source)), &file_name(tenant)))
    }

    /// Reads the record; `None` before the first run.
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
        Fault::config(format!("cannot read the record of a tenant's runs: {e}"))
            .hint("another version wrote it, or it was edited; delete it: it holds only the history of runs")
    })
}
