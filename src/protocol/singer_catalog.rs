//! Singer catalogs: what `discover` prints, and what a user selects in one.
//!
//! Comes in: a stream's wire schema with its keys; or a catalog file. Goes out: the catalog; or which streams
//! and fields are wanted. Called by `cli`. Automatic fields always win: a target cannot do without keys.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::base::fault::{Fault, Result, did_you_mean};

/// Which fields the user wants: those not listed as deselected.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Paths of property names that were deselected.
    pub dropped: BTreeSet<Vec<String>>,
}

/// What a catalog says of a stream.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// The stream.
    pub stream: String,
    /// The fields that are not wanted.
    pub fields: Selection,
    /// The fields that an Airbyte catalog names in its schema.
    pub named: Option<Vec<String>>,
    /// Read wholly, whatever the state says.
    pub full_table: bool,
}

impl Chosen {
    /// The fields to ask a vendor for that wants them named; nothing when the catalog leaves none out.
    pub fn named(&self, schema: &Json) -> Option<Vec<String>> {
        if self.fields.dropped.is_empty() {
            return self.named.clone();
        }
        let all = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().cloned());
        Some(all.filter(|name| !self.fields.dropped.contains(std::slice::from_ref(name))).collect())
    }
}

/// A catalog, as it is printed.
#[derive(Debug, Serialize)]
pub struct Catalog {
    /// Its streams.
    pub streams: Vec<CatalogEntry>,
}

/// The catalog entry of a stream.
#[derive(Debug, Serialize)]
pub struct CatalogEntry {
    tap_stream_id: String,
    stream: String,
    key_properties: Vec<String>,
    schema: Json,
    replication_method: &'static str,
    is_view: bool,
    table_name: Option<String>,
    metadata: Vec<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication_key: Option<String>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    breadcrumb: Vec<String>,
    metadata: About,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum About {
    Stream(Json),
    #[serde(rename_all = "kebab-case")]
    Field {
        inclusion: &'static str,
        selected_by_default: bool,
    },
}

/// The catalog entry of a stream.
pub fn entry(stream: &str, schema: Json, keys: &[String], cursor: Option<&str>) -> CatalogEntry {
    let method = if cursor.is_some() { "INCREMENTAL" } else { "FULL_TABLE" };
    let replication_keys: Vec<&str> = cursor.into_iter().collect();
    let mut root = json!({
        "inclusion": "available", "selected-by-default": true, "table-key-properties": keys,
        "forced-replication-method": method, "replication-method": method,
    });
    if cursor.is_some() {
        root["valid-replication-keys"] = json!(replication_keys);
        root["replication-key"] = json!(cursor);
    }
    let mut metadata = vec![Metadata { breadcrumb: Vec::new(), metadata: About::Stream(root) }];
    fields(&schema, &mut Vec::new(), &mut |path| {
        let automatic = path.len() == 2 && (keys.contains(&path[1]) || cursor == Some(path[1].as_str()));
        let inclusion = if automatic { "automatic" } else { "available" };
        let about = About::Field { inclusion, selected_by_default: true };
        metadata.push(Metadata { breadcrumb: path.to_vec(), metadata: about });
    });
    CatalogEntry {
        tap_stream_id: stream.to_owned(),
        stream: stream.to_owned(),
        key_properties: keys.to_vec(),
        schema,
        replication_method: method,
        is_view: false,
        table_name: None,
        metadata,
        replication_key: cursor.map(str::to_owned),
    }
}

/// Gives the breadcrumb of every property, nested ones included.
fn fields(schema: &Json, path: &mut Vec<String>, each: &mut dyn FnMut(&[String])) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        path.extend(["properties".to_owned(), name.clone()]);
        each(path);
        fields(inner, path, each);
        path.truncate(path.len() - 2);
    }
}

/// Reads a catalog file. `known` are the source's streams with keys and cursor.
pub fn read(path: &Path, known: &[(String, Vec<String>)]) -> Result<Vec<Chosen>> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|e| Fault::config(format!("cannot read the catalog {shown}: {e}")))?;
    let json: Json = serde_json::from_str(&text).map_err(|e| {
        Fault::config(format!("the catalog {shown} is not valid JSON at line {}, column {}", e.line(), e.column()))
    })?;
    let streams = json["streams"].as_array().ok_or_else(|| {
        Fault::config(format!("the catalog {shown} has no list `streams`")).hint("make one with `dripfeed discover`")
    })?;
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut seen = BTreeSet::new();
    for stream in streams {
        let name = stream["tap_stream_id"].as_str().or(stream["stream"].as_str());
        let name = match (name, stream["stream"].is_object()) {
            (Some(name), _) => name,
            (None, true) => {
                return Err(Fault::config(format!("the catalog {shown} is an Airbyte catalog"))
                    .hint("a Singer run takes a Singer catalog"));
            }
            (None, false) => {
                return Err(Fault::config(format!("a stream of the catalog {shown} has no `tap_stream_id`")));
            }
        };
        let Some((_, automatic)) = known.iter().find(|(k, _)| k == name) else {
            let fault = Fault::config(format!(
                "the catalog {shown} names the stream `{name}`, which this source does not have"
            ));
            return Err(match did_you_mean(name, known.iter().map(|(k, _)| k.as_str())) {
                Some(near) => {
                    fault.hint(format!("did you mean `{near}`? If the catalog is another source's, discover anew"))
                }
                None => fault.hint("make a catalog of this source with `dripfeed discover`"),
            });
        };
        if !seen.insert(name.to_owned()) {
            return Err(Fault::config(format!("the catalog {shown} names the stream `{name}` twice")));
        }
        if let Some(choice) = choose(name, stream, automatic) {
            chosen.push(choice);
        }
    }
    Ok(chosen)
}

fn choose(name: &str, stream: &Json, automatic: &[String]) -> Option<Chosen> {
    let entries: Vec<(Vec<String>, &Json)> = stream["metadata"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|m| {
            let path = m["breadcrumb"].as_array().into_iter().flatten().filter_map(Json::as_str);
            // `["properties", "a", "properties", "b"]` is a, b; `items` steps into lists.
            let path = path.enumerate().filter(|(i, p)| i % 2 == 1 || *p != "properties").map(|(_, p)| p.to_owned());
            (path.filter(|p| p != "items").collect(), &m["metadata"])
        })
        .collect();
    let says = |m: &Json| m["selected"].as_bool().or_else(|| m["selected-by-default"].as_bool());
    let root = entries.iter().find(|(path, _)| path.is_empty()).map_or(&Json::Null, |(_, m)| *m);
    let selected = root["selected"]
        .as_bool()
        .or_else(|| stream["selected"].as_bool())
        .or_else(|| root["selected-by-default"].as_bool());
    if root["inclusion"] == "unsupported" || !selected.unwrap_or(true) && root["inclusion"] != "automatic" {
        return None;
    }
    let is_automatic =
        |path: &[String], m: &Json| m["inclusion"] == "automatic" || path.len() == 1 && automatic.contains(&path[0]);
    let wanted: Vec<&Vec<String>> = entries
        .iter()
        .filter(|(path, m)| !path.is_empty() && (m["selected"] == true || is_automatic(path, m)))
        .map(|(p, _)| p)
        .collect();
    let mut fields = Selection::default();
    for (path, m) in entries.iter().filter(|(path, _)| !path.is_empty()) {
        let drop = m["inclusion"] == "unsupported" || says(m) == Some(false);
        // A selected child needs its parents.
        let has_wanted_child = wanted.iter().any(|w| w.len() > path.len() && w.starts_with(path));
        if drop && !is_automatic(path, m) && !has_wanted_child {
            fields.dropped.insert(path.clone());
        }
    }
    let method = root["replication-method"].as_str().or_else(|| stream["replication_method"].as_str());
    Some(Chosen { stream: name.into(), fields, named: None, full_table: method == Some("FULL_TABLE") })
}
