//! The summary of a run, for people, schedulers and its record.
//!
//! Input: the outcomes of streams, and the cause that ended the run. Output: log lines, events, and a [`RunOutcome`]
//! with the resulting exit code. Called by `read` and `sync` when a run has ended.

use std::sync::atomic::AtomicU64;

use serde_json::json;

use super::{Reporter, get};
use crate::base::display::{number, number_of, thousands};
use crate::base::fault::{Fault, Kind};
use crate::base::stop::Stop;
use crate::drift::rules::Rule;
use crate::engine::cursor::ceiling::Beyond;
use crate::engine::fetch::NO_PERMISSION;
use crate::engine::scheduler::StreamOutcome;
use crate::run::log::Level;
use crate::run::outcome::{Figures, RunOutcome};

/// The most streams that a line names.
const NAMES: usize = 10;

/// Streams that failed for a reason that was reported already, by reason.
#[derive(Default)]
struct Repeats(Vec<Repeat>);

struct Repeat {
    /// The status, the manifest's words for it, and the hint: the request differs from stream to stream.
    reason: (Option<u16>, String, Option<String>),
    /// The stream that was reported.
    first: String,
    others: Vec<String>,
}

impl Repeats {
    /// Was the reason reported for another stream? Remembers the stream either way.
    fn is_known(&mut self, fault: &Fault, stream: &str) -> bool {
        let reason = (fault.status, fault.airbyte_text().to_owned(), fault.hint.clone());
        if let Some(repeat) = self.0.iter_mut().find(|repeat| repeat.reason == reason) {
            repeat.others.push(stream.to_owned());
            return true;
        }
        self.0.push(Repeat { reason, first: stream.to_owned(), others: Vec::new() });
        false
    }

    /// A line for each reason with several streams.
    fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter(|repeat| !repeat.others.is_empty()).map(|Repeat { first, others, .. }| {
            let named = others.iter().take(NAMES).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let more = others.len().saturating_sub(NAMES);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} failed for the same reason as `{first}`: {named}{more}", number(others.len(), "other stream"))
        })
    }
}

impl Reporter {
    /// Reports the result of the run. `ended_by` is the cause that ended it from outside of its streams, `target` the
    /// failure of its target, if any.
    pub(in crate::run) fn summary(
        &self,
        mut outcomes: Vec<StreamOutcome>,
        stop: &Stop,
        ended_by: Option<&Fault>,
        target: Option<String>,
    ) -> RunOutcome {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
        let (gravest, fault) = self.gravest(&mut outcomes, stop, ended_by);
        let (seconds, counts) = (self.began.elapsed().as_secs_f64(), &self.counts);
        let records: u64 = outcomes.iter().map(|a| a.records).sum();
        let complete = outcomes.iter().filter(|a| a.complete).count();
        let status = if gravest.is_none() { "succeeded" } else { "failed" };
        self.log.metric("timer", "sync_duration", &json!(seconds), &json!({"status": status}));
        self.log.metric("counter", "http_request_count", &json!(get(&counts.calls)), &json!({}));
        let exit_code = gravest.map_or(0, Kind::exit_code);
        #[allow(clippy::cast_precision_loss)]
        let waited = |counter: &AtomicU64| get(counter) as f64 / 1000.0;
        let share = self.share(get(&counts.calls), self.began.elapsed());
        let wait = self.pace.get().and_then(|pace| pace.resume_after()).map(|wait| wait.as_secs_f64().ceil());
        let figures = Figures {
            calls: get(&counts.calls),
            retried: get(&counts.retried),
            limited: get(&counts.limited),
            bytes: get(&counts.bytes),
            paced_seconds: waited(&counts.paced),
            cap_use: share,
            resume_after: wait.filter(|_| gravest == Some(Kind::Unfinished)),
            seconds,
        };
        let backed_off = waited(&counts.backed_off);
        let message = self.line(&outcomes, &figures, backed_off, gravest);
        self.log.metric("counter", "http_rate_limited_count", &json!(get(&counts.limited)), &json!({}));
        self.log.metric("timer", "pace_wait_duration", &json!(figures.paced_seconds), &json!({}));
        if let Some(share) = share {
            self.log.metric("gauge", "cap_use", &json!(share), &json!({}));
        }
        if gravest == Some(Kind::Unfinished) {
            let again = wait.map_or_else(String::new, |wait| format!(" in {wait:.0} s"));
            let message =
                format!("the run reached its deadline; the next run can continue{again} from the saved state");
            self.log.event(Level::Warning, &message, "budget_exhausted", &json!({"resume_after_seconds": wait}));
        }
        let mut fields = json!({
            "records": records, "streams": outcomes.len(), "complete": complete, "calls": get(&counts.calls),
            "retried": get(&counts.retried), "rate_limited": get(&counts.limited), "skipped": get(&counts.skipped),
            "bytes": get(&counts.bytes), "paced_seconds": figures.paced_seconds, "cap_use": share,
            "backed_off_seconds": backed_off, "seconds": seconds, "exit_code": exit_code,
        });
        if let Some(target) = &target {
            fields["target"] = json!(target);
        }
        self.log.event(if gravest.is_none() { Level::Info } else { Level::Warning }, &message, "run_done", &fields);
        // The cause that ended the run outranks earlier faults.
        let fault = match gravest {
            None => None,
            Some(kind) if fault.as_ref().is_some_and(|f| f.kind.severity_rank() >= kind.severity_rank()) => fault,
            Some(_) => stop.check().err(),
        };
        RunOutcome { exit_code, fault, outcomes, figures, target, ..RunOutcome::default() }
    }

    /// The most severe cause that ended the run, and its fault. If only one stream lost its permission, the
    /// credentials are not to blame.
    fn gravest(
        &self,
        outcomes: &mut [StreamOutcome],
        stop: &Stop,
        ended_by: Option<&Fault>,
    ) -> (Option<Kind>, Option<Fault>) {
        // The deadline limits reading: it is irrelevant once everything is read.
        let read = outcomes.iter().all(|outcome| outcome.complete);
        let mut gravest: Option<Kind> = stop.asked().filter(|why| !(read && *why == Kind::Unfinished));
        let mut fault = ended_by.cloned();
        if let Some(kind) = ended_by.map(|fault| fault.kind)
            && gravest.is_none_or(|g| kind.severity_rank() > g.severity_rank())
        {
            gravest = Some(kind);
        }
        let mut repeats = Repeats::default();
        // Credentials that worked for other streams are valid: a single stream may have lost its permission.
        let some_were_read = outcomes.iter().any(|outcome| outcome.complete || outcome.records > 0);
        for outcome in outcomes {
            if let Some(fault) =
                outcome.fault.as_mut().filter(|f| some_were_read && f.rule == Some(Rule::ScopeLost.id()))
            {
                fault.kind = Kind::Data;
                fault.hint = Some(NO_PERMISSION.to_owned());
            }
            let graver = self.end_of_stream(outcome, &mut repeats);
            if graver.is_some_and(|kind| gravest.is_none_or(|g| kind.severity_rank() > g.severity_rank())) {
                gravest = graver;
            }
            if outcome.fault.as_ref().is_some_and(|own| {
                fault.as_ref().is_none_or(|other| own.kind.severity_rank() > other.kind.severity_rank())
            }) {
                fault.clone_from(&outcome.fault);
            }
        }
        for line in repeats.lines() {
            self.log.line(Level::Error, &line);
        }
        if gravest == Some(Kind::Unfinished) && get(&self.counts.sent) > 0 && get(&self.counts.calls) == 0 {
            // More time would not help.
            let message = "the vendor did not respond to any request before the run's deadline";
            let down = Fault::new(Kind::Unavailable, message).hint(
                "check whether the vendor is down, and whether this machine can reach it; the next run tries again",
            );
            self.log.line(Level::Error, &down.to_string());
            (gravest, fault) = (Some(Kind::Unavailable), Some(down));
        }
        (gravest, fault)
    }

    /// A one-line summary of the run.
    fn line(&self, outcomes: &[StreamOutcome], figures: &Figures, backed_off: f64, gravest: Option<Kind>) -> String {
        let records: u64 = outcomes.iter().map(|a| a.records).sum();
        let complete = outcomes.iter().filter(|a| a.complete).count();
        let streams = number(outcomes.len(), "stream");
        let mut message = format!("{}, {complete} of {streams} complete", number_of(records, "record"));
        message += &format!(", {}", number_of(figures.calls, "call"));
        for (count, what) in
            [(figures.retried, "retried"), (figures.limited, "rate limited"), (get(&self.counts.skipped), "skipped")]
        {
            if count > 0 {
                message += &format!(", {} {what}", thousands(count));
            }
        }
        message += &format!(", {:.1} s", figures.seconds);
        if let Some(share) = figures.cap_use {
            message += &format!(", {:.0} % of the cap", share * 100.0);
        }
        // Threads wait in parallel, so the sum may exceed the duration of the run.
        for (time, why) in [(figures.paced_seconds, "the pace"), (backed_off, "retries")] {
            if time >= 0.1 {
                message += &format!(", {time:.1} s waiting for {why} (all threads)");
            }
        }
        match gravest {
            Some(Kind::Signal(_)) => message += "; stopped by a signal; the state is saved",
            Some(Kind::Unfinished) => message += "; not finished; the state is saved, and the next run continues",
            _ => {}
        }
        message
    }

    /// Reports the result of one stream; returns the kind of its failure.
    fn end_of_stream(&self, outcome: &StreamOutcome, repeats: &mut Repeats) -> Option<Kind> {
        let stream = &*outcome.stream;
        let tags = json!({"stream": stream});
        self.log.metric("counter", "record_count", &json!(outcome.records), &tags);
        if outcome.nulled > 0 {
            let message =
                format!("stream `{stream}`: sent {} as null to fit the schema", number_of(outcome.nulled, "value"));
            self.log.line(Level::Warning, &message);
        }
        if outcome.without_cursor > 0 {
            let message = format!(
                "stream `{stream}`: sent {} without a readable cursor value, which does not move the bookmark",
                number_of(outcome.without_cursor, "record")
            );
            self.log.line(Level::Warning, &message);
        }
        if outcome.beyond.is_any() {
            let Beyond { ahead, outside, far } = outcome.beyond;
            // Vendors round, and dates have time zones.
            let level = if far > 0 { Level::Warning } else { Level::Info };
            let fields = json!({"stream": stream, "ahead": ahead, "outside": outside});
            self.log.event(
                level,
                &format!("stream `{stream}`: {}", outcome.beyond.message()),
                "cursor_beyond",
                &fields,
            );
        }
        // The cause that ended the whole run is reported for the run.
        let fault = outcome.fault.as_ref().filter(|f| !matches!(f.kind, Kind::Signal(_) | Kind::Downstream));
        if let Some(fault) = fault {
            if fault.kind == Kind::Unfinished {
                // Streams that ended only because the run did have no hint.
                if fault.hint.is_some() {
                    self.log.line(Level::Warning, &fault.to_string());
                }
            } else if fault.kind == Kind::Auth {
                // People read a cause once; programs get it for each stream.
                let repeated = !self.log.is_structured() && repeats.is_known(fault, stream);
                let level = if repeated { Level::Debug } else { Level::Error };
                self.log.event(level, &fault.to_string(), "credentials_refused", &tags);
            } else {
                self.log.line(Level::Error, &fault.to_string());
            }
        }
        let state = if outcome.complete { "" } else { ", not complete" };
        let mut fields = json!({"stream": stream, "records": outcome.records, "complete": outcome.complete});
        if let Some(fault) = fault {
            fields["fault"] = json!(fault.message);
        }
        let message = format!("{stream}: {}{state}", number_of(outcome.records, "record"));
        self.log.event(Level::Info, &message, "stream_done", &fields);
        fault.map(|f| f.kind)
    }
}
