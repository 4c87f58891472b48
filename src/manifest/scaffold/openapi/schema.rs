//! Turns the schemas of a document into the JSON schema of a stream.
//!
//! Input: a schema of OpenAPI 2, 3.0 or 3.1. Output: JSON schema without references: `allOf` is merged, `oneOf` and
//! `anyOf` become a union of types, a schema inside itself becomes an open object. Called by `streams`.

use serde_json::{Map, Value as Json, json};

use super::document::Description;

/// Objects inside objects, before they stay open.
const MAX_DEPTH: usize = 6;

/// The most properties of a stream, those of inner objects included.
const MAX_PROPERTIES: usize = 1500;

/// The most values of an `enum` that are taken over.
const MAX_VALUES: usize = 40;

/// Characters of a description.
const MAX_DESCRIPTION: usize = 160;

/// Names that a manifest gives a meaning of its own.
const RESERVED: [&str; 2] = ["$ref", "$parameters"];

/// Converts schemas.
pub(super) struct Converter<'d> {
    document: &'d Description,
    /// References that are being followed.
    open: Vec<String>,
    properties: usize,
    /// Was something left open?
    pub(super) is_cut: bool,
}

impl<'d> Converter<'d> {
    pub(super) fn new(document: &'d Description) -> Self {
        Converter { document, open: Vec::new(), properties: 0, is_cut: false }
    }

    /// The properties of a record.
    pub(super) fn record(&mut self, schema: &Json) -> Map<String, Json> {
        match self.convert(schema, 0).get_mut("properties") {
            Some(Json::Object(properties)) => std::mem::take(properties),
            _ => Map::new(),
        }
    }

    fn convert(&mut self, schema: &Json, depth: usize) -> Json {
        let Some(reference) = schema["$ref"].as_str() else { return self.inner(schema, depth) };
        if self.open.iter().any(|open| open == reference) || self.open.len() > 2 * MAX_DEPTH {
            return self.any_object();
        }
        let Some(target) = self.document.target(reference) else { return self.any_object() };
        self.open.push(reference.to_owned());
        let mut out = self.convert(target, depth);
        self.open.pop();
        // What stands beside a reference is about this use of it.
        if let Some(text) = description(schema) {
            out["description"] = json!(text);
        }
        if is_nullable(schema) {
            add_null(&mut out);
        }
        out
    }

    fn any_object(&mut self) -> Json {
        self.is_cut = true;
        json!({"type": "object", "additionalProperties": true})
    }

    fn inner(&mut self, schema: &Json, depth: usize) -> Json {
        let mut out = self.own(schema, depth);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let part = self.convert(part, depth);
            merge(&mut out, &part, Merge::All);
        }
        for choice in ["oneOf", "anyOf"] {
            let branches = schema[choice].as_array().filter(|branches| !branches.is_empty());
            let Some(branches) = branches else { continue };
            let mut union = Json::Null;
            for branch in branches {
                let branch = self.convert(branch, depth);
                if union.is_null() { union = branch } else { merge(&mut union, &branch, Merge::Any) }
            }
            merge(&mut out, &union, Merge::All);
        }
        if let Some(text) = description(schema) {
            out["description"] = json!(text);
        }
        if is_nullable(schema) {
            add_null(&mut out);
        }
        out
    }

    /// A schema without what its combinations add.
    fn own(&mut self, schema: &Json, depth: usize) -> Json {
        let mut types = types(schema);
        if types.is_empty() {
            types.extend(implied(schema));
        }
        let mut out = json!({});
        if !types.is_empty() {
            out["type"] = json!(types);
        }
        let has = |name: &str| types.iter().any(|known| known == name);
        if has("object") {
            self.object(schema, &mut out, depth);
        }
        if has("array") && schema["items"].is_object() {
            out["items"] =
                if depth >= MAX_DEPTH { self.any_object() } else { self.convert(&schema["items"], depth + 1) };
            single(&mut out["items"]);
        }
        if has("string") {
            let format = schema["format"].as_str().filter(|format| matches!(*format, "date" | "date-time" | "time"));
            if let Some(format) = format {
                out["format"] = json!(format);
            }
        }
        let values = schema["enum"].as_array().filter(|values| values.len() <= MAX_VALUES && !values.is_empty());
        if let Some(values) = values.filter(|values| values.iter().all(is_plain_value)) {
            out["enum"] = json!(values);
        }
        out
    }

    fn object(&mut self, schema: &Json, out: &mut Json, depth: usize) {
        let Some(written) = schema["properties"].as_object().filter(|all| !all.is_empty()) else {
            out["additionalProperties"] = json!(true);
            return;
        };
        if depth >= MAX_DEPTH || self.properties > MAX_PROPERTIES {
            self.is_cut = true;
            out["additionalProperties"] = json!(true);
            return;
        }
        self.properties += written.len();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        let mut properties = Map::new();
        for (name, property) in written.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())) {
            let is_write_only = self.document.resolved(property)["writeOnly"] == Json::Bool(true);
            if is_write_only {
                continue;
            }
            let mut converted = self.convert(property, depth + 1);
            if !required.contains(&name.as_str()) {
                add_null(&mut converted);
            }
            single(&mut converted);
            properties.insert(name.clone(), converted);
        }
        out["properties"] = Json::Object(properties);
    }
}

/// Texts that look like references are none.
fn is_plain_value(value: &Json) -> bool {
    value.as_str().is_none_or(|text| !text.starts_with("#/"))
}

/// The types that a schema names, `null` among them.
fn types(schema: &Json) -> Vec<String> {
    const KNOWN: [&str; 7] = ["string", "integer", "number", "boolean", "object", "array", "null"];
    let names: Vec<&str> = match &schema["type"] {
        Json::String(name) => vec![name],
        Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    // A file of Swagger 2 is its text here.
    let names = names.into_iter().map(|name| if name == "file" { "string" } else { name });
    names.filter(|name| KNOWN.contains(name)).map(str::to_owned).collect()
}

/// The type of a schema that names none.
fn implied(schema: &Json) -> Option<String> {
    let by_value = |value: &Json| match value {
        Json::String(_) => Some("string"),
        Json::Bool(_) => Some("boolean"),
        Json::Number(number) if number.is_f64() => Some("number"),
        Json::Number(_) => Some("integer"),
        _ => None,
    };
    let name = if schema["properties"].is_object() || schema["additionalProperties"].is_object() {
        Some("object")
    } else if schema["items"].is_object() {
        Some("array")
    } else {
        schema.get("const").and_then(by_value).or_else(|| by_value(&schema["enum"][0]))
    };
    name.map(str::to_owned)
}

fn is_nullable(schema: &Json) -> bool {
    schema["nullable"] == Json::Bool(true) || schema["x-nullable"] == Json::Bool(true)
}

/// Allows null. A schema without type allows it already.
fn add_null(schema: &mut Json) {
    let types = match schema.get("type") {
        Some(Json::String(name)) => vec![json!(name)],
        Some(Json::Array(names)) => names.clone(),
        _ => return,
    };
    schema["type"] = Json::Array(union(types, vec![json!("null")]));
    if let Some(Json::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Json::Null)
    {
        values.push(Json::Null);
    }
}

/// Writes a single type without a list.
fn single(schema: &mut Json) {
    if let Some(Json::Array(types)) = schema.get("type")
        && let [one] = types.as_slice()
    {
        schema["type"] = one.clone();
    }
}

/// How two schemas become one.
#[derive(Clone, Copy, PartialEq)]
enum Merge {
    /// Both hold.
    All,
    /// One of them holds: a field of only one may be missing.
    Any,
}

/// Merges a schema into another; the types of both are still lists.
fn merge(into: &mut Json, from: &Json, how: Merge) {
    let typed = |schema: &Json| schema.get("type").cloned().unwrap_or_default();
    let as_list = |types: Json| match types {
        Json::Array(names) => names,
        Json::Null => Vec::new(),
        one => vec![one],
    };
    let (own, other) = (as_list(typed(into)), as_list(typed(from)));
    let is_open = how == Merge::Any && (own.is_empty() || other.is_empty());
    let mut types = own;
    for name in other {
        if !types.contains(&name) {
            types.push(name);
        }
    }
    // An integer is a number.
    if types.contains(&json!("number")) {
        types.retain(|name| name != "integer");
    }
    set_or_remove(into, "type", (!types.is_empty() && !is_open).then(|| Json::Array(types)));
    for key in ["enum", "format"] {
        let merged = match (into.get(key).cloned(), from.get(key).cloned(), how) {
            (Some(Json::Array(a)), Some(Json::Array(b)), Merge::Any) => Some(Json::Array(union(a, b))),
            (a, b, Merge::Any) => a.filter(|a| b.as_ref() == Some(a)),
            (a, b, Merge::All) => a.or(b),
        };
        set_or_remove(into, key, merged);
    }
    if into.get("items").is_none() {
        set_or_remove(into, "items", from.get("items").cloned());
    }
    if into.get("description").is_none() && how == Merge::All {
        set_or_remove(into, "description", from.get("description").cloned());
    }
    merge_properties(into, from, how);
}

fn merge_properties(into: &mut Json, from: &Json, how: Merge) {
    let Some(more) = from["properties"].as_object() else { return };
    if into["properties"].is_null() {
        into["properties"] = json!({});
    }
    let Json::Object(known) = &mut into["properties"] else { return };
    if how == Merge::Any {
        known.iter_mut().filter(|(name, _)| !more.contains_key(*name)).for_each(|(_, schema)| add_null(schema));
    }
    for (name, schema) in more {
        match known.get_mut(name) {
            Some(own) => {
                merge(own, schema, how);
                single(own);
            }
            None => {
                let mut schema = schema.clone();
                if how == Merge::Any {
                    add_null(&mut schema);
                }
                known.insert(name.clone(), schema);
            }
        }
    }
    into.as_object_mut().into_iter().for_each(|map| drop(map.shift_remove("additionalProperties")));
}

fn union(mut a: Vec<Json>, b: Vec<Json>) -> Vec<Json> {
    for value in b {
        if !a.contains(&value) {
            a.push(value);
        }
    }
    a
}

fn set_or_remove(schema: &mut Json, key: &str, value: Option<Json>) {
    match (schema.as_object_mut(), value) {
        (Some(map), Some(value)) => drop(map.insert(key.to_owned(), value)),
        (Some(map), None) => drop(map.shift_remove(key)),
        _ => {}
    }
}

/// The first sentences of a description, without marks and line breaks.
pub(super) fn description(schema: &Json) -> Option<String> {
    short(schema["description"].as_str()?)
}

/// The start of a text: as many sentences as fit.
pub(super) fn short(text: &str) -> Option<String> {
    let paragraph = text.trim().split("\n\n").next()?;
    let mut plain = String::new();
    let mut is_tag = false;
    let mut chars = paragraph.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '<' if chars.peek().is_some_and(|next| next.is_ascii_alphabetic() || *next == '/') => is_tag = true,
            '>' if is_tag => is_tag = false,
            c if !is_tag => plain.push(c),
            _ => {}
        }
    }
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() || words.starts_with("#/") {
        return None;
    }
    if words.chars().count() <= MAX_DESCRIPTION {
        return Some(words);
    }
    let cut: String = words.chars().take(MAX_DESCRIPTION).collect();
    let sentence = cut.rfind(". ").map(|end| cut[..=end].to_owned());
    sentence.or_else(|| cut.rfind(' ').map(|end| format!("{} …", &cut[..end])))
}
