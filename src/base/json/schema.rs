//! Reads a JSON schema, including references and alternatives.
//!
//! Input: a schema. Output: types, format, fields and enum values, each the union over `$ref`, `allOf`, `anyOf` and
//! `oneOf`. Called by `shape` (announced types) and `drift` (expected types), so that both see the same places.

use std::collections::BTreeSet;

use serde_json::Value as Json;

/// The maximum nesting that is followed.
pub const MAX_DEPTH: usize = 32;

/// Reads a schema.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'s> {
    root: &'s Json,
}

impl<'s> Reader<'s> {
    /// A reader of the schema `root`, in which references are resolved.
    pub fn new(root: &'s Json) -> Self {
        Reader { root }
    }

    /// The target schema of a reference.
    pub fn follow(self, mut schema: &'s Json) -> &'s Json {
        for _ in 0..MAX_DEPTH {
            let Some(reference) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) else { break };
            match self.root.pointer(reference) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// Every declared property.
    pub fn properties(self, schema: &'s Json) -> Vec<(&'s String, &'s Json)> {
        let mut out = Vec::new();
        self.add_properties(schema, &mut out, 0);
        out
    }

    fn add_properties(self, schema: &'s Json, out: &mut Vec<(&'s String, &'s Json)>, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let schema = self.follow(schema);
        let before = out.len();
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            if !out[..before].iter().any(|(n, _)| *n == name) {
                out.push((name, inner));
            }
        }
        for choice in ["allOf", "anyOf", "oneOf"] {
            for inner in schema[choice].as_array().into_iter().flatten() {
                self.add_properties(inner, out, depth + 1);
            }
        }
    }

    /// The types that a schema allows, including null.
    pub fn types(self, schema: &'s Json) -> BTreeSet<&'s str> {
        let mut out = BTreeSet::new();
        self.add_types(schema, &mut out, 0);
        out
    }

    fn add_types(self, schema: &'s Json, out: &mut BTreeSet<&'s str>, depth: usize) {
        let schema = self.follow(schema);
        match &schema["type"] {
            Json::String(t) => drop(out.insert(t)),
            Json::Array(types) => out.extend(types.iter().filter_map(Json::as_str)),
            _ if depth < MAX_DEPTH => {
                for choice in ["anyOf", "oneOf", "allOf"] {
                    for inner in schema[choice].as_array().into_iter().flatten() {
                        self.add_types(inner, out, depth + 1);
                    }
                }
                if out.is_empty() && schema["properties"].is_object() {
                    out.insert("object");
                }
                for value in schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")) {
                    out.insert(match value {
                        Json::String(_) => "string",
                        Json::Bool(_) => "boolean",
                        Json::Number(n) if n.is_i64() => "integer",
                        Json::Number(_) => "number",
                        Json::Array(_) => "array",
                        Json::Object(_) => "object",
                        Json::Null => "null",
                    });
                }
            }
            _ => {}
        }
    }

    /// Does the schema declare the field at a path as text?
    pub fn is_text(self, path: &[String]) -> bool {
        let field = |at, name: &String| self.properties(at).into_iter().find(|(known, _)| *known == name);
        let place = path.iter().try_fold(self.root, |at, name| field(at, name).map(|(_, schema)| schema));
        place.is_some_and(|place| self.types(place).into_iter().filter(|kind| *kind != "null").eq(["string"]))
    }

    /// The format of its texts.
    pub fn format(self, schema: &'s Json) -> Option<&'s str> {
        let schema = self.follow(schema);
        schema["format"].as_str().or_else(|| {
            let choices = ["anyOf", "oneOf"].into_iter().flat_map(|c| schema[c].as_array().into_iter().flatten());
            { choices }.find_map(|inner| inner["format"].as_str())
        })
    }

    /// The schema of a list's items, if declared.
    pub fn items(self, schema: &'s Json) -> Option<&'s Json> {
        Some(&self.follow(schema)["items"]).filter(|items| items.as_object().is_some_and(|items| !items.is_empty()))
    }
}
