//! Singer catalogs: the output of `discover`, and the user's selection.
//!
//! Input: a stream's wire schema with its keys. Output: the catalog, and the types for the user's selection, which
//! `request` parses. Called by `cli` and `run`.

mod request;
mod schema_overrides;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value as Json, json};

pub use request::{KnownStream, read};
pub use schema_overrides::SchemaOverrides;

/// The fields that the user selected: all but the deselected ones, with the user's schemas.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Paths of property names that were deselected.
    pub dropped: BTreeSet<Vec<String>>,
    /// The schemas of fields that the user changed.
    pub overrides: SchemaOverrides,
}

impl Selection {
    /// Selects every field, with the source's schemas.
    pub const ALL: &'static Selection = &Selection { dropped: BTreeSet::new(), overrides: SchemaOverrides::NONE };
}

/// A stream's selection in a catalog.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// The stream.
    pub stream: String,
    /// The deselected fields.
    pub fields: Selection,
    /// The fields in the schema of an Airbyte catalog.
    pub named: Option<Vec<String>>,
    /// Read the whole stream, whatever the state contains.
    pub full_table: bool,
    /// Is the bookmark unused by later runs, though a given state is still applied? (Airbyte's `full_refresh`)
    pub full_refresh: bool,
    /// The key fields, if the catalog overrides those of the source.
    pub keys: Option<Vec<String>>,
    /// The schema in the catalog.
    pub schema: Option<Json>,
}

impl Chosen {
    /// The fields to request from a vendor that requires names; `None` if the catalog deselects nothing.
    pub fn named(&self, schema: &Json) -> Option<Vec<String>> {
        if self.fields.dropped.is_empty() {
            return self.named.clone();
        }
        let all = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().cloned());
        Some(all.filter(|name| !self.fields.dropped.contains(std::slice::from_ref(name))).collect())
    }
}

/// A catalog for output.
#[derive(Debug, Serialize)]
pub struct Catalog {
    /// The streams of the catalog.
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

/// The catalog entry of a stream, from its name and its name in targets.
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

/// Passes the breadcrumb of every property, including nested ones.
fn fields(schema: &Json, path: &mut Vec<String>, each: &mut dyn FnMut(&[String])) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        path.extend(["properties".to_owned(), name.clone()]);
        each(path);
        fields(inner, path, each);
        path.truncate(path.len() - 2);
    }
}
