//! Airbyte's states: one per stream, in the formats of platforms, PyAirbyte and older connectors.
//!
//! Input: the file of `--state`. Output: each stream's state. Called by `run`. States are written one stream at a
//! time, in `protocol::airbyte`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::base::fault::{Fault, Result};

/// States by stream.
pub type States = BTreeMap<String, Map<String, Json>>;

/// Reads a file: a list of STREAM, GLOBAL or LEGACY messages, or the older format with one object per stream.
pub fn read(path: &Path) -> Result<States> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Fault::config(format!("cannot read the state {shown}: {e}")).hint("a first run has no --state"))?;
    super::fits(text.len(), &shown.to_string())?;
    if text.trim().is_empty() {
        return Err(Fault::config(format!("the state {shown} is empty, which is not a valid state"))
            .hint("`[]` means no state"));
    }
    let json: Json = serde_json::from_str(&text).map_err(|e| {
        Fault::config(format!("the state {shown} is not valid JSON at line {}, column {}", e.line(), e.column()))
    })?;
    parse(&json).map_err(|f| Fault { message: format!("the state {shown} {}", f.message), ..f })
}

/// Parses a state from JSON.
pub fn parse(json: &Json) -> Result<States> {
    let mut states = States::new();
    match json {
        Json::Array(messages) => {
            for (number, message) in messages.iter().enumerate() {
                self::message(message, &mut states)
                    .map_err(|f| Fault { message: format!("{} at [{number}]", f.message), ..f })?;
            }
        }
        Json::Object(map) if map.contains_key("bookmarks") => {
            return Err(Fault::config("is a Singer state").hint("an Airbyte run takes a list of stream states"));
        }
        Json::Object(map) if map.contains_key("type") => message(json, &mut states)?,
        Json::Object(_) => legacy(json, &mut states)?,
        _ => return Err(Fault::config("is neither a list nor an object")),
    }
    Ok(states)
}

fn message(message: &Json, states: &mut States) -> Result<()> {
    // A whole STATE message, as printed, is accepted too.
    let message = message.get("state").filter(|s| s.is_object() && message["type"] == "STATE").unwrap_or(message);
    match message["type"].as_str() {
        Some("STREAM") => stream(&message["stream"], states),
        Some("GLOBAL") => {
            // PyAirbyte's models name it `global_`.
            let global = message.get("global").or(message.get("global_")).unwrap_or(&Json::Null);
            if global["shared_state"].as_object().is_some_and(|shared| !shared.is_empty()) {
                return Err(Fault::config("has a `shared_state`, which this source does not use"));
            }
            for one in global["stream_states"].as_array().into_iter().flatten() {
                stream(one, states)?;
            }
            Ok(())
        }
        Some("LEGACY") => legacy(&message["data"], states),
        // The format without types.
        None if message["data"].is_object() => legacy(&message["data"], states),
        None if message["stream"].is_object() => stream(&message["stream"], states),
        _ => Err(Fault::config("has an entry that is not a state")
            .hint("each entry needs a `type`: STREAM, GLOBAL or LEGACY")),
    }
}

fn stream(stream: &Json, states: &mut States) -> Result<()> {
    let name = stream["stream_descriptor"]["name"]
        .as_str()
        .ok_or_else(|| Fault::config("has a stream without `stream_descriptor.name`"))?;
    match &stream["stream_state"] {
        // A state with a namespace belongs to another stream: a source's streams have none.
        _ if stream["stream_descriptor"]["namespace"].as_str().is_some_and(|n| !n.is_empty()) => Ok(()),
        Json::Null => Ok(()),
        Json::Object(state) => {
            states.insert(name.to_owned(), state.clone());
            Ok(())
        }
        _ => Err(Fault::config(format!("has a `stream_state` of `{name}` that is not an object"))),
    }
}

fn legacy(data: &Json, states: &mut States) -> Result<()> {
    for (name, state) in data.as_object().into_iter().flatten() {
        match state {
            Json::Object(state) => drop(states.insert(name.clone(), state.clone())),
            Json::Null => {}
            _ => return Err(Fault::config(format!("has a state of `{name}` that is not an object"))),
        }
    }
    Ok(())
}
