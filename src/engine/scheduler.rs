//! Reads streams: a few threads, their slices, and one writer.
//!
//! Comes in: a [`super::build::SourcePlan`], the chosen streams and their states. Goes out: [`Message`]s in an order in which
//! a state never comes before its records; then an account of what happened. Called by `cli`.
//!
//! Threads take work from a board: first the earliest stream that has a slice to read, else the listing of a
//! stream's slices (which reads its parents). Pages of one slice are sequential.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use super::async_job::{AsyncJobs, CompletedJob, Slice};
use super::build::StreamPlan;
use super::context::EngineContext;
use super::parents::ParentReader;
use super::record_sink::SliceOutcome;
use super::record_writer::{RecordFilter, RecordWriter, SchemaVersion, SliceTotals, StreamOut};
use super::thread_pool::Concurrency;
use super::{async_job, reread_record};
use crate::base::fault::{Fault, Kind, Result};
use crate::drift::monitor::DriftMonitor;
use crate::engine::cursor::Cursor;
use crate::engine::cursor::backfill::{Backfill, BackfillProgress};
use crate::engine::cursor::partitions::{Partitions, from_legacy, identity};
use crate::engine::slice::Partition;
use crate::manifest::template::Vars;
use crate::protocol::singer_catalog::Selection;
use crate::protocol::{Message, Protocol};

/// Slices that may wait before a listing helps to read them.
const MOST_PENDING: usize = 1000;
/// Partitioned streams write a state at most this often, since it names every partition.
const BETWEEN_STATES: Duration = Duration::from_secs(10);

/// A stream to read.
pub struct StreamJob {
    /// Its plan.
    pub plan: Arc<StreamPlan>,
    /// The fields that are wanted.
    pub fields: Selection,
    /// Watches it for drift.
    pub watched: Option<Arc<DriftMonitor>>,
    /// Its state of an earlier run.
    pub state: Option<Map<String, Json>>,
    /// A part of its past that is read instead of what is new.
    pub backfill: Option<Backfill>,
    /// Stop after so many records: a preview, which says no state.
    pub limit: Option<u64>,
    /// Why nothing of it can be read.
    pub refused: Option<Fault>,
}

/// What came of a stream.
#[derive(Debug, Clone)]
pub struct StreamOutcome {
    /// The stream.
    pub stream: Arc<str>,
    /// Records written.
    pub records: u64,
    /// Values that did not fit their schema and were sent as null.
    pub nulled: u64,
    /// Records whose cursor value is missing or cannot be read.
    pub without_cursor: u64,
    /// Why it is not complete.
    pub fault: Option<Fault>,
    /// Has its reading begun?
    pub begun: bool,
    /// Is nothing of it left to do?
    pub ended: bool,
    /// Was it read to its end?
    pub complete: bool,
    /// How far its backfill is, where it is one.
    pub backfill: Option<BackfillProgress>,
}

/// A stream while it is read.
struct StreamRun {
    job: StreamJob,
    out: StreamOut,
    progress: Mutex<Progress>,
    /// Records that may still be taken.
    left: AtomicU64,
    /// Where its first window starts.
    first: Mutex<Option<OffsetDateTime>>,
}

/// How far a stream is.
struct Progress {
    cursor_state: CursorState,
    pending: VecDeque<SliceTask>,
    open: usize,
    listing: Listing,
    /// The form that was announced.
    announced: Option<Arc<SchemaVersion>>,
    last_state: Option<Instant>,
    /// Did the cursor move?
    moved: bool,
    /// Is nothing more of it to be read?
    over: bool,
    outcome: StreamOutcome,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Listing {
    Waiting,
    Running,
    Done,
}

/// What a stream's state is made of.
enum CursorState {
    /// Nothing is kept.
    Full,
    /// One cursor.
    One(Cursor),
    /// One a partition.
    Each(Partitions),
    /// What was read of a part of the past.
    Past(Box<Backfill>),
}

/// A slice to read.
struct SliceTask {
    slice: Slice,
    /// The job that prepared its records.
    done: Option<CompletedJob>,
}

/// The run: what all threads see.
pub struct Scheduler {
    shared: Arc<EngineContext>,
    streams: Vec<StreamRun>,
    /// Groups of which a stream is being read.
    busy: Mutex<HashSet<Arc<str>>>,
    turn: Mutex<u64>,
    changed: Condvar,
    /// How many threads may work.
    pub concurrency: Concurrency,
}

/// One thread of a run.
struct Worker<'r> {
    run: &'r Scheduler,
    shared: &'r EngineContext,
    messages: SyncSender<Message>,
}

impl Scheduler {
    /// Prepares a run; states that cannot be read are refused here, before any request.
    pub fn new(
        shared: Arc<EngineContext>,
        jobs: Vec<StreamJob>,
        protocol: Protocol,
        concurrency: Concurrency,
    ) -> Result<Self> {
        let mut streams = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            let name = job.plan.name.clone();
            if let (Some(field), Some(cursor), Some(state)) = (&job.plan.legacy_partition, &job.plan.cursor, &job.state)
                && let Some(state) = from_legacy(state, field, &cursor.field)
            {
                job.state = Some(state);
            }
            let backfill = job.backfill.take();
            let cursor_state = match (&job.plan.cursor, backfill) {
                (None, _) => CursorState::Full,
                (Some(_), Some(backfill)) => CursorState::Past(Box::new(backfill)),
                (Some(cursor), None) if job.plan.router.is_some() => {
                    let parents = job.plan.router.tells_parents();
                    CursorState::Each(
                        Partitions::begin(cursor, job.state.as_ref(), parents).map_err(|f| f.of_stream(&name))?,
                    )
                }
                (Some(cursor), None) => {
                    CursorState::One(cursor.begin(job.state.as_ref(), 0).map_err(|f| f.of_stream(&name))?)
                }
            };
            let outcome = StreamOutcome {
                stream: name,
                records: 0,
                nulled: 0,
                without_cursor: 0,
                fault: None,
                begun: false,
                ended: false,
                complete: false,
                backfill: None,
            };
            streams.push(StreamRun {
                out: StreamOut::new(&job.plan, &job.fields, job.watched.as_ref(), protocol),
                left: AtomicU64::new(job.limit.unwrap_or(u64::MAX)),
                first: Mutex::default(),
                progress: Mutex::new(Progress {
                    cursor_state,
                    pending: VecDeque::new(),
                    open: 0,
                    listing: Listing::Waiting,
                    announced: None,
                    last_state: None,
                    moved: false,
                    over: false,
                    outcome,
                }),
                job,
            });
        }
        Ok(Scheduler {
            shared,
            streams,
            busy: Mutex::default(),
            turn: Mutex::new(0),
            changed: Condvar::new(),
            concurrency,
        })
    }

    /// What came of every stream so far.
    pub fn outcomes(&self) -> Vec<StreamOutcome> {
        self.streams.iter().map(|s| s.progress.lock().outcome()).collect()
    }

    /// The run was asked to stop: what was found meanwhile in streams that have not ended is kept and told.
    pub fn stopped(&self) {
        for live in self.streams.iter().filter(|live| live.progress.lock().outcome.begun) {
            self.watch_ends(live, false);
        }
    }

    /// The watch over a stream ends: what it found is kept and told. A fault when that is one.
    fn watch_ends(&self, live: &StreamRun, complete: bool) -> Option<Fault> {
        let watched = live.job.watched.as_ref()?;
        let again = |key: &str| reread_record::read(&self.shared, &live.job.plan, watched, key);
        let (told, fault) = watched.end(complete, &self.shared.stop, &again);
        for told in &told {
            (self.shared.drifted)(told);
        }
        fault
    }

    /// The work of thread number `number`: until nothing is left to do.
    pub fn work(&self, number: usize, messages: SyncSender<Message>) {
        let worker = Worker { run: self, shared: &self.shared, messages };
        loop {
            let turn = *self.turn.lock();
            if self.shared.stop.asked().is_some() {
                return;
            }
            if !self.concurrency.wanted(number) {
                continue;
            }
            if worker.step() {
                self.wake();
                continue;
            }
            if self.streams.iter().all(|s| s.progress.lock().outcome.ended) {
                self.wake();
                self.concurrency.end();
                return;
            }
            // Others are at work that may bring more.
            self.concurrency.idles(true);
            let mut guard = self.turn.lock();
            if *guard == turn {
                self.changed.wait_for(&mut guard, Duration::from_millis(200));
            }
            drop(guard);
            self.concurrency.idles(false);
        }
    }

    /// May a stream begin, as far as its group and those of the streams that it reads go? Then they are taken.
    fn may_begin(&self, live: &StreamRun) -> bool {
        let mut busy = self.busy.lock();
        let wanted = || live.job.plan.group.iter().chain(&live.job.plan.parents_groups);
        let free = wanted().all(|group| !busy.contains(group));
        if free {
            busy.extend(wanted().cloned());
        }
        free
    }

    /// Streams of these groups may begin.
    fn release(&self, groups: &[Arc<str>]) {
        self.busy.lock().retain(|group| !groups.contains(group));
    }

    fn wake(&self) {
        *self.turn.lock() += 1;
        self.changed.notify_all();
    }
}

impl Worker<'_> {
    /// Does one thing, if there is one to do.
    fn step(&self) -> bool {
        for live in &self.run.streams {
            let mut progress = live.progress.lock();
            if progress.outcome.ended {
                continue;
            }
            if let Some(work) = progress.pending.pop_front() {
                progress.open += 1;
                drop(progress);
                self.slice(live, &work);
                return true;
            }
            if progress.listing == Listing::Waiting && self.run.may_begin(live) {
                progress.listing = Listing::Running;
                progress.outcome.begun = true;
                drop(progress);
                (self.shared.started)(&live.job.plan.name);
                self.say(Message::Begin(live.job.plan.name.clone()));
                self.list(live);
                return true;
            }
        }
        false
    }

    fn say(&self, message: Message) {
        // The writer is gone when stdout is: then a stop is on its way.
        if self.messages.send(message).is_err() {
            self.shared.stop.ask(Kind::Downstream);
        }
    }

    /// Lists the slices of a stream.
    fn list(&self, live: &StreamRun) {
        let plan = &live.job.plan;
        let mut parents = ParentReader::new(self.shared, plan, live.job.state.as_ref());
        if matches!(live.progress.lock().cursor_state, CursorState::Past(_)) {
            parents = parents.without_pages();
        }
        if let (CursorState::Each(each), Some(state)) = (&mut live.progress.lock().cursor_state, parents.before()) {
            each.parents_begin(state);
        }
        let vars = Vars::new(&self.shared.cx);
        let listed = match &live.job.refused {
            Some(fault) => Err(fault.clone()),
            None => self.slices(live, &parents, &vars),
        };
        self.run.release(&live.job.plan.parents_groups);
        let mut progress = live.progress.lock();
        progress.listing = Listing::Done;
        match listed {
            Ok(()) => match &mut progress.cursor_state {
                CursorState::Each(each) => each.listed(),
                CursorState::Past(past) => past.listed(),
                CursorState::Full | CursorState::One(_) => {}
            },
            // What ended the listing was said when it happened.
            Err(_) if progress.over => {}
            Err(fault) => self.fail(live, &mut progress, fault),
        }
        if let (CursorState::Each(each), Some(state)) = (&mut progress.cursor_state, parents.state()) {
            each.parents_read(state);
        }
        self.settle(live, progress);
    }

    /// Puts the stream's slices on the board: all at once, or each when its job is done.
    fn slices(&self, live: &StreamRun, parents: &ParentReader<'_>, vars: &Vars<'_>) -> Result<()> {
        let plan = &live.job.plan;
        let put = |slice: Slice, done| self.put(live, vec![SliceTask { slice, done: Some(done) }]);
        let Some(jobs) = &plan.jobs else {
            return plan.router.each(parents, vars, &mut |partition| {
                let slices = self.found(live, partition)?;
                self.put(live, slices.into_iter().map(|slice| SliceTask { slice, done: None }))
            });
        };
        let mut jobs = AsyncJobs::new(self.shared, plan, jobs);
        // Parents that need jobs too must not wait for those of their children.
        let mut later = plan.parents.iter().any(|parent| parent.needs_jobs()).then(Vec::new);
        plan.router.each(parents, vars, &mut |partition| {
            let slices = self.found(live, partition)?;
            match &mut later {
                Some(later) => later.extend(slices),
                None => slices.into_iter().try_for_each(|slice| jobs.offer(slice, &mut &put))?,
            }
            Ok(())
        })?;
        later.into_iter().flatten().try_for_each(|slice| jobs.offer(slice, &mut &put))?;
        jobs.finish(&mut &put)
    }

    /// A partition was found: its slices.
    fn found(&self, live: &StreamRun, partition: Partition) -> Result<Vec<Slice>> {
        self.shared.stop.check()?;
        let mut progress = live.progress.lock();
        if let (true, Some(fault)) = (progress.over, &progress.outcome.fault) {
            return Err(fault.clone());
        }
        let windows = match (&mut progress.cursor_state, &live.job.plan.cursor) {
            (CursorState::Full, _) | (_, None) => vec![None],
            (CursorState::One(cursor), Some(plan)) => cursor.windows(plan).into_iter().map(Some).collect(),
            (CursorState::Each(each), Some(plan)) => each.open(plan, &partition.key)?.into_iter().map(Some).collect(),
            (CursorState::Past(past), Some(plan)) => {
                past.open(plan, &partition.key, self.shared.cx.moment()).into_iter().map(Some).collect()
            }
        };
        let partition = Arc::new(partition);
        Ok(windows.into_iter().map(|window| (partition.clone(), window)).collect())
    }

    /// Puts slices on the board.
    fn put(&self, live: &StreamRun, work: impl IntoIterator<Item = SliceTask>) -> Result<()> {
        live.progress.lock().pending.extend(work);
        self.run.wake();
        // Too many wait: the one who lists helps to read.
        loop {
            let mut progress = live.progress.lock();
            if progress.pending.len() <= MOST_PENDING {
                return Ok(());
            }
            let Some(work) = progress.pending.pop_front() else { return Ok(()) };
            progress.open += 1;
            drop(progress);
            self.slice(live, &work);
        }
    }

    /// Reads a slice.
    fn slice(&self, live: &StreamRun, work: &SliceTask) {
        let plan = &live.job.plan;
        let (partition, window) = (&work.slice.0, work.slice.1.as_ref());
        let mut wanted = RecordFilter::default();
        match (&live.progress.lock().cursor_state, &plan.cursor, window) {
            (CursorState::One(cursor), Some(c), _) if c.filters => wanted.before = Some(cursor.clone()),
            (CursorState::Each(each), Some(c), _) if c.filters => {
                wanted.before = each.cursor(&identity(&partition.key)).cloned();
            }
            (CursorState::Past(past), _, Some(window)) => {
                wanted.past = Some(past.keep(&identity(&partition.key), window));
            }
            _ => {}
        }
        let sent = Cell::new(0);
        let mut send = |lines: Vec<u8>, count, form: &Arc<SchemaVersion>| {
            sent.set(sent.get() + count);
            let mut progress = live.progress.lock();
            if let CursorState::Past(past) = &mut progress.cursor_state
                && count > 0
                && past.begins()
            {
                self.state(live, &mut progress, true);
            }
            self.announce(&mut progress, form);
            progress.outcome.records += count;
            drop(progress);
            if !lines.is_empty() {
                self.say(Message::Records { stream: plan.name.clone(), lines, count });
            }
        };
        // What lies before the first window was never asked about.
        let bounded = window.copied().filter(|window| {
            let first = *live.first.lock().get_or_insert(window.start);
            live.job.state.is_some() || window.start > first
        });
        let cursor = plan.cursor.as_ref().filter(|cursor| !cursor.counts());
        wanted.window = bounded.zip(cursor).map(|(window, cursor)| cursor.asked(&window));
        let here = OffsetDateTime::now_utc();
        let mut taker = RecordWriter::new(self.shared, (plan, &live.out), wanted, &live.left, &mut send);
        let read = match &work.done {
            None => async_job::read(self.shared, plan, partition, window, &mut taker),
            Some(done) => async_job::download(self.shared, plan, &work.slice, done, &mut taker),
        };
        if taker.has_pages() {
            taker.finish();
        }
        let SliceTotals { newest, nulled, without_cursor, answers } = taker.totals();
        let mut progress = live.progress.lock();
        progress.open -= 1;
        if let CursorState::Past(past) = &mut progress.cursor_state {
            past.sent(&identity(&partition.key), sent.get(), answers);
        }
        progress.outcome.nulled += nulled;
        progress.outcome.without_cursor += without_cursor;
        match read {
            Ok(SliceOutcome { began, cut_short, .. }) => {
                if let (CursorState::Past(past), Some(began)) = (&mut progress.cursor_state, began) {
                    past.began(here, began);
                }
                let newest = plan.cursor.as_ref().and_then(|c| c.settled(newest, began, cut_short));
                let whole = plan.cursor.as_ref().is_none_or(|c| c.is_read(cut_short));
                self.close(live, &mut progress, work, newest, whole);
            }
            Err(fault) => {
                if let (CursorState::Past(past), Some(window)) = (&mut progress.cursor_state, window) {
                    past.fail(&identity(&partition.key), window);
                }
                self.fail(live, &mut progress, fault);
            }
        }
        self.settle(live, progress);
    }

    /// Says what records of that form look like, unless that was said.
    fn announce(&self, progress: &mut Progress, form: &Arc<SchemaVersion>) {
        let said = progress.announced.as_ref();
        if said.is_none_or(|said| form.is_later(said)) {
            if said.is_none_or(|said| form.schema != said.schema) {
                self.say(Message::Schema { line: form.schema.clone() });
            }
            progress.announced = Some(form.clone());
        }
    }

    /// Notes a fault of a stream, and tells of it.
    fn fail(&self, live: &StreamRun, progress: &mut Progress, fault: Fault) {
        let fault = live.job.watched.as_ref().map_or_else(|| fault.clone(), |watched| watched.failed(fault.clone()));
        if fault.kind == Kind::Drift {
            self.shared.stop.ask(Kind::Drift);
        }
        let fault = fault.of_stream(&progress.outcome.stream);
        if live.job.watched.is_some() && DriftMonitor::ends_stream(&fault) {
            if progress.over && progress.outcome.fault.is_some() {
                // Said already, for a slice that was read at the same time.
                return;
            }
            progress.pending.clear();
            progress.over = true;
        }
        self.say(Message::Failed(fault.clone()));
        progress.fail(fault);
    }

    /// A slice was read: the cursor moves, and a state may be said. What of the past is not `whole` stays for the next
    /// run.
    fn close(
        &self,
        live: &StreamRun,
        progress: &mut Progress,
        work: &SliceTask,
        newest: Option<OffsetDateTime>,
        whole: bool,
    ) {
        let (Some(plan), Some(window)) = (&live.job.plan.cursor, &work.slice.1) else { return };
        progress.moved = true;
        let moment = self.shared.cx.moment();
        let Progress { cursor_state, pending, over, last_state, .. } = progress;
        match cursor_state {
            CursorState::Full => return,
            CursorState::One(cursor) => cursor.close(plan, window, newest),
            CursorState::Each(each) => {
                each.close(plan, &identity(&work.slice.0.key), window, newest);
                if each.is_global() {
                    return;
                }
                if last_state.is_some_and(|at| at.elapsed() < BETWEEN_STATES) {
                    return;
                }
            }
            CursorState::Past(past) => {
                let id = identity(&work.slice.0.key);
                if *over {
                    past.leave(&id);
                }
                // Nothing is read again for a preview.
                let now = live.job.limit.is_none().then_some(moment);
                let more = if whole {
                    past.close(plan, &id, window, now)
                } else {
                    past.fail(&id, window);
                    Vec::new()
                };
                for window in more.into_iter().rev() {
                    pending.push_front(SliceTask { slice: (work.slice.0.clone(), Some(window)), done: None });
                }
                let each = live.job.plan.router.is_some();
                if each && last_state.is_some_and(|at| at.elapsed() < BETWEEN_STATES) {
                    return;
                }
            }
        }
        self.state(live, progress, true);
    }

    /// Says the stream's state. Under its lock, so that an older one never follows a newer one.
    fn state(&self, live: &StreamRun, progress: &mut Progress, checkpoint: bool) {
        if live.job.limit.is_some() {
            return;
        }
        let name = live.job.plan.name.clone();
        progress.last_state = Some(Instant::now());
        let state = match (&progress.cursor_state, &live.job.plan.cursor) {
            (CursorState::One(cursor), Some(plan)) => Some(Json::Object(cursor.state(plan))),
            (CursorState::Each(each), Some(plan)) => Some(each.state(plan)),
            (CursorState::Past(past), _) => Some(past.state()),
            _ => None,
        };
        let replication = match (&state, &live.job.plan.cursor) {
            (Some(state), Some(plan)) => plan.shown(state).map(|value| (plan.field.clone(), value)),
            _ => None,
        };
        self.say(Message::State { stream: name, state, replication, checkpoint });
    }

    /// Ends the stream when nothing of it is left.
    fn settle(&self, live: &StreamRun, mut progress: MutexGuard<'_, Progress>) {
        if progress.outcome.ended
            || progress.open > 0
            || !progress.pending.is_empty()
            || progress.listing != Listing::Done
        {
            return;
        }
        progress.outcome.ended = true;
        self.run.release(live.job.plan.group.as_slice());
        let stopped = self.shared.stop.asked().is_some();
        let complete = progress.outcome.fault.is_none() && !stopped;
        if let Some(fault) = self.run.watch_ends(live, complete) {
            self.fail(live, &mut progress, fault);
        }
        let complete = progress.outcome.fault.is_none() && !stopped;
        progress.outcome.complete = complete;
        if let (CursorState::Each(each), Some(plan)) = (&mut progress.cursor_state, &live.job.plan.cursor) {
            each.finish(plan);
        }
        if complete && progress.announced.is_none() {
            self.announce(&mut progress, &live.out.version(&live.job.plan));
        }
        if let CursorState::Past(past) = &mut progress.cursor_state
            && complete
            && live.job.limit.is_none()
        {
            past.finish();
        }
        self.say(Message::End { stream: live.job.plan.name.clone(), complete });
        let checkpoint = complete || progress.moved;
        self.state(live, &mut progress, checkpoint);
    }
}

impl Progress {
    /// What came of the stream so far.
    fn outcome(&self) -> StreamOutcome {
        let mut outcome = self.outcome.clone();
        if let CursorState::Past(past) = &self.cursor_state {
            outcome.backfill = Some(past.standing());
        }
        outcome
    }

    /// Notes a fault; the gravest stays. Nothing more of the stream is read once the vendor refuses or is down.
    fn fail(&mut self, fault: Fault) {
        if matches!(
            fault.kind,
            Kind::Signal(_) | Kind::Downstream | Kind::Auth | Kind::Unavailable | Kind::Drift | Kind::Bug
        ) {
            self.pending.clear();
            self.over = true;
        }
        if let CursorState::Each(each) = &mut self.cursor_state {
            each.fail();
        }
        let graver =
            self.outcome.fault.as_ref().is_none_or(|old| fault.kind.severity_rank() > old.kind.severity_rank());
        if graver {
            self.outcome.fault = Some(fault);
        }
    }
}
