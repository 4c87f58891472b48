//! The verb `read`: reads streams into messages, and reports the result.
//!
//! Input: the options. Output: messages on stdout, and the exit code. Called by `cli`; `sync` reads with the same
//! `PreparedRun` into a target.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::active_run::{self, ActiveRun};
use super::backfill;
use super::catalog;
use super::deletes::StreamToSweep;
use super::load::{ConfiguredSource, LoadedSource, Purpose, ReadMode};
use super::log::Level;
use super::outcome::RunOutcome;
use crate::base::fault::{Fault, Kind, Result, guarded};
use crate::base::stop::Stop;
use crate::base::store::Store;
use crate::engine::context::EngineContext;
use crate::engine::deletes::memory;
use crate::engine::scheduler::{Scheduler, StreamJob, StreamOutcome};
use crate::engine::thread_pool::{Concurrency, LOOK};
use crate::protocol::singer::Outgoing;
use crate::protocol::singer_catalog::Chosen;
use crate::protocol::state::{StateDoc, per_stream};
use crate::protocol::{Message, Out, Protocol, airbyte, singer};
use crate::run::context::Context;
use crate::tenant::locks::{Locks, of_backfill};

/// The stack size of a reading thread, in bytes: enough for the longest template (only the used part takes memory).
const STACK: usize = 64 << 20;
/// The number of batches of lines that may wait for stdout.
const BATCHES_AHEAD: usize = 4;

/// A document without bookmarks, for the selected streams.
pub(crate) fn fresh(context: &Context, loaded: &LoadedSource) -> StateDoc {
    let plan = &loaded.plan;
    let doc = StateDoc::new(&plan.source, plan.filters()).of_tenant(loaded.config.ours.tenant.as_deref());
    if context.options.backfill.is_some() { doc.of_backfills() } else { doc }
}

/// The states of an earlier run.
pub(crate) enum States {
    Singer(StateDoc),
    Airbyte(BTreeMap<String, Map<String, Json>>),
}

impl States {
    /// Loads the states. Streams that are not read keep their bookmarks, even if the selected ones start over.
    fn read(context: &Context, loaded: &LoadedSource, chosen: &[Chosen]) -> Result<States> {
        let options = &context.options;
        let reset: Vec<String> = if options.full_refresh {
            chosen.iter().map(|c| c.stream.clone()).collect()
        } else {
            options.reset.clone()
        };
        Ok(match (context.protocol, &options.state) {
            (Protocol::Singer, None) => States::Singer(fresh(context, loaded)),
            (Protocol::Singer, Some(path)) => States::Singer(fresh(context, loaded).with_file(path, &reset)?),
            (Protocol::Airbyte, None) => States::Airbyte(BTreeMap::new()),
            (Protocol::Airbyte, Some(path)) => {
                let mut states = per_stream::read(path)?;
                states.retain(|stream, _| !reset.contains(stream));
                States::Airbyte(states)
            }
        })
    }

    fn of(&self, stream: &str) -> Option<Map<String, Json>> {
        match self {
            States::Singer(doc) => doc.of(stream),
            States::Airbyte(states) => states.get(stream).cloned(),
        }
    }
}

/// Adjusts the number of threads to the account's cap while the run lasts.
fn supervise(run: &Arc<Scheduler>, shared: &Arc<EngineContext>, stop: &Arc<Stop>) {
    if run.concurrency.most() == run.concurrency.size() {
        return;
    }
    let (run, shared, stop, began) = (Arc::downgrade(run), shared.clone(), stop.clone(), Instant::now());
    std::thread::spawn(move || {
        while stop.sleep(LOOK).is_ok()
            && let Some(run) = run.upgrade()
        {
            let pace = shared.fetcher.pace();
            run.concurrency.look(pace.counted(), pace.rate(), began.elapsed());
        }
    });
}

/// A prepared run: config and catalog are valid, its locks are held, and no request was sent yet.
pub(crate) struct PreparedRun {
    pub(crate) loaded: LoadedSource,
    pub(crate) chosen: Vec<Chosen>,
    missing: Vec<String>,
    /// Streams whose changes since this time are read again.
    pub(crate) again: BTreeMap<String, OffsetDateTime>,
    /// The target, if the run feeds one.
    pub(crate) target: Option<String>,
    /// The locks that keep other runs from reading these streams.
    pub(crate) locks: Option<Locks>,
}

/// The result of reading.
pub(crate) struct ReadResult {
    pub(crate) outcomes: Vec<StreamOutcome>,
    /// Was all output written?
    pub(crate) written: Result<()>,
}

/// Prepares a run.
pub(crate) fn ready(context: &Context, active: &mut ActiveRun<'_>) -> Result<PreparedRun> {
    let configured = ConfiguredSource::read(context)?;
    active.identified(&configured.identity);
    let loaded = configured.load(context, Purpose::Read)?;
    backfill::check(context, loaded.cx.now)?;
    for stream in &context.options.reset {
        loaded.plan.stream(stream)?;
    }
    let (chosen, missing) = catalog::chosen(context, &loaded)?;
    catalog::warn_of_tables(context, &loaded.plan, |stream| chosen.iter().any(|choice| choice.stream == stream));
    let locks = locks(context, &loaded, &chosen)?;
    Ok(PreparedRun { loaded, chosen, missing, again: BTreeMap::new(), target: None, locks })
}

/// Takes the locks of the selected streams. A preview saves nothing and needs none.
fn locks(context: &Context, loaded: &LoadedSource, chosen: &[Chosen]) -> Result<Option<Locks>> {
    let identity = &loaded.identity;
    let Some(root) = identity.root.as_ref().filter(|_| context.options.limit.is_none()) else { return Ok(None) };
    Store::new(root).sweep(&identity.source, &identity.tenant);
    let holder = active_run::holder(context, identity, None);
    let backfill = context.options.backfill.is_some();
    let streams = chosen.iter().map(|c| if backfill { of_backfill(&c.stream) } else { c.stream.clone() });
    match Locks::take(root, &identity.source, &identity.tenant, streams, &holder) {
        // The config may allow that the run continues without locks where the folder cannot be used.
        Err(fault) if fault.kind == Kind::Local && loaded.config.ours.state_dir_optional => {
            let message = format!("cannot lock the streams, so another run may read them at the same time: {fault}");
            context.log.event(Level::Warning, &message, "lock_trouble", &json!({}));
            Ok(None)
        }
        Err(fault) if fault.kind == Kind::Local => Err(fault.hint(
            "make the state directory writable; with dripfeed.state_dir_optional a run goes on without it: without \
             locks, a shared pace and drift",
        )),
        taken => taken.map(Some),
    }
}

/// Reads the selected streams to stdout; returns the exit code.
pub(crate) fn read(context: &Context) -> Result<u8> {
    let mut active = ActiveRun::new(context, "read");
    let ended = guarded(|| to_stdout(context, &mut active));
    active.ends(ended)
}

fn to_stdout(context: &Context, active: &mut ActiveRun<'_>) -> Result<RunOutcome> {
    let ready = ready(context, active)?;
    active.begins(&ready.loaded, &ready.names());
    let mut states = States::read(context, &ready.loaded, &ready.chosen)?;
    let ReadResult { outcomes, written } = ready.read(context, &context.out, &mut states, &mut ())?;
    let unreported = written.err();
    let mut outcome = ready.loaded.reporter.summary(outcomes, &context.stop, unreported.as_ref(), None);
    if let States::Singer(doc) = &states {
        outcome.bookmarks = ready.bookmarks(doc);
    }
    outcome.unreported = unreported.or_else(|| broke_off(context));
    Ok(outcome)
}

/// The fault for a worker thread that panicked.
pub(crate) fn broke_off(context: &Context) -> Option<Fault> {
    (context.stop.asked() == Some(Kind::Bug)).then(|| {
        Fault::bug("a worker thread panicked; finished work is saved").hint("report it with the output on stderr")
    })
}

impl PreparedRun {
    /// The names of the streams.
    pub(crate) fn names(&self) -> Vec<String> {
        self.chosen.iter().map(|c| c.stream.clone()).collect()
    }

    /// The bookmarks of the streams that have one.
    pub(crate) fn bookmarks(&self, doc: &StateDoc) -> Vec<(String, Option<String>)> {
        let streams = self.chosen.iter().filter_map(|c| self.loaded.plan.stream(&c.stream).ok());
        let incremental = streams.filter(|stream| stream.cursor.is_some());
        incremental.map(|stream| (stream.name.to_string(), doc.shown(&stream.name))).collect()
    }

    /// Reads the selected streams into `out`, and advances `states`.
    pub(crate) fn read(
        &self,
        context: &Context,
        out: &Out,
        states: &mut States,
        outgoing: &mut dyn Outgoing,
    ) -> Result<ReadResult> {
        let PreparedRun { loaded, chosen, missing, .. } = self;
        let (stop, plan) = (&context.stop, &loaded.plan);
        for stream in missing {
            airbyte::say(out, &airbyte::missing(stream))?;
        }
        if chosen.is_empty() {
            context.log.line(Level::Warning, "no stream is selected: there is nothing to read");
        }
        let mut jobs = Vec::with_capacity(chosen.len());
        for choice in chosen {
            jobs.extend(self.job(context, states, choice)?);
        }
        let with_files = jobs.iter().filter(|job| job.plan.files.is_some() && !context.protocol.carries_files());
        let with_files: Vec<&str> = with_files.map(|job| &*job.plan.name).collect();
        if !with_files.is_empty() {
            let message = format!("records of {} are sent without their files", with_files.join(", "));
            context.log.line(Level::Warning, &format!("{message}: only Airbyte's protocol transfers files"));
        }
        backfill::announce(&context.log, loaded, &jobs);
        let (reporter, shared) = (&loaded.reporter, &loaded.shared);
        let (sender, messages) = sync_channel(BATCHES_AHEAD);
        // Without a known cap, more threads have no use.
        let most = if shared.fetcher.pace().is_capped() { plan.max_concurrency } else { plan.concurrency };
        // A preview asks for no slice that it may not need.
        let concurrency = match context.options.limit {
            Some(_) => Concurrency::new(1, 1),
            None => Concurrency::new(plan.concurrency, most),
        };
        let run = Arc::new(Scheduler::new(shared.clone(), jobs, context.protocol, concurrency)?);
        let began = Instant::now();
        supervise(&run, shared, stop);
        reporter.begins(&run);
        backfill::follow(context, &loaded.identity, &run);
        if let Some(deadline) = reporter.deadline() {
            let stop = stop.clone();
            std::thread::spawn(move || {
                if stop.sleep(deadline.saturating_duration_since(Instant::now())).is_ok() {
                    stop.ask(Kind::Unfinished);
                }
            });
        }
        let workers = spawn(&run, stop, &sender)?;
        drop(sender);
        let written = match states {
            States::Singer(doc) => singer::drain(&messages, out, doc, stop, outgoing),
            States::Airbyte(_) => airbyte::drain(&messages, out, &|f| context.log.hidden(f), stop),
        };
        if let Err(fault) = &written {
            stop.ask(fault.kind);
        }
        drop(messages);
        if stop.asked().is_none() {
            for worker in workers {
                let _ = worker.join();
            }
        }
        run.stopped();
        shared.fetcher.pace().end();
        let outcomes = run.outcomes();
        backfill::tell(&context.log, outcomes.iter(), began.elapsed());
        Ok(ReadResult { outcomes, written })
    }

    /// A selected stream with its state, ready to read; `None` if its backfill is complete.
    fn job(&self, context: &Context, states: &States, choice: &Chosen) -> Result<Option<StreamJob>> {
        let (loaded, options) = (&self.loaded, &context.options);
        let plan = &loaded.plan;
        let mut state = states.of(&choice.stream);
        let generation = state.as_mut().and_then(memory::taken);
        state = state.filter(|_| !choice.full_table || options.backfill.is_some());
        let stream = plan.stream(&choice.stream)?;
        let (target, generation) = (self.target.as_deref(), generation.as_deref());
        let deletes = StreamToSweep { context, loaded, stream, target, generation };
        let whole = stream.cursor.is_none() || choice.full_table && options.backfill.is_none();
        let (rows, sweep) = (deletes.rows(whole)?, deletes.job(&mut state)?);
        let (stream, state, past) = match options.backfill {
            Some(span) => {
                let past = backfill::begin(context, loaded, span, stream, state.as_ref())?;
                let Some((stream, past)) = past else { return Ok(None) };
                (stream, None, Some(past))
            }
            None => {
                let (stream, state) = stream.with_state(state.as_ref(), loaded.cx.now);
                let again = self.again.get(&choice.stream).map(|since| stream.reading_again(*since));
                (again.unwrap_or_else(|| stream.clone()), state, None)
            }
        };
        // A stream without an available schema fails by itself.
        let (stream, refused) = match stream.with_schema(&loaded.shared) {
            Ok(stream) => {
                let stream = match choice.named(&stream.schema) {
                    Some(names) => stream.with_selected(&names, &loaded.cx)?,
                    None => stream,
                };
                (catalog::with_keys(&stream, choice)?, None)
            }
            Err(fault) => (stream.clone(), Some(fault)),
        };
        let reading = ReadMode {
            // Records missing from a part of the past are not a finding.
            sweep: past.is_none() && state.is_none_or(Map::is_empty),
            whole: past.is_none() && options.limit.is_none(),
            preview: options.limit.is_some(),
            may_grow: choice.fields.dropped.is_empty(),
            verbatim: context.protocol == Protocol::Airbyte,
            goes_on: !choice.full_table && !choice.full_refresh,
        };
        // Damaged drift data of one stream must not affect others.
        let (watched, refused) = match loaded.monitor(&stream, reading, context) {
            Ok(watched) => (watched, refused),
            Err(fault) => (None, refused.or(Some(fault))),
        };
        let fields = catalog::selection(&stream, choice, watched.as_deref(), context.protocol)?;
        Ok(Some(StreamJob {
            refused,
            sweep,
            rows,
            fields,
            watched,
            plan: stream,
            state: state.cloned(),
            backfill: past,
            limit: options.limit,
        }))
    }
}

/// Starts the reading threads.
fn spawn(run: &Arc<Scheduler>, stop: &Arc<Stop>, sender: &SyncSender<Message>) -> Result<Vec<JoinHandle<()>>> {
    let mut workers = Vec::with_capacity(run.concurrency.most());
    for number in 0..run.concurrency.most() {
        let (run, stop, sender) = (run.clone(), stop.clone(), sender.clone());
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // A panic in one thread must not hang the others: they stop, and the run reports it.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.work(number, sender))).is_err() {
                stop.ask(Kind::Bug);
            }
        });
        match thread {
            Ok(thread) => workers.push(thread),
            // The threads that did start can do the work.
            Err(_) if !workers.is_empty() => break,
            Err(e) => return Err(Fault::local("cannot start a thread", &e)),
        }
    }
    Ok(workers)
}
