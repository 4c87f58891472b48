//! The verb `sync`: reads into a target, and saves the bookmarks that the target echoes.
//!
//! Input: the options. Output: messages into the target, its bookmarks into the state store, an exit code that
//! reflects both. Called by `cli`. It reads exactly like `read`; only the destination of messages and the origin of
//! states differ.

mod bookmark_writer;
pub mod state_acks;
mod target_bookmarks;
mod target_process;

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::active_run::{self, ActiveRun};
use super::log::Level;
use super::outcome::RunOutcome;
use super::read::{PreparedRun, ReadResult, States, broke_off, ready};
use crate::base::fault::{Fault, Kind, Result, guarded};
use crate::base::stop::Stop;
use crate::base::timefmt::{parse_iso, rfc3339};
use crate::protocol::singer::Outgoing;
use crate::protocol::{Out, Protocol, Sink};
use crate::run::context::Context;
use crate::tenant::locks::{Locks, of_backfill};
use crate::tenant::reread_marks::{self, Mark, RereadMarks};
use crate::tenant::target_command::TargetCommand;
use bookmark_writer::BookmarkWriter;
use target_bookmarks::TargetBookmarks;
use target_process::{End, Environment, Gauge, Stopping, TargetProcess};

/// The default time without progress after which a target with pending work is killed.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long to wait for a target's remaining output after it exits; a process that it left behind may keep the output
/// open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The options of `sync`.
#[derive(Debug, Clone, Default)]
pub struct SyncOptions {
    /// The target with its arguments; `None` uses the config's.
    pub target: Option<String>,
    /// A target without progress for this long is killed.
    pub target_timeout: Option<Duration>,
    /// Another target, whose bookmarks are adopted.
    pub adopt: Option<String>,
}

/// Reads into the target; returns the exit code.
pub(crate) fn run(context: &Context, asked: &SyncOptions) -> Result<u8> {
    if context.protocol == Protocol::Airbyte {
        return Err(Fault::new(Kind::Usage, "`sync` loads Singer targets only")
            .hint("remove --protocol; Airbyte's platform runs its destinations itself"));
    }
    let mut active = ActiveRun::new(context, "sync");
    let ended = guarded(|| into_target(context, asked, &mut active));
    active.ends(ended)
}

fn into_target(context: &Context, asked: &SyncOptions, active: &mut ActiveRun<'_>) -> Result<RunOutcome> {
    let mut ready = ready(context, active)?;
    let command = asked.target.as_deref().or(ready.loaded.config.ours.target.as_deref());
    let command = command.ok_or_else(|| {
        Fault::new(Kind::Usage, "no target is set")
            .hint("use --target 'target-postgres --config pg.json', or set dripfeed.target in the config")
    })?;
    let identity = ready.loaded.identity.clone();
    let command = TargetCommand::parse(command)?.filled(&identity.tenant, &identity.source);
    active.begins(&ready.loaded, &ready.names());
    let target_id = target_bookmarks::id(&ready, &command);
    ready.target = Some(target_id.clone());
    let stores = TargetBookmarks::of(context, &identity, target_id)?;
    if let Some(other) = context.options.reset.iter().find(|stream| !ready.names().contains(stream)) {
        return Err(Fault::config(format!("--reset names `{other}`, which this run does not read"))
            .hint("its bookmark is unchanged; add it to --streams, or remove --reset"));
    }
    let reset = if context.options.full_refresh { ready.names() } else { context.options.reset.clone() };
    if let Some(other) = asked.adopt.as_ref().filter(|_| context.options.limit.is_none()) {
        stores.adopt(context, &ready, other)?;
    }
    let (store, doc) = stores.open(context, &ready, &reset)?;
    let marks = reread_marks(context, &ready, &stores);
    ready.again = marks.iter().filter_map(|(stream, mark)| Some((stream.clone(), parse_iso(&mark.since)?))).collect();
    if context.options.backfill.is_some() && context.options.limit.is_none() {
        let mark = Mark { since: rfc3339(ready.loaded.cx.now), run: identity.run_id.clone() };
        reread_marks::begins(&store, &stores.fresh(context, &ready), &ready.names(), &mark, &context.stop)?;
    }
    let store_of_run = (Arc::new(store), stores.fresh(context, &ready));
    let bookmarks = BookmarkWriter::new(context, &ready, store_of_run, &doc);
    let environment = Environment::of(&ready.loaded.config);
    let (mut target, feed) = match &ready.locks {
        Some(locks) => locks.inherited(|| TargetProcess::start(&command, &environment)),
        None => TargetProcess::start(&command, &environment),
    }?;
    let (gauge, name, pid) = (target.gauge(), target.name().to_owned(), target.pid());
    context.stop.at_last(move || target_process::kill(pid));
    if let Some(locks) = &mut ready.locks {
        locks.tell(&active_run::holder(context, &identity, Some(pid)));
    }
    let listening = target.listen({
        let bookmarks = bookmarks.clone();
        move |line| bookmarks.on_line(line)
    });
    let patience = asked.target_timeout.unwrap_or(PATIENCE);
    let watching = std::thread::spawn({
        let (bookmarks, stop) = (bookmarks.clone(), context.stop.clone());
        let mut since = None;
        move || {
            let asked = || {
                let why = stop.asked()?;
                let since = *since.get_or_insert_with(Instant::now);
                // A run that stops by itself has no user waiting.
                Some(Stopping { since, patient: !matches!(why, Kind::Signal(_)) })
            };
            let end = target.watch(patience, asked, || bookmarks.keep(false));
            // The process is gone: its PID may be reused.
            stop.at_last(|| {});
            if !end.was_fed() {
                // Nobody receives the records any more.
                stop.ask(Kind::Downstream);
            }
            end
        }
    });
    // The target's stdin is a pipe.
    let out: Out = Arc::new(Mutex::new(Sink::new(Box::new(feed), true)));
    let mut states = States::Singer(doc);
    let read = ready.read(context, &out, &mut states, &mut Fed { bookmarks: &bookmarks, gauge: &gauge });
    // Closes its input: the target now loads what it still has.
    drop(out);
    let end = watching.join().map_err(|_| Fault::bug("the end of the target was not observed"))?;
    if let Some(listening) = listening {
        let until = Instant::now() + LAST_WORDS;
        while !listening.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let ended = Ended { bookmarks: &bookmarks, stores: &stores, marks, target: &name, end, read: read? };
    Ok(finish(context, &ready, ended))
}

/// Registers what is sent to the target before the target can echo it.
struct Fed<'r> {
    bookmarks: &'r BookmarkWriter,
    gauge: &'r Gauge,
}

impl Outgoing for Fed<'_> {
    fn records(&mut self, stream: &str) {
        self.bookmarks.records(stream);
    }

    fn bookmark(&mut self, stream: &str, bookmark: Option<&Json>, length: usize) {
        self.gauge.sends(length);
        self.bookmarks.sends(stream, bookmark);
    }
}

/// A run that has ended, and its target.
struct Ended<'r> {
    bookmarks: &'r BookmarkWriter,
    stores: &'r TargetBookmarks,
    /// The reads that it had to repeat.
    marks: RereadMarks,
    /// The target's name.
    target: &'r str,
    end: End,
    read: ReadResult,
}

/// Combines the results of the run and of its target after both ended.
fn finish(context: &Context, ready: &PreparedRun, ended: Ended<'_>) -> RunOutcome {
    let Ended { bookmarks, stores, mut marks, target: name, end, read: ReadResult { outcomes, written } } = ended;
    if end.is_good() {
        bookmarks.loaded(outcomes.iter().filter(|a| a.complete).map(|a| &*a.stream));
    }
    bookmarks.keep(true);
    if let Some(fault) = end.is_good().then(|| stores.claim(context)).and_then(Result::err) {
        context.log.line(Level::Warning, &format!("cannot mark the bookmarks as those of `{name}`: {fault}"));
    }
    if end.is_good() && bookmarks.trouble().is_none() {
        let whole: Vec<&str> = outcomes.iter().filter(|a| a.complete).map(|a| &*a.stream).collect();
        marks.retain(|stream, _| whole.contains(&stream.as_str()));
        let done = || {
            let store = stores.file(true)?;
            reread_marks::made_up(&store, &bookmarks.fresh().clone().of_backfills(), &marks, &Stop::default())
        };
        if let Some(fault) = (!marks.is_empty()).then(done).and_then(Result::err) {
            context.log.line(Level::Warning, &format!("the next run reads the same records again: {fault}"));
        }
    }
    // The cause that ended the run matters, not that its target was ended with it.
    let of_target = end.fault(name).filter(|_| !end.was_stopped());
    let of_pipe = written.err().and_then(|fault| match fault.kind {
        Kind::Downstream if end.is_good() => Some(target_process::closed(name)),
        // A broken pipe means that the target ended; its own fault says more.
        Kind::Downstream => None,
        _ => Some(fault),
    });
    let silent = bookmarks.silent();
    let ended_by = bookmarks.trouble().or(of_target.clone()).or(of_pipe);
    if let Some(fault) = &ended_by {
        context.log.line(Level::Error, &fault.to_string());
    } else if !silent.is_empty() && context.options.limit.is_none() {
        let streams = silent.join(", ");
        let message = format!(
            "the target `{name}` did not echo the last state of {streams}: the next run continues from the state \
            before it and sends the rest again"
        );
        context.log.event(Level::Warning, &message, "state_not_echoed", &serde_json::json!({"streams": silent}));
    }
    let target = (!end.is_good()).then(|| end.to_string());
    let mut outcome = ready.loaded.reporter.summary(outcomes, &context.stop, ended_by.as_ref(), target);
    outcome.bookmarks = bookmarks.shown();
    outcome.silent = silent;
    outcome.unreported = broke_off(context);
    outcome
}

/// The streams for which a live run must read changes again, because a backfill of them has ended, including its
/// target.
fn reread_marks(context: &Context, ready: &PreparedRun, stores: &TargetBookmarks) -> RereadMarks {
    let identity = &ready.loaded.identity;
    // A preview repeats nothing.
    if context.options.backfill.is_some() || context.options.limit.is_some() {
        return RereadMarks::new();
    }
    // The next backfill reports an unreadable file.
    let read = stores.file(true).and_then(|store| reread_marks::read(&store));
    let mut marks = read.unwrap_or_else(|fault| {
        context
            .log
            .line(Level::Warning, &format!("cannot read which changes a backfill may have overwritten: {fault}"));
        RereadMarks::new()
    });
    let runs = |stream: &str| {
        let root = identity.root.as_ref();
        root.is_some_and(|root| Locks::is_held(root, &identity.source, &identity.tenant, &of_backfill(stream)))
    };
    let names = ready.names();
    marks.retain(|stream, _| names.contains(stream) && !runs(stream));
    for (stream, mark) in &marks {
        let message = format!("{stream}: reading the changes since {} again, after a backfill", mark.since);
        context.log.line(Level::Info, &message);
    }
    marks
}
