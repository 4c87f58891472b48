//! Watches a stream for drift while it is read.
//!
//! Input: the stream's baseline and the tenant's overlay; deviating records, pages and responses as they are read.
//! Output: a decision for each deviating record; a growing schema; findings, saved and reported; the fault that stops
//! the stream. Called by `engine`, from every thread that reads a slice of the stream.

mod decide;
mod end;
mod gone;
mod page;

use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::absence;
use super::baseline::{self, COLUMN, merged};
use super::checks::{Checks, Tolerated};
use super::finding::Finding;
use super::overlay::{Overlay, OverlayFiles};
use super::policy::Policies;
use super::quarantine::{AwaitedKeys, Quarantined};
use super::record_observer::{Counts, RecordListener};
use crate::base::config::Drift as Config;
use crate::base::fault::{Fault, Result};
use crate::base::timefmt::rfc3339;

pub use decide::{Judged, Without};
pub use end::MonitorReport;
pub use page::Page;

/// The default for the largest record that is sent, in bytes.
const MAX_RECORD: u64 = 16 << 20;
/// After this many records a stream has learned what is normal, even if no read was complete.
const TAUGHT: u64 = 1000;

/// The source, tenant and run that the data belongs to.
#[derive(Debug, Clone)]
pub struct RunNames {
    /// The source.
    pub source: String,
    /// The account.
    pub tenant: String,
    /// The run ID.
    pub run_id: String,
}

/// The stream to monitor, and how.
#[derive(Debug)]
pub struct MonitorConfig<'g> {
    /// The source, tenant and run.
    pub names: RunNames,
    /// The stream.
    pub stream: &'g str,
    /// The stream's schema.
    pub schema: &'g Json,
    /// Was the schema reviewed for drift? If not, the first runs learn what is normal.
    pub reviewed: bool,
    /// The paths of the key properties.
    pub keys: &'g [Vec<String>],
    /// The cursor field.
    pub cursor: Option<&'g str>,
    /// The policies for each kind of change.
    pub policies: Arc<Policies>,
    /// The drift section of the config.
    pub config: &'g Config,
    /// The state directory.
    pub root: Option<PathBuf>,
    /// Are values sent verbatim (Airbyte)? If not, each has a column of one type.
    pub verbatim: bool,
    /// Does this run read everything, regardless of earlier runs?
    pub sweep: bool,
    /// Is the stream read to its end? (False for a preview.)
    pub whole: bool,
    /// Is this only a look? What it sends reaches no target.
    pub preview: bool,
    /// May new fields be sent? (True unless the user deselected fields.)
    pub may_grow: bool,
    /// Fields that the stream's requests name.
    pub asked: Vec<String>,
}

/// Monitors one stream for drift.
#[derive(Debug)]
pub struct DriftMonitor {
    names: RunNames,
    stream: String,
    reviewed: bool,
    keys: Vec<Vec<String>>,
    cursor: Option<String>,
    policies: Arc<Policies>,
    config: Config,
    overlay_files: Option<OverlayFiles>,
    verbatim: bool,
    sweep: bool,
    whole: bool,
    may_grow: bool,
    asked: Vec<String>,
    started: String,
    generation: AtomicU32,
    inner: Mutex<Inner>,
    /// The quarantined records of which a newer version may be sent; and whether there are any.
    awaited: RwLock<AwaitedKeys>,
    awaits: AtomicBool,
    preview: bool,
}

#[derive(Debug)]
pub(super) struct Inner {
    base: Json,
    /// The overlay as loaded, updated until it is saved.
    pub(super) overlay: Overlay,
    /// The overlay as loaded.
    before: Overlay,
    /// Findings of earlier runs.
    known: BTreeMap<String, Finding>,
    /// Findings of this run, by fingerprint.
    pub(super) found: BTreeMap<String, Finding>,
    tolerated: Tolerated,
    pub(super) checks: Arc<Checks>,
    schema: Arc<Json>,
    pub(super) totals: Counts,
    aside: u64,
    within_filter: u64,
    outside: u64,
    compared: u64,
    without_cursor: u64,
    again: u64,
    pairs: u64,
    newer: u64,
    /// How often each pair of page size and requested page size occurred, among pages that were followed by another.
    pages: BTreeMap<(u64, Option<u64>), u64>,
    ended: bool,
}

fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

impl DriftMonitor {
    /// Starts monitoring: loads what earlier runs learned. Also returns the fault if nothing can be saved.
    pub fn begin(setup: MonitorConfig<'_>) -> Result<(DriftMonitor, Option<Fault>)> {
        let MonitorConfig { names, stream, schema, .. } = setup;
        let overlay_files =
            setup.root.as_ref().map(|root| OverlayFiles::new(root, &names.source, &names.tenant, stream));
        let (mut overlay, pending) = match &overlay_files {
            Some(overlay_files) => overlay_files.read()?,
            None => Default::default(),
        };
        // What was learned applies even if nothing can be added to it.
        let trouble =
            overlay_files.as_ref().filter(|_| setup.whole).and_then(|overlay_files| overlay_files.prepare().err());
        let overlay_files = overlay_files.filter(|_| trouble.is_none());
        let before = overlay.clone();
        let baseline = baseline::hash(schema);
        if overlay.baseline != baseline {
            // If the baseline was reviewed again or the manifest was edited, additions that it now contains are
            // dropped.
            overlay.schema.retain(|pointer, addition| match addition.schema.get(COLUMN) {
                // This addition stands beside a column that must be unchanged.
                Some(column) => baseline::at(schema, pointer) == Some(column),
                None => baseline::at(schema, pointer).is_none(),
            });
            overlay.baseline = baseline;
        }
        let merged = merged(schema, &overlay.schema);
        let tolerated = overlay.tolerated.clone();
        let checks = Arc::new(Checks::compile(&merged, setup.keys, setup.cursor, &tolerated, None));
        let watched = DriftMonitor {
            stream: stream.to_owned(),
            reviewed: setup.reviewed,
            keys: setup.keys.to_vec(),
            cursor: setup.cursor.map(str::to_owned),
            policies: setup.policies,
            config: setup.config.clone(),
            overlay_files,
            verbatim: setup.verbatim,
            sweep: setup.sweep,
            whole: setup.whole,
            may_grow: setup.may_grow,
            asked: setup.asked,
            started: now(),
            names,
            preview: setup.preview,
            awaited: RwLock::default(),
            awaits: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                base: schema.clone(),
                known: pending.findings.into_iter().map(|f| (f.fingerprint.clone(), f)).collect(),
                overlay,
                before,
                found: BTreeMap::new(),
                tolerated,
                checks,
                schema: Arc::new(merged),
                totals: Counts::default(),
                aside: 0,
                within_filter: 0,
                outside: 0,
                compared: 0,
                without_cursor: 0,
                again: 0,
                pairs: 0,
                newer: 0,
                pages: BTreeMap::new(),
                ended: false,
            }),
        };
        watched.refresh_awaited()?;
        Ok((watched, trouble))
    }

    /// Updates the keys of quarantined records.
    fn refresh_awaited(&self) -> Result<()> {
        let Some(path) = self.quarantine().filter(|_| !self.preview && !self.keys.is_empty()) else { return Ok(()) };
        let mut awaited = self.awaited.write();
        awaited.refresh(path, |record| self.key(record))?;
        self.awaits.store(!awaited.is_empty(), Ordering::Release);
        Ok(())
    }

    /// A record is sent as the vendor has it: the mark that the quarantine file needs if an older version is there, or
    /// among the keys of this page.
    pub fn newer_version(&self, record: &[u8], page: &HashSet<String>) -> Option<Quarantined> {
        if self.preview || (page.is_empty() && !self.awaits.load(Ordering::Acquire)) {
            return None;
        }
        let key = self.key(record)?;
        let known = page.contains(&key) || self.awaited.read().contains(&key);
        known.then(|| Quarantined::newer(&self.names.run_id, key))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The current schema of the stream.
    pub fn schema(&self) -> Arc<Json> {
        self.lock().schema.clone()
    }

    /// A number that changes whenever the schema does.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The current places of the schema.
    pub fn places(&self) -> Arc<dyn crate::base::json::observe::Places + Send + Sync> {
        self.lock().checks.clone()
    }

    /// Creates an observer for the records of a slice.
    pub fn listener(&self) -> RecordListener {
        RecordListener::new(&self.lock().checks)
    }

    /// Switches an observer to the current checks.
    pub fn follow(&self, listener: &mut RecordListener) {
        listener.follow(&self.lock().checks);
    }

    /// Is the stream still learning what is normal? It learns until one read with records is complete, or until
    /// incomplete reads add up to many records.
    fn learns(&self, inner: &Inner) -> bool {
        !self.reviewed && inner.overlay.runs == 0 && inner.overlay.records < TAUGHT
    }

    /// Largest record that is sent, in bytes.
    pub fn max_record(&self) -> u64 {
        self.config.max_record_bytes.unwrap_or(MAX_RECORD)
    }

    /// Is there a quarantine file?
    pub fn can_put_aside(&self) -> bool {
        self.overlay_files.is_some()
    }

    /// Is enough known about earlier data to tell a change from the source's normal state?
    pub fn knows(&self) -> bool {
        !self.learns(&self.lock())
    }

    /// Stores the keys of a record as witnesses of the fields that it has.
    pub fn witness(&self, record: &Json) {
        let Some(key) = key_in(&self.keys, record) else { return };
        absence::witness(&mut self.lock(), &key, record);
    }

    /// The quarantine file.
    pub fn quarantine(&self) -> Option<&Path> {
        self.overlay_files.as_ref().map(|overlay_files| &*overlay_files.quarantine)
    }

    /// The key of a record, if it has one.
    pub fn key(&self, record: &[u8]) -> Option<String> {
        key_of(&self.keys, record)
    }

    /// The path of a single record in the vendor's API, if the config names it.
    pub fn witness_path(&self) -> Option<&str> {
        self.config.witness.get(&self.stream).map(String::as_str)
    }

    /// Can a single record be read again?
    pub fn wants_witnesses(&self) -> bool {
        self.overlay_files.is_some() && self.config.witness.contains_key(&self.stream)
    }
}

/// The key of a record.
fn key_of(keys: &[Vec<String>], record: &[u8]) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    key_in(keys, &crate::base::json::scan::json(record).ok()?)
}

fn key_in(keys: &[Vec<String>], record: &Json) -> Option<String> {
    let one = |path: &Vec<String>| {
        let value = path.iter().try_fold(record, |at, name| at.get(name))?;
        match value {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            _ => None,
        }
    };
    if keys.is_empty() { None } else { keys.iter().map(one).collect::<Option<Vec<_>>>().map(|all| all.join(",")) }
}
