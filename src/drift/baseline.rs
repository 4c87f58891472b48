//! A stream's schema: the baseline merged with a tenant's overlay.
//!
//! Input: the baseline as JSON schema, and additions by pointer. Output: one JSON schema. Called by runs,
//! `discover` and `drift promote`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::checks::plain;
use super::overlay::Addition;
use crate::base::json::schema::Reader;

/// The schema key for the type with which a column was announced: columns never change their type.
pub const COLUMN: &str = "x-dripfeed-column";

/// Merges every addition into the schema. A `$ref` is expanded if there are additions behind it.
pub fn merged(base: &Json, additions: &BTreeMap<String, Addition>) -> Json {
    let mut schema = base.clone();
    // In chronological order, so that each column keeps its name and place.
    let mut additions: Vec<_> = additions.iter().collect();
    additions.sort_by(|a, b| (&a.1.since, a.0).cmp(&(&b.1.since, b.0)));
    for (pointer, addition) in additions {
        put(&mut schema, base, pointer, &addition.schema);
    }
    schema
}

fn put(schema: &mut Json, root: &Json, pointer: &str, value: &Json) {
    let mut at = schema;
    let segments: Vec<&str> = pointer.split('/').skip(1).collect();
    for segment in &segments {
        if at.get("$ref").is_some() {
            *at = Reader::new(root).follow(at).clone();
        }
        let Some(here) = at.as_object_mut() else { return };
        if *segment == "*" {
            let items = here.entry("items").or_insert_with(|| json!({}));
            if !items.is_object() {
                *items = json!({});
            }
            at = items;
            continue;
        }
        let name = plain(segment);
        at = within(here, &name);
    }
    let before = std::mem::replace(at, value.clone());
    // Fields that were added later are kept.
    let fields = at.get_mut("properties").and_then(Json::as_object_mut);
    if let (Some(fields), Json::Object(before)) = (fields, &before["properties"]) {
        for (name, schema) in before {
            fields.entry(name.clone()).or_insert_with(|| schema.clone());
        }
    }
}

/// The schema of a field, which may be in one of several alternatives.
fn within<'s>(object: &'s mut Map<String, Json>, name: &str) -> &'s mut Json {
    let declared = |schema: &Json| schema["properties"].get(name).is_some();
    let choice = ["allOf", "anyOf", "oneOf"].into_iter().find_map(|choice| {
        let at = object.get(choice)?.as_array()?.iter().position(declared)?;
        Some((choice, at))
    });
    let direct = object.get("properties").is_some_and(|properties| properties.get(name).is_some());
    if let (false, Some((choice, at))) = (direct, choice) {
        return &mut object[choice][at]["properties"][name];
    }
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    if !properties.is_object() {
        *properties = json!({});
    }
    &mut properties[name]
}

/// The schema at a pointer, if it is declared.
pub(super) fn at<'s>(schema: &'s Json, pointer: &str) -> Option<&'s Json> {
    let reader = Reader::new(schema);
    let step = |at: &'s Json, segment: &str| match segment {
        "*" => reader.items(at),
        name => reader.properties(at).into_iter().find(|(known, _)| **known == plain(name)).map(|(_, inner)| inner),
    };
    pointer.split('/').skip(1).try_fold(schema, step).map(|found| reader.follow(found))
}

/// A schema that accepts what either accepts; the announced column stays the same. `announces`: does the column not
/// accept all of `new`?
pub fn joined(old: &Json, new: &Json, announces: bool) -> Json {
    let mut joined = wider(old, new);
    let reader = Reader::new(&Json::Null);
    let sort_of = |schema: &Json| {
        let types = reader.types(schema).into_iter().filter(|t| *t != "null").map(str::to_owned);
        (types.collect::<BTreeSet<_>>(), reader.format(schema).map(str::to_owned))
    };
    if announces && old.get(COLUMN).is_none() && sort_of(&joined) != sort_of(old) {
        joined[COLUMN] = old.clone();
    }
    joined
}

/// A schema that accepts what either accepts, if both were widened from the same column.
pub(super) fn with_both(old: &Json, new: &Json) -> Json {
    let mut both = wider(old, new);
    if let (None, Some(column)) = (old.get(COLUMN), new.get(COLUMN)) {
        both[COLUMN] = column.clone();
    }
    both
}

fn wider(old: &Json, new: &Json) -> Json {
    let reader = Reader::new(&Json::Null);
    let (before, more) = (reader.types(old), reader.types(new));
    let mut out = old.clone();
    let Some(fields) = out.as_object_mut().filter(|_| !before.is_empty()) else { return out };
    let takes = |name: &str| before.contains(name) || name == "integer" && before.contains("number");
    let missing: Vec<&str> = more.iter().copied().filter(|name| !takes(name)).collect();
    if !missing.is_empty() {
        let mut types: Vec<&str> = match &old["type"] {
            Json::Array(all) => all.iter().filter_map(Json::as_str).collect(),
            _ => before.iter().copied().collect(),
        };
        types.extend(&missing);
        let numbers = types.contains(&"number");
        types.retain(|name| !numbers || *name != "integer");
        fields.shift_remove("anyOf");
        fields.shift_remove("oneOf");
        fields.insert("type".into(), json!(types));
    }
    for key in ["format", "enum", "pattern", "airbyte_type"] {
        if new.get(key) != old.get(key) {
            fields.shift_remove(key);
        }
    }
    for (kind, key) in [("object", "properties"), ("array", "items")] {
        let Some(inner) = new.get(key).filter(|_| more.contains(kind)) else { continue };
        match fields.get_mut(key) {
            Some(there) if key == "items" => *there = wider(there, inner),
            Some(Json::Object(there)) => {
                for (name, inner) in inner.as_object().into_iter().flatten() {
                    let joined = there.get(name).map_or_else(|| inner.clone(), |known| wider(known, inner));
                    there.insert(name.clone(), joined);
                }
            }
            // A type without further constraints accepts everything.
            _ if before.contains(kind) => {}
            _ => drop(fields.insert(key.into(), inner.clone())),
        }
    }
    out
}

/// The schema without our markers: as in the vendor's data.
pub fn unmarked(mut schema: Json) -> Json {
    fn clean(at: &mut Json) {
        match at {
            Json::Object(fields) => {
                fields.shift_remove(COLUMN);
                fields.values_mut().for_each(clean);
            }
            Json::Array(items) => items.iter_mut().for_each(clean),
            _ => {}
        }
    }
    clean(&mut schema);
    schema
}

/// A hash of a schema: 12 hex digits of SHA-256.
pub fn hash(schema: &Json) -> String {
    Sha256::digest(schema.to_string().as_bytes()).iter().take(6).map(|b| format!("{b:02x}")).collect()
}
