//! Everything that is wrong with a manifest, at once.
//!
//! Comes in: its text. Goes out: a fault for each thing that loading would refuse, and the texts in which templates may
//! stand. Called by `cli` for `validate`; loading itself stops at the first fault.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::node::{self, Node, NodeKind, Place};
use super::yaml;
use super::{fits, model, rooted};
use crate::base::fault::{Fault, Result};
use crate::base::json::schema::Reader;

/// What holds no templates.
const PLAIN: [&str; 8] =
    ["schema", "description", "title", "spec", "metadata", "definitions", "schemas", "$parameters"];

/// What was found.
#[derive(Debug, Default)]
pub struct Examined {
    /// What loading refuses.
    pub faults: Vec<Fault>,
    /// Texts with templates, each with its place.
    pub templates: Vec<(String, Place)>,
    /// Names that parents give to templates of their children.
    pub extra: BTreeSet<String>,
    /// The manifest, which counts only without a fault.
    pub source: Option<model::DeclarativeSource>,
}

/// Examines a manifest.
///
/// # Errors
/// The text cannot be read at all: it is too large or no YAML, or its references lead nowhere.
pub fn examine(text: &str, file: &str) -> Result<Examined> {
    fits(text, file)?;
    let top = Place::top(file);
    let root = rooted(yaml::parse_yaml(text, file)?, file)?;
    let mut out = Examined::default();
    texts(&root, &top, &mut out);
    // A fault of a definition shows wherever that is used, and is one all the same.
    let mut said = BTreeSet::new();
    (out.source, out.faults) = node::every_fault(&root, &top);
    out.faults
        .retain(|fault| said.insert((fault.location.as_ref().map(|location| location.line), fault.message.clone())));
    Ok(out)
}

fn texts(node: &Node, place: &Place, out: &mut Examined) {
    match &node.kind {
        NodeKind::Scalar(Json::String(text)) if text.contains("{{") || text.contains("{%") => {
            out.templates.push((text.clone(), place.clone()));
        }
        NodeKind::Seq(items) => {
            items.iter().enumerate().for_each(|(index, item)| texts(item, &place.element(index, item), out));
        }
        NodeKind::Map(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !PLAIN.contains(&key.as_str())) {
                if key == "extra_fields" {
                    let paths = value.to_json();
                    let names = paths.as_array().into_iter().flatten().filter_map(Json::as_array);
                    out.extra
                        .extend(names.map(|path| path.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(".")));
                }
                // Most of a manifest is plain text: it needs no place.
                if !matches!(&value.kind, NodeKind::Scalar(_)) || value.as_str().is_some_and(|text| text.contains('{'))
                {
                    texts(value, &place.field(key, Some(value)), out);
                }
            }
        }
        NodeKind::Scalar(_) => {}
    }
}

/// Added fields that are texts or keys by their stream's schema, and whose templates do not say so: what looks like a
/// number there may become one.
pub fn untyped_texts(source: &model::DeclarativeSource) -> Vec<Fault> {
    let streams = source.streams.iter().flatten().flat_map(model::Stream::all);
    streams.flat_map(untyped_texts_of).collect()
}

fn untyped_texts_of(stream: &model::DeclarativeStream) -> Vec<Fault> {
    let loaders = stream.schema_loader.as_ref().map_or(&[][..], |loaders| &loaders.0);
    let schemas: Vec<&Json> = loaders
        .iter()
        .filter_map(|loader| match loader {
            model::SchemaLoader::InlineSchemaLoader(inline) => inline.schema.as_ref(),
            _ => None,
        })
        .collect();
    let is_key = |name: &str| match &stream.primary_key {
        Some(Json::String(key)) => key == name,
        Some(Json::Array(keys)) => keys.iter().any(|key| *key == name || key.get(0).is_some_and(|key| *key == name)),
        _ => false,
    };
    let name = stream.name.as_ref().and_then(|name| name.value.as_str()).unwrap_or_default();
    let added = stream.transformations.iter().flatten().filter_map(|transformation| match transformation {
        model::Transformation::AddFields(add) => Some(&add.fields),
        _ => None,
    });
    let mut found = Vec::new();
    for field in added.flatten().filter(|field| field.value_type.is_none()) {
        let path: Vec<String> = field.path.iter().filter_map(|step| step.value.as_str().map(str::to_owned)).collect();
        let is_template = field.value.value.as_str().is_some_and(|text| text.contains("{{"));
        let what = match &path[..] {
            _ if !is_template || path.len() < field.path.len() => continue,
            [one] if is_key(one) => "a key",
            path if schemas.iter().any(|schema| Reader::new(schema).is_text(path)) => "a text",
            _ => continue,
        };
        let message = format!("stream {name}: the added field `{}` is {what}, and has no `value_type`", path.join("."));
        found.push(
            Fault::config(message)
                .at(&field.at.location)
                .hint("say `value_type: string`: else a value that looks like a number may become one"),
        );
    }
    found
}
