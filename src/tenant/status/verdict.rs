//! The verdict on a tenant: its problems, and what to do.
//!
//! Input: the facts about a tenant. Output: its verdict with reasons, most severe first. Called by [`super`]. Exit
//! codes have the same recommended actions as in alerts.

use time::OffsetDateTime;

use super::collect::gap;
use super::{Reason, Row, RunRow, State, StreamRow, Subject, TenantVerdict, since};
use crate::base::display::{ago, bytes, minute, number, span};
use crate::base::timefmt::{parse_iso, rfc3339};
use crate::tenant::alert::AlertEvent;
use crate::tenant::run_record::{ALL, BACKFILL};
use crate::tenant::schedule::quote::shell;

/// The number of consecutive unfinished runs that counts as a problem.
const UNFINISHED: u64 = 3;
/// The maximum number of streams named; the rest are counted.
const NAMED: usize = 3;

/// The tolerance for late data, in seconds: the duration of a run, and of a retry after a failed one.
pub(super) fn grace(due: u64) -> u64 {
    (due / 2).clamp(5 * 60, 3 * 60 * 60)
}

/// Finds the reasons, and the verdict.
pub(super) fn judge(subject: &Subject, row: &mut Row, unreadable: bool, now: OffsetDateTime) {
    let mut reasons = Vec::new();
    reasons.extend(of_twins(subject));
    if let Some(fault) = &subject.fault {
        let what_to_do = AlertEvent::ConfigRefused.to_do(fault.hint.as_deref());
        reasons.push(Reason {
            detail: Some(fault.line()),
            detail_is_whole: true,
            commands: vec![command(subject, "check")],
            ..Reason::new(TenantVerdict::NeedsPerson, "its config cannot be used".to_owned(), what_to_do)
        });
    }
    if unreadable {
        let what_to_do = format!("look at the files below runs/ in {}; delete a damaged one", subject.root.display());
        reasons.push(Reason::new(
            TenantVerdict::Failing,
            "the record of its runs cannot be read".to_owned(),
            what_to_do,
        ));
    }
    let mut reported: Vec<String> = Vec::new();
    let mut drift = of_drift(subject, row);
    for runs in alike(row) {
        if let Some(reason) = of_runs(subject, row, &runs) {
            reported.extend(runs.iter().map(|run| run.tier.clone()));
            // One cause is one reason: a change of the data, or a config that was invalid then and still is.
            let why = reason.detail.as_deref().unwrap_or_default();
            let is_fault = row.drift.is_shown_by(&runs[0].run.run_id, why);
            if let Some(change) = drift.as_mut().filter(|_| is_fault) {
                (change.detail, change.detail_is_whole) = (reason.detail.clone(), true);
            }
            let of_drift = |_: &&mut Reason| is_fault || row.drift.is_cause_of(why);
            let is_same = |other: &&mut Reason| other.detail.is_some() && other.detail == reason.detail;
            match drift.as_mut().filter(of_drift).or_else(|| reasons.iter_mut().find(is_same)) {
                Some(same) => join(same, reason),
                None => reasons.push(reason),
            }
        }
    }
    reasons.extend(drift);
    // The problem of the run already explains why its data is late.
    reasons.extend(of_age(subject, row, &reported, now));
    if !unreadable {
        missing(subject, row, now, &mut reasons);
    }
    // Equal verdicts keep this order.
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.verdict));
    row.verdict = reasons.first().map_or(TenantVerdict::Ok, |reason| reason.verdict);
    row.reasons = reasons;
    if row.alerts_undelivered > 0 {
        let note = format!("{} undelivered: check its webhook", number(count(row.alerts_undelivered), "alert"));
        row.notes.push(note);
    }
    if row.quarantine_bytes > 0 {
        let replay = command(subject, "drift replay");
        let size = bytes(row.quarantine_bytes);
        row.notes.push(format!("{size} of records wait in quarantine: `{replay} | TARGET` sends those that fit now"));
    }
    if let Some(resume) = row.runs.iter().filter_map(|run| run.run.resume_at.as_deref()).max()
        && parse_iso(resume) > Some(now)
    {
        row.notes.push(format!("its account can be called again from {}", minute(resume)));
    }
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn command(subject: &Subject, words: &str) -> String {
    format!("dripfeed {words} {}", subject.arguments).trim_end().to_owned()
}

/// `tiers daily, hourly`, in readable form.
fn tiers(runs: &[&RunRow]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| &*run.tier).collect();
    match &names[..] {
        [ALL] => "the last run".to_owned(),
        [BACKFILL] => "the backfill".to_owned(),
        [tier] => format!("tier {tier}"),
        tiers => format!("tiers {}", tiers.join(", ")),
    }
}

/// The relevant runs, grouped by equal results, last one first.
fn alike(row: &Row) -> Vec<Vec<&RunRow>> {
    let mut runs: Vec<&RunRow> = row.runs.iter().filter(|run| !run.superseded).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(parse_iso(&run.run.began)));
    let mut groups: Vec<Vec<&RunRow>> = Vec::new();
    for run in runs {
        let key = |of: &RunRow| {
            (of.state == State::Killed, of.state == State::Running, of.run.exit_code, of.run.target.clone())
        };
        match groups.iter_mut().find(|group| key(group[0]) == key(run) && run.run.exit_code != Some(75)) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}

/// Two configs share the state of one tenant: each resumes where the other stopped.
fn of_twins(subject: &Subject) -> Option<Reason> {
    let (configs, both) = match &subject.configs()[..] {
        [] | [_] => return None,
        [one, other] => (format!("{one} and {other}"), "both"),
        more => (more.join(", "), "all"),
    };
    Some(Reason::new(
        TenantVerdict::NeedsPerson,
        format!("{configs} {both} describe this tenant: they share its state"),
        "keep one of them, or give each its own tenant name: dripfeed.tenant".to_owned(),
    ))
}

/// The problem of runs with equal results.
fn of_runs(subject: &Subject, row: &Row, runs: &[&RunRow]) -> Option<Reason> {
    let run = runs.first()?;
    let names = tiers(runs);
    let tiers = runs.iter().map(|run| run.tier.clone()).collect();
    if run.state == State::Killed {
        let what_to_do = "check this machine: memory, reboots, the scheduler's timeout; the next run continues from \
                            the bookmark";
        return Some(Reason {
            tiers,
            since: runs.iter().map(|run| run.run.began.clone()).min(),
            commands: again(subject, runs).collect(),
            ..Reason::new(
                TenantVerdict::Failing,
                format!("{names}: killed: the run started but never recorded an end"),
                what_to_do.to_owned(),
            )
        });
    }
    let code = run.run.exit_code?;
    let (event, verdict) = event_of(row, run)?;
    let times = number(count(run.run.unfinished_in_a_row), "run");
    let what = match (event, &run.run.target) {
        (AlertEvent::Unfinished, _) => format!("{names}: {times} in a row ran out of time"),
        (AlertEvent::LimitReached, _) => {
            format!("{names}: the account's rate limit is used up; {times} in a row did not finish")
        }
        (_, Some(target)) => format!("{names}: the target failed: {target} (exit {code})"),
        _ => format!("{names}: {} (exit {code})", run.means.unwrap_or_default()),
    };
    let commands = match event {
        AlertEvent::ConfigRefused | AlertEvent::CredentialsRefused | AlertEvent::VendorDown => {
            [command(subject, "check")].into_iter().chain(again(subject, runs)).collect()
        }
        AlertEvent::SchemaDrift => vec![command(subject, "drift show")],
        AlertEvent::LocalFailed => again(subject, runs).collect(),
        _ => Vec::new(),
    };
    let since = runs.iter().map(|run| run.run.failing_since.as_ref().unwrap_or(&run.run.began));
    Some(Reason {
        detail: run.run.why.clone(),
        tiers,
        exit_code: Some(code),
        detail_is_whole: verdict > TenantVerdict::Late,
        since: since.min().cloned(),
        commands,
        ..Reason::new(verdict, what, event.to_do(run.run.hint.as_deref()))
    })
}

/// The commands that repeat runs. A backfill has options of its own, which its record does not hold.
fn again<'a>(subject: &'a Subject, runs: &'a [&RunRow]) -> impl Iterator<Item = String> + 'a {
    runs.iter().filter(|run| run.tier != BACKFILL).map(|run| run_of_tier(subject, Some(run), &run.tier))
}

/// The command for a run of a tier, with the verb of its last run.
fn run_of_tier(subject: &Subject, last: Option<&RunRow>, tier: &str) -> String {
    let verb = last.map(|run| &*run.run.verb).filter(|verb| !verb.is_empty()).unwrap_or("read");
    let tier = if tier == ALL { String::new() } else { format!(" --tier {}", shell(tier)) };
    command(subject, &format!("{verb}{tier}"))
}

/// The event of a run that ended, and the verdict on it; `None` if nothing is wrong.
fn event_of(row: &Row, run: &RunRow) -> Option<(AlertEvent, TenantVerdict)> {
    let event = AlertEvent::of_exit(run.run.exit_code.filter(|_| run.state == State::Ended)?)?;
    let few = || run.run.unfinished_in_a_row < UNFINISHED && !is_late(row, &run.tier);
    Some(match event {
        AlertEvent::Unfinished if run.tier == BACKFILL || few() => return None,
        AlertEvent::Unfinished if run.run.resume_at.is_some() => (AlertEvent::LimitReached, TenantVerdict::Late),
        AlertEvent::Unfinished => (event, TenantVerdict::Late),
        AlertEvent::VendorDown | AlertEvent::LocalFailed => (event, TenantVerdict::Failing),
        _ => (event, TenantVerdict::NeedsPerson),
    })
}

/// The verdict on a tier: that on its last run, and on the age of its data.
pub(super) fn of_slot(row: &Row, run: &RunRow) -> TenantVerdict {
    let of_run = match run.state {
        _ if run.superseded => TenantVerdict::Ok,
        State::Killed => TenantVerdict::Failing,
        _ => event_of(row, run).map_or(TenantVerdict::Ok, |(_, verdict)| verdict),
    };
    if is_late(row, &run.tier) { of_run.max(TenantVerdict::Late) } else { of_run }
}

/// Is data of this tier late?
fn is_late(row: &Row, tier: &str) -> bool {
    row.streams.iter().any(|stream| stream.late && stream.tier.as_deref() == Some(tier))
}

/// Adds the runs of a reason to another reason with the same cause.
fn join(same: &mut Reason, reason: Reason) {
    same.tiers.extend(reason.tiers);
    same.exit_code = same.exit_code.or(reason.exit_code);
    same.since = same.since.take().into_iter().chain(reason.since).min();
}

fn of_drift(subject: &Subject, row: &Row) -> Option<Reason> {
    let grave = row.drift.grave();
    let gravest = row.drift.gravest.as_deref().filter(|_| grave > 0)?;
    let more = if grave > 1 { format!(", and {} more", grave - 1) } else { String::new() };
    Some(Reason {
        since: row.drift.since.clone(),
        commands: vec![command(subject, "drift show")],
        ..Reason::new(
            TenantVerdict::NeedsPerson,
            format!("the vendor changed its data: {gravest}{more}"),
            row.drift.remedy.map_or_else(|| AlertEvent::SchemaDrift.to_do(None), str::to_owned),
        )
    })
}

/// Data that is too old, for all streams of a tier together.
fn of_age(subject: &Subject, row: &Row, reported: &[String], now: OffsetDateTime) -> Vec<Reason> {
    let mut tiers: Vec<&str> = row.streams.iter().filter(|s| s.late).filter_map(|s| s.tier.as_deref()).collect();
    tiers.retain(|tier| !reported.iter().any(|reported| reported == tier));
    tiers.sort_unstable();
    tiers.dedup();
    let of = |name: &str| {
        let late: Vec<&StreamRow> = row.streams.iter().filter(|s| s.late && s.tier.as_deref() == Some(name)).collect();
        let oldest = late.iter().max_by_key(|stream| stream.age_seconds)?;
        let (age, due) = (oldest.age_seconds?, oldest.due_every_seconds?);
        let mut names: Vec<&str> = late.iter().take(NAMED).map(|stream| &*stream.stream).collect();
        let more = format!("{} more", late.len().saturating_sub(NAMED));
        if late.len() > NAMED {
            names.push(&more);
        }
        let at = parse_iso(oldest.fresh.as_deref()?)?;
        let run = row.runs.iter().find(|run| run.tier == name);
        let what_to_do = match run {
            Some(run) if run.state == State::Running => {
                let began = ago(&run.run.began, &rfc3339(now)).unwrap_or_else(|| "just now".to_owned());
                format!("its run began {began} and still runs: wait for it, or read its log")
            }
            Some(run) if since(&run.run.began, now).is_some_and(|ago| ago > due + grace(due)) => {
                "no run has begun since: check that the scheduler starts it".to_owned()
            }
            Some(_) => "its runs do not finish these streams: read the log of the last one".to_owned(),
            None => "no run of this tier is recorded: check that the scheduler starts it".to_owned(),
        };
        let what = format!("tier {name}: {} is {} old, due every {}", names.join(", "), span(age), span(due));
        Some(Reason {
            tiers: vec![name.to_owned()],
            since: Some(rfc3339(at + time::Duration::seconds(i64::try_from(due).unwrap_or(i64::MAX)))),
            commands: vec![run_of_tier(subject, run, name)],
            ..Reason::new(TenantVerdict::Late, what, what_to_do)
        })
    };
    tiers.into_iter().filter_map(of).collect()
}

/// Tiers that never ran: late if their config has existed longer than a run should take.
fn missing(subject: &Subject, row: &mut Row, now: OffsetDateTime, reasons: &mut Vec<Reason>) {
    let ran = |name: &str| row.runs.iter().any(|run| run.tier == name);
    let read =
        |name: &str| row.streams.iter().any(|stream| stream.tier.as_deref() == Some(name) && stream.fresh.is_some());
    let never: Vec<(&String, u64)> = subject
        .tiers
        .iter()
        .filter(|(name, _)| !ran(name) && !read(name))
        .filter_map(|(name, tier)| Some((name, gap(subject, name, tier)?)))
        .collect();
    let there = subject.since.and_then(|since| u64::try_from((now - since).whole_seconds()).ok());
    let (late, new): (Vec<_>, Vec<_>) =
        never.into_iter().partition(|(_, due)| there.is_some_and(|there| there > due + grace(*due)));
    let names = |of: &[(&String, u64)]| {
        let names = of.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        format!("{} {names}", if of.len() == 1 { "tier" } else { "tiers" })
    };
    if !late.is_empty() {
        let what_to_do = format!(
            "check that the scheduler starts these runs, and that they save their state in {}",
            subject.root.display()
        );
        let first = late.iter().take(1);
        let commands = first.map(|(name, _)| run_of_tier(subject, None, name)).collect();
        reasons.push(Reason {
            tiers: late.iter().map(|(name, _)| (*name).clone()).collect(),
            since: subject.since.map(rfc3339),
            commands,
            ..Reason::new(TenantVerdict::Late, format!("no run of {} is recorded", names(&late)), what_to_do)
        });
    }
    if !new.is_empty() {
        row.notes.push(format!("no run of {} yet", names(&new)));
    }
    if row.runs.is_empty() && subject.tiers.values().all(|tier| tier.schedule.is_none()) && subject.fault.is_none() {
        row.notes.push("no run is recorded yet".to_owned());
    }
}
