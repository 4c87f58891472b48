//! One function a verb: the only place where everything is joined for a person.
//!
//! Comes in: parsed arguments. Goes out: what the verb prints, and an exit code. Called by `main`.

use std::io::Write;
use std::sync::Arc;

use clap::CommandFactory as _;
use serde_json::{Value as Json, json};

use super::load;
use super::log::{Level, Log};
use super::read::read;
use super::watch::Watch;
use super::{AboutFormat, Cli, Named, Options, Verb, protocol};
use crate::config;
use crate::emit::Sink;
use crate::emit::catalog as singer_catalog;
use crate::fault::{Fault, Kind, Result};
use crate::manifest::Manifest;
use crate::plan::Vars;
use crate::run::build::StreamPlan;
use crate::run::reader::{self, Shared, Taker};
use crate::sandbox::Sandbox;
use crate::shape::wire::{Selection, Wire};
use crate::slice::Partition;
use crate::stop::Stop;

/// Runs a command; gives its exit code. `pipe` tells whether `out` is a pipe.
pub fn run(cli: &Cli, named: Option<&Named>, stop: &Arc<Stop>, out: impl Write, pipe: bool) -> u8 {
    let log = match Log::new(&cli.options) {
        Ok(log) => Arc::new(log),
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "error   {fault}");
            return fault.kind.exit_code();
        }
    };
    let mut sink = Sink::new(out, pipe);
    let source = named.map(|n| n.source.as_str());
    let done = protocol(&cli.options, named)
        .and_then(|_| verb(cli, source, stop, &log, &mut sink))
        .and_then(|code| sink.flush().map(|()| code));
    match done {
        Ok(code) => code,
        Err(fault) => {
            if !matches!(fault.kind, Kind::Signal(_)) {
                log.line(Level::Error, &fault.to_string());
            }
            fault.kind.exit_code()
        }
    }
}

fn verb<W: Write>(cli: &Cli, named: Option<&str>, stop: &Arc<Stop>, log: &Arc<Log>, sink: &mut Sink<W>) -> Result<u8> {
    let options = &cli.options;
    let done = |()| 0;
    if options.version {
        return sink.lines(concat!("dripfeed ", env!("CARGO_PKG_VERSION"), "\n").as_bytes()).map(done);
    }
    if options.about {
        return about(options, named, sink).map(done);
    }
    match &cli.verb {
        Some(Verb::Spec) => spec(options, named, sink).map(done),
        Some(Verb::Check) => check_within(options, named, stop, log).map(done),
        Some(Verb::Discover) => discover(options, named, log, sink).map(done),
        Some(Verb::Read) => read(options, named, stop, log, sink),
        Some(Verb::Sources) => sources(options, named, sink).map(done),
        Some(Verb::Validate { manifest }) => validate(manifest, sink).map(done),
        Some(Verb::Sandbox(settings)) => {
            let sandbox = Sandbox::start(settings)?;
            sink.lines(format!("{}\n", sandbox.url()).as_bytes())?;
            sink.flush()?;
            log.line(
                Level::Info,
                &format!(
                    "the sandbox serves {} tasks at {}, token {}",
                    settings.tasks,
                    sandbox.url(),
                    crate::sandbox::TOKEN
                ),
            );
            stop.sleep(std::time::Duration::from_secs(u64::from(u32::MAX)))?;
            Ok(0)
        }
        Some(Verb::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "dripfeed", &mut text);
            sink.lines(&text).map(done)
        }
        Some(Verb::Man) => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut text)
                .map_err(|e| Fault::local("cannot write the manual page", &e))?;
            sink.lines(&text).map(done)
        }
        // The Singer flag form. Discovery and test win over a sync, whatever else is passed.
        None if options.discover => discover(options, named, log, sink).map(done),
        None if options.test.is_some() => check_within(options, named, stop, log).map(done),
        None if options.config.is_empty() && options.source.is_none() && named.is_none() => {
            let help = Cli::command().render_help().to_string();
            log.line(Level::Error, &format!("say what to do\n\n{help}"));
            Ok(Kind::Usage.exit_code())
        }
        None => read(options, named, stop, log, sink),
    }
}

/// The schema of the whole config: the source's part and ours.
fn config_schema(manifest: &Manifest) -> Json {
    let mut schema = load::specification(manifest);
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let mut ours = config::schema();
    ours["description"] = json!("How this tenant is read: the part of the config that is dripfeed's own.");
    schema["properties"]["dripfeed"] = ours;
    schema
}

fn pretty<W: Write>(value: &Json, sink: &mut Sink<W>) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Fault::bug(e.to_string()))?;
    text.push(b'\n');
    sink.lines(&text)
}

fn manifest_of(options: &Options, named: Option<&str>) -> Result<Manifest> {
    let config = config::load(
        &options.config.iter().filter(|c| *c != "ENV").cloned().collect::<Vec<_>>(),
        &serde_json::Map::new(),
    );
    // A source given by name needs no config, good or bad.
    let config = if options.source.is_some() { config.ok() } else { Some(config?) };
    load::manifest(options, config.as_ref(), named)
}

fn spec<W: Write>(options: &Options, named: Option<&str>, sink: &mut Sink<W>) -> Result<()> {
    pretty(&config_schema(&manifest_of(options, named)?), sink)
}

fn about<W: Write>(options: &Options, named: Option<&str>, sink: &mut Sink<W>) -> Result<()> {
    let manifest = manifest_of(options, named).ok();
    let name = manifest.as_ref().map_or_else(|| "dripfeed".to_owned(), |m| format!("tap-{}", m.name));
    let settings = manifest.as_ref().map(config_schema);
    let capabilities = ["about", "catalog", "discover", "properties", "state", "structured-logging", "test"];
    match options.format {
        AboutFormat::Json => pretty(
            &json!({
                "name": name, "description": env!("CARGO_PKG_DESCRIPTION"), "version": env!("CARGO_PKG_VERSION"),
                "capabilities": capabilities, "settings": settings,
            }),
            sink,
        ),
        AboutFormat::Text | AboutFormat::Markdown => {
            let markdown = options.format == AboutFormat::Markdown;
            let mut text =
                if markdown { format!("# `{name}`\n\n") } else { format!("{name} {}\n", env!("CARGO_PKG_VERSION")) };
            text += &format!(
                "{}\n\nCapabilities: {}\n\nSettings:\n",
                env!("CARGO_PKG_DESCRIPTION"),
                capabilities.join(", ")
            );
            let settings = settings.unwrap_or_default();
            let required = settings["required"].as_array().cloned().unwrap_or_default();
            for (name, schema) in settings["properties"].as_object().into_iter().flatten() {
                let must = if required.contains(&json!(name)) { " (required)" } else { "" };
                let what = schema["description"].as_str().unwrap_or_default();
                text +=
                    &if markdown { format!("- `{name}`{must}: {what}\n") } else { format!("  {name}{must}: {what}\n") };
            }
            sink.lines(text.as_bytes())
        }
    }
}

fn sources<W: Write>(options: &Options, named: Option<&str>, sink: &mut Sink<W>) -> Result<()> {
    if options.source.is_none() && named.is_none() && options.config.is_empty() {
        let text: String = crate::catalog::names().iter().map(|n| format!("{n}\n")).collect();
        return sink.lines(text.as_bytes());
    }
    let manifest = manifest_of(options, named)?;
    let mut text = format!("{}\n", manifest.name);
    for stream in &manifest.source.streams {
        text += &describe(stream);
    }
    sink.lines(text.as_bytes())
}

/// A stream in a line: name, keys, cursor, parents.
fn describe(stream: &crate::manifest::model::Stream) -> String {
    use crate::manifest::model::{IncrementalSync, PartitionRouter, Retriever, Stream};
    let Stream::DeclarativeStream(stream) = stream;
    let written = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let name = stream.name.as_ref().map(|n| written(&n.value)).unwrap_or_default();
    let mut line = format!("  {name}");
    if let Some(key) = stream.primary_key.as_ref().filter(|k| !k.is_null()) {
        line += &format!(
            "  key {}",
            key.as_array().map_or_else(|| written(key), |k| k.iter().map(written).collect::<Vec<_>>().join(", "))
        );
    }
    match &stream.incremental_sync {
        Some(IncrementalSync::DatetimeBasedCursor(cursor)) => {
            line += &format!("  incremental by {}", written(&cursor.cursor_field.value));
        }
        None => line += "  whole",
    }
    let Retriever::SimpleRetriever(retriever) = &stream.retriever;
    for router in retriever.partition_router.iter().flat_map(|r| &r.0) {
        match router {
            PartitionRouter::ListPartitionRouter(list) => {
                line += &format!("  for each {}", written(&list.cursor_field.value));
            }
            PartitionRouter::SubstreamPartitionRouter(router) => {
                for config in &router.parent_stream_configs {
                    let Stream::DeclarativeStream(parent) = &config.stream;
                    let parent = parent.name.as_ref().map(|n| written(&n.value)).unwrap_or_default();
                    line += &format!("  for each of {parent}");
                }
            }
        }
    }
    line + "\n"
}

fn validate<W: Write>(path: &std::path::Path, sink: &mut Sink<W>) -> Result<()> {
    let manifest = Manifest::from_file(path)?;
    jsonschema::meta::validate(&load::specification(&manifest)).map_err(|e| {
        Fault::config(format!(
            "{}: the connection specification is not a valid JSON schema: {}",
            path.display(),
            e.masked()
        ))
    })?;
    let mut text = format!("{}: {} streams\n", path.display(), manifest.source.streams.len());
    for stream in &manifest.source.streams {
        text += &describe(stream);
    }
    sink.lines(text.as_bytes())
}

/// Keys as they can be announced: every key of the plan.
pub(super) fn wire_of(stream: &StreamPlan, fields: &Selection) -> Wire {
    let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
    Wire::build(&stream.schema, &stream.keys, cursor, fields)
}

fn discover<W: Write>(options: &Options, named: Option<&str>, log: &Log, sink: &mut Sink<W>) -> Result<()> {
    let loaded = load::load(options, named, log, !options.config.is_empty())?;
    let streams: Vec<Json> = loaded
        .plan
        .streams
        .iter()
        .map(|stream| {
            let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
            singer_catalog::entry(&stream.name, &wire_of(stream, &Selection::default()).schema, &stream.keys, cursor)
        })
        .collect();
    pretty(&json!({"streams": streams}), sink)
}

/// Reads until the first record.
struct FirstRecord(bool);

impl Taker for FirstRecord {
    fn take(
        &mut self,
        scanner: &mut crate::scan::Scanner<'_>,
        _: &Vars<'_>,
    ) -> std::result::Result<bool, crate::extract::Stop<Fault>> {
        scanner.skip()?;
        self.0 = true;
        Ok(true)
    }

    fn page_done(&mut self) -> Result<bool> {
        Ok(!self.0)
    }

    fn page_failed(&mut self) {}

    fn last_record(&self) -> Option<Json> {
        None
    }
}

/// Checks on a thread of its own, so that a signal ends it though the vendor hangs.
fn check_within(options: &Options, named: Option<&str>, stop: &Arc<Stop>, log: &Arc<Log>) -> Result<()> {
    let (sender, answer) = std::sync::mpsc::channel();
    let (options, named, stop_there, log) = (options.clone(), named.map(str::to_owned), stop.clone(), log.clone());
    std::thread::spawn(move || drop(sender.send(check(&options, named.as_deref(), &stop_there, &log))));
    loop {
        match answer.recv_timeout(std::time::Duration::from_millis(100)) {
            Ok(result) => return result,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Fault::bug("the check ended without a result"));
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => stop.check()?,
        }
    }
}

fn check(options: &Options, named: Option<&str>, stop: &Arc<Stop>, log: &Arc<Log>) -> Result<()> {
    let loaded = load::load(options, named, log, true)?;
    let shared = Watch::new(log.clone(), &loaded).shared(&loaded, stop);
    for name in &loaded.plan.check {
        let stream = loaded.plan.stream(name)?;
        check_stream(&shared, stream).map_err(|f| f.of_stream(&stream.name))?;
    }
    log.line(Level::Info, &format!("the connection works: {} can be read", loaded.plan.check.join(", ")));
    Ok(())
}

/// Reads the first slice of a stream until its first record.
fn check_stream(shared: &Shared, stream: &StreamPlan) -> Result<()> {
    let parents = crate::run::parents::ParentReader::new(shared, stream, None);
    let mut first: Option<Partition> = None;
    let enough = Fault::bug("enough");
    let listed = stream.router.each(&parents, &Vars::new(&shared.ground), &mut |partition| {
        first = Some(partition);
        Err(enough.clone())
    });
    if let (Err(fault), None) = (&listed, &first) {
        return Err(fault.clone());
    }
    let Some(partition) = first else {
        return Err(Fault::data("there is nothing to read it by: its parent streams have no records"));
    };
    let window = match &stream.cursor {
        Some(plan) => plan.begin(None, 0)?.windows(plan).into_iter().next(),
        None => None,
    };
    if stream.cursor.is_some() && window.is_none() {
        return Err(Fault::config("there is no time between the start date and now"));
    }
    reader::read(shared, stream, &partition, window.as_ref(), &mut FirstRecord(false)).map(drop)
}
