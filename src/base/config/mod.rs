//! The config of one tenant: the source's own part, and the `dripfeed` object.
//!
//! Comes in: JSON files (later ones win) or environment variables. Goes out: a [`Config`], validated.
//! The types here are the definition of the `dripfeed` object: its JSON Schema is made from them. Called by `cli`.

pub mod secret;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::base::fault::{Failure, Fault, Result, did_you_mean};
use crate::base::timefmt::Period;
use secret::Secrets;

/// The `dripfeed` object: how this tenant is read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "dripfeed")]
pub struct Dripfeed {
    /// A built-in source by name, or the path of a manifest.
    pub source: Option<String>,
    /// The name of this account in logs, events and the state directory.
    pub tenant: Option<String>,
    /// The folder for what outlives a run: ledger, locks, drift.
    pub state_dir: Option<PathBuf>,
    /// How fast this account may be called.
    pub pace: Pace,
    /// Named sets of streams, each with a cadence.
    pub tiers: BTreeMap<String, Tier>,
    /// What to do when the vendor changes its schema.
    pub drift: Drift,
    /// How to close the gaps that an API's own paging leaves.
    pub safety: Safety,
    /// What `sync` feeds, when its `--target` says nothing: a command with its arguments, split as a shell does, run without one.
    pub target: Option<String>,
    /// The longest that a run may take, as an ISO-8601 duration such as PT50M.
    pub deadline: Option<IsoDuration>,
    /// Where alerts go.
    pub alert: Option<Alert>,
    /// The largest page that is read, in bytes after decompression; 33554432 (32 MiB) when not said.
    #[schemars(range(min = 1024))]
    pub max_page_bytes: Option<u64>,
    /// Seconds between two questions how a job stands that prepares records at the vendor's; 5 when not said.
    #[schemars(range(min = 0.001, max = 3600.0))]
    pub poll_seconds: Option<f64>,
    /// Hosts beside the manifest's own that a next link or redirect may lead to, credentials included.
    pub allowed_hosts: Vec<String>,
}

/// How fast one account may be called.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Every limit holds at once.
    pub limits: Vec<Limit>,
    /// The share of each limit that is used; 0.98 when not said.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub headroom: Option<f64>,
    /// The share of the limits that a backfill gets even while live runs wait; 0.1 when not said.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub backfill_floor: Option<f64>,
    /// A name for the account, for configs that share one.
    pub account: Option<String>,
    /// Ignore what the vendor's headers say is left, where they are not true; what a refusal says still counts.
    pub ignore_headers: Option<bool>,
}

/// One limit of the vendor.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Limit {
    /// So many calls in a time.
    Calls {
        /// Calls.
        #[schemars(range(min = 1))]
        calls: u64,
        /// In this time, as an ISO-8601 duration.
        per: IsoDuration,
        /// How the vendor counts.
        #[serde(default)]
        kind: LimitKind,
        /// The most calls at once, for a bucket.
        burst: Option<u64>,
    },
    /// So many points (GraphQL cost) in a time.
    Points {
        /// Points.
        #[schemars(range(min = 1))]
        points: u64,
        /// In this time, as an ISO-8601 duration.
        per: IsoDuration,
        /// How the vendor counts.
        #[serde(default)]
        kind: LimitKind,
        /// The most points at once, for a bucket.
        burst: Option<u64>,
    },
    /// So many calls under way at once.
    InFlight {
        /// Calls.
        #[schemars(range(min = 1))]
        in_flight: u64,
    },
}

/// How a vendor counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Any window of that length.
    #[default]
    Window,
    /// A bucket that refills.
    Bucket,
}

/// A named set of streams.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Their names; `*` is every stream that no other tier names.
    pub streams: Vec<String>,
    /// When they are read: five cron fields, `H` for a value of the tenant's own.
    #[schemars(regex(pattern = r"^\S+ \S+ \S+ \S+ \S+$"))]
    pub schedule: Option<String>,
}

/// What tiers cannot be called: in records, status and alerts these are the names of other runs.
const TAKEN: [(&str, &str); 2] = [("all", "runs without a tier"), ("backfill", "backfills")];

/// What to do when the vendor changes its schema.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drift {
    /// Exceptions from the defaults; the most specific counts: a rule's before a pointer's before a stream's.
    pub rules: Vec<DriftRule>,
    /// How much may be put aside before a stream stops.
    pub quarantine: Quarantine,
    /// The largest record that is sent, in bytes; 16777216 (16 MiB) when not said.
    #[schemars(range(min = 1024))]
    pub max_record_bytes: Option<u64>,
    /// By stream: the path of one record at the vendor's, `{id}` standing for its key: to see whether a field is gone.
    pub witness: BTreeMap<String, String>,
    /// No look at records at all.
    pub off: bool,
}

/// How much may be put aside, of a stream in a run, before it stops.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quarantine {
    /// Records, at most; 100 when not said.
    pub max_records: Option<u64>,
    /// Share of the records, at most; 0.001 when not said.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_share: Option<f64>,
    /// Records that may be in any case, however few were read; 10 when not said.
    pub always: Option<u64>,
    /// The largest file, in bytes; 268435456 (256 MiB) when not said.
    pub max_bytes: Option<u64>,
}

/// An exception from the defaults.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftRule {
    /// Only this stream.
    pub stream: Option<String>,
    /// Only these places, as a JSON pointer in which `*` and `**` stand for any segments.
    pub pointer: Option<String>,
    /// Only this kind of change.
    pub rule: Option<String>,
    /// What is done.
    pub policy: DriftPolicy,
    /// Yes, also where what is extracted cannot be trusted then.
    #[serde(default)]
    pub allow_unsafe: bool,
}

/// What is done about a change; the later, the more is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// Nothing.
    Ignore,
    /// It is noted.
    Record,
    /// The schema grows with it.
    Evolve,
    /// It is told as a warning.
    Warn,
    /// The value is kept in the quarantine file, and null is sent in its place.
    NullValue,
    /// The record is kept in the quarantine file instead of being sent.
    Quarantine,
    /// The stream ends; others go on.
    FailStream,
    /// The run ends.
    FailRun,
}

impl DriftPolicy {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            DriftPolicy::Ignore => "ignore",
            DriftPolicy::Record => "record",
            DriftPolicy::Evolve => "evolve",
            DriftPolicy::Warn => "warn",
            DriftPolicy::NullValue => "null-value",
            DriftPolicy::Quarantine => "quarantine",
            DriftPolicy::FailStream => "fail-stream",
            DriftPolicy::FailRun => "fail-run",
        }
    }
}

/// How to close the gaps that an API's own paging leaves. A manifest may say the same under `metadata.dripfeed.safety`;
/// the config wins, key by key.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Safety {
    /// A bookmark stays this long before the moment at which the reading of its slice began, by the vendor's clock: what
    /// changes meanwhile, or becomes visible late, is read by the next run. For cursors that tell when a record changed.
    pub settle: Option<IsoDuration>,
    /// Reads this much again before the bookmark.
    pub overlap: Option<IsoDuration>,
    /// Reads a window again until two readings agree.
    pub two_sweeps: Option<bool>,
    /// Where a partition starts that no run has read before.
    pub new_partitions: Option<NewPartitions>,
}

/// Where a partition starts that no run has read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewPartitions {
    /// At the stream's bookmark, as in airbyte-cdk: older records of a partition that comes into view late are not read.
    Bookmark,
    /// At the start date.
    Whole,
}

impl Safety {
    /// What a manifest says about its own source, under `metadata.dripfeed.safety`.
    pub fn of_manifest(metadata: Option<&Json>) -> Result<Safety> {
        let Some(given) = metadata.and_then(|m| m.get("dripfeed")).and_then(|d| d.get("safety")) else {
            return Ok(Safety::default());
        };
        let settings = schemars::generate::SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<Safety>().to_value();
        validate(given, &schema, "metadata.dripfeed.safety")
            .map_err(|f| Fault { message: f.message.replacen("config ", "manifest ", 1), ..f })?;
        serde_json::from_value(given.clone()).map_err(|e| Fault::config(format!("metadata.dripfeed.safety: {e}")))
    }

    /// These settings, with `others` where they say nothing.
    pub fn or(self, others: Safety) -> Safety {
        Safety {
            settle: self.settle.or(others.settle),
            overlap: self.overlap.or(others.overlap),
            two_sweeps: self.two_sweeps.or(others.two_sweeps),
            new_partitions: self.new_partitions.or(others.new_partitions),
        }
    }
}

/// Where alerts go.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// An address that takes a POST.
    #[schemars(regex(pattern = r"^https?://"))]
    pub webhook: String,
    /// Signs the call.
    #[schemars(extend("airbyte_secret" = true))]
    pub secret: Option<String>,
}

impl std::fmt::Debug for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Alert(…)")
    }
}

/// An ISO-8601 duration such as `PT50M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsoDuration(pub Period);

impl<'de> Deserialize<'de> for IsoDuration {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Period::parse(&text).map(IsoDuration).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for IsoDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IsoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^P(?:\d+Y)?(?:\d+M)?(?:\d+W)?(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?$",
            "examples": ["PT1H", "P1D"]
        })
    }
}

/// The JSON Schema of the `dripfeed` object, self-contained.
pub fn schema() -> Json {
    let settings = schemars::generate::SchemaSettings::draft07().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<Dripfeed>().to_value()
}

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

/// What can be read of a config that is refused as a whole: whose it is, and who is to be told.
#[derive(Debug, Clone, Default)]
pub struct Gist {
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
pub fn gist(paths: &[String]) -> Gist {
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
    Gist {
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
    let schema = schema();
    secrets.add_marked(&ours, &schema);
    validate(&ours, &schema, "dripfeed")?;
    let ours: Dripfeed = serde_json::from_value(ours).map_err(|e| Fault::config(format!("config `dripfeed`: {e}")))?;
    match TAKEN.iter().find(|(name, _)| ours.tiers.contains_key(*name)) {
        Some((name, whose)) => Err(Fault::config(format!(
            "config `dripfeed.tiers`: a tier cannot be called `{name}`, for that is what {whose} are called"
        ))
        .hint("give the tier another name")),
        None => Ok(ours),
    }
}

/// Checks the source's part against the manifest's `connection_specification`.
pub fn validate_source(config: &Config, specification: &Json) -> Result<()> {
    // Keys that start with two underscores are the platform's own, and so are two others.
    let mut json = config.source.clone();
    if let Some(map) = json.as_object_mut() {
        map.retain(|key, _| !key.starts_with("__") && key != "_limit" && key != "_page_size");
    }
    validate(&json, specification, "")
}

/// Validates and says what is wrong first, where, and what is allowed; never a value.
pub fn validate(json: &Json, schema: &Json, prefix: &str) -> Result<()> {
    // Formats are advice, as in the reference: a source may take a date where its schema speaks of a time.
    let validator = jsonschema::options().should_validate_formats(false).build(schema).map_err(|e| {
        Fault::config(format!("the connection specification is not a valid JSON schema: {}", e.masked()))
    })?;
    // What a reference stands for is judged where it is known.
    let known =
        |error: &jsonschema::ValidationError<'_>| error.instance().as_str().and_then(secret::reference).is_none();
    let Some(error) = validator.iter_errors(json).find(known) else { return Ok(()) };
    let pointer = error.instance_path().to_string();
    let mut path = prefix.to_owned();
    for segment in pointer.split('/').skip(1) {
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            path += &format!("[{segment}]");
        } else {
            path += if path.is_empty() { "" } else { "." };
            path += segment;
        }
    }
    let place = if path.is_empty() { "config".to_owned() } else { format!("config `{path}`") };
    if let jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        let unknown = unexpected.first().map_or("", String::as_str);
        let known = allowed_keys(schema, &pointer);
        let told = format!("Additional properties are not allowed ('{unknown}' was unexpected)");
        let fault = Fault::config(format!("{place} has an unknown key `{unknown}`"))
            .told(format!("Config validation error: {told}"), Failure::Config);
        return Err(match did_you_mean(unknown, known.iter().map(String::as_str)) {
            Some(name) => fault.hint(format!("did you mean `{name}`?")),
            None => fault.hint(format!("it can hold {}", known.join(", "))),
        });
    }
    let fault = Fault::config(format!("{place}: {}", error.masked_with("the value")));
    // As the reference words it; other faults it words with the value, which is nobody's business.
    let told = match error.kind() {
        jsonschema::error::ValidationErrorKind::Required { property } => {
            format!("'{}' is a required property", property.as_str().unwrap_or_default())
        }
        _ => fault.message.clone(),
    };
    Err(fault.told(format!("Config validation error: {told}"), Failure::Config))
}

/// The property names that `schema` declares at a pointer into an instance.
fn allowed_keys(schema: &Json, pointer: &str) -> Vec<String> {
    let mut at = schema;
    for segment in pointer.split('/').skip(1) {
        at = match &at["properties"][segment] {
            Json::Null if at["items"].is_object() => &at["items"],
            Json::Null => &at["additionalProperties"],
            found => found,
        };
    }
    at["properties"].as_object().map(|p| p.keys().cloned().collect()).unwrap_or_default()
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
