//! The verb `read`: streams into messages, and an account of what came of it.
//!
//! Comes in: the options. Goes out: messages on stdout, and the exit code. Called by `commands`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use serde_json::{Map, Value as Json};

use super::alarm::Bell;
use super::commands::Work;
use super::load::{Loaded, Purpose, Reading};
use super::log::Level;
use crate::emit::catalog::{self as singer_catalog, Chosen};
use crate::emit::{Protocol, airbyte, configured, singer};
use crate::fault::{Fault, Kind, Result};
use crate::run::build::Plan;
use crate::run::crew::{Crew, LOOK};
use crate::run::reader::Shared;
use crate::run::{Job, Run};
use crate::state::{StateDoc, per_stream};
use crate::stop::Stop;

/// Stack of a thread that reads, in bytes: enough for the longest template (only what is used takes memory).
const STACK: usize = 64 << 20;
/// Pages that may wait for stdout.
const PAGES_AHEAD: usize = 8;

/// Which streams are read, with which fields; and those that were asked for and do not exist.
fn chosen(work: &Work, loaded: &Loaded) -> Result<(Vec<Chosen>, Vec<String>)> {
    let (plan, options) = (&loaded.plan, &work.options);
    let all = || plan.streams.iter().map(|s| Chosen { stream: s.name.to_string(), ..Chosen::default() }).collect();
    let (mut chosen, mut missing): (Vec<Chosen>, _) = (Vec::new(), Vec::new());
    match (options.catalog.as_deref().or(options.properties.as_deref()), work.protocol) {
        (None, _) => chosen = all(),
        (Some(path), Protocol::Singer) => {
            let known: Vec<(String, Vec<String>)> = plan
                .streams
                .iter()
                .map(|s| {
                    let mut automatic = s.keys();
                    automatic.extend(s.cursor.as_ref().map(|c| c.field.clone()));
                    (s.name.to_string(), automatic)
                })
                .collect();
            chosen = singer_catalog::read(path, &known)?;
        }
        (Some(path), Protocol::Airbyte) => {
            for (name, named) in configured::read(path)? {
                match plan.stream(&name) {
                    Ok(_) => chosen.push(Chosen { stream: name, named: Some(named), ..Chosen::default() }),
                    Err(fault) => {
                        work.log.line(Level::Error, &fault.to_string());
                        missing.push(name);
                    }
                }
            }
        }
    }
    for name in &options.streams {
        plan.stream(name)?;
    }
    let mut wanted = Vec::with_capacity(chosen.len());
    for choice in chosen {
        if options.wants(&loaded.config.ours.tiers, &choice.stream)? {
            wanted.push(choice);
        }
    }
    Ok((wanted, missing))
}

/// The states of an earlier run.
enum States {
    Singer(StateDoc),
    Airbyte(BTreeMap<String, Map<String, Json>>),
}

impl States {
    /// Reads them. Streams that are not read keep their bookmarks, also when those that are start anew.
    fn read(work: &Work, plan: &Plan, chosen: &[Chosen]) -> Result<States> {
        let options = &work.options;
        let reset: Vec<String> = if options.full_refresh {
            chosen.iter().map(|c| c.stream.clone()).collect()
        } else {
            options.reset.clone()
        };
        Ok(match (work.protocol, &options.state) {
            (Protocol::Singer, None) => States::Singer(StateDoc::new(&plan.source, plan.filters())),
            (Protocol::Singer, Some(path)) => {
                States::Singer(StateDoc::read(path, &plan.source, plan.filters(), &reset)?)
            }
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

/// Lets the threads of a run be as many as its account's cap is worth, while it lasts.
fn supervise(run: &Arc<Run>, shared: &Arc<Shared>, stop: &Arc<Stop>) {
    if run.crew.most() == run.crew.size() {
        return;
    }
    let (run, shared, stop, began) = (Arc::downgrade(run), shared.clone(), stop.clone(), Instant::now());
    std::thread::spawn(move || {
        while stop.sleep(LOOK).is_ok()
            && let Some(run) = run.upgrade()
        {
            let pace = shared.fetcher.pace();
            run.crew.look(pace.counted(), pace.rate(), began.elapsed());
        }
    });
}

/// Reads the chosen streams; gives the exit code. Whom the config names is told how it ended.
pub(super) fn read(work: &Work) -> Result<u8> {
    let mut bell = Bell::new(work);
    let done = read_with(work, &mut bell);
    bell.ring(&done);
    done
}

fn read_with(work: &Work, bell: &mut Bell<'_>) -> Result<u8> {
    let (options, stop) = (&work.options, &work.stop);
    let loaded = work.load(Purpose::Read)?;
    bell.loaded(&loaded, loaded.states.as_deref());
    let plan = &loaded.plan;
    for stream in &options.reset {
        plan.stream(stream)?;
    }
    let (chosen, missing) = chosen(work, &loaded)?;
    for stream in &missing {
        airbyte::say(&work.out, &airbyte::missing(stream))?;
    }
    let mut states = States::read(work, plan, &chosen)?;
    if chosen.is_empty() {
        work.log.line(Level::Warning, "no stream is selected: nothing to read");
    }
    let mut jobs = Vec::with_capacity(chosen.len());
    for choice in &chosen {
        let state = if choice.full_table { None } else { states.of(&choice.stream) };
        let (stream, state) = plan.stream(&choice.stream)?.with_state(state.as_ref(), loaded.ground.now);
        // A stream whose schema cannot be had fails by itself.
        let (stream, refused) = match stream.with_schema(&loaded.shared) {
            Ok(stream) => {
                let stream = match choice.named(&stream.schema) {
                    Some(names) => stream.with_selected(&names, &loaded.ground)?,
                    None => stream,
                };
                (stream, None)
            }
            Err(fault) => (stream.clone(), Some(fault)),
        };
        let reading = Reading {
            sweep: state.is_none_or(Map::is_empty),
            whole: options.limit.is_none(),
            may_grow: choice.fields.dropped.is_empty(),
            as_written: work.protocol == Protocol::Airbyte,
        };
        // What earlier runs learned of one stream may be damaged: that costs no other.
        let (watched, refused) = match loaded.watched(&stream, reading, work) {
            Ok(watched) => (watched, refused),
            Err(fault) => (None, refused.or(Some(fault))),
        };
        jobs.push(Job {
            refused,
            fields: choice.fields.clone(),
            watched,
            plan: stream,
            state: state.cloned(),
            limit: options.limit,
        });
    }
    let with_files = jobs.iter().filter(|job| job.plan.files.is_some() && !work.protocol.carries_files());
    let with_files: Vec<&str> = with_files.map(|job| &*job.plan.name).collect();
    if !with_files.is_empty() {
        let said = format!("records of {} are sent without their files", with_files.join(", "));
        work.log.line(Level::Warning, &format!("{said}: only Airbyte's protocol carries files"));
    }
    let (watch, shared) = (&loaded.watch, &loaded.shared);
    let (sender, messages) = sync_channel(PAGES_AHEAD);
    // Without a known cap there is nothing to fill.
    let most = if shared.fetcher.pace().is_capped() { plan.most_concurrency } else { plan.concurrency };
    let crew = Crew::new(plan.concurrency, most);
    let run = Arc::new(Run::new(shared.clone(), jobs, work.protocol, crew)?);
    supervise(&run, shared, stop);
    watch.begins(&run);
    if let Some(deadline) = watch.deadline() {
        let stop = stop.clone();
        std::thread::spawn(move || {
            if stop.sleep(deadline.saturating_duration_since(Instant::now())).is_ok() {
                stop.ask(Kind::Unfinished);
            }
        });
    }
    let mut workers = Vec::with_capacity(run.crew.most());
    for number in 0..run.crew.most() {
        let (run, stop, sender) = (run.clone(), stop.clone(), sender.clone());
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // A bug in one thread must not hang the others: they stop, and the run says so.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.work(number, sender))).is_err() {
                stop.ask(Kind::Bug);
            }
        });
        match thread {
            Ok(thread) => workers.push(thread),
            // Those that started can do the work.
            Err(_) if !workers.is_empty() => break,
            Err(e) => return Err(Fault::local("cannot start a thread", &e)),
        }
    }
    drop(sender);
    let written = match &mut states {
        States::Singer(doc) => singer::drain(&messages, &work.out, doc, stop),
        States::Airbyte(_) => airbyte::drain(&messages, &work.out, &|f| work.log.hidden(f), stop),
    };
    if let Err(fault) = &written {
        stop.ask(fault.kind);
    }
    drop(messages);
    let accounts = run.accounts();
    if stop.asked().is_none() {
        for worker in workers {
            let _ = worker.join();
        }
    }
    run.stopped();
    shared.fetcher.pace().end();
    let code = watch.summary(&accounts, stop);
    written?;
    if stop.asked() == Some(Kind::Bug) {
        return Err(Fault::bug("a thread broke off; what was finished is saved")
            .hint("please report it, with what stderr says"));
    }
    Ok(code)
}
