//! `--backfill FROM..TO`: reads a part of the past, independently of live runs.
//!
//! Input: the option, the selected streams and the state of an earlier run. Output: what is left to read of each
//! stream, its minimum cost, and its progress. Called by `read`, for `sync` too.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};
use time::{OffsetDateTime, UtcOffset};

use super::active_run;
use super::identity::RunIdentity;
use super::load::LoadedSource;
use super::log::{Level, Log};
use super::reporter::windows_read;
use crate::base::display::number_of;
use crate::base::fault::{Fault, Kind, Result as Outcome};
use crate::base::timefmt::{is_date, parse_iso, rfc3339};
use crate::engine::build::StreamPlan;
use crate::engine::cursor::backfill::{Backfill, BackfillProgress};
use crate::engine::cursor::ranges::Span;
use crate::engine::scheduler::{Scheduler, StreamJob, StreamOutcome};
use crate::manifest::template::Vars;
use crate::protocol::Protocol;
use crate::run::context::Context;

/// How often the progress of a backfill is logged.
const BETWEEN: Duration = Duration::from_secs(30);

/// Parses the option.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    let (from, to) = text.split_once("..").ok_or("write it as FROM..TO, such as 2022-01-01..2025-01-01")?;
    let (start, end) = (moment(from)?, moment(to)?);
    if start >= end {
        return Err(format!("{from} is not before {to}"));
    }
    Ok(Span { start, end })
}

/// Parses a date, which begins at midnight UTC, or a time with an offset.
fn moment(text: &str) -> Result<OffsetDateTime, String> {
    let bad = || format!("`{text}` is neither a date such as 2022-01-01 nor a time such as 2022-01-01T06:00:00Z");
    let whole = text.get(..10).is_some_and(|date| is_date(date.as_bytes()));
    let zoned = |rest: &str| rest.starts_with(['T', 't', ' ']) && rest.contains(['Z', 'z', '+', '-']);
    if !whole || !text.get(10..).is_some_and(|rest| rest.is_empty() || zoned(rest)) {
        return Err(bad());
    }
    parse_iso(text).map(|time| time.to_offset(UtcOffset::UTC)).ok_or_else(bad)
}

/// Refuses an impossible backfill before any request.
pub(crate) fn check(context: &Context, now: OffsetDateTime) -> Outcome<()> {
    let Some(span) = context.options.backfill else { return Ok(()) };
    let refused = |what: &str, hint: &str| Err(Fault::new(Kind::Usage, what).hint(hint));
    if context.protocol == Protocol::Airbyte {
        return refused(
            "Airbyte's protocol has no backfills",
            "lower the start date of the connection, or read the past with --protocol singer",
        );
    }
    if span.end > now {
        return refused("--backfill ends in the future", "a backfill reads the past; live runs read new changes");
    }
    Ok(())
}

/// A stream's backfill and its progress; `None` if nothing is left to read.
pub(crate) fn begin(
    context: &Context,
    loaded: &LoadedSource,
    span: Span,
    stream: &StreamPlan,
    state: Option<&Map<String, Json>>,
) -> Outcome<Option<(Arc<StreamPlan>, Backfill)>> {
    let (name, now) = (&stream.name, loaded.cx.now);
    let skipped = |why: &str| {
        context.log.line(Level::Info, &format!("{name}: {why}"));
        Ok(None)
    };
    let Some(plan) = stream.of_history(span, now) else {
        let why = "it has no cursor over time, so a part of its past cannot be requested";
        if context.options.streams.iter().any(|named| **named == **name) {
            let fault = Fault::config(why).of_stream(name);
            return Err(fault.hint("read the whole stream with --full-refresh instead of --backfill"));
        }
        return skipped(&format!("not read: {why}"));
    };
    let asked = plan.cursor.as_ref().and_then(|cursor| cursor.there_is(span, now));
    let Some(asked) = asked else {
        return skipped("not read: the manifest has no part of this range yet");
    };
    let backfill = Backfill::begin(asked, state, now).map_err(|fault| fault.of_stream(name))?;
    if backfill.is_read() {
        return skipped(&format!("an earlier backfill read {}", shown(asked)));
    }
    Ok(Some((plan, backfill)))
}

/// A time range in readable form.
fn shown(span: Span) -> String {
    format!("{}..{}", rfc3339(span.start), rfc3339(span.end))
}

/// A duration in readable form.
fn takes(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{:.0} s", s.ceil()),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// Logs the minimum cost of a backfill, before the first request.
pub(crate) fn announce(log: &Log, loaded: &LoadedSource, jobs: &[StreamJob]) {
    let rate = loaded.shared.fetcher.pace().rate().filter(|rate| *rate > 0.0);
    for job in jobs {
        let (Some(backfill), Some(cursor)) = (&job.backfill, &job.plan.cursor) else { continue };
        let (windows, done) = (backfill.windows(cursor), backfill.partitions_done());
        let counted = job.plan.router.count(&Vars::new(&loaded.cx)).map(|count| count as u64);
        let partitions = counted.or(backfill.known());
        let calls = partitions.map(|partitions| backfill.slices_left(cursor, partitions));
        #[allow(clippy::cast_precision_loss)]
        let seconds = calls.zip(rate).map(|(calls, rate)| calls as f64 / rate);
        let mut message =
            format!("{}: backfill of {}: {}", job.plan.name, shown(backfill.asked()), number_of(windows, "window"));
        match (partitions, calls) {
            (Some(partitions), Some(calls)) => {
                if job.plan.router.is_some() {
                    message += &format!(" for each of {}", number_of(partitions, "partition"));
                    message += &if done > 0 { format!(", {done} of them done") } else { String::new() };
                }
                message += &format!(": at least {}", number_of(calls, "call"));
            }
            _ => message += " for each partition; the partitions are listed first",
        }
        if let (Some(seconds), Some(rate)) = (seconds, rate) {
            message += &format!(", {} at {rate:.1} calls/s", takes(seconds));
        }
        message += "; each further page is one more call";
        let fields = json!({
            "stream": *job.plan.name, "from": rfc3339(backfill.asked().start), "to": rfc3339(backfill.asked().end),
            "windows": windows, "partitions": partitions, "partitions_done": done, "calls_at_least": calls,
            "seconds_at_least": seconds,
        });
        log.event(Level::Info, &message, "backfill_planned", &fields);
    }
}

/// Logs the progress of a run's backfills at intervals until the run ends.
pub(crate) fn follow(context: &Context, identity: &RunIdentity, run: &Arc<Scheduler>) {
    let outcomes = run.outcomes();
    if outcomes.iter().all(|outcome| outcome.backfill.is_none()) {
        return;
    }
    active_run::go_on(context, identity, outcomes.iter());
    let (context, identity, began) = (context.clone(), identity.clone(), Instant::now());
    let run: Weak<Scheduler> = Arc::downgrade(run);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(BETWEEN);
            let Some(run) = run.upgrade() else { return };
            active_run::go_on(&context, &identity, run.outcomes().iter());
            tell(
                &context.log,
                run.outcomes().iter().filter(|outcome| outcome.begun && !outcome.ended),
                began.elapsed(),
            );
        }
    });
}

/// Logs the progress of these streams' backfills.
pub(crate) fn tell<'a>(log: &Log, outcomes: impl Iterator<Item = &'a StreamOutcome>, took: Duration) {
    for outcome in outcomes {
        let Some(standing) = &outcome.backfill else { continue };
        let left = left(standing, took);
        let mut message = format!("{}: {}", outcome.stream, windows_read(standing));
        message += &format!(", {}, {}", number_of(outcome.records, "record"), number_of(standing.calls, "call"));
        if let Some(left) = left {
            message += &format!(", about {} left at this rate", takes(left));
        }
        let fields = json!({
            "stream": *outcome.stream, "from": rfc3339(standing.asked.start), "to": rfc3339(standing.asked.end),
            "done": standing.done, "of": standing.of, "listed": standing.listed, "records": outcome.records,
            "calls": standing.calls, "seconds": took.as_secs_f64(), "seconds_left": left, "ended": standing.ended,
        });
        log.event(Level::Info, &message, "backfill_progress", &fields);
    }
}

/// The estimated seconds that are left, at the speed of this run so far; `None` until the amount is known.
fn left(standing: &BackfillProgress, took: Duration) -> Option<f64> {
    let done = standing.done.checked_sub(standing.earlier).filter(|done| *done > 0 && standing.listed)?;
    let left = standing.of.saturating_sub(standing.done);
    #[allow(clippy::cast_precision_loss)]
    let seconds = took.as_secs_f64() * left as f64 / done as f64;
    (left > 0).then_some(seconds)
}
