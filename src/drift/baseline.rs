//! A stream's schema, with what a tenant's overlay has besides or instead.
//!
//! Input: the baseline as JSON schema, and additions by pointer. Output: one JSON schema. Called by runs,
//! `discover` and `drift promote`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::checks::plain;
use super::overlay::Addition;
use crate::base::json::schema::Reader;

/// Under this key a place's schema holds the one that its column was announced with: columns do not change their type.
pub const COLUMN: &str = "x-dripfeed-column";

/// The schema with every addition in its place. Places behind a reference are written out where they are used.
pub fn merged(base: &Json, additions: &BTreeMap<String, Addition>) -> Json {
    let mut schema = base.clone();
    // In the order in which they came, so that a column keeps its name and place.
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
    // What came into it since stays in it.
    let fields = at.get_mut("properties").and_then(Json::as_object_mut);
    if let (Some(fields), Json::Object(before)) = (fields, &before["properties"]) {
        for (name, schema) in before {
            fields.entry(name.clone()).or_insert_with(|| schema.clone());
        }
    }
}

/// The schema of a field, which may stand in one of several choices.
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

/// What a schema says at a pointer, if it declares that.
pub(super) fn at<'s>(schema: &'s Json, pointer: &str) -> Option<&'s Json> {
    let reader = Reader::new(schema);
    let step = |at: &'s Json, segment: &str| match segment {
        "*" => reader.items(at),
        name => reader.properties(at).into_iter().find(|(known, _)| **known == plain(name)).map(|(_, inner)| inner),
    };
    pointer.split('/').skip(1).try_fold(schema, step).map(|found| reader.follow(found))
}

/// The schema of a place that takes what either takes: never less than `old` did, and its column stays as it was
/// announced. `announces`: is it a column that does not take all of `new`?
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

/// The schema of a place that takes what either takes, both being widened from the same column.
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
            // One that says nothing of what is in it takes everything.
            _ if before.contains(kind) => {}
            _ => drop(fields.insert(key.into(), inner.clone())),
        }
    }
    out
}

/// The schema without marks of ours: as the vendor's data are.
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
