//! The config of one tenant: the source's own part, and the `dripfeed` object.
//!
//! Comes in: JSON files (later ones win) or environment variables. Goes out: a [`Config`], validated.
//! The types of `settings` define the `dripfeed` object. Called by `run` and `cli`.

pub mod secret;
mod settings;
mod validate;

use std::path::PathBuf;

use serde_json::{Map, Value as Json, json};

use crate::base::fault::{Fault, Result};
use secret::Secrets;

pub use settings::{
    Alert, Drift, DriftPolicy, DriftRule, Dripfeed, IsoDuration, Limit, LimitKind, NewPartitions, Pace, Quarantine,
    Safety, Tier, schema,
};
pub use validate::{validate, validate_source};

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

/// Reads and merges the files; `ENV` among them stands for `variables`.
pub fn load(paths: &[String], variables: &Map<String, Json>) -> Result<Config> {
    let written = read(paths, variables)?;
    let (mut json, mut secrets) = (written.clone(), Secrets::default());
    secret::resolve(&mut json, "", &mut secrets)?;
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
        })?;
        match json {
            Json::Object(map) => merge(&mut merged, map),
            _ => return Err(Fault::config(format!("the config {path} must be a JSON object"))),
        }
    }
    Ok(Json::Object(merged))
}

/// The source's part and ours.
fn parted(written: Json, mut json: Json, mut secrets: Secrets) -> Result<Config> {
    let ours = json.as_object_mut().and_then(|map| map.shift_remove("dripfeed")).unwrap_or_else(|| json!({}));
    let ours = read_ours(ours, &mut secrets)?;
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
}

/// Reads of the files what can be read, part by part; a part that cannot be is left out.
pub fn partial(paths: &[String]) -> PartialConfig {
    fn part<T: serde::de::DeserializeOwned>(merged: &Map<String, Json>, name: &str) -> Option<T> {
        let mut json = merged.get("dripfeed")?.get(name)?.clone();
        secret::resolve(&mut json, name, &mut Secrets::default()).ok()?;
        serde_json::from_value(json).ok()
    }
    let mut merged = Map::new();
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Ok(Json::Object(map)) = serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text)) {
            merge(&mut merged, map);
        }
    }
    PartialConfig {
        source: part(&merged, "source"),
        tenant: part(&merged, "tenant"),
        state_dir: part(&merged, "state_dir"),
        alert: part(&merged, "alert"),
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
    let schema = schema();
    secrets.add_marked(&ours, &schema);
    validate(&ours, &schema, "dripfeed")?;
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
