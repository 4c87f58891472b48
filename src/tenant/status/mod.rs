//! The status of tenants: facts about each, and a verdict.
//!
//! Input: tenants by their configs, and what their runs left in the state directory. Output: a [`StatusReport`],
//! worst tenant first, as a table, JSON, a page or metrics. Called by `cli`. It changes nothing, and sends no request
//! to the vendor; an unreadable file of one tenant never hides another tenant.

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

/// The version of the JSON format.
const VERSION: u64 = 1;
/// Words for a stream of which no run, or no complete run, is known.
const UNREAD: [&str; 2] = ["never read", "never read to its end"];

/// A tenant to report on.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The source.
    pub source: String,
    /// The tenant's name.
    pub tenant: String,
    /// The tenant's state directory.
    pub root: PathBuf,
    /// The path of its config.
    pub config: Option<String>,
    /// Other configs of the same tenant.
    pub twins: Vec<String>,
    /// When the config was last modified.
    pub since: Option<OffsetDateTime>,
    /// The config's tiers.
    pub tiers: BTreeMap<String, Tier>,
    /// Command-line arguments that select the same tenant.
    pub arguments: String,
    /// Why its config is invalid.
    pub fault: Option<Fault>,
}

/// The verdict on a tenant, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantVerdict {
    /// No action is needed.
    Ok,
    /// Data is older than its schedule allows.
    Late,
    /// The last run failed with a cause that may resolve by itself.
    Failing,
    /// A person must act: no further run fixes it.
    NeedsPerson,
}

impl TenantVerdict {
    /// All verdicts, worst first.
    pub const ALL: [TenantVerdict; 4] =
        [TenantVerdict::NeedsPerson, TenantVerdict::Failing, TenantVerdict::Late, TenantVerdict::Ok];

    /// The verdict in readable form.
    pub fn words(self) -> &'static str {
        match self {
            TenantVerdict::Ok => "ok",
            TenantVerdict::Late => "late",
            TenantVerdict::Failing => "failing",
            TenantVerdict::NeedsPerson => "needs a person",
        }
    }
}

/// The status of all tenants.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The version of the format.
    pub v: u64,
    /// When the report was made, RFC 3339.
    pub at: String,
    /// The tenants, worst first.
    pub tenants: Vec<Row>,
}

/// The status of a tenant. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The source.
    pub source: String,
    /// The tenant's name.
    pub tenant: String,
    /// The tenant's config, or all of its configs.
    pub config: Option<String>,
    /// The state directory, if another directory has a tenant of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<String>,
    /// The worst verdict among the reasons.
    pub verdict: TenantVerdict,
    /// Why the tenant is not ok, most severe first.
    pub reasons: Vec<Reason>,
    /// Useful facts that do not affect the verdict.
    pub notes: Vec<String>,
    /// The last run of each tier.
    pub runs: Vec<RunRow>,
    /// The tenant's streams, worst first.
    pub streams: Vec<StreamRow>,
    /// Drift changes without a decision.
    pub drift: Drift,
    /// Bytes of quarantined records.
    pub quarantine_bytes: u64,
    /// Alerts that no webhook has accepted yet.
    pub alerts_undelivered: u64,
    /// Sums over all its runs.
    pub totals: Totals,
}

/// Why a tenant is not ok.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The severity.
    pub verdict: TenantVerdict,
    /// The problem.
    pub what: String,
    /// The message of the run.
    pub detail: Option<String>,
    /// The tiers that had the problem in their last runs.
    pub tiers: Vec<String>,
    /// Their exit code.
    pub exit_code: Option<u8>,
    /// Is the detail a full account of the problem, so that a page needs only one of the two?
    #[serde(skip)]
    pub detail_is_whole: bool,
    /// When it began.
    pub since: Option<String>,
    /// The action to take.
    pub what_to_do: String,
    /// The commands for it.
    pub commands: Vec<String>,
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The run holds its locks.
    Running,
    /// The run recorded its end.
    Ended,
    /// The run is gone and recorded no end.
    Killed,
}

/// A run of a tier's history.
#[derive(Debug, Clone, Serialize)]
pub struct PastRunRow {
    /// Whether the run is in progress.
    pub state: State,
    /// The entry in the run record.
    #[serde(flatten)]
    pub run: run_record::PastRun,
}

/// The last run of a tier.
#[derive(Debug, Clone, Serialize)]
pub struct RunRow {
    /// The tier; `all` without tiers, or `backfill`.
    pub tier: String,
    /// Whether the run is in progress.
    pub state: State,
    /// The meaning of its exit code.
    pub means: Option<&'static str>,
    /// The duration of the run so far, in seconds.
    pub seconds: Option<f64>,
    /// Have its failed streams been read since, or does its tier no longer exist?
    pub superseded: bool,
    /// The entry in the run record.
    #[serde(flatten)]
    pub run: run_record::RunEntry,
    /// The tier's last runs, newest last.
    pub history: Vec<PastRunRow>,
}

/// A stream of a tenant.
#[derive(Debug, Clone, Serialize)]
pub struct StreamRow {
    /// The stream's name.
    pub stream: String,
    /// The tier that reads it.
    pub tier: Option<String>,
    /// The stream's bookmark.
    pub bookmark: Option<String>,
    /// Data is complete up to this time: the start of the last run that read the stream to its end.
    pub fresh: Option<String>,
    /// The age of the data in seconds.
    pub age_seconds: Option<u64>,
    /// The longest time between two runs of its tier.
    pub due_every_seconds: Option<u64>,
    /// Is its data older than that, plus a tolerance?
    pub late: bool,
    /// Why the last run did not read the stream to its end.
    pub fault: Option<String>,
    /// When the failure began.
    pub failing_since: Option<String>,
    /// Records of the last run.
    pub records: u64,
    /// The progress of its backfill.
    pub backfill: Option<BackfillRecord>,
}

/// Drift changes without a decision.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs)]
pub struct Drift {
    pub extraction: u64,
    #[serde(rename = "break")]
    pub breaking: u64,
    pub warn: u64,
    pub info: u64,
    /// Rejected changes: no alerts for some time.
    pub rejected: u64,
    /// The most severe change, in one line.
    pub gravest: Option<String>,
    /// When the first severe change was seen.
    pub since: Option<String>,
    /// Rule and place of each severe change, as in the messages of runs that it stopped.
    #[serde(skip)]
    pub grave_places: Vec<String>,
    /// Run and stream of each severe change whose only sign is the fault of its stream.
    #[serde(skip)]
    pub grave_faults: Vec<(String, String)>,
    /// What helps against the most severe change, if accepting it has no effect.
    #[serde(skip)]
    pub remedy: Option<&'static str>,
}

impl Drift {
    /// The number of changes that a person must decide on.
    pub fn grave(&self) -> u64 {
        self.extraction + self.breaking
    }

    /// Is a severe change the cause that this message of a run names?
    fn is_cause_of(&self, message: &str) -> bool {
        self.grave_places.iter().any(|place| message.contains(place))
    }

    /// Is this message of a run the only sign of a severe change?
    fn is_shown_by(&self, run_id: &str, message: &str) -> bool {
        let of_stream = |stream: &str| message.starts_with(&format!("stream `{stream}`: "));
        self.grave_faults.iter().any(|(run, stream)| run == run_id && of_stream(stream))
    }
}

impl Reason {
    /// A reason of which no more is known.
    fn new(verdict: TenantVerdict, what: String, what_to_do: String) -> Reason {
        Reason {
            verdict,
            what,
            detail: None,
            tiers: Vec::new(),
            exit_code: None,
            detail_is_whole: false,
            since: None,
            what_to_do,
            commands: Vec::new(),
        }
    }

    /// Does it have this message already, of whichever stream and request?
    fn has(&self, message: &str) -> bool {
        self.detail.as_deref().is_some_and(|detail| bare(detail) == bare(message))
    }
}

/// A run's message without the stream at its start and the request at its end.
fn bare(message: &str) -> &str {
    let message = message.strip_prefix("stream `").and_then(|rest| Some(rest.split_once("`: ")?.1)).unwrap_or(message);
    let is_request = |last: &str| ["GET ", "POST ", "PUT ", "PATCH "].iter().any(|method| last.starts_with(method));
    match message.rsplit_once(" (") {
        Some((text, last)) if is_request(last) => text,
        _ => message,
    }
}

impl StreamRow {
    /// Is its data late, or did the last run not read it to its end?
    fn is_sick(&self) -> bool {
        self.late || self.fault.is_some()
    }

    /// Was it never read to its end, without a fault?
    fn is_unread(&self) -> bool {
        self.age_seconds.is_none() && !self.is_sick()
    }

    /// Is there nothing to say about it?
    fn is_well(&self) -> bool {
        !self.is_sick() && !self.is_unread()
    }

    /// Words for a stream without an age.
    fn unread(&self) -> &'static str {
        UNREAD[usize::from(self.records > 0 || self.bookmark.is_some())]
    }

    /// Is a backfill in progress?
    fn fills_back(&self) -> bool {
        self.backfill.as_ref().is_some_and(|of| of.ended.is_none())
    }
}

impl Row {
    /// Streams with problems, grouped by identical problem.
    fn sick_streams(&self) -> Vec<Vec<&StreamRow>> {
        let mut groups: Vec<Vec<&StreamRow>> = Vec::new();
        for stream in self.streams.iter().filter(|stream| stream.is_sick()) {
            let key = |of: &StreamRow| {
                let fault = (of.fault.is_some(), self.own_fault(of).map(str::to_owned));
                (of.tier.clone(), fault, of.age_seconds, of.late, of.bookmark.clone())
            };
            match groups.iter_mut().find(|group| key(group[0]) == key(stream) && stream.backfill.is_none()) {
                Some(group) => group.push(stream),
                None => groups.push(vec![stream]),
            }
        }
        groups
    }

    /// The last run of the tier that is worst; of equally bad ones the newest.
    fn worst_run(&self) -> Option<&RunRow> {
        let key = |run: &&RunRow| (verdict::of_slot(self, run), parse_iso(&run.run.began));
        self.runs.iter().max_by_key(key)
    }

    /// The stream with the oldest data, of those that a tier reads; without any such stream, of all.
    fn oldest(&self) -> Option<&StreamRow> {
        let read = || self.streams.iter().filter(|stream| stream.age_seconds.is_some());
        let due = read().filter(|stream| stream.due_every_seconds.is_some());
        due.max_by_key(|stream| stream.age_seconds).or_else(|| read().max_by_key(|stream| stream.age_seconds))
    }

    /// Streams that were never read, grouped by the words for that.
    fn unread_streams(&self) -> Vec<(&'static str, Vec<&str>)> {
        let names = |words: &str| -> Vec<&str> {
            let unread = self.streams.iter().filter(|stream| stream.is_unread() && stream.unread() == words);
            unread.map(|stream| &*stream.stream).collect()
        };
        let groups = UNREAD.map(|words| (words, names(words)));
        groups.into_iter().filter(|(_, names)| !names.is_empty()).collect()
    }

    /// The fault of a stream, unless a reason has the same message.
    fn own_fault<'s>(&self, stream: &'s StreamRow) -> Option<&'s str> {
        let is_known = |fault: &&str| self.drift.is_cause_of(fault) || self.reasons.iter().any(|of| of.has(fault));
        stream.fault.as_deref().filter(|fault| !is_known(fault))
    }
}

/// Source, name and state directory: the identity of a tenant.
type Key = (String, String, PathBuf);

impl Subject {
    /// The identity, with a normalized path of the state directory.
    fn key(&self) -> Key {
        let root = self.root.canonicalize().or_else(|_| std::path::absolute(&self.root));
        (self.source.clone(), self.tenant.clone(), root.unwrap_or_else(|_| self.root.clone()))
    }

    /// Merges another config of the same tenant.
    fn join(&mut self, other: &Subject) {
        self.twins.extend(other.config.clone());
        for (name, tier) in &other.tiers {
            self.tiers.entry(name.clone()).or_insert_with(|| tier.clone());
        }
        if self.fault.is_none() && other.fault.is_some() {
            // Commands refer to the config that needs fixing.
            (self.fault, self.arguments) = (other.fault.clone(), other.arguments.clone());
        }
    }

    /// The tenant's configs.
    fn configs(&self) -> Vec<&str> {
        self.config.iter().chain(&self.twins).map(String::as_str).collect()
    }
}

impl StatusReport {
    /// The current status of these tenants.
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

    /// The number of tenants with a verdict.
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

    /// Do all tenants have the same source?
    fn is_of_one_source(&self) -> bool {
        self.tenants.windows(2).all(|pair| pair[0].source == pair[1].source)
    }
}

/// Seconds from `then` to `now`; `None` if `then` is later.
fn since(then: &str, now: OffsetDateTime) -> Option<u64> {
    Some(u64::try_from((now - parse_iso(then)?).whole_seconds()).unwrap_or(0))
}
