//! Records that the vendor prepares in a job: it is made, asked for until it is done, and then its results are read.
//!
//! Comes in: the slices of a stream. Goes out: each with its job done, to be read like any other; or the fault that is
//! left when a job failed too often. Called by [`super::scheduler::Scheduler`] while slices are listed, and by `parents` and
//! `check` for one slice at a time. What happens in which order is that of airbyte-cdk's `AsyncJobOrchestrator`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::answer;
use super::build::{Build, StreamPlan};
use super::context::EngineContext;
use super::query_properties::{self, Properties};
use super::record_sink::{RecordSink, SliceOutcome};
use super::requester::{self, InjectedOptions, RequestContext, RequesterPlan};
use super::slice_reader;
use super::stream_slice::StreamSlice;
use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::engine::cursor::Window;
use crate::engine::extract::decode::{self, Decoder};
use crate::engine::extract::dom_extract::Lists;
use crate::engine::extract::{self, Records};
use crate::engine::fetch::{CacheMode, Outcome, Reply};
use crate::engine::slice::Partition;
use crate::manifest::model::{AsyncRetriever, PaginationStrategy, Paginator, PartitionRouter, Requester, Retriever};
use crate::manifest::node::Text;
use crate::manifest::template::{Template, Vars, text_of};

/// A job is made so often.
const ATTEMPTS: u32 = 3;
/// A job that failed is made anew after that at the latest.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Names that templates of requests about jobs may use.
pub(super) const VARIABLES: [&str; 3] = ["creation_response", "polling_response", "download_target"];

/// How records are prepared, compiled.
#[derive(Debug, Clone)]
pub struct JobPlan {
    create: RequesterPlan,
    poll: RequesterPlan,
    target: Option<RequesterPlan>,
    abort: Option<RequesterPlan>,
    delete: Option<RequesterPlan>,
    decoder: Decoder,
    status: Records,
    targets: Option<Records>,
    words: BTreeMap<String, Status>,
    timeout: Duration,
    pause: Duration,
    /// So many run at a time, of all streams.
    most: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Running,
    Completed,
    Failed,
    TimedOut,
    Skipped,
}

/// Compiles the jobs of a stream; `names` are further names that templates may use.
pub(super) fn build(build: &Build<'_>, def: &AsyncRetriever, names: &[String]) -> Result<JobPlan> {
    let cx = build.cx;
    if def.download_target_requester.is_some() && def.download_target_extractor.is_none() {
        let at = def.at.field("download_target_requester", None);
        return Err(at.fault("`download_target_extractor` is missing, which finds the results' names in the answer"));
    }
    let roams = roams(def);
    let requester = |def: &Requester, free| {
        let Requester::HttpRequester(def) = def;
        if query_properties::are_named(def) {
            return Err(def.at.fault("requests about jobs cannot name fields: QueryProperties are for the results"));
        }
        let requester = requester::build(build, def, names, free)?;
        if requester.errors.changes_requests() {
            return Err(def.at.fault("pages and windows of a job cannot become smaller"));
        }
        Ok(requester)
    };
    let some = |def: &Option<Requester>, free| def.as_ref().map(|def| requester(def, free)).transpose();
    let mapping = &def.status_mapping;
    let mut words = BTreeMap::new();
    let none = Vec::new();
    for (status, own) in [
        (Status::Running, &mapping.running),
        (Status::Completed, &mapping.completed),
        (Status::Failed, &mapping.failed),
        (Status::TimedOut, &mapping.timeout),
        (Status::Skipped, mapping.skipped.as_ref().unwrap_or(&none)),
    ] {
        for word in own {
            if words.insert(word.clone(), status).is_some() {
                return Err(mapping.at.fault(format!("the status `{word}` stands twice")));
            }
        }
    }
    let number = |text: &Option<Text>| -> Result<Option<Duration>> {
        let Some(text) = text.as_ref().filter(|t| !t.value.is_null()) else { return Ok(None) };
        let number = Template::compile(text, &[])?.number(&Vars::new(cx))?;
        let time = Duration::try_from_secs_f64(number).map_err(|_| text.at.fault("expected a time from 0"))?;
        Ok(Some(time))
    };
    let pause = match number(&def.failed_retry_wait_time_in_seconds)? {
        Some(time) if time.is_zero() => {
            let at = def.at.field("failed_retry_wait_time_in_seconds", None);
            return Err(at.fault("the wait must be more than 0 seconds"));
        }
        given => given.unwrap_or_default().min(LONGEST),
    };
    let most = build.manifest.source.max_concurrent_async_job_count.as_ref();
    let most = most.and_then(|text| text.value.as_u64()).and_then(|n| usize::try_from(n).ok());
    Ok(JobPlan {
        create: requester(&def.creation_requester, false)?,
        poll: requester(&def.polling_requester, false)?,
        target: some(&def.download_target_requester, roams)?,
        abort: some(&def.abort_requester, false)?,
        delete: some(&def.delete_requester, false)?,
        decoder: decode::build(def.decoder.as_ref(), None, &def.at)?,
        status: extract::build(&def.status_extractor, cx)?,
        targets: def.download_target_extractor.as_ref().map(|def| extract::build(def, cx)).transpose()?,
        words,
        timeout: number(&def.polling_job_timeout)?
            .map_or(Duration::from_secs(60 * 60), |minutes| minutes.saturating_mul(60)),
        pause,
        most: most.unwrap_or(1).max(1),
    })
}

impl JobPlan {
    /// May the requests that make its jobs carry that entry of their slice?
    pub(super) fn reads_of_slice(&self, entry: &str) -> bool {
        self.create.reads_of_slice(entry)
    }
}

/// May the results of its jobs stand at any host? They may when nothing of the config is sent there, which paging and
/// partitions could.
pub(super) fn may_roam(def: &Retriever) -> bool {
    matches!(def, Retriever::AsyncRetriever(def) if roams(def))
}

fn roams(def: &AsyncRetriever) -> bool {
    let pages = match &def.download_paginator {
        Some(Paginator::DefaultPaginator(def)) => match &def.pagination_strategy {
            PaginationStrategy::CursorPagination(def) => def.cursor_value.reads_config(),
            _ => false,
        },
        _ => false,
    };
    !pages && !def.partition_router.iter().flat_map(|routers| &routers.0).any(PartitionRouter::reads_config)
}

/// A job that is done.
#[derive(Debug, Clone)]
pub(super) struct CompletedJob {
    creation: Json,
    polling: Json,
    /// What the extractor of the results' names sees.
    body: Arc<Vec<u8>>,
    began: Began,
}

/// When a job was made: by this machine's clock, and by the vendor's, which tells what its results can hold.
#[derive(Debug, Clone, Copy)]
struct Began {
    here: Instant,
    there: OffsetDateTime,
}

/// A job on its way.
struct AsyncJob {
    slice: StreamSlice,
    attempts: u32,
    stands: Stands,
}

enum Stands {
    /// It is to be made, not before.
    Due(Instant),
    /// It was made then.
    Runs(Json, Began),
    Ended(Status, Option<CompletedJob>),
}

/// The jobs of one stream.
pub(super) struct AsyncJobs<'r> {
    shared: &'r EngineContext,
    stream: &'r StreamPlan,
    plan: &'r JobPlan,
    running: VecDeque<AsyncJob>,
    /// What went wrong though the others go on.
    fault: Option<Fault>,
}

/// Takes a slice whose job is done.
pub(super) type Deliver<'d> = &'d mut dyn FnMut(StreamSlice, CompletedJob) -> Result<()>;

impl Drop for AsyncJobs<'_> {
    fn drop(&mut self) {
        self.shared.jobs.fetch_sub(self.running.len(), Ordering::Relaxed);
    }
}

impl<'r> AsyncJobs<'r> {
    pub(super) fn new(shared: &'r EngineContext, stream: &'r StreamPlan, plan: &'r JobPlan) -> Self {
        AsyncJobs { shared, stream, plan, running: VecDeque::new(), fault: None }
    }

    /// Makes a job for the slice as soon as another may run.
    pub(super) fn offer(&mut self, slice: StreamSlice, deliver: Deliver<'_>) -> Result<()> {
        loop {
            self.shared.stop.check()?;
            self.make_due()?;
            if take_one(&self.shared.jobs, self.plan.most) {
                let due = Stands::Due(Instant::now());
                self.running.push_back(AsyncJob { slice, attempts: 0, stands: due });
                return self.make_due();
            }
            if self.running.is_empty() {
                // Other streams hold all places.
                self.shared.stop.sleep(self.shared.poll)?;
            }
            self.round(deliver)?;
        }
    }

    /// Waits for all jobs.
    ///
    /// # Errors
    /// The first that says why a slice could not be read.
    pub(super) fn finish(&mut self, deliver: Deliver<'_>) -> Result<()> {
        while !self.running.is_empty() {
            self.shared.stop.check()?;
            self.make_due()?;
            self.round(deliver)?;
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Makes the jobs that are due.
    fn make_due(&mut self) -> Result<()> {
        for number in 0..self.running.len() {
            let job = &self.running[number];
            if !matches!(job.stands, Stands::Due(at) if at <= Instant::now()) {
                continue;
            }
            let vars = of_slice(self.stream, &job.slice, &Map::new());
            let (here, now) = (Instant::now(), OffsetDateTime::now_utc());
            let made = self.ask(&self.plan.create, &vars, &job.slice);
            let made = made.and_then(|reply| {
                let there = reply.asked_at().unwrap_or(now);
                Ok((object(&reply, &self.decoded(&reply)?)?, Began { here, there }))
            });
            let stands = match made {
                Ok((creation, began)) => Stands::Runs(creation, began),
                Err(fault) => {
                    self.broken(&fault)?;
                    self.say(&fault);
                    Stands::Ended(Status::Failed, None)
                }
            };
            self.running[number].attempts += 1;
            self.running[number].stands = stands;
        }
        Ok(())
    }

    /// Asks once for each job, and sees to those that ended.
    fn round(&mut self, deliver: Deliver<'_>) -> Result<()> {
        for number in 0..self.running.len() {
            let job = &self.running[number];
            let Stands::Runs(creation, began) = &job.stands else { continue };
            let late = began.here.elapsed() >= self.plan.timeout;
            let stands = match self.poll(&job.slice, creation, *began) {
                Ok((Status::Running, _)) if !late => continue,
                Ok((Status::Running | Status::TimedOut, _)) => {
                    self.abort(&job.slice, creation);
                    Stands::Ended(Status::TimedOut, None)
                }
                Ok((status, done)) => Stands::Ended(status, Some(done)),
                Err(fault) => {
                    self.broken(&fault)?;
                    if late {
                        self.abort(&job.slice, creation);
                    }
                    self.fault.get_or_insert(fault);
                    if !late {
                        continue;
                    }
                    Stands::Ended(Status::TimedOut, None)
                }
            };
            self.running[number].stands = stands;
        }
        let (mut again, mut ready) = (VecDeque::new(), Vec::new());
        for job in std::mem::take(&mut self.running) {
            match job.stands {
                Stands::Ended(Status::Failed | Status::TimedOut, _) if job.attempts >= ATTEMPTS => {
                    self.shared.jobs.fetch_sub(1, Ordering::Relaxed);
                    let said = "One or more async jobs failed after exhausting all retry attempts.";
                    let fault = Fault::data(format!("a job of the vendor's failed {ATTEMPTS} times"));
                    let fault = fault.hint("see what the vendor says of it").airbyte_message(said, Failure::System);
                    self.fault.get_or_insert(fault);
                }
                Stands::Ended(status @ (Status::Failed | Status::TimedOut), ref done) => {
                    let pause =
                        if status == Status::Failed && done.is_some() { self.plan.pause } else { Duration::ZERO };
                    again.push_back(AsyncJob { stands: Stands::Due(Instant::now() + pause), ..job });
                }
                Stands::Ended(status, done) => {
                    self.shared.jobs.fetch_sub(1, Ordering::Relaxed);
                    if let (Status::Completed, Some(done)) = (status, done) {
                        ready.push((job.slice, done));
                    }
                }
                _ => self.running.push_back(job),
            }
        }
        // Those that are made anew come first.
        again.append(&mut self.running);
        self.running = again;
        ready.into_iter().try_for_each(|(slice, done)| deliver(slice, done))?;
        if self.running.is_empty() {
            return Ok(());
        }
        self.shared.stop.sleep(self.shared.poll)
    }

    /// How a job stands.
    fn poll(&self, slice: &StreamSlice, creation: &Json, began: Began) -> Result<(Status, CompletedJob)> {
        let more = Map::from_iter([("creation_response".to_owned(), creation.clone())]);
        let reply = self.ask(&self.plan.poll, &of_slice(self.stream, slice, &more), slice)?;
        let body = Arc::new(self.decoded(&reply)?);
        let word =
            found(&self.plan.status, &body)?.into_iter().next().map_or_else(|| "None".to_owned(), |w| text_of(&w));
        let Some(status) = self.plan.words.get(&word) else {
            // A word of the vendor's, and nothing longer.
            let word: String = word.chars().filter(|c| c.is_alphanumeric() || "_- ".contains(*c)).take(40).collect();
            let fault = Fault::data(format!("the vendor says `{word}` of a job, which `status_mapping` does not know"));
            return Err(fault.hint("add the vendor's word to it"));
        };
        Ok((*status, CompletedJob { creation: creation.clone(), polling: object(&reply, &body)?, body, began }))
    }

    /// Ends a job that is not wanted any more; that this fails matters to nobody.
    fn abort(&self, slice: &StreamSlice, creation: &Json) {
        let Some(abort) = &self.plan.abort else { return };
        let more = Map::from_iter([("creation_response".to_owned(), creation.clone())]);
        if let Err(fault) = self.ask(abort, &of_slice(self.stream, slice, &more), slice) {
            self.say(&fault);
        }
    }

    /// What is wrong for every job ends the stream, and its jobs.
    fn broken(&self, fault: &Fault) -> Result<()> {
        let all = matches!(fault.kind, Kind::Signal(_) | Kind::Downstream | Kind::Bug | Kind::Auth);
        if !all && fault.failure() != Failure::Config {
            return Ok(());
        }
        for job in &self.running {
            if let Stands::Runs(creation, _) = &job.stands {
                self.abort(&job.slice, creation);
            }
        }
        Err(fault.clone())
    }

    fn say(&self, fault: &Fault) {
        (self.shared.noticed)(&self.stream.name, &fault.to_string());
    }

    fn ask(&self, requester: &RequesterPlan, vars: &(Json, Json), slice: &StreamSlice) -> Result<Reply> {
        ask(self.shared, self.stream, requester, vars, &slice.partition)
    }

    fn decoded(&self, reply: &Reply) -> Result<Vec<u8>> {
        let limit = self.shared.fetcher.max_page_bytes();
        Ok(self.plan.decoder.decode(&reply.body, reply.header("content-type"), limit)?.into_owned())
    }
}

/// An answer as templates see it: what it says, with its headers and what was asked.
fn object(reply: &Reply, body: &[u8]) -> Result<Json> {
    let Json::Object(mut object) = answer::parsed(body)? else {
        return Err(Fault::data("the answer about a job is no object").hint("check the path of the request"));
    };
    object.entry("headers").or_insert_with(|| reply.headers_json(false));
    object.entry("request").or_insert_with(|| json!({"url": reply.url}));
    Ok(Json::Object(object))
}

/// Takes one of so many places, if one is free.
fn take_one(taken: &AtomicUsize, most: usize) -> bool {
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1)).is_ok()
}

fn ask(
    shared: &EngineContext,
    stream: &StreamPlan,
    requester: &RequesterPlan,
    vars: &(Json, Json),
    partition: &Partition,
) -> Result<Reply> {
    let vars = Vars { slice: Some(&vars.0), extra: Some(&vars.1), ..Vars::new(&shared.cx) };
    let whose = RequestContext {
        shared,
        stream: &stream.name,
        partition: &partition.key,
        keep: CacheMode::No,
        into: None,
        holds: None,
    };
    match requester.ask(whose, &vars, &InjectedOptions::default())? {
        Outcome::Page(reply) => Ok(reply),
        _ => Err(Fault::data("the request about a job was refused, and the manifest ignores it")),
    }
}

/// The slice as templates of requests see it, and their further variables.
fn of_slice(stream: &StreamPlan, slice: &StreamSlice, more: &Map<String, Json>) -> (Json, Json) {
    let seen = with(&slice.partition, more);
    (stream.slice_variable(&seen, slice.window.as_ref()), Json::Object(seen.extra))
}

/// The partition with further extra fields.
fn with(partition: &Partition, more: &Map<String, Json>) -> Partition {
    let mut partition = partition.clone();
    partition.extra.extend(more.clone());
    partition
}

/// What an extractor finds in an answer.
pub(super) fn found(records: &Records, body: &[u8]) -> Result<Vec<Json>> {
    let broken = |error| Fault::data(format!("the answer about a job is not valid JSON: {error}"));
    match records {
        Records::Walk(path) => {
            let mut all = Vec::new();
            let walked = extract::walk(body, path, &[], &mut |scanner| {
                all.push(answer::record_json(scanner)?);
                Ok(())
            });
            walked.map_err(|stop| match stop {
                extract::WalkError::Json(error) => broken(error),
                extract::WalkError::Callback(fault) => fault,
            })?;
            Ok(all)
        }
        Records::DomExtractor(gather) => Ok(gather.page(&answer::parsed(body)?, &Whole)?.records),
    }
}

/// Answers about jobs hold their lists wholly.
struct Whole;

impl Lists for Whole {
    fn whole(&self, _: &Json) -> Result<Vec<Json>> {
        Ok(Vec::new())
    }

    fn incomplete(&self, _: &str) {}
}

/// Reads the results of a job that is done, and removes it.
pub(super) fn download(
    shared: &EngineContext,
    stream: &StreamPlan,
    slice: &StreamSlice,
    done: &CompletedJob,
    taker: &mut dyn RecordSink,
) -> Result<SliceOutcome> {
    let plan = stream.jobs.as_ref().ok_or_else(|| Fault::bug("a job without its plan"))?;
    let jobs = AsyncJobs::new(shared, stream, plan);
    let creation = ("creation_response".to_owned(), done.creation.clone());
    let polling = ("polling_response".to_owned(), done.polling.clone());
    let targets = match (&plan.targets, &plan.target) {
        (None, _) => vec![json!("")],
        (Some(targets), None) => found(targets, &done.body)?,
        (Some(targets), Some(requester)) => {
            let vars = of_slice(stream, slice, &Map::from_iter([creation.clone(), polling.clone()]));
            found(targets, &jobs.decoded(&ask(shared, stream, requester, &vars, &slice.partition)?)?)?
        }
    };
    // What changed since the job was made is not in its results.
    let mut reading = SliceOutcome { began: Some(done.began.there), ..SliceOutcome::default() };
    for target in targets {
        let more = Map::from_iter([("download_target".to_owned(), target), creation.clone(), polling.clone()]);
        let of_target =
            slice_reader::read(shared, stream, &with(&slice.partition, &more), slice.window.as_ref(), taker)?;
        if reading.ends_with(of_target) {
            break;
        }
    }
    if let Some(delete) = &plan.delete {
        jobs.ask(delete, &of_slice(stream, slice, &Map::from_iter([creation])), slice)?;
    }
    Ok(reading)
}

impl StreamPlan {
    /// Are its records, or those of its parents, prepared in jobs?
    pub(super) fn needs_jobs(&self) -> bool {
        let inner = self.with_state.iter().map(|with| &with.stream).chain(&self.lists).chain(&self.parents);
        let names = self.properties.as_ref().and_then(Properties::source);
        self.jobs.is_some() || inner.chain(names).any(|stream| stream.needs_jobs())
    }
}

/// Reads a slice, by a job of its own where the stream has such.
pub fn read(
    shared: &EngineContext,
    stream: &StreamPlan,
    partition: &Partition,
    window: Option<&Window>,
    taker: &mut dyn RecordSink,
) -> Result<SliceOutcome> {
    let Some(plan) = &stream.jobs else { return slice_reader::read(shared, stream, partition, window, taker) };
    let mut reading = SliceOutcome::default();
    let mut jobs = AsyncJobs::new(shared, stream, plan);
    let mut deliver = |slice: StreamSlice, done: CompletedJob| {
        reading = download(shared, stream, &slice, &done, taker)?;
        Ok(())
    };
    let slice = StreamSlice { partition: Arc::new(partition.clone()), window: window.copied() };
    jobs.offer(slice, &mut deliver)?;
    jobs.finish(&mut deliver)?;
    Ok(reading)
}
