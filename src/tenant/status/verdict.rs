//! The verdict on a tenant: its problems, and what to do.
//!
//! Input: the facts about a tenant. Output: its verdict with reasons, most severe first. Called by [`super`]. Exit
//! codes have the same recommended actions as in alerts.

use time::OffsetDateTime;

use super::collect::gap;
use super::{Reason, Row, RunRow, State, StreamRow, Subject, TenantVerdict, since};
use crate::base::display::{ago, minute, number, span};
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
        reasons.push(Reason {
            verdict: TenantVerdict::NeedsPerson,
            what: "its config cannot be used".to_owned(),
            detail: Some(fault.line()),
            since: None,
            what_to_do: AlertEvent::ConfigRefused.to_do(fault.hint.as_deref()),
            commands: vec![command(subject, "check")],
        });
    }
    if unreadable {
        reasons.push(Reason {
            verdict: TenantVerdict::Failing,
            what: "cannot read the results of its runs".to_owned(),
            detail: None,
            since: None,
            what_to_do: format!(
                "check the files below runs/ in {}; a damaged file may be deleted",
                subject.root.display()
            ),
            commands: Vec::new(),
        });
    }
    let mut reported: Vec<String> = Vec::new();
    for runs in alike(row) {
        if let Some(reason) = of_runs(subject, row, &runs) {
            reported.extend(runs.iter().map(|run| run.tier.clone()));
            reasons.push(reason);
        }
    }
    reasons.extend(of_drift(subject, row));
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
    if let Some(resume) = row.runs.iter().filter_map(|run| run.run.resume_at.as_deref()).max()
        && parse_iso(resume) > Some(now)
    {
        row.notes.push(format!("its account can send calls again at {}", minute(resume)));
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
    Some(Reason {
        verdict: TenantVerdict::NeedsPerson,
        what: format!("{configs} {both} describe this tenant: they share its state"),
        detail: None,
        since: None,
        what_to_do: "keep one of them, or give each its own tenant name (dripfeed.tenant)".to_owned(),
        commands: Vec::new(),
    })
}

/// The problem of runs with equal results.
fn of_runs(subject: &Subject, row: &Row, runs: &[&RunRow]) -> Option<Reason> {
    let run = runs.first()?;
    let names = tiers(runs);
    if run.state == State::Killed {
        return Some(Reason {
            verdict: TenantVerdict::Failing,
            what: format!("{names}: killed; the run started but recorded no end"),
            detail: None,
            since: runs.iter().map(|run| run.run.began.clone()).min(),
            what_to_do:
                "check this machine: memory, a reboot, a timeout of the scheduler; the next run continues from the \
                bookmark"
                    .to_owned(),
            commands: Vec::new(),
        });
    }
    let code = run.run.exit_code.filter(|_| run.state == State::Ended)?;
    let event = AlertEvent::of_exit(code)?;
    let is_late = || row.streams.iter().any(|stream| stream.late && stream.tier.as_ref() == Some(&run.tier));
    let (event, verdict) = match event {
        AlertEvent::Unfinished if run.tier == BACKFILL || run.run.unfinished_in_a_row < UNFINISHED && !is_late() => {
            return None;
        }
        AlertEvent::Unfinished if run.run.resume_at.is_some() => (AlertEvent::LimitReached, TenantVerdict::Late),
        AlertEvent::Unfinished => (event, TenantVerdict::Late),
        AlertEvent::VendorDown | AlertEvent::LocalFailed => (event, TenantVerdict::Failing),
        _ => (event, TenantVerdict::NeedsPerson),
    };
    let times = number(count(run.run.unfinished_in_a_row), "run");
    let what = match (event, &run.run.target) {
        (AlertEvent::Unfinished, _) => format!("{names}: {times} in a row did not have enough time to finish"),
        (AlertEvent::LimitReached, _) => {
            format!("{names}: the account's rate limit is used up; {times} in a row did not finish")
        }
        (_, Some(target)) => format!("{names}: the target failed: {target} (exit {code})"),
        _ => format!("{names}: {} (exit {code})", run.means.unwrap_or_default()),
    };
    let commands = match event {
        AlertEvent::ConfigRefused | AlertEvent::CredentialsRefused | AlertEvent::VendorDown => {
            vec![command(subject, "check")]
        }
        AlertEvent::SchemaDrift => vec![command(subject, "drift show")],
        _ => Vec::new(),
    };
    let since = runs.iter().map(|run| run.run.failing_since.as_ref().unwrap_or(&run.run.began));
    Some(Reason {
        verdict,
        what,
        detail: run.run.why.clone(),
        since: since.min().cloned(),
        what_to_do: event.to_do(run.run.hint.as_deref()),
        commands,
    })
}

fn of_drift(subject: &Subject, row: &Row) -> Option<Reason> {
    let grave = row.drift.grave();
    let gravest = row.drift.gravest.as_deref().filter(|_| grave > 0)?;
    let more = if grave > 1 { format!(", and {} more", grave - 1) } else { String::new() };
    Some(Reason {
        verdict: TenantVerdict::NeedsPerson,
        what: format!("the vendor changed its data: {gravest}{more}"),
        detail: None,
        since: row.drift.since.clone(),
        what_to_do: AlertEvent::SchemaDrift.to_do(None),
        commands: vec![command(subject, "drift show")],
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
                format!("its run started {began} and is still running: wait for it, or check its log")
            }
            Some(run) if since(&run.run.began, now).is_some_and(|ago| ago > due + grace(due)) => {
                "no run has started since: check the scheduler".to_owned()
            }
            Some(_) => "its runs do not finish these streams: check the last run".to_owned(),
            None => "no run of this tier is recorded: check the scheduler".to_owned(),
        };
        let verb = run.map_or("read", |run| if run.run.verb.is_empty() { "read" } else { &run.run.verb });
        Some(Reason {
            verdict: TenantVerdict::Late,
            what: format!("tier {name}: {} is {} old, due every {}", names.join(", "), span(age), span(due)),
            detail: None,
            since: Some(rfc3339(at + time::Duration::seconds(i64::try_from(due).unwrap_or(i64::MAX)))),
            what_to_do,
            commands: vec![command(subject, &format!("{verb} --tier {}", shell(name)))],
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
        reasons.push(Reason {
            verdict: TenantVerdict::Late,
            what: format!("no run of {} is recorded", names(&late)),
            detail: None,
            since: subject.since.map(rfc3339),
            what_to_do: format!(
                "check that the scheduler starts these runs, and that they save their state in {}",
                subject.root.display()
            ),
            commands: late
                .iter()
                .take(1)
                .map(|(name, _)| command(subject, &format!("read --tier {}", shell(name))))
                .collect(),
        });
    }
    if !new.is_empty() {
        row.notes.push(format!("no run of {} yet", names(&new)));
    }
    if row.runs.is_empty() && subject.tiers.values().all(|tier| tier.schedule.is_none()) && subject.fault.is_none() {
        row.notes.push("no run is recorded yet".to_owned());
    }
}
