//! A stream that is watched for drift while it is read.
//!
//! Input: its baseline and the tenant's overlay; odd records, pages and answers as they are read. Output: for each
//! odd record what becomes of it; a schema that grows; findings, kept and told; the fault that stops the stream. Called
//! by `run`, by every thread that reads a slice of the stream.

mod decide;
mod end;
mod page;

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::absence;
use super::baseline::{self, COLUMN, merged};
use super::checks::{Checks, Tolerated};
use super::finding::Finding;
use super::overlay::{Overlay, OverlayFiles};
use super::policy::Policies;
use super::record_observer::{Counts, RecordListener};
use crate::base::config::Drift as Config;
use crate::base::fault::{Fault, Result};
use crate::base::timefmt::{parse_iso, rfc3339};

pub use decide::{Judged, Without};
pub use end::MonitorReport;
pub use page::Page;

/// Largest record that is sent, in bytes, when the config says nothing.
const MAX_RECORD: u64 = 16 << 20;
/// So many records teach what is normal, even when no read came to its end.
const TAUGHT: u64 = 1000;

/// The fact under which an overlay keeps when the last run began that had records.
const BEGAN: &str = "began";

/// Whose data it is.
#[derive(Debug, Clone)]
pub struct RunNames {
    /// The source.
    pub source: String,
    /// The account.
    pub tenant: String,
    /// The run.
    pub run_id: String,
}

/// What is watched, and how.
#[derive(Debug)]
pub struct MonitorConfig<'g> {
    /// Whose it is.
    pub names: RunNames,
    /// The stream.
    pub stream: &'g str,
    /// Its schema.
    pub schema: &'g Json,
    /// Was that reviewed for drift? Otherwise the first runs teach.
    pub reviewed: bool,
    /// The paths of its keys.
    pub keys: &'g [Vec<String>],
    /// Its cursor field.
    pub cursor: Option<&'g str>,
    /// What is done about changes.
    pub policies: Arc<Policies>,
    /// The config's part about drift.
    pub config: &'g Config,
    /// The state directory.
    pub root: Option<PathBuf>,
    /// Are values sent as they are written (Airbyte)? Otherwise each has a column of one type.
    pub verbatim: bool,
    /// Is everything read, whatever was read before?
    pub sweep: bool,
    /// Is it read to its end? (Not a preview.)
    pub whole: bool,
    /// May new fields be sent? (The user has not left some out.)
    pub may_grow: bool,
    /// Fields that its requests ask for by name.
    pub asked: Vec<String>,
}

/// A stream that is watched.
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
}

#[derive(Debug)]
pub(super) struct Inner {
    base: Json,
    /// As it was read; then as it will be kept.
    pub(super) overlay: Overlay,
    /// As it was read.
    before: Overlay,
    /// What earlier runs found.
    known: BTreeMap<String, Finding>,
    /// What this run found, by fingerprint.
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
    /// Sizes of pages that were followed by another, with those that were asked for, and how often.
    pages: BTreeMap<(u64, Option<u64>), u64>,
    ended: bool,
}

fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

impl DriftMonitor {
    /// Begins to watch: reads what earlier runs learned. Beside it, why nothing can be kept, if so.
    pub fn begin(setup: MonitorConfig<'_>) -> Result<(DriftMonitor, Option<Fault>)> {
        let MonitorConfig { names, stream, schema, .. } = setup;
        let overlay_files =
            setup.root.as_ref().map(|root| OverlayFiles::new(root, &names.source, &names.tenant, stream));
        let (mut overlay, pending) = match &overlay_files {
            Some(overlay_files) => overlay_files.read()?,
            None => Default::default(),
        };
        // What was learned counts also where nothing can be added to it.
        let trouble =
            overlay_files.as_ref().filter(|_| setup.whole).and_then(|overlay_files| overlay_files.prepare().err());
        let overlay_files = overlay_files.filter(|_| trouble.is_none());
        let before = overlay.clone();
        let baseline = baseline::hash(schema);
        if overlay.baseline != baseline {
            // Another baseline was reviewed, or the manifest was edited: what stands in it needs no addition.
            overlay.schema.retain(|pointer, addition| match addition.schema.get(COLUMN) {
                // It is beside a column that must be as it was.
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
        Ok((watched, trouble))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The stream's schema by now.
    pub fn schema(&self) -> Arc<Json> {
        self.lock().schema.clone()
    }

    /// Changes whenever the schema does.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The places of the schema by now.
    pub fn places(&self) -> Arc<dyn crate::base::json::observe::Places + Send + Sync> {
        self.lock().checks.clone()
    }

    /// Listens to a slice's records.
    pub fn listener(&self) -> RecordListener {
        RecordListener::new(&self.lock().checks)
    }

    /// Lets a listener go by the checks of now.
    pub fn follow(&self, listener: &mut RecordListener) {
        listener.follow(&self.lock().checks);
    }

    /// Does the first contact teach what is normal? It does until a read had records and came to its end, or earlier
    /// ones that did not had many.
    fn learns(&self, inner: &Inner) -> bool {
        !self.reviewed && inner.overlay.runs == 0 && inner.overlay.records < TAUGHT
    }

    /// Largest record that is sent, in bytes.
    pub fn max_record(&self) -> u64 {
        self.config.max_record_bytes.unwrap_or(MAX_RECORD)
    }

    /// Is there a file for what cannot be sent?
    pub fn can_put_aside(&self) -> bool {
        self.overlay_files.is_some()
    }

    /// Is what was there before known, so that something else is a change, and not how the source is?
    pub fn knows(&self) -> bool {
        !self.learns(&self.lock())
    }

    /// Notes keys of a record as witnesses of the fields that it has.
    pub fn witness(&self, record: &Json) {
        let Some(key) = key_in(&self.keys, record) else { return };
        absence::witness(&mut self.lock(), &key, record);
    }

    /// The file of what was put aside.
    pub fn quarantine(&self) -> Option<&Path> {
        self.overlay_files.as_ref().map(|overlay_files| &*overlay_files.quarantine)
    }

    /// When the last run began that sent records: what was put aside before may have come again in a newer version.
    pub fn passed(&self) -> Option<OffsetDateTime> {
        let inner = self.lock();
        let began = inner.overlay.facts.get(BEGAN).and_then(Json::as_str).unwrap_or(&inner.overlay.last);
        parse_iso(began)
    }

    /// The key of a record, if it has one.
    pub fn key(&self, record: &[u8]) -> Option<String> {
        key_of(&self.keys, record)
    }

    /// The path of one record at the vendor's, if the config names it.
    pub fn witness_path(&self) -> Option<&str> {
        self.config.witness.get(&self.stream).map(String::as_str)
    }

    /// Is there a way to read one record again?
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
