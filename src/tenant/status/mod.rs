//! How tenants stand: the facts of each, and a verdict.
//!
//! Comes in: tenants by their configs, and what their runs left in the state directory. Goes out: a [`Report`], the worst tenant
//! first, as a table, JSON, a page or metrics. Called by `cli`. Nothing is changed here, and the vendor is asked nothing; what
//! cannot be read of one tenant never hides another.

pub mod html;
mod judge;
pub mod openmetrics;
pub mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;

use super::alert::memory::File;
use super::locks::Locks;
use super::record::{self, BACKFILL, Backfill, Record, Records, Totals};
use super::schedule::hash::Hash;
use super::schedule::times::Times;
use crate::config::Tier;
use crate::drift::rollup;
use crate::drift::rules::Severity;
use crate::fault::{Fault, Result};
use crate::store::file_name;
use crate::timefmt::{parse_iso, rfc3339};

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
    /// Since when the config is as it is.
    pub since: Option<OffsetDateTime>,
    /// The config's tiers.
    pub tiers: BTreeMap<String, Tier>,
    /// What a command needs to mean the same tenant.
    pub whose: String,
    /// Why its config cannot be used.
    pub fault: Option<Fault>,
}

/// How a tenant stands; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is to be done.
    Ok,
    /// Data is older than its schedule promises.
    Late,
    /// The last run went wrong by what may pass by itself.
    Failing,
    /// No run mends it: a person must.
    NeedsPerson,
}

impl Verdict {
    /// The worst first.
    pub const ALL: [Verdict; 4] = [Verdict::NeedsPerson, Verdict::Failing, Verdict::Late, Verdict::Ok];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Late => "late",
            Verdict::Failing => "failing",
            Verdict::NeedsPerson => "needs a person",
        }
    }
}

/// How all of them stand.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
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
    /// Its config.
    pub config: Option<String>,
    /// The worst of the reasons.
    pub verdict: Verdict,
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
    pub verdict: Verdict,
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
    pub run: record::Run,
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
    pub backfill: Option<Backfill>,
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

impl Report {
    /// How these tenants stand now.
    pub fn of(subjects: &[Subject], now: OffsetDateTime) -> Report {
        let mut tenants: Vec<Row> = subjects.iter().map(|subject| row(subject, now)).collect();
        tenants.sort_by(|a, b| {
            let key = |row: &Row| {
                (std::cmp::Reverse(row.verdict), row.source.clone(), row.tenant.clone(), row.config.clone())
            };
            key(a).cmp(&key(b))
        });
        Report { v: VERSION, at: rfc3339(now), tenants }
    }

    /// How many stand so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.tenants.iter().filter(|row| row.verdict == verdict).count()
    }

    /// `1 needs a person, 2 failing, 19 ok`.
    fn counts(&self) -> String {
        let counts = Verdict::ALL.into_iter().map(|verdict| (self.count(verdict), verdict));
        let said = counts.filter(|(count, _)| *count > 0).map(|(count, verdict)| match (count, verdict) {
            (2.., Verdict::NeedsPerson) => format!("{count} need a person"),
            _ => format!("{count} {}", verdict.words()),
        });
        said.collect::<Vec<_>>().join(", ")
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

fn row(subject: &Subject, now: OffsetDateTime) -> Row {
    let Subject { root, source, tenant, .. } = subject;
    let mut notes = Vec::new();
    // What cannot be read of one thing is said, and hides nothing else.
    fn readable<T: Default>(what: &str, read: Result<T>, notes: &mut Vec<String>) -> T {
        read.unwrap_or_else(|fault| {
            notes.push(format!("{what} cannot be read: {}", fault.message));
            T::default()
        })
    }
    let read = Records::new(root, source, tenant).read();
    let unreadable = read.is_err();
    let record: Option<Record> = readable("the record of its runs", read, &mut notes);
    let drift = readable("its drift", drift(root, source, tenant), &mut notes);
    let memory = readable("the memory of its alerts", File::new(root, source, tenant).read(), &mut notes);
    let record = record.unwrap_or_default();
    let mut row = Row {
        source: source.clone(),
        tenant: tenant.clone(),
        config: subject.config.clone(),
        verdict: Verdict::Ok,
        reasons: Vec::new(),
        runs: runs(subject, &record, now),
        streams: streams(subject, &record, now),
        drift,
        quarantine_bytes: quarantined(root, source, tenant),
        alerts_undelivered: memory.outbox.len() as u64,
        totals: record.totals,
        notes,
    };
    judge::judge(subject, &mut row, unreadable, now);
    row
}

fn runs(subject: &Subject, record: &Record, now: OffsetDateTime) -> Vec<RunRow> {
    let of = |(tier, run): (&String, &record::Run)| {
        let state = match &run.ended {
            Some(_) => State::Ended,
            None if is_held(subject, tier, run) => State::Running,
            None => State::Killed,
        };
        let end = match (state, &run.ended) {
            (State::Running, _) => Some(now),
            (_, ended) => ended.as_deref().and_then(parse_iso),
        };
        let seconds = end.zip(parse_iso(&run.began)).map(|(end, began)| (end - began).as_seconds_f64().max(0.0));
        let means = run.exit_code.map(super::alert::exit_words);
        RunRow {
            superseded: is_superseded(subject, tier, run, record),
            tier: tier.clone(),
            state,
            means,
            seconds,
            run: run.clone(),
        }
    };
    record.runs.iter().map(of).collect()
}

/// Does a run of this tier hold its locks? A target that still loads what a run gave it holds them too.
fn is_held(subject: &Subject, tier: &str, run: &record::Run) -> bool {
    let Subject { root, source, tenant, .. } = subject;
    if tier != BACKFILL {
        return run.streams.iter().any(|stream| Locks::is_held(root, source, tenant, stream));
    }
    let folder = root.join("locks").join(file_name(source)).join(file_name(tenant));
    run.streams.iter().any(|stream| {
        let file = std::fs::File::open(folder.join(format!("{}.backfill.lock", file_name(stream))));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    })
}

/// Is what a run failed by over, though no run of its tier said so?
fn is_superseded(subject: &Subject, tier: &str, run: &record::Run, record: &Record) -> bool {
    let fresh = |stream: &String| record.streams.get(stream).and_then(|s| s.fresh.as_ref());
    let read_since = |stream: &String| fresh(stream).and_then(|t| parse_iso(t)) > parse_iso(&run.began);
    let since = !run.streams.is_empty() && tier != BACKFILL && run.streams.iter().all(read_since);
    let later_good = || {
        let good =
            record.runs.iter().filter(|(other, _)| *other != tier).filter_map(|(_, run)| run.last_good.as_deref());
        good.filter_map(parse_iso).max() > parse_iso(&run.began)
    };
    // Somebody's run by hand, or a tier that was taken out.
    let by_hand = tier != BACKFILL && !subject.tiers.is_empty() && !subject.tiers.contains_key(tier);
    since || by_hand && later_good()
}

fn streams(subject: &Subject, record: &Record, now: OffsetDateTime) -> Vec<StreamRow> {
    let named = subject.tiers.values().flat_map(|tier| &tier.streams).filter(|stream| *stream != "*");
    let mut all: Vec<&String> = record.streams.keys().chain(named).collect();
    all.sort();
    all.dedup();
    let gaps: BTreeMap<&str, u64> =
        subject.tiers.iter().filter_map(|(name, tier)| Some((&**name, gap(subject, name, tier)?))).collect();
    let of = |name: &String| {
        let stream = record.streams.get(name).cloned().unwrap_or_default();
        let tier = tier_of(subject, name, &gaps);
        let due = tier.and_then(|tier| gaps.get(tier)).copied();
        let age = stream.fresh.as_deref().and_then(|fresh| since(fresh, now));
        StreamRow {
            tier: tier.map(str::to_owned),
            late: age.zip(due).is_some_and(|(age, due)| age > due + judge::grace(due)),
            age_seconds: age,
            due_every_seconds: due,
            stream: name.clone(),
            bookmark: stream.bookmark,
            fresh: stream.fresh,
            fault: stream.fault,
            failing_since: stream.failing_since,
            records: stream.records,
            backfill: stream.backfill,
        }
    };
    let mut rows: Vec<StreamRow> = all.into_iter().map(of).collect();
    rows.sort_by_key(|row| (row.fault.is_none(), !row.late, row.due_every_seconds, row.stream.clone()));
    rows
}

/// The tier that reads a stream: of those that name it the most frequent, else the one that takes the rest.
fn tier_of<'t>(subject: &'t Subject, stream: &str, gaps: &BTreeMap<&str, u64>) -> Option<&'t str> {
    let has = |name: &str| -> Vec<&'t String> {
        let with = subject.tiers.iter().filter(|(_, tier)| tier.streams.iter().any(|stream| stream == name));
        with.map(|(tier, _)| tier).collect()
    };
    let own = has(stream);
    let all = if own.is_empty() { has("*") } else { own };
    all.into_iter().min_by_key(|name| gaps.get(&***name).copied().unwrap_or(u64::MAX)).map(String::as_str)
}

/// The longest time between two runs of a tier.
fn gap(subject: &Subject, name: &str, tier: &Tier) -> Option<u64> {
    let hash = Hash { tenant: &subject.tenant, tier: name };
    Some(Times::parse(tier.schedule.as_deref()?, &hash).ok()?.longest_gap().as_secs())
}

fn drift(root: &Path, source: &str, tenant: &str) -> Result<Drift> {
    let mut out = Drift::default();
    let kept = rollup::read(root, source, tenant)?;
    let mut findings: Vec<_> = kept.streams.into_values().flat_map(|(_, pending)| pending.findings).collect();
    crate::drift::kept::sort(&mut findings);
    for finding in &findings {
        *match finding.severity {
            Severity::Extraction => &mut out.extraction,
            Severity::Break => &mut out.breaking,
            Severity::Warn => &mut out.warn,
            Severity::Info => &mut out.info,
        } += 1;
    }
    out.gravest = findings.first().map(|finding| format!("{}: {}", finding.stream, finding.line()));
    let grave = findings.iter().filter(|finding| finding.severity >= Severity::Break);
    out.since = grave.map(|finding| finding.first_seen.clone()).min();
    Ok(out)
}

/// Bytes of the tenant's records that were put aside and not replayed yet.
fn quarantined(root: &Path, source: &str, tenant: &str) -> u64 {
    let folder = root.join("quarantine").join(file_name(source)).join(file_name(tenant));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let waiting = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.ends_with(".jsonl") && !name.ends_with(".replayed.jsonl")
    });
    waiting.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}
