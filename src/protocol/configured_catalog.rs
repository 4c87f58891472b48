//! Airbyte's configured catalogs: the streams that a read requests.
//!
//! Input: the file of `--catalog`. Output: the streams, each with the fields in its schema. Called by `run`.
//! Destinations handle sync modes and generations; a source only refuses what the protocol does not define.

use std::path::Path;

use serde_json::Value as Json;

use crate::base::fault::{Fault, Result};

/// A requested stream.
#[derive(Debug, Clone)]
pub struct ConfiguredStream {
    /// The name of the stream.
    pub name: String,
    /// The fields in its schema.
    pub fields: Vec<String>,
    /// Does the next run resume where this one ends? (`sync_mode`)
    pub incremental: bool,
}

/// Reads the requested streams.
pub fn read(path: &Path) -> Result<Vec<ConfiguredStream>> {
    let shown = path.display();
    let bad = |what: &str| Fault::config(format!("the catalog {shown} {what}"));
    let text = std::fs::read_to_string(path).map_err(|e| bad(&format!("cannot be read: {e}")))?;
    let json: Json = serde_json::from_str(&text)
        .map_err(|e| bad(&format!("is not valid JSON at line {}, column {}", e.line(), e.column())))?;
    let streams = json["streams"].as_array().ok_or_else(|| bad("has no `streams` list"))?;
    let mut chosen: Vec<ConfiguredStream> = Vec::new();
    for (number, stream) in streams.iter().enumerate() {
        let name = stream["stream"]["name"].as_str().ok_or_else(|| {
            bad(&format!("has a stream without a name at `streams[{number}].stream`"))
                .hint("an Airbyte run takes a configured catalog: each entry has a `stream` and its `sync_mode`")
        })?;
        for (field, known) in [
            ("sync_mode", &["full_refresh", "incremental"][..]),
            ("destination_sync_mode", &["append", "overwrite", "append_dedup", "update", "soft_delete"]),
        ] {
            let mode = stream[field].as_str();
            if !mode.is_some_and(|mode| known.contains(&mode)) {
                return Err(bad(&format!("has an unknown `{field}` at `streams[{number}]`"))
                    .hint(format!("it can be {}", known.join(", "))));
            }
        }
        if !chosen.iter().any(|other| other.name == name) {
            let properties = stream["stream"]["json_schema"]["properties"].as_object();
            chosen.push(ConfiguredStream {
                name: name.to_owned(),
                fields: properties.into_iter().flat_map(|p| p.keys().cloned()).collect(),
                incremental: stream["sync_mode"] == "incremental",
            });
        }
    }
    Ok(chosen)
}
