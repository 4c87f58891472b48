//! What a run of `read` or `sync` tells beyond its messages: its record, for `status`, and its alerts.
//!
//! Comes in: whose run it is, its beginning and what came of it. Goes out: the tenant's record in the state directory, and its
//! alerts ([`Bell`]). Called by `read` and `sync`. Records are facts about runs: no run depends on one, and none fails for it.

use std::path::Path;

use time::OffsetDateTime;

use super::alerts::Bell;
use super::load::{self, Loaded};
use super::reporter::log::Level;
use crate::base::config::{self, Config};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::timefmt::rfc3339;
use crate::engine::cursor::backfill::Standing;
use crate::engine::scheduler::Account;
use crate::run::context::Context;
use crate::run::context::RunIdentity;
use crate::run::options::RunOptions;
use crate::tenant::locks::Holder;
use crate::tenant::run_record::{ALL, BACKFILL, Backfill, Record, Records, Run, Stream};

/// What requests came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    pub(crate) retried: u64,
    pub(crate) limited: u64,
    pub(crate) bytes: u64,
    pub(crate) paced_seconds: f64,
    pub(crate) cap_use: Option<f64>,
    /// Seconds until the run can go on that a wait was too long for.
    pub(crate) resume_after: Option<f64>,
    pub(crate) seconds: f64,
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Came {
    pub(crate) exit_code: u8,
    /// The gravest of what went wrong.
    pub(crate) fault: Option<Fault>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) figures: Figures,
    /// How far each stream is that keeps a bookmark: what is kept of it, for people.
    pub(crate) bookmarks: Vec<(String, Option<String>)>,
    /// How the target ended, where it did not end well.
    pub(crate) target: Option<String>,
    /// Streams whose last bookmark the target did not echo.
    pub(crate) silent: Vec<String>,
    /// What ended it and was not told yet.
    pub(crate) unsaid: Option<Fault>,
}

/// The name of what a run is: no two of one name run at a time.
pub(crate) fn slot(options: &RunOptions) -> &str {
    if options.backfill.is_some() { BACKFILL } else { options.tier.as_deref().unwrap_or(ALL) }
}

/// Who holds this run's locks.
pub(crate) fn holder(context: &Context, target: Option<u32>) -> Holder {
    let run_id = context.identity.get().map(|whose| whose.run_id.clone()).unwrap_or_default();
    Holder { run_id, slot: slot(&context.options).to_owned(), pid: std::process::id(), target, since: now() }
}

/// RunIdentity run it was to be, of a config that cannot be taken as a whole.
fn supposed(context: &Context) -> Option<RunIdentity> {
    let gist = config::gist(&context.options.config);
    let named = context.options.source.as_deref().or(gist.source.as_deref());
    let named = named.or(context.environment.as_deref()).or(context.named.as_deref())?;
    // A source has the name of its manifest's file.
    let source = Path::new(named).file_stem()?.to_str()?.to_owned();
    let own = || load::state_dir_or_own(&Config::default()).ok().filter(|_| context.keeps);
    let root = gist.state_dir.or_else(load::state_dir_of_environment).or_else(own);
    Some(RunIdentity { source, tenant: gist.tenant?, root, run_id: load::run_id() })
}

/// Where a run's record is kept; nowhere for previews, which say nothing of the tenant.
fn records(context: &Context) -> Option<(&RunIdentity, Records)> {
    let whose = context.identity.get().filter(|_| context.options.limit.is_none())?;
    let root = whose.root.as_ref()?;
    Some((whose, Records::new(root, &whose.source, &whose.tenant)))
}

/// Changes the record; one that cannot be kept is told.
fn update(context: &Context, change: impl FnOnce(&mut Record, &RunIdentity)) {
    let Some((whose, records)) = records(context) else { return };
    let named = |record: &mut Record| {
        (record.source, record.tenant) = (whose.source.clone(), whose.tenant.clone());
        change(record, whose);
    };
    // A run that was stopped is recorded too.
    if let Err(fault) = records.update(&crate::base::stop::Stop::default(), named) {
        context.log.line(Level::Warning, &format!("what came of this run cannot be recorded for `status`: {fault}"));
    }
}

/// The moment, as records have it.
fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

/// A run that has begun.
pub(crate) struct Running<'w> {
    context: &'w Context,
    verb: &'static str,
    began: String,
    bell: Bell<'w>,
}

impl<'w> Running<'w> {
    /// The verb begins.
    pub(crate) fn new(context: &'w Context, verb: &'static str) -> Running<'w> {
        Running { context, verb, began: now(), bell: Bell::new(context) }
    }

    /// The run of its slot, as it begins; what its predecessors came to stays.
    fn begun(&self, record: &mut Record, whose: &RunIdentity, streams: &[String]) -> Run {
        let before = record.runs.remove(slot(&self.context.options)).unwrap_or_default();
        Run {
            run_id: whose.run_id.clone(),
            verb: self.verb.to_owned(),
            pid: std::process::id(),
            config: self.context.options.config.clone(),
            began: self.began.clone(),
            streams: streams.to_vec(),
            last_good: before.last_good,
            failing_since: before.failing_since,
            unfinished_in_a_row: before.unfinished_in_a_row,
            ..Run::default()
        }
    }

    /// It holds its locks: from now on others see it.
    pub(crate) fn begins(&self, loaded: &Loaded, streams: &[String]) {
        self.bell.loaded(loaded);
        update(self.context, |record, whose| {
            let run = self.begun(record, whose, streams);
            record.runs.insert(slot(&self.context.options).to_owned(), run);
        });
    }

    /// It has ended: gives the exit code, once all is told.
    pub(crate) fn ends(&self, done: Result<Came>) -> Result<u8> {
        match done {
            Ok(came) => {
                self.record(&came);
                self.bell.rings(&self.began, &came);
                came.unsaid.map_or(Ok(came.exit_code), Err)
            }
            // What another run does is its own to record; what makes no sense was no run.
            Err(fault) if matches!(fault.kind, Kind::Busy | Kind::Usage) => Err(fault),
            Err(fault) => {
                if self.context.identity.get().is_none() {
                    drop(supposed(self.context).map(|whose| self.context.identity.set(whose)));
                }
                let exit_code = fault.kind.exit_code();
                let came = Came { exit_code, fault: Some(fault.clone()), ..Came::default() };
                self.record(&came);
                self.bell.rings(&self.began, &came);
                Err(fault)
            }
        }
    }

    fn record(&self, came: &Came) {
        let Came { exit_code, accounts, figures, .. } = came;
        let fault = came.fault.as_ref().map(|fault| self.context.log.hidden(fault));
        let complete = accounts.iter().filter(|a| a.complete).count();
        let streams: Vec<String> = accounts.iter().map(|a| a.stream.to_string()).collect();
        let slot = slot(&self.context.options);
        update(self.context, |record, whose| {
            let mut run = self.begun(record, whose, &streams);
            run.ended = Some(now());
            run.exit_code = Some(*exit_code);
            run.why = fault.as_ref().map(Fault::line);
            run.hint = fault.as_ref().and_then(|fault| fault.hint.clone());
            run.target.clone_from(&came.target);
            run.complete = complete as u64;
            run.records = accounts.iter().map(|a| a.records).sum();
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
                // Who was stopped might have been done in time.
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
            record.runs.insert(slot.to_owned(), run);
            for account in accounts {
                self.stream(record.streams.entry(account.stream.to_string()).or_default(), account, came);
            }
        });
    }

    /// A stream of the run.
    fn stream(&self, stream: &mut Stream, account: &Account, came: &Came) {
        if let Some(standing) = &account.backfill {
            // How the live runs stand is theirs to say.
            stream.backfill = Some(progress(standing));
            return;
        }
        slot(&self.context.options).clone_into(&mut stream.slot);
        stream.records = account.records;
        if let Some((_, bookmark)) = came.bookmarks.iter().find(|(name, _)| **name == *account.stream) {
            stream.incremental = true;
            stream.bookmark.clone_from(bookmark);
        }
        // What a target did not take is not in the warehouse, nor what it does not own to.
        let loaded = came.target.is_none() && !came.silent.iter().any(|silent| **silent == *account.stream);
        if account.complete && loaded {
            (stream.fresh, stream.fault, stream.failing_since) = (Some(self.began.clone()), None, None);
            return;
        }
        if account.fault.is_none() && (passing(came.exit_code) || account.complete && came.exit_code == 0) {
            // It had no time: that is told of the run.
            return;
        }
        let of_target = || came.fault.clone().filter(|_| came.target.is_some());
        let fault = account.fault.clone().or_else(of_target).map(|fault| self.context.log.hidden(&fault));
        stream.fault = Some(fault.map_or_else(|| "the run ended before it".to_owned(), |fault| fault.line()));
        stream.failing_since.get_or_insert_with(|| self.began.clone());
    }
}

/// Is an end no failure: the next run goes on?
fn passing(exit_code: u8) -> bool {
    matches!(exit_code, 75 | 76 | 129..)
}

/// How far a stream's backfill is.
fn progress(standing: &Standing) -> Backfill {
    let Standing { asked, done, of, listed, calls, ended, .. } = standing.clone();
    let (from, to) = (rfc3339(asked.start), rfc3339(asked.end));
    Backfill { from, to, done, of, listed, calls, ended: ended.then(now) }
}

/// Backfills go on: what `status` shows of them meanwhile.
pub(crate) fn go_on<'a>(context: &Context, accounts: impl Iterator<Item = &'a Account>) {
    let standings: Vec<_> = accounts.filter_map(|a| Some((&a.stream, progress(a.backfill.as_ref()?)))).collect();
    update(context, |record, _| {
        for (stream, progress) in standings {
            record.streams.entry(stream.to_string()).or_default().backfill = Some(progress);
        }
    });
}
