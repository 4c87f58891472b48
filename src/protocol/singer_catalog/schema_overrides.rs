//! Schemas of fields that a user changed in a catalog.
//!
//! Input: the schema of a stream in a catalog file, and those that the source prints. Output: the fields that differ,
//! by path; a type to which the source's values cannot be converted is refused. Called by `run` (finds them) and
//! `engine` (announces them). A field missing from the catalog is not an override: an old catalog hides no new field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::base::fault::{Fault, Result};
use crate::base::json::schema::{MAX_DEPTH, Reader};

/// Keywords that the relaxed schema sets itself, or that describe selection.
const STRUCTURE: [&str; 18] = [
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "definitions",
    "enum",
    "format",
    "inclusion",
    "items",
    "oneOf",
    "patternProperties",
    "properties",
    "required",
    "selected",
    "selected-by-default",
    "type",
];

/// The schemas of fields that a user changed, by path.
#[derive(Debug, Clone, Default)]
pub struct SchemaOverrides(BTreeMap<Vec<String>, Json>);

impl SchemaOverrides {
    /// No overrides.
    pub const NONE: SchemaOverrides = SchemaOverrides(BTreeMap::new());

    /// The fields of a stream whose schema `written` in the catalog differs from all schemas that the source printed.
    pub fn find(stream: &str, written: &Json, discovered: &[&Json]) -> Result<SchemaOverrides> {
        let mut overrides = SchemaOverrides::default();
        let schema = Reader::new(written);
        let discovered: Vec<(Reader<'_>, &Json)> = discovered.iter().map(|root| (Reader::new(root), *root)).collect();
        overrides.compare((schema, written), &discovered, &mut Vec::new()).map_err(|(path, refused)| {
            let field = path.join(".");
            Fault::config(format!(
                "the catalog's `schema` of the stream `{stream}` makes the field `{field}` {refused}"
            ))
            .hint("values cannot be converted to that without loss: keep the type, or make it a string")
        })?;
        Ok(overrides)
    }

    /// The schema of the field at a path, if the user changed it.
    pub fn at(&self, path: &[String]) -> Option<&Json> {
        self.0.get(path)
    }

    /// The changed fields directly under a path, with their schemas.
    pub fn under<'o>(&'o self, path: &[String]) -> Vec<(&'o String, &'o Json)> {
        let below = self.0.iter().filter(|(field, _)| field.len() == path.len() + 1 && field.starts_with(path));
        below.filter_map(|(field, schema)| Some((field.last()?, schema))).collect()
    }

    fn compare(
        &mut self,
        (schema, written): (Reader<'_>, &Json),
        discovered: &[(Reader<'_>, &Json)],
        path: &mut Vec<String>,
    ) -> std::result::Result<(), (Vec<String>, String)> {
        if path.len() > MAX_DEPTH {
            return Ok(());
        }
        for (name, field) in schema.properties(written) {
            path.push(name.clone());
            let known: Vec<(Reader<'_>, &Json)> = discovered
                .iter()
                .filter_map(|(reader, root)| {
                    let found = reader.properties(root).into_iter().find(|(known, _)| *known == name)?;
                    Some((*reader, found.1))
                })
                .collect();
            let holds_fields = |reader: Reader<'_>, schema: &Json| !fields_of(reader, schema).is_empty();
            if !known.is_empty()
                && known.iter().all(|(reader, known)| is_same_kind((schema, field), (*reader, known)))
                && (holds_fields(schema, field) || known.iter().any(|(reader, known)| holds_fields(*reader, known)))
            {
                // Objects and lists of objects: field by field.
                let inner = item_of(schema, field);
                let known: Vec<(Reader<'_>, &Json)> =
                    known.iter().map(|(reader, known)| (*reader, item_of(*reader, known))).collect();
                self.compare((schema, inner), &known, path)?;
            } else if !known.iter().any(|(reader, known)| is_same((schema, field), (*reader, known))) {
                for (reader, known) in &known {
                    convertible((schema, field), (*reader, known)).map_err(|refused| (path.clone(), refused))?;
                }
                self.0.insert(path.clone(), inlined(schema, field));
            }
            path.pop();
        }
        Ok(())
    }
}

/// The user's schema keywords beyond the type: lengths, bounds, descriptions, formats.
fn annotations(schema: &Json) -> Map<String, Json> {
    let all = schema.as_object().into_iter().flatten();
    all.filter(|(name, _)| !STRUCTURE.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl SchemaOverrides {
    /// The announced schema of a changed field: the relaxed schema with the user's keywords beyond the type.
    pub fn announced(relaxed: Json, written: &Json) -> Json {
        let Json::Object(mut announced) = relaxed else { return relaxed };
        announced.extend(annotations(written));
        if let Some(format) = written.get("format").filter(|_| is_text(&announced)) {
            announced.insert("format".into(), format.clone());
        }
        Json::Object(announced)
    }
}

fn is_text(schema: &Map<String, Json>) -> bool {
    let text = Json::String("string".into());
    schema
        .get("type")
        .is_some_and(|types| *types == text || types.as_array().is_some_and(|types| types.contains(&text)))
}

/// The schema of a list's items, through nested lists; other schemas are returned unchanged.
fn item_of<'s>(reader: Reader<'s>, mut schema: &'s Json) -> &'s Json {
    for _ in 0..MAX_DEPTH {
        match reader.items(schema) {
            Some(items) => schema = items,
            None => break,
        }
    }
    schema
}

fn fields_of<'s>(reader: Reader<'s>, schema: &'s Json) -> Vec<(&'s String, &'s Json)> {
    reader.properties(item_of(reader, schema))
}

/// The types of a field, without null.
fn types<'s>(reader: Reader<'s>, schema: &'s Json) -> BTreeSet<&'s str> {
    reader.types(schema).into_iter().filter(|name| *name != "null").collect()
}

/// Are both objects, or both lists?
fn is_same_kind((written, field): (Reader<'_>, &Json), (reader, known): (Reader<'_>, &Json)) -> bool {
    let (wanted, has) = (types(written, field), types(reader, known));
    wanted == has && (wanted.contains("object") || wanted.contains("array"))
}

/// Does the catalog describe a field exactly as the source does?
fn is_same((written, field): (Reader<'_>, &Json), (reader, known): (Reader<'_>, &Json)) -> bool {
    let items = match (written.items(field), reader.items(known)) {
        (Some(items), Some(known)) => is_same((written, items), (reader, known)),
        (wanted, known) => wanted.is_none() && known.is_none(),
    };
    let extra = annotations(written.follow(field));
    items
        && types(written, field) == types(reader, known)
        && written.format(field) == reader.format(known)
        && extra.iter().all(|(name, value)| reader.follow(known).get(name) == Some(value))
}

/// Can every value of the source be sent under the user's schema? If not, returns what cannot.
fn convertible(
    (written, field): (Reader<'_>, &Json),
    (reader, known): (Reader<'_>, &Json),
) -> std::result::Result<(), String> {
    let (wanted, has) = (types(written, field), types(reader, known));
    let dated = matches!(written.format(field), Some("date-time" | "date"));
    let texts = wanted.contains("string") && (!dated || has.iter().all(|name| *name == "string"));
    let numbers = wanted.contains("number") && has.iter().all(|name| matches!(*name, "integer" | "number"));
    if texts || numbers || wanted.is_empty() || !wanted.contains("string") && wanted.is_superset(&has) {
        return match (written.items(field), reader.items(known)) {
            (Some(items), Some(known)) if wanted == has => convertible((written, items), (reader, known)),
            _ => Ok(()),
        };
    }
    let named = |types: &BTreeSet<&str>| types.iter().copied().collect::<Vec<_>>().join(" or ");
    let format = written.format(field).map(|format| format!(" ({format})")).unwrap_or_default();
    Err(format!("`{}`{format}, but the source has `{}`", named(&wanted), named(&has)))
}

/// A self-contained schema with references inlined.
fn inlined(reader: Reader<'_>, schema: &Json) -> Json {
    fn inline(reader: Reader<'_>, schema: &Json, depth: usize) -> Json {
        match reader.follow(schema) {
            Json::Object(map) if depth < MAX_DEPTH => {
                let inner = |value: &Json| inline(reader, value, depth + 1);
                Json::Object(map.iter().map(|(name, value)| (name.clone(), inner(value))).collect())
            }
            Json::Array(items) if depth < MAX_DEPTH => {
                Json::Array(items.iter().map(|item| inline(reader, item, depth + 1)).collect())
            }
            other => other.clone(),
        }
    }
    inline(reader, schema, 0)
}
