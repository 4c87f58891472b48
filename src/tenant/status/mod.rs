//! How tenants stand: the facts of each, and a verdict.
//!
//! Input: tenants by their configs, and what their runs left in the state directory. Output: a [`StatusReport`],
//! the worst tenant first, as a table, JSON, a page or metrics. Called by `cli`. Nothing is changed here, and the
//! vendor is asked nothing; what cannot be read of one tenant never hides another.

mod collect;
pub mod html;
pub mod openmetrics;
pub mod table;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use time::OffsetDateTime;

use super::run_record::{self, BackfillRecord, Totals};
use crate::base::config::Tier;
use crate::base::fault::Fault;
use crate::base::timefmt::{parse_iso, rfc3339};

/// The version of the JSON.
const VERSION: u64 = 1;

/// A tenant that is asked about.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The source.
    pub source: String,
    /// Its name.
    pub tenant: String,
    /// Its state directory.
    pub root: PathBuf,
    /// Its config, as it was named.
    pub config: Option<String>,
    /// Other configs that are of the same tenant too.
    pub twins: Vec<String>,
    /// Since when the config is as it is.
    pub since: Option<OffsetDateTime>,
    /// The config's tiers.
    pub tiers: BTreeMap<String, Tier>,
    /// What a command needs to mean the same tenant.
    pub arguments: String,
    /// Why its config cannot be used.
    pub fault: Option<Fault>,
}

/// How a tenant stands; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantVerdict {
    /// Nothing is to be done.
    Ok,
    /// Data is older than its schedule promises.
    Late,
    /// The last run went wrong by what may pass by itself.
    Failing,
    /// No run mends it: a person must.
    NeedsPerson,
}

impl TenantVerdict {
    /// The worst first.
    pub const ALL: [TenantVerdict; 4] =
        [TenantVerdict::NeedsPerson, TenantVerdict::Failing, TenantVerdict::Late, TenantVerdict::Ok];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            TenantVerdict::Ok => "ok",
            TenantVerdict::Late => "late",
            TenantVerdict::Failing => "failing",
            TenantVerdict::NeedsPerson => "needs a person",
        }
    }
}

/// How all of them stand.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The version of the form.
    pub v: u64,
    /// When it was made, RFC 3339.
    pub at: String,
    /// The tenants, the worst first.
    pub tenants: Vec<Row>,
}

/// How a tenant stands. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The source.
    pub source: String,
    /// Its name.
    pub tenant: String,
    /// Its config, or all that are of it.
    pub config: Option<String>,
    /// Its state directory, where a tenant of another one has the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<String>,
    /// The worst of the reasons.
    pub verdict: TenantVerdict,
    /// Why it is not ok, the gravest first.
    pub reasons: Vec<Reason>,
    /// What is good to know and changes no verdict.
    pub notes: Vec<String>,
    /// The last run of each tier.
    pub runs: Vec<RunRow>,
    /// Its streams, the worst first.
    pub streams: Vec<StreamRow>,
    /// Changes that nobody has judged.
    pub drift: Drift,
    /// Bytes of records that were put aside.
    pub quarantine_bytes: u64,
    /// Alerts that no webhook has taken yet.
    pub alerts_undelivered: u64,
    /// Sums over all its runs.
    pub totals: Totals,
}

/// Why a tenant is not ok.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// How bad.
    pub verdict: TenantVerdict,
    /// What is wrong.
    pub what: String,
    /// What the run said of it.
    pub detail: Option<String>,
    /// Since when.
    pub since: Option<String>,
    /// What to do.
    pub what_to_do: String,
    /// What to type for it.
    pub commands: Vec<String>,
}

/// Is a run under way?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds its locks.
    Running,
    /// It said how it ended.
    Ended,
    /// It said nothing and is gone.
    Killed,
}

/// The last run of a tier.
#[derive(Debug, Clone, Serialize)]
pub struct RunRow {
    /// The tier; `all` without one, or `backfill`.
    pub tier: String,
    /// Is it under way?
    pub state: State,
    /// What its exit code means.
    pub means: Option<&'static str>,
    /// How long it took, or has taken so far.
    pub seconds: Option<f64>,
    /// Was what it failed by read since, or is there no such tier any more?
    pub superseded: bool,
    /// What it left.
    #[serde(flatten)]
    pub run: run_record::RunEntry,
}

/// A stream of a tenant.
#[derive(Debug, Clone, Serialize)]
pub struct StreamRow {
    /// Its name.
    pub stream: String,
    /// The tier that reads it.
    pub tier: Option<String>,
    /// How far it is.
    pub bookmark: Option<String>,
    /// So fresh its data is: when the last run began that read it to its end.
    pub fresh: Option<String>,
    /// That long ago.
    pub age_seconds: Option<u64>,
    /// The longest time between two runs of its tier.
    pub due_every_seconds: Option<u64>,
    /// Is its data older than that, and a little more?
    pub late: bool,
    /// Why the last run did not read it to its end.
    pub fault: Option<String>,
    /// Since when.
    pub failing_since: Option<String>,
    /// Records of the last run.
    pub records: u64,
    /// How far its backfill is.
    pub backfill: Option<BackfillRecord>,
}

/// Changes that nobody has judged.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs)]
pub struct Drift {
    pub extraction: u64,
    #[serde(rename = "break")]
    pub breaking: u64,
    pub warn: u64,
    pub info: u64,
    /// Those that somebody rejected: nobody is told of them for a while.
    pub rejected: u64,
    /// The gravest, in a line.
    pub gravest: Option<String>,
    /// When the first grave one was seen.
    pub since: Option<String>,
}

impl Drift {
    /// How many a person must judge.
    pub fn grave(&self) -> u64 {
        self.extraction + self.breaking
    }
}

impl StreamRow {
    /// Is its data late, or did the last run not read it to its end?
    fn is_sick(&self) -> bool {
        self.late || self.fault.is_some()
    }

    /// Is its backfill under way?
    fn fills_back(&self) -> bool {
        self.backfill.as_ref().is_some_and(|of| of.ended.is_none())
    }
}

impl Row {
    /// Those streams that are not well, those of which the same is to be said together.
    fn sick_streams(&self) -> Vec<Vec<&StreamRow>> {
        let mut groups: Vec<Vec<&StreamRow>> = Vec::new();
        for stream in self.streams.iter().filter(|stream| stream.is_sick()) {
            let key =
                |of: &StreamRow| (of.tier.clone(), of.fault.clone(), of.age_seconds, of.late, of.bookmark.clone());
            match groups.iter_mut().find(|group| key(group[0]) == key(stream) && stream.backfill.is_none()) {
                Some(group) => group.push(stream),
                None => groups.push(vec![stream]),
            }
        }
        groups
    }

    /// The run that tells most of the tenant: of the tier whose data is the oldest for its schedule, else the last.
    fn main_run(&self) -> Option<&RunRow> {
        let tier = table::oldest(self).and_then(|stream| stream.tier.as_deref());
        let of_tier = self.runs.iter().find(|run| Some(&*run.tier) == tier);
        of_tier.or_else(|| self.runs.iter().max_by_key(|run| parse_iso(&run.run.began)))
    }
}

/// Source, name and state directory: what makes a tenant.
type Key = (String, String, PathBuf);

impl Subject {
    /// Who it is, however the state directory is written.
    fn key(&self) -> Key {
        let root = self.root.canonicalize().or_else(|_| std::path::absolute(&self.root));
        (self.source.clone(), self.tenant.clone(), root.unwrap_or_else(|_| self.root.clone()))
    }

    /// Takes in another config of the same tenant.
    fn join(&mut self, other: &Subject) {
        self.twins.extend(other.config.clone());
        for (name, tier) in &other.tiers {
            self.tiers.entry(name.clone()).or_insert_with(|| tier.clone());
        }
        if self.fault.is_none() && other.fault.is_some() {
            // Commands are to mean the config that is to be mended.
            (self.fault, self.arguments) = (other.fault.clone(), other.arguments.clone());
        }
    }

    /// Its configs.
    fn configs(&self) -> Vec<&str> {
        self.config.iter().chain(&self.twins).map(String::as_str).collect()
    }
}

impl StatusReport {
    /// How these tenants stand now.
    pub fn of(subjects: &[Subject], now: OffsetDateTime) -> StatusReport {
        let mut own: BTreeMap<Key, Subject> = BTreeMap::new();
        for subject in subjects {
            own.entry(subject.key()).and_modify(|first| first.join(subject)).or_insert_with(|| subject.clone());
        }
        let mut namesakes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (source, tenant, _) in own.keys() {
            *namesakes.entry((source, tenant)).or_default() += 1;
        }
        let row = |((source, tenant, root), subject): (&Key, &Subject)| {
            let alone = namesakes.get(&(&**source, &**tenant)) == Some(&1);
            let state_dir = (!alone).then(|| root.display().to_string());
            Row { state_dir, ..collect::row(subject, now) }
        };
        let mut tenants: Vec<Row> = own.iter().map(row).collect();
        tenants.sort_by(|a, b| {
            let key = |row: &Row| {
                (std::cmp::Reverse(row.verdict), row.source.clone(), row.tenant.clone(), row.config.clone())
            };
            key(a).cmp(&key(b))
        });
        StatusReport { v: VERSION, at: rfc3339(now), tenants }
    }

    /// How many stand so.
    pub fn count(&self, verdict: TenantVerdict) -> usize {
        self.tenants.iter().filter(|row| row.verdict == verdict).count()
    }

    /// `1 needs a person, 2 failing, 19 ok`.
    fn counts(&self) -> String {
        let counts = TenantVerdict::ALL.into_iter().map(|verdict| (self.count(verdict), verdict));
        let parts = counts.filter(|(count, _)| *count > 0).map(|(count, verdict)| match (count, verdict) {
            (2.., TenantVerdict::NeedsPerson) => format!("{count} need a person"),
            _ => format!("{count} {}", verdict.words()),
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Are they of one source?
    fn is_of_one_source(&self) -> bool {
        self.tenants.windows(2).all(|pair| pair[0].source == pair[1].source)
    }
}

/// Seconds from then to now; none before.
fn since(then: &str, now: OffsetDateTime) -> Option<u64> {
    Some(u64::try_from((now - parse_iso(then)?).whole_seconds()).unwrap_or(0))
}
