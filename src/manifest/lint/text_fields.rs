//! Warns of added text fields whose templates have no `value_type`.
//!
//! Input: a manifest's source. Output: a warning for each such field. Called by [`super::examine`].

use serde_json::Value as Json;

use crate::base::fault::Fault;
use crate::base::json::schema::Reader;
use crate::manifest::model;

/// Added fields that are texts or keys in their stream's schema, but whose templates do not declare this: values that
/// look like numbers may become numbers.
pub(super) fn untyped(source: &model::DeclarativeSource) -> Vec<Fault> {
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
            path if schemas.iter().any(|schema| Reader::new(schema).is_text(path)) => "a string",
            _ => continue,
        };
        let message = format!("stream {name}: the added field `{}` is {what} but has no `value_type`", path.join("."));
        found.push(
            Fault::config(message)
                .at(&field.at.location)
                .hint("set `value_type: string`; without it, a value that looks like a number may become a number"),
        );
    }
    found
}
