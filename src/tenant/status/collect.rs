//! Collects the facts about a tenant from the files that its runs left.
//!
//! Input: a [`Subject`]. Output: its [`Row`] with a verdict. Called by [`super`]. Files are read as they are, without
//! waiting for a lock.

use std::collections::BTreeMap;
use std::path::Path;

use time::OffsetDateTime;

use super::{Drift, PastRunRow, Row, RunRow, State, StreamRow, Subject, TenantVerdict, since, verdict};
use crate::base::config::Tier;
use crate::base::fault::Result;
use crate::base::store::file_name;
use crate::base::timefmt::parse_iso;
use crate::drift::across_tenants;
use crate::drift::finding::Finding;
use crate::drift::monitor::DriftMonitor;
use crate::drift::rules::Severity;
use crate::tenant::alert::outbox::File;
use crate::tenant::locks::{Locks, of_backfill};
use crate::tenant::run_record::{self, BACKFILL, PastRun, Record, RunRecords};
use crate::tenant::schedule::cron_expr::Times;
use crate::tenant::schedule::jenkins_hash::Hash;

/// Adds a note for an unreadable file; everything else is still shown.
fn readable<T: Default>(what: &str, read: Result<T>, notes: &mut Vec<String>) -> T {
    read.unwrap_or_else(|fault| {
        notes.push(format!("cannot read {what}: {}", fault.message));
        T::default()
    })
}

pub(super) fn row(subject: &Subject, now: OffsetDateTime) -> Row {
    let Subject { root, source, tenant, .. } = subject;
    let mut notes = Vec::new();
    let read = RunRecords::new(root, source, tenant).read();
    let unreadable = read.is_err();
    let record: Option<Record> = readable("the record of its runs", read, &mut notes);
    let drift = readable("its drift", drift(root, source, tenant, now), &mut notes);
    let memory = readable("the record of its alerts", File::new(root, source, tenant).read(), &mut notes);
    let record = record.unwrap_or_default();
    let mut row = Row {
        source: source.clone(),
        tenant: tenant.clone(),
        config: Some(subject.configs().join(", ")).filter(|configs| !configs.is_empty()),
        state_dir: None,
        verdict: TenantVerdict::Ok,
        reasons: Vec::new(),
        runs: runs(subject, &record, now),
        streams: streams(subject, &record, now),
        drift,
        quarantine_bytes: quarantined(root, source, tenant),
        alerts_undelivered: memory.outbox.len() as u64,
        totals: record.totals,
        notes,
    };
    verdict::judge(subject, &mut row, unreadable, now);
    row
}

fn runs(subject: &Subject, record: &Record, now: OffsetDateTime) -> Vec<RunRow> {
    let of = |(tier, run): (&String, &run_record::RunEntry)| {
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
        let means = run.exit_code.map(crate::tenant::alert::exit_words);
        RunRow {
            superseded: is_superseded(subject, tier, run, record),
            history: record.history_of(tier).into_iter().map(|past| past_run(past, run, state)).collect(),
            tier: tier.clone(),
            state,
            means,
            seconds,
            run: run.clone(),
        }
    };
    record.runs.iter().map(of).collect()
}

/// A run of a tier's history; `last` is the tier's last run, `state` its state.
fn past_run(past: PastRun, last: &run_record::RunEntry, state: State) -> PastRunRow {
    let state = match past.ended {
        Some(_) => State::Ended,
        None if past.began == last.began => state,
        None => State::Killed,
    };
    PastRunRow { state, run: past }
}

/// Does a run of this tier hold its locks? A target that is still loading holds them too.
fn is_held(subject: &Subject, tier: &str, run: &run_record::RunEntry) -> bool {
    let Subject { root, source, tenant, .. } = subject;
    let name = |stream: &String| if tier == BACKFILL { of_backfill(stream) } else { stream.clone() };
    run.streams.iter().any(|stream| Locks::is_held(root, source, tenant, &name(stream)))
}

/// Is the cause of a run's failure over, although no run of its tier recorded this?
fn is_superseded(subject: &Subject, tier: &str, run: &run_record::RunEntry, record: &Record) -> bool {
    let fresh = |stream: &String| record.streams.get(stream).and_then(|s| s.fresh.as_ref());
    let read_since = |stream: &String| fresh(stream).and_then(|t| parse_iso(t)) > parse_iso(&run.began);
    let since = !run.streams.is_empty() && tier != BACKFILL && run.streams.iter().all(read_since);
    let later_good = || {
        let good =
            record.runs.iter().filter(|(other, _)| *other != tier).filter_map(|(_, run)| run.last_good.as_deref());
        good.filter_map(parse_iso).max() > parse_iso(&run.began)
    };
    // A manual run, or a tier that was removed.
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
            late: age.zip(due).is_some_and(|(age, due)| age > due + verdict::grace(due)),
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

/// The tier that reads a stream: the most frequent one that names it, else the one with `*`.
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
pub(super) fn gap(subject: &Subject, name: &str, tier: &Tier) -> Option<u64> {
    let hash = Hash { tenant: &subject.tenant, tier: name };
    Some(Times::parse(tier.schedule.as_deref()?, &hash).ok()?.longest_gap().as_secs())
}

fn drift(root: &Path, source: &str, tenant: &str, now: OffsetDateTime) -> Result<Drift> {
    let mut out = Drift::default();
    let stored = across_tenants::read(root, source, tenant)?;
    let mut findings: Vec<_> = stored.streams.into_values().flat_map(|(_, pending)| pending.findings).collect();
    let all = findings.len();
    // The user who rejected a change knows about it.
    findings.retain(|finding| finding.silenced_until.as_deref().and_then(parse_iso).is_none_or(|until| until <= now));
    out.rejected = (all - findings.len()) as u64;
    crate::drift::overlay::sort(&mut findings);
    for finding in &findings {
        *match finding.severity {
            Severity::Extraction => &mut out.extraction,
            Severity::Break => &mut out.breaking,
            Severity::Warn => &mut out.warn,
            Severity::Info => &mut out.info,
        } += 1;
    }
    out.gravest = findings.first().map(|finding| format!("{}: {}", finding.stream, finding.line()));
    let grave = || findings.iter().filter(|finding| finding.severity >= Severity::Break);
    out.since = grave().map(|finding| finding.first_seen.clone()).min();
    let is_fault = |finding: &&Finding| DriftMonitor::is_reported_by_fault(finding.rule);
    out.grave_faults = grave().filter(is_fault).map(|of| (of.run_id.clone(), of.stream.clone())).collect();
    out.remedy = findings.first().and_then(|finding| finding.rule.remedy());
    out.grave_places = grave().map(|of| format!("{} {}", of.rule.id(), of.pointer).trim_end().to_owned()).collect();
    Ok(out)
}

/// Bytes of the tenant's quarantined records that were not replayed yet.
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
