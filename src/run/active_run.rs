//! What a run of `read` or `sync` leaves behind besides messages: the run record for `status`, and alerts.
//!
//! Input: the run's identity, its start and its result. Output: the tenant's record in the state directory, and its
//! alerts (`RunAlerts`). Called by `read` and `sync`. Records only document runs: no run depends on one, and none
//! fails because of it.

use time::OffsetDateTime;

use super::alerts::RunAlerts;
use super::identity::RunIdentity;
use super::load::LoadedSource;
use super::log::Level;
use super::outcome::{RunOutcome, slot};
use crate::base::config::{self, PartialConfig};
use crate::base::display::{plain, second};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::timefmt::rfc3339;
use crate::engine::cursor::backfill::BackfillProgress;
use crate::engine::cursor::ranges::Span;
use crate::engine::scheduler::StreamOutcome;
use crate::run::context::Context;
use crate::tenant::locks::Holder;
use crate::tenant::run_record::{BackfillRecord, Record, RunEntry, RunRecords, Stream};

/// The holder of this run's locks.
pub(crate) fn holder(context: &Context, identity: &RunIdentity, target: Option<u32>) -> Holder {
    let (run_id, slot) = (identity.run_id.clone(), slot(&context.options).to_owned());
    Holder { run_id, slot, pid: std::process::id(), target, since: now() }
}

/// Updates the record of the tenant's runs; a failure to store it is logged. Previews are not recorded: they say
/// nothing about the tenant.
fn update(context: &Context, identity: &RunIdentity, change: impl FnOnce(&mut Record)) {
    let stored = context.options.limit.is_none() && identity.certain;
    let Some(root) = identity.root.as_ref().filter(|_| stored) else { return };
    let records = RunRecords::new(root, &identity.source, &identity.tenant);
    let named = |record: &mut Record| {
        (record.source, record.tenant) = (identity.source.clone(), identity.tenant.clone());
        change(record);
    };
    // A stopped run is recorded too.
    if let Err(fault) = records.update(&crate::base::stop::Stop::default(), named) {
        context.log.line(Level::Warning, &format!("cannot record the result of this run for `status`: {fault}"));
    }
}

/// The current time, in the format of run records.
fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

/// A run that has begun.
pub(crate) struct ActiveRun<'w> {
    context: &'w Context,
    verb: &'static str,
    began: String,
    /// The identity, as far as the config could be read.
    identity: RunIdentity,
    alerts: RunAlerts<'w>,
}

impl<'w> ActiveRun<'w> {
    /// Called when the verb starts.
    pub(crate) fn new(context: &'w Context, verb: &'static str) -> ActiveRun<'w> {
        let partial = config::partial(&context.options.config, context.origin(&serde_json::Map::new()));
        let identity = RunIdentity::of_partial(context, &partial);
        let began = now();
        if let Some(line) = start_line(context, verb, &second(&began), &partial).filter(|_| context.log.is_kept()) {
            context.log.line(Level::Info, &line);
        }
        ActiveRun { context, verb, began, identity, alerts: RunAlerts::new(context, partial) }
    }

    /// Called when the config is valid and the identity is certain.
    pub(crate) fn identified(&mut self, identity: &RunIdentity) {
        self.identity.clone_from(identity);
    }

    /// The entry of the run's slot at its start; results of earlier runs are kept.
    fn begun(&self, record: &Record, streams: &[String]) -> RunEntry {
        let before = record.runs.get(slot(&self.context.options)).cloned().unwrap_or_default();
        RunEntry {
            run_id: self.identity.run_id.clone(),
            verb: self.verb.to_owned(),
            pid: std::process::id(),
            config: self.context.options.config.clone(),
            log: self.context.log.file(),
            began: self.began.clone(),
            streams: streams.to_vec(),
            last_good: before.last_good,
            failing_since: before.failing_since,
            unfinished_in_a_row: before.unfinished_in_a_row,
            ..RunEntry::default()
        }
    }

    /// Called when the run holds its locks; from now on others can see it.
    pub(crate) fn begins(&mut self, loaded: &LoadedSource, streams: &[String]) {
        self.alerts.loaded(loaded);
        update(self.context, &self.identity, |record| {
            let run = self.begun(record, streams);
            record.set_run(slot(&self.context.options), run);
        });
    }

    /// Called when the run has ended: records it, sends alerts, and returns the exit code.
    pub(crate) fn ends(mut self, done: Result<RunOutcome>) -> Result<u8> {
        match done {
            Ok(outcome) => {
                self.record(&outcome);
                self.alerts.rings(&self.identity, &self.began, &outcome);
                outcome.unreported.map_or(Ok(outcome.exit_code), Err)
            }
            // The other run records its own result; a usage error is not a run.
            Err(fault) if matches!(fault.kind, Kind::Busy | Kind::Usage) => Err(fault),
            Err(fault) => {
                let exit_code = fault.kind.exit_code();
                let outcome = RunOutcome { exit_code, fault: Some(fault.clone()), ..RunOutcome::default() };
                self.record(&outcome);
                self.alerts.rings(&self.identity, &self.began, &outcome);
                Err(fault)
            }
        }
    }

    fn record(&self, outcome: &RunOutcome) {
        let RunOutcome { exit_code, outcomes, figures, .. } = outcome;
        let fault = outcome.fault.as_ref().map(|fault| self.context.log.hidden(fault));
        let complete = outcomes.iter().filter(|a| a.complete).count();
        let streams: Vec<String> = outcomes.iter().map(|a| a.stream.to_string()).collect();
        let slot = slot(&self.context.options);
        update(self.context, &self.identity, |record| {
            let mut run = self.begun(record, &streams);
            run.ended = Some(now());
            run.exit_code = Some(*exit_code);
            run.why = fault.as_ref().map(Fault::line);
            run.hint = fault.as_ref().and_then(|fault| fault.hint.clone());
            run.target.clone_from(&outcome.target);
            run.complete = complete as u64;
            run.records = outcomes.iter().map(|a| a.records).sum();
            (run.calls, run.retried, run.rate_limited) = (figures.calls, figures.retried, figures.limited);
            (run.bytes, run.cap_use, run.paced_seconds) = (figures.bytes, figures.cap_use, figures.paced_seconds);
            run.resume_at = figures
                .resume_after
                .map(|seconds| rfc3339(OffsetDateTime::now_utc() + time::Duration::seconds_f64(seconds)));
            if *exit_code == 0 {
                (run.last_good, run.failing_since) = (Some(self.began.clone()), None);
            } else if !passing(*exit_code) {
                run.failing_since.get_or_insert_with(|| self.began.clone());
            }
            run.unfinished_in_a_row = match *exit_code {
                75 => run.unfinished_in_a_row + 1,
                // A run that was stopped might have finished in time.
                129.. => run.unfinished_in_a_row,
                _ => 0,
            };
            let totals = &mut record.totals;
            totals.runs += 1;
            *totals.by_exit.entry(exit_code.to_string()).or_default() += 1;
            totals.records += run.records;
            totals.calls += run.calls;
            totals.retried += run.retried;
            totals.rate_limited += run.rate_limited;
            totals.bytes += run.bytes;
            totals.seconds += figures.seconds;
            record.set_run(slot, run);
            for read in outcomes {
                self.stream(record.streams.entry(read.stream.to_string()).or_default(), read, outcome);
            }
        });
    }

    /// Updates the record of one stream.
    fn stream(&self, stream: &mut Stream, read: &StreamOutcome, outcome: &RunOutcome) {
        if let Some(standing) = &read.backfill {
            // Live runs record the status of live reads.
            stream.backfill = Some(progress(standing));
            return;
        }
        slot(&self.context.options).clone_into(&mut stream.slot);
        stream.records = read.records;
        if let Some((_, bookmark)) = outcome.bookmarks.iter().find(|(name, _)| **name == *read.stream) {
            stream.incremental = true;
            stream.bookmark.clone_from(bookmark);
        }
        // Records that the target did not load, or whose states it did not echo, are not in the warehouse.
        let loaded = outcome.target.is_none() && !outcome.silent.iter().any(|silent| **silent == *read.stream);
        if read.complete && loaded {
            (stream.fresh, stream.fault, stream.failing_since) = (Some(self.began.clone()), None, None);
            return;
        }
        if read.fault.is_none() && (passing(outcome.exit_code) || read.complete && outcome.exit_code == 0) {
            // The stream ran out of time: the run's entry says this.
            return;
        }
        let of_target = || outcome.fault.clone().filter(|_| outcome.target.is_some());
        let fault = read.fault.clone().or_else(of_target).map(|fault| self.context.log.hidden(&fault));
        stream.fault = Some(fault.map_or_else(|| "the run ended before it".to_owned(), |fault| fault.line()));
        stream.failing_since.get_or_insert_with(|| self.began.clone());
    }
}

/// The line that begins a run in a log: a log of many runs shows where each began, even one that fails at once. `None`
/// if nothing names the run.
fn start_line(context: &Context, verb: &str, began: &str, partial: &PartialConfig) -> Option<String> {
    let options = &context.options;
    // Without a name in the config, the tenant's name is known only once the config is valid.
    let config = options.config.last().filter(|_| partial.tenant.is_none());
    let backfill = options.backfill.map(Span::written);
    let named = [
        ("source", context.source_or(partial.source.as_deref())),
        ("tenant", partial.tenant.as_deref()),
        ("config", config.map(String::as_str)),
        ("tier", options.tier.as_deref()),
        ("backfill", backfill.as_deref()),
    ];
    let named: Vec<String> =
        named.iter().filter_map(|(what, value)| Some(format!("{what} {}", plain((*value)?)))).collect();
    (!named.is_empty()).then(|| format!("{began} {verb} starts: {}", named.join(", ")))
}

/// Is this exit code not a failure, because the next run continues?
fn passing(exit_code: u8) -> bool {
    matches!(exit_code, 75 | 76 | 129..)
}

/// The progress of a stream's backfill.
fn progress(standing: &BackfillProgress) -> BackfillRecord {
    let BackfillProgress { asked, done, of, listed, calls, ended, .. } = standing.clone();
    let (from, to) = (rfc3339(asked.start), rfc3339(asked.end));
    BackfillRecord { from, to, done, of, listed, calls, ended: ended.then(now) }
}

/// Records the progress of backfills while they run, for `status`.
pub(crate) fn go_on<'a>(context: &Context, identity: &RunIdentity, outcomes: impl Iterator<Item = &'a StreamOutcome>) {
    let standings: Vec<_> = outcomes.filter_map(|a| Some((&a.stream, progress(a.backfill.as_ref()?)))).collect();
    update(context, identity, |record| {
        for (stream, progress) in standings {
            record.streams.entry(stream.to_string()).or_default().backfill = Some(progress);
        }
    });
}
