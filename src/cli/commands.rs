//! One function a verb: the only place where everything is joined for a person.
//!
//! Comes in: parsed arguments. Goes out: what the verb prints, and an exit code. Called by `main`.

use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex, OnceLock};

use clap::CommandFactory as _;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::load::{self, Loaded, Purpose};
use super::log::{Level, Log};
use super::read::read;
use super::runs::Whose;
use super::{Cli, Format, Named, Options, Verb, drift, schedule, status, sync};
use crate::config;
use crate::emit::catalog as singer_catalog;
use crate::emit::{Out, Protocol, Sink, airbyte, lock};
use crate::fault::{Failure, Fault, Kind, Result};
use crate::manifest::model::{Check, DeclarativeStream, PartitionRouter, Stream};
use crate::manifest::{Manifest, examine};
use crate::plan::{self, Template, Vars};
use crate::run::build::StreamPlan;
use crate::run::jobs;
use crate::run::reader::{Shared, Taker};
use crate::sandbox::Sandbox;
use crate::shape::wire::Selection;
use crate::show::terminal::Look;
use crate::slice::Partition;
use crate::stop::Stop;

/// What every verb works with.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) options: Options,
    /// The source that the environment names.
    pub(super) environment: Option<String>,
    /// The source that the binary's own name says.
    pub(super) named: Option<String>,
    pub(super) protocol: Protocol,
    pub(super) stop: Arc<Stop>,
    pub(super) log: Arc<Log>,
    /// Whose run it is, once the config says so.
    pub(super) whose: Arc<OnceLock<Whose>>,
    /// Is what it keeps kept in the user's own folder, where no state directory is named?
    pub(super) keeps: bool,
    pub(super) out: Out,
}

/// Runs a command; gives its exit code. `pipe` tells whether `out` is a pipe.
pub fn run(cli: &Cli, named: Option<&Named>, stop: &Arc<Stop>, out: Box<dyn Write + Send>, pipe: bool) -> u8 {
    let mut options = cli.options.clone();
    // Who starts runs and writes the arguments itself names the tenant so.
    options.config.splice(0..0, std::env::var("DRIPFEED_CONFIG").ok().filter(|path| !path.is_empty()));
    let unfinished_ok = options.unfinished_ok;
    let protocol = Protocol::from(options.protocol.or(named.map(|n| n.protocol)).unwrap_or(super::Protocol::Singer));
    let out: Out = Arc::new(Mutex::new(Sink::new(out, pipe)));
    let to = (protocol == Protocol::Airbyte).then(|| out.clone());
    let log = match Log::new(&options, to) {
        Ok(log) => Arc::new(log),
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "error   {fault}");
            return fault.kind.exit_code();
        }
    };
    let named = named.map(|n| n.source.clone());
    let environment = std::env::var("DRIPFEED_SOURCE").ok().filter(|source| !source.is_empty());
    let whose = Arc::default();
    let keeps = matches!(cli.verb, Some(Verb::Sync(_)));
    let work = Work { options, environment, named, protocol, stop: stop.clone(), log, whose, keeps, out };
    let done = verb(cli, &work).and_then(|code| lock(&work.out).flush().map(|()| code));
    let goes_on = [Kind::Unfinished, Kind::Busy];
    let kind = match done {
        Ok(0) => return 0,
        Ok(code) if unfinished_ok && goes_on.iter().any(|kind| kind.exit_code() == code) => return 0,
        Ok(code) if protocol == Protocol::Singer || code == Kind::Usage.exit_code() || code > 128 => return code,
        // The platform knows only well and not well.
        Ok(_) => return 1,
        Err(fault) => {
            work.failed(&fault);
            fault.kind
        }
    };
    match (protocol, kind) {
        _ if unfinished_ok && goes_on.contains(&kind) => 0,
        (Protocol::Singer, _) | (_, Kind::Signal(_) | Kind::Usage) => kind.exit_code(),
        (Protocol::Airbyte, _) => 1,
    }
}

impl Work {
    /// Says what ended a verb.
    fn failed(&self, fault: &Fault) {
        if matches!(fault.kind, Kind::Signal(_)) {
            return;
        }
        self.log.line(Level::Error, &fault.to_string());
        if self.protocol == Protocol::Airbyte && fault.kind != Kind::Downstream {
            // If stdout is broken too, the exit code is all that is left.
            let _ = airbyte::say(&self.out, &airbyte::error(&self.log.hidden(fault)));
        }
    }

    /// Is a source named, the config aside?
    pub(super) fn is_named(&self) -> bool {
        self.options.source.is_some() || self.environment.is_some() || self.named.is_some()
    }

    /// Loads the source with the tenant's config.
    pub(super) fn load(&self, purpose: Purpose) -> Result<Loaded> {
        let loaded = load::load(self, purpose);
        if self.protocol == Protocol::Singer {
            return loaded;
        }
        // No stream was begun that such a trace could be about.
        loaded.map_err(|fault| match &fault.stream {
            Some(stream) => Fault { message: format!("stream `{stream}`: {}", fault.message), stream: None, ..fault },
            None => fault,
        })
    }

    /// Writes text.
    pub(super) fn text(&self, text: &str) -> Result<()> {
        lock(&self.out).lines(text.as_bytes())
    }

    /// Writes a JSON value for people and Singer's consumers.
    pub(super) fn pretty(&self, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value).map_err(|e| Fault::bug(e.to_string()))?;
        text.push(b'\n');
        lock(&self.out).lines(&text)
    }

    /// How stdout is: colours and width only where a person looks at it.
    pub(super) fn look(&self) -> Look {
        let out = std::io::stdout();
        if !out.is_terminal() {
            return Look::default();
        }
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let width =
            rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 40);
        Look { colour, width }
    }

    /// Writes a message.
    fn message(&self, message: &Json) -> Result<()> {
        lock(&self.out).json(message)
    }
}

fn verb(cli: &Cli, work: &Work) -> Result<u8> {
    let options = &work.options;
    let done = |()| 0;
    if options.version {
        return work.text(concat!("dripfeed ", env!("CARGO_PKG_VERSION"), "\n")).map(done);
    }
    if options.about {
        return about(work).map(done);
    }
    match &cli.verb {
        Some(Verb::Spec) => spec(work).map(done),
        Some(Verb::Check) => check(work).map(done),
        Some(Verb::Discover) => discover(work).map(done),
        Some(Verb::Read) => read(work),
        Some(Verb::Sync(asked)) => sync::run(work, asked),
        Some(Verb::Status(asked)) => status::run(work, asked),
        Some(Verb::Schedule(asked)) => schedule::run(work, asked).map(done),
        Some(Verb::Drift(asked)) => drift::run(work, asked),
        Some(Verb::Sources) => sources(work).map(done),
        Some(Verb::Validate { manifest }) => validate(work, manifest).map(done),
        Some(Verb::Sandbox(settings)) => {
            let sandbox = Sandbox::start(settings)?;
            work.text(&format!("{}\n", sandbox.url()))?;
            lock(&work.out).flush()?;
            let (tasks, url, token) = (settings.tasks, sandbox.url(), crate::sandbox::TOKEN);
            work.log.line(Level::Info, &format!("the sandbox serves {tasks} tasks at {url}, token {token}"));
            work.stop.sleep(std::time::Duration::from_secs(u64::from(u32::MAX)))?;
            Ok(0)
        }
        Some(Verb::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "dripfeed", &mut text);
            lock(&work.out).lines(&text).map(done)
        }
        Some(Verb::Man) => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut text)
                .map_err(|e| Fault::local("cannot write the manual page", &e))?;
            lock(&work.out).lines(&text).map(done)
        }
        // The Singer flag form. Discovery and test win over a sync, whatever else is passed.
        None if options.discover => discover(work).map(done),
        None if options.test.is_some() => check(work).map(done),
        None if options.config.is_empty() && !work.is_named() => {
            let help = Cli::command().render_help().to_string();
            work.log.line(Level::Error, &format!("say what to do\n\n{help}"));
            Ok(Kind::Usage.exit_code())
        }
        None => read(work),
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

fn manifest_of(work: &Work) -> Result<Manifest> {
    let options = &work.options;
    let config = config::load(
        &options.config.iter().filter(|c| *c != "ENV").cloned().collect::<Vec<_>>(),
        &serde_json::Map::new(),
    );
    // A source given by name needs no config, good or bad.
    let config = if work.is_named() { config.ok() } else { Some(config?) };
    load::manifest(work, config.as_ref())
}

fn spec(work: &Work) -> Result<()> {
    if work.protocol == Protocol::Airbyte && !work.is_named() && work.options.config.is_empty() {
        // The manifest comes in the config, as the Connector Builder injects it.
        return work.message(&airbyte::spec(&config::injected(), None, None));
    }
    let manifest = manifest_of(work)?;
    let schema = config_schema(&manifest);
    if work.protocol == Protocol::Singer {
        return work.pretty(&schema);
    }
    let spec = manifest.source.spec.as_ref();
    let documentation = spec.and_then(|s| s.documentation_url.as_deref());
    work.message(&airbyte::spec(&schema, documentation, spec.and_then(|s| s.advanced_auth.as_ref())))
}

fn about(work: &Work) -> Result<()> {
    let manifest = manifest_of(work).ok();
    let name = manifest.as_ref().map_or_else(|| "dripfeed".to_owned(), |m| format!("tap-{}", m.name));
    let settings = manifest.as_ref().map(config_schema);
    let capabilities = ["about", "catalog", "discover", "properties", "state", "structured-logging", "test"];
    match Format::among(work.options.format, &[Format::Text, Format::Json, Format::Markdown])? {
        Format::Json => work.pretty(&json!({
            "name": name, "description": env!("CARGO_PKG_DESCRIPTION"), "version": env!("CARGO_PKG_VERSION"),
            "capabilities": capabilities, "settings": settings,
        })),
        format => {
            let markdown = format == Format::Markdown;
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
            work.text(&text)
        }
    }
}

fn sources(work: &Work) -> Result<()> {
    let options = &work.options;
    if !work.is_named() && options.config.is_empty() {
        let text: String = crate::catalog::names().iter().map(|n| format!("{n}\n")).collect();
        return work.text(&text);
    }
    let manifest = manifest_of(work)?;
    work.text(&format!("{}\n{}", manifest.name, describe_all(&manifest).1))
}

/// The streams of a manifest: their number and a line for each; those of a template are known only with a config.
fn describe_all(manifest: &Manifest) -> (usize, String) {
    let streams: Vec<&Stream> = manifest.source.streams.iter().flatten().collect();
    let mut lines: String = streams.iter().map(|stream| describe(stream)).collect();
    for dynamic in manifest.source.dynamic_streams.iter().flatten() {
        let name = dynamic.name.as_deref().unwrap_or("without a name");
        lines += &format!("  streams of the template {name}: `discover` says which there are\n");
    }
    (streams.len(), lines)
}

/// A stream in a line: name, keys, cursor, parents; one that depends on state or config in several.
fn describe(stream: &Stream) -> String {
    let when = match stream {
        Stream::DeclarativeStream(_) => [""; 2],
        Stream::StateDelegatingStream(_) => ["  without a state", "  with a state"],
        Stream::ConditionalStreams(_) => ["  on a condition"; 2],
    };
    let lines = stream.all().into_iter().enumerate();
    lines.map(|(number, stream)| format!("{}{}\n", describe_one(stream), when[number.min(1)])).collect()
}

fn describe_one(stream: &DeclarativeStream) -> String {
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
        Some(cursor) => line += &format!("  incremental by {}", written(&cursor.cursor_field().value)),
        None => line += "  whole",
    }
    for router in stream.retriever.routers() {
        if let PartitionRouter::ListPartitionRouter(list) = router {
            line += &format!("  for each {}", written(&list.cursor_field.value));
        }
        for config in router.parents() {
            let parent = config.stream.all().first().and_then(|p| p.name.as_ref()).map(|n| written(&n.value));
            line += &format!("  for each of {}", parent.unwrap_or_default());
        }
    }
    line
}

/// Says everything that is wrong with a manifest; then what it has.
fn validate(work: &Work, path: &std::path::Path) -> Result<()> {
    let shown = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|e| Fault::config(format!("cannot read the manifest {shown}: {e}")))?;
    let examined = examine::examine(&text, &shown)?;
    let mut said: Vec<(Level, Fault)> = examined.faults.into_iter().map(|fault| (Level::Error, fault)).collect();
    let known: Vec<&str> = plan::NAMES.iter().copied().chain(examined.extra.iter().map(String::as_str)).collect();
    for (text, at) in examined.templates {
        match Template::of(&json!(text), &at, &known) {
            Err(fault) => said.push((Level::Error, fault)),
            // It costs its stream, and that only when it is needed. Which names there are depends on the place: a list of
            // all would say nothing.
            Ok(template) => said.extend(template.known().err().map(|fault| {
                let hint = fault.hint.filter(|hint| !hint.starts_with("here"));
                (Level::Warning, Fault { hint, ..fault })
            })),
        }
    }
    let refused = said.iter().any(|(level, _)| *level == Level::Error);
    let source = examined.source.filter(|_| !refused);
    let manifest = source.map(|source| Manifest::of_source(source, path)).transpose()?;
    if let Some(manifest) = &manifest {
        let schema = load::specification(manifest);
        said.extend(jsonschema::meta::validate(&schema).err().map(|e| {
            let fault = format!("{shown}: the connection specification is not a valid JSON schema: {}", e.masked());
            (Level::Error, Fault::config(fault))
        }));
        said.extend(unknown_checks(manifest).into_iter().map(|name| {
            let fault = format!("{shown}: `check` names the stream `{name}`, which does not exist: it will fail");
            (Level::Warning, Fault::config(fault))
        }));
    }
    said.sort_by_key(|(_, fault)| fault.site.as_ref().map_or(0, |site| site.line));
    for (level, fault) in &said {
        work.log.line(*level, &fault.to_string());
    }
    match (said.iter().filter(|(level, _)| *level == Level::Error).count(), manifest) {
        (0, Some(manifest)) => {
            let (count, lines) = describe_all(&manifest);
            work.text(&format!("{shown}: {count} streams\n{lines}"))
        }
        (1, _) => Err(Fault::config(format!("{shown} cannot be used"))),
        (faults, _) => Err(Fault::config(format!("{shown} cannot be used: {faults} faults"))),
    }
}

/// The streams that a check names and that are not there, as far as a manifest without a config tells.
fn unknown_checks(manifest: &Manifest) -> Vec<&String> {
    let source = &manifest.source;
    let Check::CheckStream(check) = &source.check else { return Vec::new() };
    if source.dynamic_streams.is_some() {
        return Vec::new();
    }
    let streams = source.streams.iter().flatten().flat_map(Stream::all);
    let names: Vec<&Json> = streams.filter_map(|stream| stream.name.as_ref().map(|name| &name.value)).collect();
    let written = |name: &Json| name.as_str().is_some_and(|name| name.contains("{{"));
    if names.iter().any(|name| written(name)) {
        return Vec::new();
    }
    let all = check.stream_names.iter().flatten();
    all.filter(|name| !names.iter().any(|known| **known == **name)).collect()
}

fn discover(work: &Work) -> Result<()> {
    let loaded = work.load(Purpose::Discover)?;
    let streams = loaded.plan.streams.iter().map(|stream| stream.with_schema(&loaded.shared));
    let streams = streams.collect::<Result<Vec<_>>>()?;
    let streams = streams.iter().map(|stream| loaded.evolved(stream, work)).collect::<Result<Vec<_>>>()?;
    match work.protocol {
        Protocol::Singer => {
            let entry = |stream: &Arc<StreamPlan>| {
                let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
                let schema = stream.wire(&stream.schema, &Selection::default(), work.protocol).schema;
                singer_catalog::entry(&stream.name, schema, &stream.keys(), cursor)
            };
            work.pretty(&singer_catalog::Catalog { streams: streams.iter().map(entry).collect() })?;
        }
        Protocol::Airbyte => {
            let entry = |stream: &Arc<StreamPlan>| {
                let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
                let (name, schema, keys) = (&*stream.name, &stream.schema, &stream.key_paths[..]);
                airbyte::Entry { name, schema, keys, cursor, files: stream.files.is_some() }.json()
            };
            work.message(&airbyte::catalog(streams.iter().map(entry).collect()))?;
        }
    }
    // The process ends here: a thousand streams need not be taken apart first.
    std::mem::forget((streams, loaded.plan));
    Ok(())
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

    fn put(&mut self, _: Json) -> Result<bool> {
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
fn check(work: &Work) -> Result<()> {
    let (sender, answer) = std::sync::mpsc::channel();
    let there = work.clone();
    std::thread::spawn(move || drop(sender.send(check_streams(&there))));
    let checked = loop {
        match answer.recv_timeout(std::time::Duration::from_millis(100)) {
            Ok(result) => break result,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Fault::bug("the check ended without a result"));
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if work.stop.waits_for_critical() => {}
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => work.stop.check()?,
        }
    };
    match (work.protocol, checked) {
        (Protocol::Singer, checked) => checked,
        (Protocol::Airbyte, Ok(())) => work.message(&airbyte::connection_status(None)),
        (Protocol::Airbyte, Err(fault)) if matches!(fault.kind, Kind::Signal(_) | Kind::Downstream) => Err(fault),
        // A check that failed has done what it is for.
        (Protocol::Airbyte, Err(fault)) => {
            work.log.line(Level::Error, &fault.to_string());
            work.message(&airbyte::connection_status(Some(&airbyte::check_message(&work.log.hidden(&fault)))))
        }
    }
}

fn check_streams(work: &Work) -> Result<()> {
    let loaded = work.load(Purpose::Check)?;
    for name in &loaded.plan.check {
        let stream = loaded.plan.stream(name)?;
        check_stream(&loaded.shared, stream).map_err(|f| f.of_stream(&stream.name))?;
    }
    work.log.line(Level::Info, &format!("the connection works: {} can be read", loaded.plan.check.join(", ")));
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
        let (told, failure) = ("Cannot attempt to connect to stream", Failure::System);
        let told = format!("{told} {} - no stream slices were found", stream.name);
        return Err(
            Fault::data("there is nothing to read it by: its parent streams have no records").told(told, failure)
        );
    };
    let window = match &stream.cursor {
        Some(plan) => plan.begin(None, 0)?.windows(plan).into_iter().next(),
        None => None,
    };
    if stream.cursor.is_some() && window.is_none() {
        return Err(Fault::config("there is no time between the start date and now"));
    }
    jobs::read(shared, stream, &partition, window.as_ref(), &mut FirstRecord(false)).map(drop)
}
