//! The overlay: what a tenant's runs learn about a stream and save, and the changes without a decision.
//!
//! Input: the state directory, and the names of source, tenant and stream. Output: [`Overlay`] and [`Pending`], read
//! and replaced as a whole under a lock. Called by runs (which add) and by the verbs of `drift` (which decide).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::finding::Finding;
use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;
use crate::base::store::{Store, StoredFile, file_name};

/// The format version of both files.
const VERSION: u64 = 1;

/// What a tenant's data adds to a stream's baseline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overlay {
    /// The format version.
    pub v: u64,
    /// The hash of the baseline that was current.
    pub baseline: String,
    /// Complete runs with records that were learned from.
    pub runs: u64,
    /// Records that were learned from.
    pub records: u64,
    /// When learning began, RFC 3339.
    pub since: String,
    /// When it was last updated.
    pub last: String,
    /// Schema additions to the baseline, or replacements, by pointer.
    pub schema: BTreeMap<String, Addition>,
    /// Accepted findings that are no longer a change: `rule pointer to`.
    pub waived: BTreeSet<String>,
    /// Deviations tolerated since the first contact, by pointer.
    pub tolerated: BTreeMap<String, BTreeSet<String>>,
    /// Statistics of each place, by pointer.
    pub seen: BTreeMap<String, Seen>,
    /// Statistics of responses: page sizes, headers, how often a filter held.
    pub facts: BTreeMap<String, Json>,
    /// All decisions, oldest first.
    pub decisions: Vec<Decision>,
}

/// A place of the schema that differs from the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Addition {
    /// The JSON schema of the place.
    pub schema: Json,
    /// When it was added, RFC 3339.
    pub since: String,
    /// Learned on first contact, evolved by policy, or accepted by a person.
    pub how: How,
}

/// How an addition entered the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum How {
    Learned,
    Evolved,
    Accepted,
}

/// Statistics of a place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// The number of values.
    pub seen: u64,
    /// The number of nulls among them.
    pub nulls: u64,
    /// The number of parent objects.
    pub of: u64,
    /// The number of parent objects since a value was last seen.
    pub absent: u64,
    /// Runs since a value was last seen.
    pub absent_runs: u64,
    /// The highest number of parent objects in one of those runs.
    #[serde(skip_serializing_if = "is_zero")]
    pub absent_most: u64,
    /// Values and chances of the last run that read from the start and saw any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<(u64, u64)>,
    /// When a value was first seen, RFC 3339.
    pub first: String,
    /// When a value was last seen.
    pub last: String,
    /// The number of values of each kind, by name.
    pub kinds: BTreeMap<String, u64>,
    /// The number of numeric values per magnitude; three magnitudes per power of ten.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub magnitudes: BTreeMap<u8, u64>,
    /// The smallest and the largest magnitude of the last run with many numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_magnitudes: Option<(u8, u8)>,
    /// The number of consecutive increases from run to run.
    #[serde(skip_serializing_if = "is_none_yet")]
    pub steps: u32,
    /// Nulls in the last window of a field without earlier ones: not learned until the next window confirms them.
    #[serde(skip_serializing_if = "is_zero")]
    pub doubted_nulls: u64,
    /// The direction of a shift in the last window that is too large to be learned unconfirmed: 1 is up, -1 down.
    #[serde(skip_serializing_if = "is_neither")]
    pub doubted_scale: i8,
    /// Keys of records with the field: witnesses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_none_yet(n: &u32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_neither(way: &i8) -> bool {
    *way == 0
}

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The fingerprint of the change.
    pub fingerprint: String,
    /// The change in a line.
    pub change: String,
    /// `accept`, `reject`, `promote` or `learn`.
    pub decision: String,
    /// The person.
    pub who: String,
    /// When, RFC 3339.
    pub when: String,
    /// The reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// SHA-256 of the overlay's schema before the decision, 12 hex digits.
    pub before: String,
}

/// The changes without a decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pending {
    /// The format version.
    pub v: u64,
    /// The findings, in the order of [`sort`].
    pub findings: Vec<Finding>,
}

impl Overlay {
    /// Three-way merge: applies the difference from `before` to `mine` to this overlay, which others may have
    /// changed. Counts are added; in a conflict, a person's decision wins.
    pub fn with(&self, before: &Overlay, mine: &Overlay) -> Result<Overlay> {
        let [theirs_json, before_json, mine_json] = [self, before, mine].map(encoded);
        let mut out: Overlay = decoded(Some(both(&theirs_json?, &before_json?, &mine_json?)))?;
        for (pointer, addition) in &self.schema {
            let judged = addition.how == How::Accepted && before.schema.get(pointer) != Some(addition);
            if judged {
                out.schema.insert(pointer.clone(), addition.clone());
            }
        }
        (out.waived, out.decisions) = (self.waived.clone(), self.decisions.clone());
        Ok(out)
    }
}

/// Applies the difference from `before` to `mine` to `theirs`.
fn both(theirs: &Json, before: &Json, mine: &Json) -> Json {
    if mine == before {
        return theirs.clone();
    }
    if theirs == before {
        return mine.clone();
    }
    match (theirs, mine) {
        (Json::Object(theirs), Json::Object(mine)) => {
            let none = Json::Null;
            let mut out = serde_json::Map::new();
            for key in theirs.keys().chain(mine.keys().filter(|key| !theirs.contains_key(*key))) {
                let [a, b, c] = [theirs.get(key), before.get(key), mine.get(key)].map(|value| value.unwrap_or(&none));
                let value = both(a, b, c);
                if !value.is_null() {
                    out.insert(key.clone(), value);
                }
            }
            Json::Object(out)
        }
        _ => match (theirs.as_u64(), before.as_u64().or(before.is_null().then_some(0)), mine.as_u64()) {
            (Some(theirs), Some(before), Some(mine)) => Json::from((theirs + mine).saturating_sub(before)),
            _ => mine.clone(),
        },
    }
}

/// The files of a tenant's stream.
#[derive(Debug, Clone)]
pub struct OverlayFiles {
    overlay: StoredFile,
    pending: StoredFile,
    /// The file of quarantined records.
    pub quarantine: PathBuf,
}

/// Sorts findings: most urgent first, then by place, always in the same order.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |f: &Finding| {
            (std::cmp::Reverse(f.severity), f.stream.clone(), f.pointer.clone(), f.rule, f.fingerprint.clone())
        };
        key(a).cmp(&key(b))
    });
}

impl OverlayFiles {
    /// The files of a stream in the state directory at `root`.
    pub fn new(root: &std::path::Path, source: &str, tenant: &str, stream: &str) -> OverlayFiles {
        let (source, tenant, stream) = (file_name(source), file_name(tenant), file_name(stream));
        let folder = format!("drift/{source}/{tenant}");
        let store = Store::new(root);
        OverlayFiles {
            overlay: store.file(&folder, &stream),
            pending: store.file(&folder, &format!("{stream}.pending")),
            quarantine: root.join("quarantine").join(source).join(tenant).join(format!("{stream}.jsonl")),
        }
    }

    /// Checks that the files can be written, before anything must be saved.
    pub fn prepare(&self) -> Result<()> {
        self.overlay.lock(&Stop::default()).map(drop)
    }

    /// Reads both files; a missing file is empty.
    pub fn read(&self) -> Result<(Overlay, Pending)> {
        Ok((decoded(self.overlay.read()?)?, decoded(self.pending.read()?)?))
    }

    /// Changes both under their locks: saves everything, or nothing if `change` fails.
    pub fn update<T>(&self, stop: &Stop, change: impl FnOnce(&mut Overlay, &mut Pending) -> Result<T>) -> Result<T> {
        let overlay_file = self.overlay.lock(stop)?;
        let pending_file = self.pending.lock(stop)?;
        let mut overlay: Overlay = decoded(overlay_file.read()?)?;
        let mut pending: Pending = decoded(pending_file.read()?)?;
        let (old_overlay, old_pending) = (overlay.clone(), pending.clone());
        let out = change(&mut overlay, &mut pending)?;
        (overlay.v, pending.v) = (VERSION, VERSION);
        sort(&mut pending.findings);
        // An accepted change must be in the overlay before it is removed from the pending ones.
        if overlay != old_overlay {
            overlay_file.draft()?.put_pretty(&encoded(&overlay)?)?;
        }
        if pending != old_pending {
            pending_file.draft()?.put_pretty(&encoded(&pending)?)?;
        }
        Ok(out)
    }
}

fn decoded<T: DeserializeOwned + Default>(json: Option<Json>) -> Result<T> {
    let Some(json) = json else { return Ok(T::default()) };
    serde_json::from_value(json).map_err(|e| {
        Fault::config(format!("cannot read a drift file of the state directory: {e}"))
            .hint("another version wrote it, or it was edited; delete it: the next run learns again")
    })
}

fn encoded(value: &impl Serialize) -> Result<Json> {
    serde_json::to_value(value).map_err(|e| Fault::bug(e.to_string()))
}
