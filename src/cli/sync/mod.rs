//! The verb `sync`: reads into a target, and keeps the bookmarks that the target echoes.
//!
//! Comes in: the options. Goes out: messages into the target, its bookmarks into the state store, an exit code that tells of
//! both. Called by `commands`. The reading is that of `read`; only where messages go and where states come from differs.

mod kept;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value as Json;

use super::commands::Work;
use super::log::Level;
use super::read::{Read, Ready, States, broke_off, fresh, ready};
use super::runs::{self, Came, Running, Whose};
use crate::config::IsoDuration;
use crate::emit::singer::Outgoing;
use crate::emit::{Out, Protocol, Sink};
use crate::fault::{Fault, Kind, Result};
use crate::stop::Stop;
use crate::tenant::bookmarks::{self, StateFile};
use crate::tenant::locks::{Locks, of_backfill};
use crate::tenant::overtaken::{self, Mark, Overtaken};
use crate::tenant::target::{self, End, Gauge, Stopping, TargetCommand};
use crate::timefmt::{Period, parse_iso, rfc3339};
use kept::Kept;

/// A target that takes and says nothing for so long while it owes something is ended, when nothing is said.
const PATIENCE: Duration = Duration::from_secs(3600);
/// What a target printed before it ended is waited for so long; a process that it left behind may hold its output open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What `sync` feeds.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// The target, with its arguments: split as a shell does, run without one [else dripfeed.target in the config]
    #[arg(long, value_name = "CMD", help_heading = "Output")]
    pub target: Option<String>,
    /// End a target that takes and says nothing for so long [default: PT1H]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Output")]
    pub target_timeout: Option<IsoDuration>,
}

fn duration(text: &str) -> std::result::Result<IsoDuration, String> {
    Period::parse(text).map(IsoDuration)
}

/// Reads into the target; gives the exit code.
pub(super) fn run(work: &Work, asked: &Asked) -> Result<u8> {
    if work.protocol == Protocol::Airbyte {
        return Err(Fault::new(Kind::Usage, "sync feeds Singer targets, and speaks no other protocol")
            .hint("leave --protocol away; Airbyte's platform runs its destinations itself"));
    }
    let running = Running::new(work, "sync");
    running.ends(into_target(work, asked, &running))
}

fn into_target(work: &Work, asked: &Asked, running: &Running<'_>) -> Result<Came> {
    let mut ready = ready(work)?;
    let (config, plan) = (&ready.loaded.config, &ready.loaded.plan);
    let command = asked.target.as_deref().or(config.ours.target.as_deref());
    let command = command.ok_or_else(|| {
        Fault::new(Kind::Usage, "no target is named")
            .hint("--target 'target-postgres --config pg.json', or dripfeed.target in the config")
    })?;
    let command = TargetCommand::parse(command)?;
    running.begins(&ready.loaded, &ready.names());
    let whose = work.whose.get().cloned().ok_or_else(|| Fault::bug("a run of nobody"))?;
    let store = Arc::new(store(work, &whose, work.options.backfill.is_some())?);
    if let Some(other) = work.options.reset.iter().find(|stream| !ready.names().contains(stream)) {
        return Err(Fault::config(format!("--reset names `{other}`, which this run does not read"))
            .hint("its bookmark stays; add it to --streams, or leave --reset away"));
    }
    let reset = if work.options.full_refresh { ready.names() } else { work.options.reset.clone() };
    let doc = bookmarks::load(&*store, fresh(work, plan), &reset)?;
    bookmarks::prepare(&*store, &work.stop)?;
    let marks = overtaken(work, &ready, &whose);
    ready.again = marks.iter().filter_map(|(stream, mark)| Some((stream.clone(), parse_iso(&mark.since)?))).collect();
    if work.options.backfill.is_some() && work.options.limit.is_none() {
        let mark = Mark { since: rfc3339(ready.loaded.ground.now), run: whose.run_id.clone() };
        overtaken::begins(&*store, &fresh(work, plan), &ready.names(), &mark, &work.stop)?;
    }
    let kept = Kept::new(work, &ready, store, &doc);
    let (mut target, feed) = match &ready.locks {
        Some(locks) => locks.inherited(|| command.start()),
        None => command.start(),
    }?;
    let (gauge, name, pid) = (target.gauge(), target.name().to_owned(), target.pid());
    work.stop.at_last(move || target::kill(pid));
    if let Some(locks) = &mut ready.locks {
        locks.tell(&runs::holder(work, Some(pid)));
    }
    let listening = target.listen({
        let kept = kept.clone();
        move |line| kept.hears(line)
    });
    let patience = asked.target_timeout.map_or(PATIENCE, |time| time.0.length());
    let watching = std::thread::spawn({
        let (kept, stop) = (kept.clone(), work.stop.clone());
        let mut since = None;
        move || {
            let asked = || {
                let why = stop.asked()?;
                let since = *since.get_or_insert_with(Instant::now);
                // Nobody waits for a run that stops by itself.
                Some(Stopping { since, patient: !matches!(why, Kind::Signal(_)) })
            };
            let end = target.watch(patience, asked, || kept.keep(false));
            // It is no more: its number may be another's soon.
            stop.at_last(|| {});
            if !end.was_fed() {
                // Nobody takes what is read.
                stop.ask(Kind::Downstream);
            }
            end
        }
    });
    // What a target takes is a pipe.
    let out: Out = Arc::new(Mutex::new(Sink::new(Box::new(feed), true)));
    let mut states = States::Singer(doc);
    let read = ready.read(work, &out, &mut states, &mut Fed { kept: &kept, gauge: &gauge });
    // The end of its input: now it loads what it still has.
    drop(out);
    let end = watching.join().map_err(|_| Fault::bug("the target was not watched to its end"))?;
    if let Some(listening) = listening {
        let until = Instant::now() + LAST_WORDS;
        while !listening.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let ended = Ended { kept: &kept, marks, target: &name, end, read: read? };
    Ok(finish(work, &ready, &whose, ended))
}

/// What goes to a target is known before it can come back.
struct Fed<'r> {
    kept: &'r Kept,
    gauge: &'r Gauge,
}

impl Outgoing for Fed<'_> {
    fn records(&mut self, stream: &str) {
        self.kept.records(stream);
    }

    fn bookmark(&mut self, stream: &str, bookmark: Option<&Json>, length: usize) {
        self.gauge.sends(length);
        self.kept.sends(stream, bookmark);
    }
}

/// A run that has ended, and its target.
struct Ended<'r> {
    kept: &'r Kept,
    /// What it was to make up for.
    marks: Overtaken,
    /// The target's name.
    target: &'r str,
    end: End,
    read: Read,
}

/// The run and its target have ended: what came of both.
fn finish(work: &Work, ready: &Ready, whose: &Whose, ended: Ended<'_>) -> Came {
    let Ended { kept, mut marks, target: name, end, read: Read { accounts, written } } = ended;
    if end.is_good() {
        kept.loaded(accounts.iter().filter(|a| a.complete).map(|a| &*a.stream));
    }
    kept.keep(true);
    if end.is_good() && kept.trouble().is_none() {
        let whole: Vec<&str> = accounts.iter().filter(|a| a.complete).map(|a| &*a.stream).collect();
        marks.retain(|stream, _| whole.contains(&stream.as_str()));
        let done = || {
            let store = store(work, whose, true)?;
            overtaken::made_up(&store, &kept.fresh().clone().of_backfills(), &marks, &Stop::default())
        };
        if let Some(fault) = (!marks.is_empty()).then(done).and_then(Result::err) {
            work.log.line(Level::Warning, &format!("the next run reads again what this one has: {fault}"));
        }
    }
    // What ended the run matters, not that its target was ended with it.
    let of_target = end.fault(name).filter(|_| !end.was_stopped());
    let of_pipe = written.err().and_then(|fault| match fault.kind {
        Kind::Downstream if end.is_good() => Some(target::closed(name)),
        // A pipe that broke is the target's end, of which more is known.
        Kind::Downstream => None,
        _ => Some(fault),
    });
    let silent = kept.silent();
    let ended_by = kept.trouble().or(of_target.clone()).or(of_pipe);
    if let Some(fault) = &ended_by {
        work.log.line(Level::Error, &fault.to_string());
    } else if !silent.is_empty() && work.options.limit.is_none() {
        let streams = silent.join(", ");
        let said = format!(
            "the target `{name}` did not echo the last state of {streams}: the next run goes on from the one before, and \
             sends the rest again"
        );
        work.log.event(Level::Warning, &said, "state_not_echoed", &serde_json::json!({"streams": silent}));
    }
    let target = (!end.is_good()).then(|| end.to_string());
    let mut came = ready.loaded.watch.summary(accounts, &work.stop, ended_by.as_ref(), target);
    came.bookmarks = kept.shown();
    came.silent = silent;
    came.unsaid = broke_off(work);
    came
}

/// The streams of which a live run reads again what changed, after backfills of them that are over, target and all.
fn overtaken(work: &Work, ready: &Ready, whose: &Whose) -> Overtaken {
    // A preview makes up for nothing.
    if work.options.backfill.is_some() || work.options.limit.is_some() {
        return Overtaken::new();
    }
    // What cannot be read is for the next backfill to refuse.
    let read = store(work, whose, true).and_then(|store| overtaken::read(&store));
    let mut marks = read.unwrap_or_else(|fault| {
        work.log.line(Level::Warning, &format!("what backfills may have overtaken is not known: {fault}"));
        Overtaken::new()
    });
    let runs = |stream: &str| {
        let root = whose.root.as_ref();
        root.is_some_and(|root| Locks::is_held(root, &whose.source, &whose.tenant, &of_backfill(stream)))
    };
    let names = ready.names();
    marks.retain(|stream, _| names.contains(stream) && !runs(stream));
    for (stream, mark) in &marks {
        let said = format!("{stream}: what changed since {} is read again, after a backfill", mark.since);
        work.log.line(Level::Info, &said);
    }
    marks
}

/// The store of bookmarks, those of backfills or the others: `--state FILE`, else the state directory.
fn store(work: &Work, whose: &Whose, backfill: bool) -> Result<StateFile> {
    if let Some(path) = &work.options.state {
        return StateFile::at(path, backfill);
    }
    let root = whose.root.as_ref().ok_or_else(|| {
        Fault::config("there is no folder to keep bookmarks in")
            .hint("name it in the config: dripfeed.state_dir; or give a file with --state")
    })?;
    Ok(StateFile::in_folder(root, &whose.source, &whose.tenant, backfill))
}
