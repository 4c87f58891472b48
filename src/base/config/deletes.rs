//! `dripfeed.deletes`: how the deletes of a stream are found out.
//!
//! Input: checked JSON of a config, or a manifest's `metadata.dripfeed.deletes`. Output: [`DeleteSettings`] by stream;
//! the config wins, key by key. Called by `config` and `run`; `engine` compiles them.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value as Json;

use super::settings::{IsoDuration, of_metadata};
use crate::base::fault::Result;
use crate::base::timefmt::Period;

/// How deletes are found out, by stream.
pub type Deletes = BTreeMap<String, StreamDeletes>;

/// How the deletes of a stream are found out: a mode, or a mode with its settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StreamDeletes {
    /// The mode.
    Mode(DeleteMode),
    /// The mode with its settings.
    Settings(DeleteSettings),
}

/// How dripfeed finds out which records are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeleteMode {
    /// It does not.
    Off,
    /// Compares the keys of a whole read with those of the last one.
    Sweep,
    /// Sends a new version of the whole stream, and lets the target mark the rows of older ones. Singer only, for
    /// streams that are read as a whole.
    ActivateVersion,
}

/// How the deletes of a stream are found out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeleteSettings {
    /// How dripfeed finds out which records are gone. Default: off.
    pub mode: Option<DeleteMode>,
    /// A template over `record` that is true for a record that the vendor reports as deleted.
    pub deleted_when: Option<String>,
    /// A template over `record` for the time of the delete. Default: the time at which it was read.
    pub deleted_at: Option<String>,
    /// By key field of the stream, a template over `record` for its value, if a deleted record has it elsewhere. Only
    /// the key is sent then.
    pub deleted_key: BTreeMap<String, String>,
    /// A stream of the manifest that reads only the keys, for streams whose runs read only what changed. Its key
    /// fields are those of this stream, in the same order.
    pub ids: Option<String>,
    /// How often a stream whose runs read only what changed is read for its deletes, as an ISO-8601 duration such as
    /// P1D. Default: P1D.
    pub every: Option<IsoDuration>,
    /// How many whole reads in a row must miss a record. Default: 1 if the stream fits one page, otherwise 2.
    #[schemars(range(min = 1, max = 9))]
    pub confirm: Option<u64>,
    /// The largest share of the records that may be gone at once, from 0 to 1. More needs `drift accept`. Default: 0.1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_share: Option<f64>,
    /// The number of records that may be gone at once whatever their share. Default: 20.
    pub always: Option<u64>,
}

impl StreamDeletes {
    /// The settings.
    fn settings(self) -> DeleteSettings {
        match self {
            StreamDeletes::Mode(mode) => DeleteSettings { mode: Some(mode), ..DeleteSettings::default() },
            StreamDeletes::Settings(settings) => settings,
        }
    }
}

impl DeleteSettings {
    /// Combines the settings: `others` fill in what is not set.
    fn or(self, others: DeleteSettings) -> DeleteSettings {
        DeleteSettings {
            mode: self.mode.or(others.mode),
            deleted_when: self.deleted_when.or(others.deleted_when),
            deleted_at: self.deleted_at.or(others.deleted_at),
            deleted_key: if self.deleted_key.is_empty() { others.deleted_key } else { self.deleted_key },
            ids: self.ids.or(others.ids),
            every: self.every.or(others.every),
            confirm: self.confirm.or(others.confirm),
            max_share: self.max_share.or(others.max_share),
            always: self.always.or(others.always),
        }
    }
}

/// What a manifest says about its own source, under `metadata.dripfeed.deletes`.
pub fn of_manifest(metadata: Option<&Json>) -> Result<Deletes> {
    let Some(written) = metadata.and_then(|m| m.get("dripfeed")).and_then(|d| d.get("deletes")) else {
        return Ok(Deletes::new());
    };
    of_metadata(written, "metadata.dripfeed.deletes")
}

/// The settings of each stream: those of the config, then those of its manifest.
pub fn combined(config: &Deletes, manifest: Deletes) -> BTreeMap<String, DeleteSettings> {
    let mut out: BTreeMap<String, DeleteSettings> =
        config.iter().map(|(stream, deletes)| (stream.clone(), deletes.clone().settings())).collect();
    for (stream, deletes) in manifest {
        let own = out.remove(&stream).unwrap_or_default();
        out.insert(stream, own.or(deletes.settings()));
    }
    out
}

/// How often the runs of a tier look for deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence(Option<Duration>);

impl Cadence {
    /// The shortest time between two looks; `None` for never.
    pub fn every(self) -> Option<Duration> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Cadence {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        const HOUR: Duration = Duration::from_secs(3600);
        let text = String::deserialize(d)?;
        Ok(Cadence(match text.as_str() {
            "never" => None,
            "hourly" => Some(HOUR),
            "daily" => Some(24 * HOUR),
            "weekly" => Some(7 * 24 * HOUR),
            written => Some(Period::parse(written).map_err(serde::de::Error::custom)?.length()),
        }))
    }
}

impl JsonSchema for Cadence {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cadence".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(?:hourly|daily|weekly|never|P(?:\d+W)?(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+S)?)?)$",
            "examples": ["daily", "P1D"]
        })
    }
}
