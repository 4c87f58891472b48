//! The `dripfeed` object of a config: the types that define it.
//!
//! Comes in: checked JSON. Goes out: a [`Dripfeed`], and the JSON Schema of it, into which the comments of the fields
//! go as descriptions. Called by `config`; a manifest's `metadata.dripfeed.safety` is read here too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::deletes::{Cadence, Deletes};
use super::validate::validate;
use crate::base::fault::{Fault, Result};
use crate::base::timefmt::Period;

/// The `dripfeed` object: how this tenant is read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "dripfeed")]
pub struct Dripfeed {
    /// A built-in source by name, or the path of a manifest.
    pub source: Option<String>,
    /// The name of this account in logs, events and the state directory.
    #[schemars(length(min = 1, max = 200))]
    pub tenant: Option<String>,
    /// The folder that runs share: ledger, locks, bookmarks, drift.
    pub state_dir: Option<PathBuf>,
    /// Lets `read` go on where the state directory cannot be used: without locks, a shared pace, and drift. Default:
    /// such a run ends with exit code 60.
    pub state_dir_optional: bool,
    /// How fast this account may be called.
    pub pace: Pace,
    /// Named sets of streams, each with a cadence.
    pub tiers: BTreeMap<String, Tier>,
    /// What dripfeed does when the vendor changes its schema.
    pub drift: Drift,
    /// How to close the gaps that an API's own paging leaves.
    pub safety: Safety,
    /// By stream, how deletes are found out. A manifest may say the same under `metadata.dripfeed.deletes`.
    pub deletes: Deletes,
    /// The target that `sync` feeds when it has no `--target`: a command with its arguments, split as a shell splits
    /// them but run without one. `{tenant}` and `{source}` in a word stand for their names.
    pub target: Option<String>,
    /// The name under which `sync` keeps the bookmarks of the target. Default: its program and arguments.
    #[schemars(length(min = 1, max = 64))]
    pub target_id: Option<String>,
    /// The only environment variables that the target of `sync` inherits. Default: all but those that the config refers
    /// to as `env:`.
    pub target_env: Option<Vec<String>>,
    /// The longest time that a run may take, as an ISO-8601 duration such as PT50M.
    pub deadline: Option<IsoDuration>,
    /// The webhook that alerts go to.
    pub alert: Option<Alert>,
    /// Whom dripfeed trusts when it connects, and the certificate that it shows.
    pub tls: Tls,
    /// The largest page that is accepted, in bytes after decompression. Default: 33554432 (32 MiB).
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_page_bytes: Option<u64>,
    /// Seconds between two polls of a job in which the vendor prepares records. Default: 5.
    #[schemars(range(min = 0.001, max = 3600.0))]
    pub poll_seconds: Option<f64>,
    /// Hosts that next links and redirects may lead to, with credentials, beside the manifest's own. If it is set,
    /// private addresses must be in it, also the manifest's own.
    pub allowed_hosts: Vec<String>,
}

/// How fast one account may be called.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// The vendor's limits. All of them hold at the same time.
    pub limits: Vec<Limit>,
    /// The share of each limit that is used. Default: 0.98.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub headroom: Option<f64>,
    /// The share of the limits that a backfill gets even while live runs wait. Default: 0.1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub backfill_floor: Option<f64>,
    /// A name for the account, for configs that share one.
    pub account: Option<String>,
    /// Ignores the vendor's headers about calls left, for vendors whose headers are wrong; a refusal's headers still
    /// count.
    pub ignore_headers: Option<bool>,
}

/// One limit of the vendor.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Limit {
    /// The most calls in a period.
    Calls {
        /// The number of calls.
        #[schemars(range(min = 1, max = 1_000_000_000))]
        calls: u64,
        /// The period, as an ISO-8601 duration such as PT1M.
        #[serde(deserialize_with = "any_length")]
        per: IsoDuration,
        /// How the vendor counts: over any window of that length, or with a bucket that refills.
        #[serde(default)]
        kind: LimitKind,
        /// The most calls at once, for a bucket.
        burst: Option<u64>,
    },
    /// The most points (GraphQL cost) in a period.
    Points {
        /// The number of points.
        #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
        points: u64,
        /// The period, as an ISO-8601 duration such as PT1M.
        #[serde(deserialize_with = "any_length")]
        per: IsoDuration,
        /// How the vendor counts: over any window of that length, or with a bucket that refills.
        #[serde(default)]
        kind: LimitKind,
        /// The most points at once, for a bucket.
        burst: Option<u64>,
    },
    /// The most calls that run at the same time.
    InFlight {
        /// The number of calls that run at the same time.
        #[schemars(range(min = 1, max = 10_000))]
        in_flight: u64,
    },
}

/// How a vendor counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Calls count within any window of the period's length.
    #[default]
    Window,
    /// Calls empty a bucket that refills at a steady rate.
    Bucket,
}

/// A named set of streams.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The names of the tier's streams. `*` stands for every stream that no other tier names.
    pub streams: Vec<String>,
    /// When the tier's streams are read, as five cron fields. `H` stands for a value that is derived from the tenant.
    #[schemars(regex(pattern = r"^\S+ \S+ \S+ \S+ \S+$"))]
    pub schedule: Option<String>,
    /// How often runs of the tier look for deletes where a stream's runs read only what changed: `hourly`, `daily`,
    /// `weekly`, `never`, or an ISO-8601 duration. Default: that of the stream.
    pub deletes: Option<Cadence>,
}

/// What dripfeed does when the vendor changes its schema.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drift {
    /// Exceptions from the default policies. The most specific one counts: one that names a rule, then one that names a
    /// pointer, then one that names a stream.
    pub rules: Vec<DriftRule>,
    /// How many records of a stream may go to the quarantine file before the stream stops.
    pub quarantine: Quarantine,
    /// The largest record that is sent, in bytes. Default: 16777216 (16 MiB).
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_record_bytes: Option<u64>,
    /// By stream, the URL path of one record, where `{id}` stands for its key: dripfeed reads a record again there to
    /// see whether a field is gone.
    pub witness: BTreeMap<String, String>,
    /// Turns the detection of drift off.
    pub off: bool,
}

/// How many records of a stream may go to the quarantine file in a run before the stream stops.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quarantine {
    /// The most records. Default: 100.
    pub max_records: Option<u64>,
    /// The largest share of the records that were read, from 0 to 1. Default: 0.001.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_share: Option<f64>,
    /// The number of records that may be quarantined however few were read. Default: 10.
    pub always: Option<u64>,
    /// The largest size of the quarantine file, in bytes. Default: 268435456 (256 MiB).
    pub max_bytes: Option<u64>,
}

/// An exception from the default policies of drift.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftRule {
    /// The stream that the exception is for. Default: every stream.
    pub stream: Option<String>,
    /// The fields that the exception is for, as a JSON pointer in which `*` stands for one segment and `**` for any
    /// number.
    pub pointer: Option<String>,
    /// The kind of change that the exception is for, such as `field_type_changed`. Default: every kind.
    pub rule: Option<String>,
    /// The policy that is applied instead of the default.
    pub policy: DriftPolicy,
    /// Allows a policy that is weaker than what keeps the extracted data trustworthy.
    #[serde(default)]
    pub allow_unsafe: bool,
}

/// What dripfeed does about a change, from the mildest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// Ignores the change.
    Ignore,
    /// Records the change in the report.
    Record,
    /// Extends the schema by the change.
    Evolve,
    /// Logs a warning.
    Warn,
    /// Writes the value to the quarantine file and sends null in its place.
    NullValue,
    /// Writes the record to the quarantine file instead of sending it.
    Quarantine,
    /// Ends the stream; the other streams go on.
    FailStream,
    /// Ends the run.
    FailRun,
}

impl DriftPolicy {
    /// The name of the policy.
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
    /// How far a bookmark stays behind the time at which the reading of its slice started, by the vendor's clock. The
    /// next run then reads what changed meanwhile or became visible late. For cursors over the time of a change.
    pub settle: Option<IsoDuration>,
    /// How far before the bookmark a run begins to read, as an ISO-8601 duration such as PT10M. Pages by offset or
    /// number overlap too: a slice is read again where rows were deleted between two of its pages.
    pub overlap: Option<IsoDuration>,
    /// Where the first read of a new partition starts.
    pub new_partitions: Option<NewPartitions>,
}

/// Where a partition starts that no run has read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewPartitions {
    /// At the stream's bookmark, as in airbyte-cdk: older records of a partition that comes into view late are not
    /// read.
    Bookmark,
    /// At the start date.
    Whole,
}

/// Settings that a manifest's metadata has at `path`.
pub(super) fn of_metadata<T: JsonSchema + DeserializeOwned>(written: &Json, path: &str) -> Result<T> {
    let settings = schemars::generate::SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    validate(written, &schema, path)
        .map_err(|f| Fault { message: f.message.replacen("config ", "manifest ", 1), ..f })?;
    serde_json::from_value(written.clone()).map_err(|e| Fault::config(format!("{path}: {e}")))
}

impl Safety {
    /// What a manifest says about its own source, under `metadata.dripfeed.safety`.
    pub fn of_manifest(metadata: Option<&Json>) -> Result<Safety> {
        let Some(written) = metadata.and_then(|m| m.get("dripfeed")).and_then(|d| d.get("safety")) else {
            return Ok(Safety::default());
        };
        Safety::refuse_removed(written, "manifest `metadata.dripfeed.safety")?;
        of_metadata(written, "metadata.dripfeed.safety")
    }

    /// Refuses a setting of former versions that never did anything: a user who set it counts on it.
    pub(super) fn refuse_removed(written: &Json, place: &str) -> Result<()> {
        match written.get("two_sweeps") {
            Some(_) => Err(Fault::config(format!("{place}.two_sweeps` does nothing and is not supported"))
                .hint("remove `two_sweeps`")),
            None => Ok(()),
        }
    }

    /// Do pages overlap?
    pub fn overlaps(&self) -> bool {
        self.overlap.is_some_and(|overlap| overlap.0 != Period::default())
    }

    /// Combines the settings: `others` fill in what is not set.
    pub fn or(self, others: Safety) -> Safety {
        Safety {
            settle: self.settle.or(others.settle),
            overlap: self.overlap.or(others.overlap),
            new_partitions: self.new_partitions.or(others.new_partitions),
        }
    }
}

/// The webhook that alerts go to.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// The http or https address that alerts are posted to.
    #[schemars(regex(pattern = r"^https?://"))]
    pub webhook: String,
    /// The key that signs each alert, so that the receiver can check the sender.
    #[schemars(extend("airbyte_secret" = true))]
    pub secret: Option<String>,
}

impl std::fmt::Debug for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Alert(…)")
    }
}

/// Whom dripfeed trusts when it connects, and the certificate that it shows.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate that proves to the vendor who calls, in PEM, with its chain: `file:PATH` reads it from a file.
    #[schemars(extend("airbyte_secret" = true, "multiline" = true))]
    pub client_cert: Option<String>,
    /// The private key of `client_cert`, in PEM: `file:PATH` reads it from a file. Default: the key that stands beside
    /// the certificate.
    #[schemars(extend("airbyte_secret" = true, "multiline" = true))]
    pub client_key: Option<String>,
    /// A file of CA certificates in PEM, which are trusted in addition to the machine's own.
    pub ca_file: Option<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// The longest duration of a setting: a hundred years. Times plus or minus longer ones leave the calendar.
const MAX_DURATION: std::time::Duration = std::time::Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A period of any length, for the limits of the pace: those are checked where they are used, and named by their place.
fn any_length<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<IsoDuration, D::Error> {
    Period::parse(&String::deserialize(d)?).map(IsoDuration).map_err(serde::de::Error::custom)
}

/// An ISO-8601 duration such as `PT50M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsoDuration(pub Period);

impl<'de> Deserialize<'de> for IsoDuration {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let period = Period::parse(&text).map_err(serde::de::Error::custom)?;
        if period.length() > MAX_DURATION {
            return Err(serde::de::Error::custom("the duration is longer than a hundred years"));
        }
        Ok(IsoDuration(period))
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
