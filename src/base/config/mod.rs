//! The config of one tenant: the source's own part, and the `dripfeed` object.
//!
//! Comes in: JSON files (later ones win) or environment variables. Goes out: a [`Config`], validated.
//! The types of `settings` define the `dripfeed` object. Called by `run` and `cli`.

mod alternatives;
mod dates;
pub mod deletes;
mod env_file;
mod explain;
mod quick_check;
pub mod references;
pub mod secret;
mod secret_command;
mod settings;
mod validate;

use std::path::PathBuf;

use serde_json::{Map, Value as Json, json};

use crate::base::fault::{Fault, Result};
use references::{Needed, References, Resolver};
use secret::Secrets;

pub(crate) use dates::complete as complete_dates;
pub use settings::{
    Alert, Drift, DriftPolicy, DriftRule, Dripfeed, IsoDuration, Limit, LimitKind, NewPartitions, Pace, Quarantine,
    Safety, Tier, Tls, schema,
};
pub use validate::{validate, validate_by_foreign, validate_source};

/// Names that no tier can have: records, status and alerts call other runs by them.
const RESERVED_TIERS: [(&str, &str); 2] = [("all", "runs without a tier"), ("backfill", "backfills")];

/// The schema of a config that brings its own manifest.
pub fn injected() -> Json {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Declarative manifest", "type": "object", "additionalProperties": true,
        "required": ["__injected_declarative_manifest"],
        "properties": {"__injected_declarative_manifest": {
            "title": "Manifest", "type": "object", "additionalProperties": true,
            "description": "The source, as a declarative manifest.",
        }},
    })
}

/// The schema of a config of an unknown source: the `dripfeed` object, beside the source's keys. For editors,
/// which see references where runs see their values.
pub fn of_any_source() -> Json {
    let mut ours = schema();
    allow_references(&mut ours);
    ours["description"] = json!("How this tenant is read: the part of the config that is dripfeed's own.");
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A config of dripfeed", "type": "object", "additionalProperties": true,
        "description": "One tenant. `dripfeed spec --source NAME` prints the keys of a source.",
        "properties": {"dripfeed": ours},
    })
}

/// Lets a text with a pattern be a reference too.
fn allow_references(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            if let Some(Json::String(pattern)) = map.get_mut("pattern") {
                *pattern = format!("^(?:env|file|exec):|{pattern}");
            }
            map.values_mut().for_each(allow_references);
        }
        Json::Array(items) => items.iter_mut().for_each(allow_references),
        _ => {}
    }
}

/// The config of one tenant.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// As it stands in the files, references included.
    pub written: Json,
    /// The source's part: everything but `dripfeed`.
    pub source: Json,
    /// Our part.
    pub ours: Dripfeed,
    /// What may not be shown.
    pub secrets: Secrets,
}

/// Where the values of a config come from, beside its files.
#[derive(Clone, Copy)]
pub struct Origin<'o> {
    /// Finds the values of references.
    pub references: &'o References,
    /// The references that must have one.
    pub needed: Needed,
    /// What `ENV` among the files stands for.
    pub variables: &'o Map<String, Json>,
}

/// Reads and merges the files.
pub fn load(paths: &[String], origin: Origin<'_>) -> Result<Config> {
    let written = read(paths, origin.variables)?;
    let (mut json, mut secrets) = (written.clone(), Secrets::default());
    let needed = origin.needed.of(&written);
    let unnamed = needed != origin.needed;
    Resolver::new(origin.references, needed, paths, &mut secrets)?.resolve(&mut json, "").map_err(|fault| {
        let hint = fault.hint.clone().filter(|_| unnamed);
        match hint {
            Some(hint) => {
                fault.hint(format!("{hint}; or name the tenant, dripfeed.tenant: then no secret is needed here"))
            }
            None => fault,
        }
    })?;
    parted(written, json, secrets)
}

/// Reads one file as it stands, references included: on a machine that has not got what they refer to.
pub fn written(path: &str) -> Result<Config> {
    let written = read(&[path.to_owned()], &Map::new())?;
    parted(written.clone(), written, Secrets::default())
}

/// The files, merged.
fn read(paths: &[String], variables: &Map<String, Json>) -> Result<Json> {
    let mut merged = Map::new();
    for path in paths {
        if path == "ENV" {
            merge(&mut merged, variables.clone());
            continue;
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| Fault::config(format!("cannot read the config {path}: {e}")))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        if text.trim().is_empty() {
            return Err(Fault::config(format!("the config {path} is empty")).hint("write at least {}"));
        }
        // serde_json's message names line and column, never a value.
        let json: Json = serde_json::from_str(text).map_err(|e| {
            Fault::config(format!("the config {path} is not valid JSON at line {}, column {}", e.line(), e.column()))
                .hint(json_hint(text, &e))
        })?;
        match json {
            Json::Object(map) => merge(&mut merged, map),
            _ => return Err(Fault::config(format!("the config {path} must be a JSON object"))),
        }
    }
    Ok(Json::Object(merged))
}

/// What is probably wrong with a text that is not JSON.
fn json_hint(text: &str, error: &serde_json::Error) -> &'static str {
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let start = before + error.column().saturating_sub(1);
    let (before, at) = (text.get(..start).unwrap_or(text).trim_end(), text.get(start..).unwrap_or_default());
    let next = at.trim_start().chars().next();
    if error.is_eof() {
        "the text ends too early: a `}`, a `]` or a quote is missing"
    } else if before.ends_with(',') && matches!(next, Some('}' | ']')) {
        "remove the comma before this place: none stands after the last entry"
    } else if matches!(next, Some('\'')) {
        "write texts in double quotes"
    } else if matches!(next, Some('/' | '#')) {
        "JSON has no comments"
    } else if matches!(next, Some('"')) {
        "a comma or a colon is missing before this place"
    } else {
        "look just before this place: a comma, a quote or a bracket is missing or too many"
    }
}

/// The source's part and ours.
fn parted(written: Json, mut json: Json, mut secrets: Secrets) -> Result<Config> {
    let ours = json.as_object_mut().and_then(|map| map.shift_remove("dripfeed")).unwrap_or_else(|| json!({}));
    let ours = read_ours(ours, &mut secrets)?;
    if ours.deadline.is_some_and(|deadline| deadline.0.length().is_zero()) {
        return Err(Fault::config("config `dripfeed.deadline` must be longer than zero"));
    }
    Ok(Config { written, source: json, ours, secrets })
}

/// What can be read of a config that is refused as a whole: the tenant, and where its alerts go.
#[derive(Debug, Clone, Default)]
pub struct PartialConfig {
    /// See [`Dripfeed::source`].
    pub source: Option<String>,
    /// See [`Dripfeed::tenant`].
    pub tenant: Option<String>,
    /// See [`Dripfeed::state_dir`].
    pub state_dir: Option<PathBuf>,
    /// See [`Dripfeed::alert`].
    pub alert: Option<Alert>,
    /// See [`Tls::ca_file`].
    pub ca_file: Option<String>,
}

/// Reads of the files what can be read, part by part; a part that cannot be is left out.
pub fn partial(paths: &[String], origin: Origin<'_>) -> PartialConfig {
    let part = |merged: &Map<String, Json>, name: &str| {
        let mut json = merged.get("dripfeed")?.pointer(&format!("/{}", name.replace('.', "/")))?.clone();
        let mut secrets = Secrets::default();
        let mut resolver = Resolver::new(origin.references, origin.needed, paths, &mut secrets).ok()?;
        resolver.resolve(&mut json, &format!("dripfeed.{name}")).ok()?;
        Some(json)
    };
    let text = |json: Option<Json>| json?.as_str().map(str::to_owned);
    let mut merged = Map::new();
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Ok(Json::Object(map)) = serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text)) {
            merge(&mut merged, map);
        }
    }
    PartialConfig {
        source: text(part(&merged, "source")),
        tenant: text(part(&merged, "tenant")),
        state_dir: text(part(&merged, "state_dir")).map(PathBuf::from),
        alert: part(&merged, "alert").and_then(|json| serde_json::from_value(json).ok()),
        ca_file: text(part(&merged, "tls.ca_file")),
    }
}

/// Later objects win, key by key and at every depth.
fn merge(into: &mut Map<String, Json>, from: Map<String, Json>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Json::Object(old)), Json::Object(new)) => merge(old, new),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

fn read_ours(ours: Json, secrets: &mut Secrets) -> Result<Dripfeed> {
    if let Some(safety) = ours.get("safety") {
        Safety::refuse_removed(safety, "config `dripfeed.safety")?;
    }
    // Most configs of containers have none.
    if ours.as_object().is_none_or(|ours| !ours.is_empty()) {
        let schema = schema();
        secrets.add_marked(&ours, &schema);
        validate(&ours, &schema, "dripfeed")?;
    }
    let ours: Dripfeed = serde_json::from_value(ours).map_err(|e| Fault::config(format!("config `dripfeed`: {e}")))?;
    match RESERVED_TIERS.iter().find(|(name, _)| ours.tiers.contains_key(*name)) {
        Some((name, runs)) => Err(Fault::config(format!(
            "config `dripfeed.tiers`: a tier cannot be named `{name}`: that name is reserved for {runs}"
        ))
        .hint("give the tier another name")),
        None => Ok(ours),
    }
}

/// Settings from variables such as `TAP_ASANA_ACCESS_TOKEN`, typed by the specification.
pub fn from_environment(source: &str, specification: &Json, get: impl Fn(&str) -> Option<String>) -> Map<String, Json> {
    let prefix = format!("TAP_{}_", source.to_uppercase().replace('-', "_"));
    let mut out = Map::new();
    for (name, schema) in specification["properties"].as_object().into_iter().flatten() {
        let Some(text) = get(&format!("{prefix}{}", name.to_uppercase())) else { continue };
        let plain = match &schema["type"] {
            Json::String(kind) => kind == "string",
            Json::Array(kinds) => kinds.iter().any(|k| k == "string"),
            _ => true,
        };
        let value = if plain { None } else { serde_json::from_str(&text).ok() };
        out.insert(name.clone(), value.unwrap_or(Json::String(text)));
    }
    out
}
