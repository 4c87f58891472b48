//! What a run of `read` or `sync` tells beyond its messages: its record, for `status`, and its alerts.
//!
//! Comes in: whose run it is, its beginning and what came of it. Goes out: the tenant's record in the state directory, and its
//! alerts ([`Bell`]). Called by `read` and `sync`. Records are facts about runs: no run depends on one, and none fails for it.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::Options;
use super::alarm::Bell;
use super::commands::Work;
use super::load::{self, Loaded};
use super::log::Level;
use crate::config::{self, Config};
use crate::cursor::backfill::Standing;
use crate::fault::{Fault, Kind, Result};
use crate::run::Account;
use crate::tenant::locks::Holder;
use crate::tenant::record::{ALL, BACKFILL, Backfill, Record, Records, Run, Stream};
use crate::timefmt::rfc3339;

/// Whose run it is.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    pub(super) source: String,
    pub(super) tenant: String,
    /// The state directory, if there is one.
    pub(super) root: Option<PathBuf>,
    /// The run's name in events, drift and records.
    pub(super) run_id: String,
}

/// What requests came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) calls: u64,
    pub(super) retried: u64,
    pub(super) limited: u64,
    pub(super) bytes: u64,
    pub(super) paced_seconds: f64,
    pub(super) cap_use: Option<f64>,
    /// Seconds until the run can go on that a wait was too long for.
    pub(super) resume_after: Option<f64>,
    pub(super) seconds: f64,
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Came {
    pub(super) exit_code: u8,
    /// The gravest of what went wrong.
    pub(super) fault: Option<Fault>,
    pub(super) accounts: Vec<Account>,
    pub(super) figures: Figures,
    /// How far each stream is that keeps a bookmark: what is kept of it, for people.
    pub(super) bookmarks: Vec<(String, Option<String>)>,
    /// How the target ended, where it did not end well.
    pub(super) target: Option<String>,
    /// Streams whose last bookmark the target did not echo.
    pub(super) silent: Vec<String>,
    /// What ended it and was not told yet.
    pub(super) unsaid: Option<Fault>,
}

/// The name of what a run is: no two of one name run at a time.
pub(super) fn slot(options: &Options) -> &str {
    if options.backfill.is_some() { BACKFILL } else { options.tier.as_deref().unwrap_or(ALL) }
}

/// Who holds this run's locks.
pub(super) fn holder(work: &Work, target: Option<u32>) -> Holder {
    let run_id = work.whose.get().map(|whose| whose.run_id.clone()).unwrap_or_default();
    Holder { run_id, slot: slot(&work.options).to_owned(), pid: std::process::id(), target, since: now() }
}

/// Whose run it was to be, of a config that cannot be taken as a whole.
fn supposed(work: &Work) -> Option<Whose> {
    let gist = config::gist(&work.options.config);
    let named = work.options.source.as_deref().or(gist.source.as_deref());
    let named = named.or(work.environment.as_deref()).or(work.named.as_deref())?;
    // A source has the name of its manifest's file.
    let source = Path::new(named).file_stem()?.to_str()?.to_owned();
    let own = || load::state_dir_or_own(&Config::default()).ok().filter(|_| work.keeps);
    let root = gist.state_dir.or_else(load::state_dir_of_environment).or_else(own);
    Some(Whose { source, tenant: gist.tenant?, root, run_id: load::run_id() })
}

/// Where a run's record is kept; nowhere for previews, which say nothing of the tenant.
fn records(work: &Work) -> Option<(&Whose, Records)> {
    let whose = work.whose.get().filter(|_| work.options.limit.is_none())?;
    let root = whose.root.as_ref()?;
    Some((whose, Records::new(root, &whose.source, &whose.tenant)))
}

/// Changes the record; one that cannot be kept is told.
fn update(work: &Work, change: impl FnOnce(&mut Record, &Whose)) {
    let Some((whose, records)) = records(work) else { return };
    let named = |record: &mut Record| {
        (record.source, record.tenant) = (whose.source.clone(), whose.tenant.clone());
        change(record, whose);
    };
    // A run that was stopped is recorded too.
    if let Err(fault) = records.update(&crate::stop::Stop::default(), named) {
        work.log.line(Level::Warning, &format!("what came of this run cannot be recorded for `status`: {fault}"));
    }
}

/// The moment, as records have it.
fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

/// A run that has begun.
pub(super) struct Running<'w> {
    work: &'w Work,
    verb: &'static str,
    began: String,
    bell: Bell<'w>,
}

impl<'w> Running<'w> {
    /// The verb begins.
    pub(super) fn new(work: &'w Work, verb: &'static str) -> Running<'w> {
        Running { work, verb, began: now(), bell: Bell::new(work) }
    }

    /// The run of its slot, as it begins; what its predecessors came to stays.
    fn begun(&self, record: &mut Record, whose: &Whose, streams: &[String]) -> Run {
        let before = record.runs.remove(slot(&self.work.options)).unwrap_or_default();
        Run {
            run_id: whose.run_id.clone(),
            verb: self.verb.to_owned(),
            pid: std::process::id(),
            config: self.work.options.config.clone(),
            began: self.began.clone(),
            streams: streams.to_vec(),
            last_good: before.last_good,
            failing_since: before.failing_since,
            unfinished_in_a_row: before.unfinished_in_a_row,
            ..Run::default()
        }
    }

    /// It holds its locks: from now on others see it.
    pub(super) fn begins(&self, loaded: &Loaded, streams: &[String]) {
        self.bell.loaded(loaded);
        update(self.work, |record, whose| {
            let run = self.begun(record, whose, streams);
            record.runs.insert(slot(&self.work.options).to_owned(), run);
        });
    }

    /// It has ended: gives the exit code, once all is told.
    pub(super) fn ends(&self, done: Result<Came>) -> Result<u8> {
        match done {
            Ok(came) => {
                self.record(&came);
                self.bell.rings(&self.began, &came);
                came.unsaid.map_or(Ok(came.exit_code), Err)
            }
            // What another run does is its own to record; what makes no sense was no run.
            Err(fault) if matches!(fault.kind, Kind::Busy | Kind::Usage) => Err(fault),
            Err(fault) => {
                if self.work.whose.get().is_none() {
                    drop(supposed(self.work).map(|whose| self.work.whose.set(whose)));
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
        let fault = came.fault.as_ref().map(|fault| self.work.log.hidden(fault));
        let complete = accounts.iter().filter(|a| a.complete).count();
        let streams: Vec<String> = accounts.iter().map(|a| a.stream.to_string()).collect();
        let slot = slot(&self.work.options);
        update(self.work, |record, whose| {
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
        slot(&self.work.options).clone_into(&mut stream.slot);
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
        let fault = account.fault.clone().or_else(of_target).map(|fault| self.work.log.hidden(&fault));
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
pub(super) fn go_on<'a>(work: &Work, accounts: impl Iterator<Item = &'a Account>) {
    let standings: Vec<_> = accounts.filter_map(|a| Some((&a.stream, progress(a.backfill.as_ref()?)))).collect();
    update(work, |record, _| {
        for (stream, progress) in standings {
            record.streams.entry(stream.to_string()).or_default().backfill = Some(progress);
        }
    });
}
