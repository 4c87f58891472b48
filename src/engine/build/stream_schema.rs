//! The schema of a stream from the manifest, from files next to it, or from a baseline.
//!
//! Input: a stream's definition. Output: a JSON schema with references resolved; or a [`SchemaSource`] if the vendor
//! provides it. Called by [`super::stream`].

use std::cell::Cell;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::Build;
use super::schema::SchemaSource;
use super::schema_refs::SchemaRefs;
use crate::base::fault::Result;
use crate::manifest::model::{DeclarativeStream, JsonFileSchemaLoader, SchemaLoader};
use crate::manifest::node::Place;
use crate::manifest::template::{Template, Vars};

impl Build<'_> {
    /// The schema of a record, as far as the manifest, its files or a baseline define it.
    pub(super) fn schema(&self, def: &DeclarativeStream, name: &str) -> Result<Json> {
        let Some(loaders) = &def.schema_loader else {
            return match (self.baseline)(name) {
                Some(baseline) => Ok(baseline),
                None => self.schema_beside(name, &def.at),
            };
        };
        let mut schemas = Vec::new();
        for loader in &loaders.0 {
            schemas.push(match loader {
                SchemaLoader::InlineSchemaLoader(def) => def.schema.clone().unwrap_or_else(|| json!({})),
                SchemaLoader::JsonFileSchemaLoader(def) => self.schema_file(def, name)?,
                SchemaLoader::DynamicSchemaLoader(_) => continue,
            });
        }
        if schemas.len() == 1 && loaders.0.len() == 1 {
            return Ok(schemas.remove(0));
        }
        // With several loaders, earlier ones take precedence.
        let mut properties = Map::new();
        for schema in &schemas {
            for (key, value) in schema["properties"].as_object().into_iter().flatten() {
                properties.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        Ok(json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": ["null", "object"],
            "properties": properties,
        }))
    }

    /// How to request the schema from the vendor, if necessary.
    pub(super) fn schema_source(&self, def: &DeclarativeStream, name: &str) -> Result<Option<SchemaSource>> {
        let loaders = def.schema_loader.as_ref().map_or(&[][..], |l| &l.0);
        let dynamic = loaders.iter().find_map(|loader| match loader {
            SchemaLoader::DynamicSchemaLoader(def) => Some(def),
            _ => None,
        });
        dynamic.map(|def| SchemaSource::build(self, def, name)).transpose()
    }

    fn schema_file(&self, def: &JsonFileSchemaLoader, name: &str) -> Result<Json> {
        let Some(text) = &def.file_path else { return self.schema_beside(name, &def.at) };
        let written = Template::compile(text, &[])?.text(&Vars::new(self.cx))?;
        let at = &text.at;
        let Some(folder) = self.manifest.folder.as_deref() else {
            return Err(at.fault("this manifest has no folder to read schema files from"));
        };
        // In a Python package the path is relative to its root, one level above the manifest: `./source_x/schemas/…`.
        let below = written.trim_start_matches("./").split_once('/').filter(|(first, _)| first.starts_with("source_"));
        let below = below.map(|(_, rest)| folder.join(rest)).filter(|path| path.exists());
        schema_of(folder, &below.unwrap_or_else(|| folder.join(&written)), &written, at)
    }

    /// The schema of a stream without a loader: `schemas/<stream>.json` next to the manifest, or an empty one.
    fn schema_beside(&self, name: &str, at: &Place) -> Result<Json> {
        let path =
            self.manifest.folder.as_ref().map(|folder| (folder, folder.join("schemas").join(format!("{name}.json"))));
        match path.filter(|(_, path)| path.is_file()) {
            Some((folder, path)) => schema_of(folder, &path, &format!("schemas/{name}.json"), at),
            None => Ok(json!({})),
        }
    }
}

/// Reads a schema and resolves its references.
fn schema_of(folder: &Path, path: &Path, written: &str, at: &Place) -> Result<Json> {
    let schema = read_schema(folder, path, written, at)?;
    let shared = path.parent().unwrap_or(folder).join("shared");
    SchemaRefs { folder, shared: &shared, at, nodes: Cell::new(0) }.resolved(&schema)
}

/// Reads a schema, which must be inside the manifest's folder.
pub(super) fn read_schema(folder: &Path, path: &Path, written: &str, at: &Place) -> Result<Json> {
    let unreadable = |e: std::io::Error| at.fault(format!("cannot read the schema {written}: {e}"));
    let path = path.canonicalize().map_err(unreadable)?;
    if !path.starts_with(folder.canonicalize().map_err(unreadable)?) {
        let fault = at.fault(format!("the schema {written} is outside the manifest's folder"));
        return Err(fault.hint("copy it into the manifest's folder"));
    }
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|e| {
        at.fault(format!("the schema {written} is not valid JSON at line {}, column {}", e.line(), e.column()))
    })
}
