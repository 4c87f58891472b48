//! Singer catalogs: what `discover` prints, and what a user selects in one.
//!
//! Input: a stream's wire schema with its keys. Output: the catalog, and the types of what a user's catalog asks
//! for, which `request` reads. Called by `cli` and `run`.

mod request;
mod schema_overrides;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value as Json, json};

pub use request::{KnownStream, read};
pub use schema_overrides::SchemaOverrides;

/// Which fields the user wants: those not listed as deselected, with the schemas that the user gave them.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Paths of property names that were deselected.
    pub dropped: BTreeSet<Vec<String>>,
    /// The schemas of fields that the user changed.
    pub overrides: SchemaOverrides,
}

impl Selection {
    /// Every field, as the source has it.
    pub const ALL: &'static Selection = &Selection { dropped: BTreeSet::new(), overrides: SchemaOverrides::NONE };
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
    /// Does no later run go on from its bookmark, though a state that is given counts? (Airbyte's `full_refresh`)
    pub full_refresh: bool,
    /// The key fields, where the catalog names others than the source.
    pub keys: Option<Vec<String>>,
    /// The schema that stands in the catalog.
    pub schema: Option<Json>,
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

/// The catalog entry of a stream, by its name and the name that targets get.
pub fn entry((id, sent): (&str, &str), schema: Json, keys: &[String], cursor: Option<&str>) -> CatalogEntry {
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
        tap_stream_id: id.to_owned(),
        stream: sent.to_owned(),
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
