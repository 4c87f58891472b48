//! From options to a plan: which source, which config, which streams.
//!
//! Comes in: the options. Goes out: manifest, config and plan, or the fault that says what to mend. Called by
//! `commands`. Nothing is requested here, but for streams that the manifest leaves to the vendor to name.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::log::Level;
use super::reporter::Reporter;
use crate::base::config::{self, Config, DriftPolicy, Safety};
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::base::store::Store;
use crate::base::timefmt;
use crate::drift::baseline::unmarked;
use crate::drift::monitor::{DriftMonitor, MonitorConfig, RunNames};
use crate::drift::policy::Policies;
use crate::drift::rules::Rule;
use crate::engine::auth;
use crate::engine::build::{self, Build, SourcePlan, StreamPlan};
use crate::engine::config_rules;
use crate::engine::context::EngineContext;
use crate::manifest::Manifest;
use crate::manifest::builtin;
use crate::manifest::template::EvalContext;
use crate::pace::store::{MemoryLedger, SharedLedger};
use crate::pace::{self, LedgerBackend, Pace, account_key};
use crate::protocol::Protocol;
use crate::run::context::Context;
use crate::run::context::RunIdentity;
use crate::run::options::RunOptions;
use crate::sandbox::Sandbox;

/// A source with a tenant's config, ready to run.
pub struct LoadedSource {
    /// Every stream, compiled.
    pub plan: SourcePlan,
    /// Config and now.
    pub cx: Arc<EvalContext>,
    /// The config.
    pub config: Config,
    /// The sandbox, when it runs in this process.
    pub sandbox: Option<Sandbox>,
    /// Hears of what happens.
    pub(crate) reporter: Arc<Reporter>,
    /// What threads share.
    pub shared: Arc<EngineContext>,
    /// What is done about drift.
    policies: Arc<Policies>,
    /// Whose data it is.
    pub(crate) names: RunNames,
    /// What outlives the run.
    pub(crate) states: Option<PathBuf>,
}

/// How a stream is read, as far as drift depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadMode {
    /// Whatever was read before?
    pub(crate) sweep: bool,
    /// To its end?
    pub(crate) whole: bool,
    /// May new fields be sent?
    pub(crate) may_grow: bool,
    /// Are values sent as they are written?
    pub(crate) verbatim: bool,
}

impl LoadedSource {
    /// A stream with all that its tenant's runs learned of it; nothing when drift is off.
    pub(crate) fn watched(
        &self,
        stream: &StreamPlan,
        reading: ReadMode,
        context: &Context,
    ) -> Result<Option<Arc<DriftMonitor>>> {
        let config = &self.config.ours.drift;
        if config.off {
            return Ok(None);
        }
        let ReadMode { sweep, whole, may_grow, verbatim } = reading;
        let given = MonitorConfig {
            names: self.names.clone(),
            stream: &stream.name,
            schema: &stream.schema,
            reviewed: stream.reviewed,
            keys: &stream.key_paths,
            cursor: stream.cursor.as_ref().map(|c| c.field.as_str()),
            policies: self.policies.clone(),
            config,
            root: self.states.clone(),
            verbatim,
            sweep,
            whole,
            may_grow,
            asked: stream.asked(&self.cx),
        };
        let (watched, trouble) = DriftMonitor::begin(given)?;
        if let Some(fault) = trouble {
            let said = format!("{}: what is learned and put aside cannot be kept: {}", stream.name, fault.message);
            context.log.event(Level::Warning, &said, "drift_trouble", &json!({"stream": *stream.name}));
        }
        Ok(Some(Arc::new(watched)))
    }
}

impl LoadedSource {
    /// The stream with the schema that its tenant's data has by now.
    pub(crate) fn evolved(&self, stream: &Arc<StreamPlan>, context: &Context) -> Result<Arc<StreamPlan>> {
        if self.states.is_none() {
            return Ok(stream.clone());
        }
        let reading = ReadMode { sweep: false, whole: false, may_grow: true, verbatim: true };
        let Some(watched) = self.watched(stream, reading, context)? else { return Ok(stream.clone()) };
        let schema = watched.schema();
        if *schema == stream.schema {
            return Ok(stream.clone());
        }
        let schema = schema.as_ref().clone();
        // Whoever reads Airbyte's messages has one column for a field.
        Ok(stream.with_evolved(if context.protocol == Protocol::Airbyte { unmarked(schema) } else { schema }))
    }
}

/// A name for this run.
pub(crate) fn run_id() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    let date = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
    let time = format!("{:02}{:02}{:02}", time.hour(), time.minute(), time.second());
    format!("{date}T{time}Z-{:x}{:05x}", std::process::id(), now.microsecond())
}

/// The run's now, and when that was: `DRIPFEED_NOW` for runs that must be the same every time, else the clock.
pub(crate) fn now() -> Result<(OffsetDateTime, Option<Instant>)> {
    match std::env::var("DRIPFEED_NOW") {
        Ok(text) => match timefmt::parse_iso(&text) {
            Some(now) => Ok((now, None)),
            None => Err(Fault::config("the environment variable DRIPFEED_NOW is no time")
                .hint("write it as 2024-03-01T00:00:00Z")),
        },
        Err(_) => {
            let now = OffsetDateTime::now_utc();
            Ok((now.replace_microsecond(now.microsecond()).unwrap_or(now), Some(Instant::now())))
        }
    }
}

/// The configs in a folder, one for each tenant: the files *.json directly in it, by name.
pub(crate) fn configs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let shown = folder.display();
    let entries =
        std::fs::read_dir(folder).map_err(|e| Fault::config(format!("cannot list the folder {shown}: {e}")))?;
    let paths = entries.map(|entry| entry.map(|e| e.path()));
    let mut paths: Vec<PathBuf> = paths
        .collect::<std::io::Result<_>>()
        .map_err(|e| Fault::local(format!("cannot list the folder {shown}"), &e))?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "json") && path.is_file());
    paths.sort();
    Ok(paths)
}

/// The config of the options, unresolved sources included.
fn read_config(options: &RunOptions, variables: &Map<String, Json>) -> Result<Config> {
    config::load(&options.config, variables)
}

/// The manifest that options, config or environment name.
pub(crate) fn manifest(context: &Context, config: Option<&Config>) -> Result<Manifest> {
    let of_config = config.and_then(|c| c.ours.source.as_deref());
    let injected = config.and_then(|c| c.source.get("__injected_declarative_manifest"));
    let said = context.options.source.as_deref().or(of_config).or(context.environment.as_deref());
    let name = match (said, injected, context.named.as_deref()) {
        (Some(name), _, _) => name,
        (None, Some(injected), _) => return Manifest::from_json(injected),
        (None, None, Some(name)) => name,
        (None, None, None) => {
            return Err(Fault::config("no source is named")
                .hint(format!("--source takes a manifest's path, or one of {}", builtin::names().join(", "))));
        }
    };
    if let Some(text) = builtin::manifest(name) {
        return Manifest::from_yaml(text, &format!("catalog/{name}.yaml"), name, None);
    }
    let path = Path::new(name);
    if path.components().count() == 1 && path.extension().is_none() && !path.exists() {
        let fault = Fault::config(format!("there is no built-in source `{name}`, and no file of that name"));
        return Err(match did_you_mean(name, builtin::names()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint(format!("built in are {}", builtin::names().join(", "))),
        });
    }
    Manifest::from_file(path)
}

/// The manifest for verbs that need no config where a source is named.
pub(crate) fn manifest_of(context: &Context) -> Result<Manifest> {
    let options = &context.options;
    let config = config::load(
        &options.config.iter().filter(|c| *c != "ENV").cloned().collect::<Vec<_>>(),
        &serde_json::Map::new(),
    );
    // A source given by name needs no config, good or bad.
    let config = if context.named_source().is_some() { config.ok() } else { Some(config?) };
    manifest(context, config.as_ref())
}

/// The state directory, if there is one.
fn state_dir(config: &Config) -> Option<PathBuf> {
    config.ours.state_dir.clone().or_else(state_dir_of_environment)
}

/// The one that the environment names.
pub(crate) fn state_dir_of_environment() -> Option<PathBuf> {
    std::env::var_os("DRIPFEED_STATE_DIR").filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// The same for verbs that are of no use without one: where nothing is named, it is the user's own.
pub(crate) fn state_dir_or_own(config: &Config) -> Result<PathBuf> {
    config.ours.state_dir.clone().map_or_else(own_state_dir, Ok)
}

/// The state directory of the environment, or the user's own.
pub(crate) fn own_state_dir() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    state_dir_of_environment()
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("dripfeed")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/dripfeed")))
        .ok_or_else(|| Fault::config("there is no state directory").hint("name it in the config: dripfeed.state_dir"))
}

/// The name of the account's files; it tells nothing of the credentials.
fn ledger_key(config: &Config, manifest: &Manifest, specification: &Json, cx: &EvalContext) -> String {
    let source = match manifest.folder {
        None => manifest.name.to_string(),
        Some(_) => build::host(manifest, cx).unwrap_or_else(|| manifest.name.to_string()),
    };
    let identity = account_key::identity(config.ours.pace.account.as_deref(), &config.source, specification);
    account_key::key(&source, &identity)
}

/// The tenant's name: as the config says, else one that follows from its account.
pub(crate) fn tenant_of(config: &Config, manifest: &Manifest, specification: &Json, cx: &EvalContext) -> String {
    config.ours.tenant.clone().unwrap_or_else(|| {
        let key = ledger_key(config, manifest, specification, cx);
        format!("account-{}", key.get(..8).unwrap_or_default())
    })
}

/// The source's own schema of its config.
pub fn specification(manifest: &Manifest) -> Json {
    manifest
        .source
        .spec
        .as_ref()
        .map_or_else(|| json!({"type": "object", "properties": {}}), |s| s.connection_specification.clone())
}

/// The account's pace. Its ledger is shared where there is a state directory; a sandbox in this process is nobody
/// else's.
fn pace_of(
    context: &Context,
    manifest: &Manifest,
    config: &Config,
    specification: &Json,
    states: Option<PathBuf>,
    cx: &EvalContext,
    reporter: &Arc<Reporter>,
) -> Result<Arc<Pace>> {
    let ours = &config.ours;
    let headroom = context.options.headroom.or(ours.pace.headroom);
    let limits = config::Pace { headroom, ..ours.pace.clone() };
    let budget = pace::budget::build(manifest.source.api_budget.as_ref(), &limits, cx)?;
    let shelf = match states {
        Some(folder) => {
            let key = ledger_key(config, manifest, specification, cx);
            let path = folder.join("pace").join(format!("{key}.ledger"));
            let reporter = reporter.clone();
            LedgerBackend::Shared(SharedLedger::new(&path, Box::new(move |notice| reporter.ledger(notice))))
        }
        None => LedgerBackend::Own(MemoryLedger::default()),
    };
    let priority = context.options.priority(&ours.tiers)?;
    Ok(Pace::new(budget, shelf, priority, reporter.deadline()))
}

/// What a source is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To say what it has, which may need no config.
    Discover,
    /// To see whether the connection works.
    Check,
    /// To read.
    Read,
}

/// A source with a tenant's config, before anything is compiled.
pub(crate) struct PreparedSource {
    /// The source.
    pub(crate) manifest: Manifest,
    /// The schema of its config.
    pub(crate) specification: Json,
    /// The config, as the manifest's rules made it.
    pub(crate) config: Config,
    /// Config and now.
    pub(crate) cx: EvalContext,
    sandbox: Option<Sandbox>,
    migrated: bool,
}

/// Reads the config and makes of it what the manifest asks for. Without `--config` it is empty; the sandbox then runs
/// in this process.
pub(crate) fn prepare(context: &Context, purpose: Purpose) -> Result<PreparedSource> {
    let (options, log) = (&context.options, &context.log);
    // The config may name the source, and ENV needs the source's specification.
    let mut config = read_config(options, &Map::new())?;
    log.hide(&config.secrets);
    let manifest = manifest(context, Some(&config))?;
    let specification = specification(&manifest);
    if options.config.iter().any(|c| c == "ENV") {
        let variables = config::from_environment(&manifest.name, &specification, |name| std::env::var(name).ok());
        config = read_config(options, &variables)?;
    }
    let mut sandbox = None;
    if &*manifest.name == "sandbox" && builtin::manifest("sandbox").is_some() && config.source.get("url").is_none() {
        let running = Sandbox::start(&crate::sandbox::Settings::default())?;
        if let Some(map) = config.source.as_object_mut() {
            map.insert("url".into(), json!(running.url()));
            map.entry("token").or_insert_with(|| json!(crate::sandbox::TOKEN));
        }
        sandbox = Some(running);
    }
    config.secrets.add_marked(&config.source, &specification);
    log.hide(&config.secrets);
    let (now, began) = now()?;
    let mut cx = EvalContext { config: config.source.clone(), now, began };
    let spec = manifest.source.spec.as_ref();
    let mut written = EvalContext { config: config.written.clone(), ..cx.clone() };
    // What is kept is migrated as it is written: references to secrets stay references.
    let migrated = config_rules::migrate(spec, &mut cx)? && config_rules::migrate(spec, &mut written)?;
    config.written = written.config;
    config_rules::transform(spec, &mut cx)?;
    config.source = cx.config.clone();
    config.secrets.add_marked(&config.source, &specification);
    log.hide(&config.secrets);
    drop(context.identity.set(RunIdentity {
        source: manifest.name.to_string(),
        tenant: tenant_of(&config, &manifest, &specification, &cx),
        root: state_dir(&config).or_else(|| state_dir_or_own(&config).ok().filter(|_| context.keeps)),
        run_id: run_id(),
    }));
    if purpose != Purpose::Discover || !options.config.is_empty() {
        config::validate_source(&config, &specification).map_err(|f| {
            if options.config.is_empty() {
                f.hint("give the config with --config FILE; `dripfeed spec` says what it holds")
            } else {
                f
            }
        })?;
    }
    config_rules::validate(spec, &cx)?;
    Ok(PreparedSource { manifest, specification, config, cx, sandbox, migrated })
}

impl Context {
    /// Loads the source with the tenant's config.
    pub(crate) fn load(&self, purpose: Purpose) -> Result<LoadedSource> {
        let loaded = load(self, purpose);
        if self.protocol == Protocol::Singer {
            return loaded;
        }
        // No stream was begun that such a trace could be about.
        loaded.map_err(|fault| match &fault.stream {
            Some(stream) => Fault { message: format!("stream `{stream}`: {}", fault.message), stream: None, ..fault },
            None => fault,
        })
    }
}

/// Loads everything.
pub(crate) fn load(context: &Context, purpose: Purpose) -> Result<LoadedSource> {
    let PreparedSource { manifest, specification, config, mut cx, sandbox, migrated } = prepare(context, purpose)?;
    // The rules are for the config as it was given.
    if let (Purpose::Check, Some(overrides), Some(config)) =
        (purpose, manifest.source.check.overrides()?, cx.config.as_object_mut())
    {
        config.extend(overrides.clone());
    }
    let cx = Arc::new(cx);
    let baseline = |stream: &str| builtin::baseline(&manifest.name, stream).filter(|_| manifest.folder.is_none());
    let policies = Arc::new(Policies::new(&config.ours.drift)?);
    let envelope_optional = |stream: &str| {
        let rule = Rule::EnvelopeChanged;
        config.ours.drift.off || policies.of(rule, stream, "", rule.policy()) <= DriftPolicy::Warn
    };
    let whose = context.identity.get().cloned().ok_or_else(|| Fault::bug("a source of nobody"))?;
    let auth = auth::Builder::new(whose.root.as_deref().map(Store::new), context.protocol == Protocol::Airbyte);
    let metadata = manifest.source.metadata.as_ref();
    let safety = config.ours.safety.clone().or(Safety::of_manifest(metadata)?);
    let reporter = Reporter::new(context, &manifest.name, &config);
    let states = whose.root.clone().filter(|_| sandbox.is_none());
    let pace = pace_of(context, &manifest, &config, &specification, states, &cx, &reporter)?;
    if migrated {
        reporter.config_changed()?;
    }
    let shared = reporter.shared(&config, pace, &cx, &context.stop);
    let plan = build::plan(&Build {
        manifest: &manifest,
        cx: &cx,
        baseline: &baseline,
        auth: &auth,
        safety: &safety,
        envelope_optional: &envelope_optional,
        shared: Some(&shared),
        parents: OnceCell::new(),
    })?;
    for (tier, streams) in config.ours.tiers.iter().map(|(n, t)| (n, &t.streams)) {
        for stream in streams.iter().filter(|s| *s != "*") {
            plan.stream(stream)
                .map_err(|f| Fault { message: format!("config `dripfeed.tiers.{tier}`: {}", f.message), ..f })?;
        }
    }
    let names = RunNames { source: whose.source, tenant: whose.tenant, run_id: whose.run_id };
    let states = whose.root;
    Ok(LoadedSource { plan, cx, config, sandbox, reporter, shared, policies, names, states })
}
