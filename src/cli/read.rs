//! The verb `read`: streams into messages, and an account of what came of it.
//!
//! Comes in: the options. Goes out: messages on stdout, and the exit code. Called by `commands`.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::Options;
use super::commands::wire_of;
use super::load::{self, Loaded};
use super::log::{Level, Log};
use super::watch::Watch;
use crate::emit::catalog::{self as singer_catalog, Chosen};
use crate::emit::{Sink, singer};
use crate::fault::{Fault, Kind, Result};
use crate::run::{Job, Run};
use crate::state::StateDoc;
use crate::stop::Stop;

/// Stack of a thread that reads, in bytes: enough for the longest template (only what is used takes memory).
const STACK: usize = 64 << 20;
/// Pages that may wait for stdout.
const PAGES_AHEAD: usize = 8;

/// Which streams are read, with which fields.
fn chosen(options: &Options, loaded: &Loaded) -> Result<Vec<Chosen>> {
    let plan = &loaded.plan;
    let catalog = options.catalog.as_deref().or(options.properties.as_deref());
    let mut chosen = match catalog {
        Some(path) => {
            let known: Vec<(String, Vec<String>)> = plan
                .streams
                .iter()
                .map(|s| {
                    let mut automatic = s.keys.clone();
                    automatic.extend(s.cursor.as_ref().map(|c| c.field.clone()));
                    (s.name.to_string(), automatic)
                })
                .collect();
            singer_catalog::read(path, &known)?
        }
        None => plan.streams.iter().map(|s| Chosen { stream: s.name.to_string(), ..Chosen::default() }).collect(),
    };
    if !options.streams.is_empty() {
        for name in &options.streams {
            plan.stream(name)?;
        }
        chosen.retain(|c| options.streams.contains(&c.stream));
    }
    Ok(chosen)
}

/// Reads the chosen streams; gives the exit code.
pub(super) fn read<W: Write>(
    options: &Options,
    named: Option<&str>,
    stop: &Arc<Stop>,
    log: &Arc<Log>,
    sink: &mut Sink<W>,
) -> Result<u8> {
    let loaded = load::load(options, named, log, true)?;
    let plan = &loaded.plan;
    for stream in &options.reset {
        plan.stream(stream)?;
    }
    let chosen = chosen(options, &loaded)?;
    // Streams that are not read keep their bookmarks, also when those that are start anew.
    let reset =
        if options.full_refresh { chosen.iter().map(|c| c.stream.clone()).collect() } else { options.reset.clone() };
    let mut doc = match &options.state {
        Some(path) => StateDoc::read(path, &plan.source, plan.filters(), &reset)?,
        None => StateDoc::new(&plan.source, plan.filters()),
    };
    if chosen.is_empty() {
        log.line(Level::Warning, "no stream is selected: nothing to read");
    }
    let mut jobs = Vec::with_capacity(chosen.len());
    for choice in &chosen {
        let stream = plan.stream(&choice.stream)?;
        let state = if choice.full_table { None } else { doc.of(&stream.name) };
        jobs.push(Job {
            plan: stream.clone(),
            wire: Arc::new(wire_of(stream, &choice.fields)),
            state,
            limit: options.limit,
        });
    }
    let watch = Watch::new(log.clone(), &loaded);
    let shared = watch.shared(&loaded, stop);
    let (sender, messages) = sync_channel(PAGES_AHEAD);
    let run = Arc::new(Run::new(shared.clone(), jobs)?);
    watch.begins(&run);
    let workers: std::io::Result<Vec<_>> = (0..plan.concurrency)
        .map(|_| {
            let (run, stop, sender) = (run.clone(), stop.clone(), sender.clone());
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread.spawn(move || {
                // A bug in one thread must not hang the others: they stop, and the run says so.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.work(sender))).is_err() {
                    stop.ask(Kind::Bug);
                }
            })
        })
        .collect();
    let workers = workers.map_err(|e| Fault::local("cannot start a thread", &e))?;
    drop(sender);
    let written = singer::drain(&messages, sink, &mut doc, stop);
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
    written?;
    Ok(watch.summary(&accounts, stop))
}
