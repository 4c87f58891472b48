//! The verb `sync`: reads into a target, and keeps the bookmarks that the target echoes.
//!
//! Comes in: the options. Goes out: messages into the target, its bookmarks into the state store, an exit code that tells of
//! both. Called by `commands`. The reading is that of `read`; only where messages go and where states come from differs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value as Json;
use time::OffsetDateTime;

use super::commands::Work;
use super::load::state_dir_or_own;
use super::log::Level;
use super::read::{Read, Ready, States, broke_off, fresh, ready};
use super::runs::{self, Came, Running};
use crate::config::IsoDuration;
use crate::cursor::backfill::BEHIND;
use crate::emit::{Out, Protocol, Sink};
use crate::fault::{Fault, Kind, Result};
use crate::state::StateDoc;
use crate::stop::Stop;
use crate::tenant::bookmarks::{self, Bookmarks, StateFile, StateStore as _};
use crate::tenant::echo::{Echoes, Said};
use crate::tenant::locks::Locks;
use crate::tenant::target::{self, End, Stopping, TargetCommand};
use crate::timefmt::{Period, parse_iso, rfc3339};

/// A target that takes and says nothing for so long while it owes something is ended, when nothing is said.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Bookmarks are kept at most this often while the run goes on: what is lost with a crash is read again.
const BETWEEN: Duration = Duration::from_secs(1);
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
    let store = Arc::new(store(work, &ready, work.options.backfill.is_some())?);
    let reset = if work.options.full_refresh { ready.names() } else { work.options.reset.clone() };
    let doc = bookmarks::load(&*store, fresh(work, plan), &reset)?;
    bookmarks::prepare(&*store, &work.stop)?;
    ready.again = behind(work, &ready)?;
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
            let stopping = Mutex::new(&mut since);
            let asked = || {
                let why = stop.asked()?;
                let mut since = stopping.lock().unwrap_or_else(PoisonError::into_inner);
                let since = *since.get_or_insert_with(Instant::now);
                Some(Stopping { since, deadline: why == Kind::Unfinished })
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
    let read = ready.read(work, &out, &mut states, &mut |stream, bookmark| {
        gauge.sends(bookmark.map_or(0, |bookmark| bookmark.to_string().len()));
        kept.sends(stream, bookmark);
    });
    // The end of its input: now it loads what it still has.
    drop(out);
    let end = watching.join().map_err(|_| Fault::bug("the target was not watched to its end"))?;
    if let Some(listening) = listening {
        let until = Instant::now() + LAST_WORDS;
        while !listening.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let Read { accounts, written } = read?;
    Ok(finish(work, &ready, &kept, (end, &name), accounts, written))
}

/// The run and its target have ended: what came of both.
fn finish(
    work: &Work,
    ready: &Ready,
    kept: &Kept,
    (end, name): (End, &str),
    accounts: Vec<crate::run::Account>,
    written: Result<()>,
) -> Came {
    if end.is_good() {
        kept.reads_whole(accounts.iter().filter(|a| a.complete).map(|a| &*a.stream));
    }
    kept.keep(true);
    if end.is_good() && kept.trouble().is_none() {
        let whole: Vec<&str> = accounts.iter().filter(|a| a.complete).map(|a| &*a.stream).collect();
        if let Err(fault) = caught_up(work, ready, &whole) {
            work.log.line(Level::Warning, &format!("the next run reads again what this one has: {fault}"));
        }
    }
    let of_target = end.fault(name);
    // A pipe that broke is the target's end, of which more is known.
    let of_pipe = written.err().filter(|fault| fault.kind != Kind::Downstream || of_target.is_none());
    let ended_by = kept.trouble().or(of_target.clone()).or(of_pipe);
    if let Some(fault) = &ended_by {
        work.log.line(Level::Error, &fault.to_string());
    } else if !kept.all_echoed() && work.options.limit.is_none() {
        let said = format!(
            "the target `{name}` ended well, but did not echo the last state: the next run goes on from the one before, and \
             sends the rest again"
        );
        work.log.event(Level::Warning, &said, "state_not_echoed", &serde_json::json!({}));
    }
    let target = of_target.is_some().then(|| end.to_string());
    let mut came = ready.loaded.watch.summary(accounts, &work.stop, ended_by.as_ref(), target);
    came.bookmarks = kept.shown();
    came.unsaid = broke_off(work);
    came
}

/// The streams of which a live run reads again what changed since a backfill of them began: that is over, target and all, and
/// a version of a record that it brought may have overtaken a newer one on the way.
fn behind(work: &Work, ready: &Ready) -> Result<BTreeMap<String, OffsetDateTime>> {
    let whose = work.whose.get().filter(|_| work.options.backfill.is_none());
    let Some((whose, bytes)) = whose.zip(store(work, ready, true)?.read()?) else { return Ok(BTreeMap::new()) };
    // What cannot be read is for the next backfill to refuse.
    let doc: Json = serde_json::from_slice(&bytes).unwrap_or_default();
    let since = |stream: &str| parse_iso(doc["bookmarks"][stream][BEHIND].as_str()?);
    let over = |stream: &str| {
        let root = whose.root.as_ref();
        root.is_none_or(|root| !Locks::is_held(root, &whose.source, &whose.tenant, &format!("{stream}.backfill")))
    };
    let mut behind = BTreeMap::new();
    for stream in ready.names() {
        if let Some(since) = since(&stream).filter(|_| over(&stream)) {
            let said = format!("{stream}: what changed since {} is read again, after a backfill", rfc3339(since));
            work.log.line(Level::Info, &said);
            behind.insert(stream, since);
        }
    }
    Ok(behind)
}

/// These streams were read again and loaded: that is done.
fn caught_up(work: &Work, ready: &Ready, whole: &[&str]) -> Result<()> {
    let done: Vec<_> = ready.again.iter().filter(|(stream, _)| whole.contains(&stream.as_str())).collect();
    if done.is_empty() {
        return Ok(());
    }
    let store = store(work, ready, true)?;
    store.update(&Stop::default(), &mut |bytes| {
        let mut doc: Json = serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default();
        for (stream, since) in &done {
            // Another backfill may have ended meanwhile.
            if let Some(bookmark) = doc["bookmarks"][stream.as_str()].as_object_mut()
                && bookmark.get(BEHIND).and_then(Json::as_str).and_then(parse_iso) == Some(**since)
            {
                bookmark.shift_remove(BEHIND);
            }
        }
        Ok(format!("{doc}\n"))
    })
}

/// The store of bookmarks, those of backfills or the others: `--state FILE`, else the state directory.
fn store(work: &Work, ready: &Ready, backfill: bool) -> Result<StateFile> {
    if let Some(path) = &work.options.state {
        return StateFile::at(path, backfill);
    }
    let whose = work.whose.get().ok_or_else(|| Fault::bug("a run of nobody"))?;
    let root = match &whose.root {
        Some(root) => root.clone(),
        None => state_dir_or_own(&ready.loaded.config)?,
    };
    Ok(StateFile::in_folder(&root, &whose.source, &whose.tenant, backfill))
}

/// What of a run is kept: bookmarks on their way from the target to the store.
struct Kept {
    work: Work,
    store: Arc<StateFile>,
    /// A document without bookmarks.
    fresh_doc: StateDoc,
    echoes: Mutex<Echoes>,
    /// Echoed, and not in the store yet.
    fresh: Mutex<Bookmarks>,
    /// The last of each stream in the store, for people.
    shown: Mutex<BTreeMap<String, Option<String>>>,
    last: Mutex<Option<Instant>>,
    trouble: Mutex<Option<Fault>>,
    nonsense: AtomicU64,
    strange: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn new(work: &Work, ready: &Ready, store: Arc<StateFile>, doc: &StateDoc) -> Arc<Kept> {
        let names = ready.names();
        let plan = &ready.loaded.plan;
        Arc::new(Kept {
            work: work.clone(),
            store,
            fresh_doc: fresh(work, plan),
            echoes: Mutex::new(Echoes::new(names.iter().map(|name| (name.as_str(), doc.bookmark(name))))),
            fresh: Mutex::default(),
            shown: Mutex::new(ready.bookmarks(doc).into_iter().collect()),
            last: Mutex::default(),
            trouble: Mutex::default(),
            nonsense: AtomicU64::new(0),
            strange: AtomicU64::new(0),
        })
    }

    /// A bookmark is about to be sent.
    fn sends(&self, stream: &str, bookmark: Option<&Json>) {
        lock(&self.echoes).sent(stream, bookmark);
    }

    /// The target printed a line, or one that is too long to be a state.
    fn hears(&self, line: Option<&[u8]>) {
        let said = line.map_or(Said::Nonsense, |line| lock(&self.echoes).take(line));
        match said {
            Said::Nonsense => {
                if self.nonsense.fetch_add(1, Ordering::Relaxed) == 0 {
                    let said = "the target prints lines that are no states; they are ignored";
                    self.work.log.line(Level::Warning, said);
                }
            }
            Said::State { echoed, strange } => {
                lock(&self.fresh).extend(echoed);
                if !strange.is_empty() && self.strange.fetch_add(1, Ordering::Relaxed) == 0 {
                    let streams = strange.join(", ");
                    let said = format!("the target echoes a state of {streams} that it was not sent; it is not kept");
                    self.work.log.line(Level::Warning, &said);
                }
            }
        }
    }

    /// These streams were read to their end and all of them is loaded: one that keeps no bookmark needs none of an earlier
    /// definition either.
    fn reads_whole<'s>(&self, streams: impl Iterator<Item = &'s str>) {
        let shown = lock(&self.shown);
        let whole = streams.filter(|stream| !shown.contains_key(*stream));
        lock(&self.fresh).extend(whole.map(|stream| (stream.to_owned(), None)));
    }

    /// Keeps what was echoed: at once, or when it is time.
    fn keep(&self, at_once: bool) {
        let mut last = lock(&self.last);
        if !at_once && last.is_some_and(|at| at.elapsed() < BETWEEN) || lock(&self.trouble).is_some() {
            return;
        }
        let bookmarks = std::mem::take(&mut *lock(&self.fresh));
        if bookmarks.is_empty() || self.work.options.limit.is_some() {
            return;
        }
        *last = Some(Instant::now());
        // A run that is being stopped keeps what it has, too.
        match bookmarks::keep(&*self.store, &self.fresh_doc, &bookmarks, &Stop::default()) {
            Ok(()) => {
                let mut shown = lock(&self.shown);
                for (stream, bookmark) in &bookmarks {
                    if let (Some(shown), Some(bookmark)) = (shown.get_mut(stream), bookmark) {
                        *shown = crate::state::shown(bookmark);
                    }
                }
            }
            Err(fault) => {
                // What cannot be remembered is not worth reading on.
                self.work.stop.ask(fault.kind);
                *lock(&self.trouble) = Some(fault);
            }
        }
    }

    fn trouble(&self) -> Option<Fault> {
        lock(&self.trouble).clone()
    }

    fn all_echoed(&self) -> bool {
        lock(&self.echoes).all_echoed()
    }

    fn shown(&self) -> Vec<(String, Option<String>)> {
        lock(&self.shown).clone().into_iter().collect()
    }
}
