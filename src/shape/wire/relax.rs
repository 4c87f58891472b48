//! From a stream's own schema to the one that targets get.
//!
//! Comes in: a JSON schema with references, choices and bounds, and the user's selection. Goes out: the relaxed schema,
//! and beside it the tree with which records are looked at. Called by [`super::Wire::build`].

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value as Json, json};

use super::{Node, Object, Prop, Selection, Shape};

/// The longest column name that every warehouse takes, in bytes.
const MAX_NAME: usize = 63;
/// Deepest schema that is followed.
const MAX_DEPTH: usize = 32;

/// Makes the wire schema and the tree beside it.
pub(super) struct Relax<'s> {
    pub(super) root: &'s Json,
    pub(super) selection: &'s Selection,
    /// Keys and cursor: they keep their names.
    pub(super) fixed: &'s [&'s str],
}

impl<'s> Relax<'s> {
    pub(super) fn object(
        &mut self,
        schema: &'s Json,
        path: &mut Vec<String>,
        depth: usize,
    ) -> (Node, Map<String, Json>) {
        let mut props: Vec<Prop> = Vec::new();
        let mut sent = Map::new();
        let mut declared: Vec<(&'s String, &'s Json)> = Vec::new();
        self.properties(schema, &mut declared, 0);
        let mut open = true;
        // Warehouses tell no large letters from small ones.
        let mut taken: HashSet<String> = self.fixed.iter().map(|name| name.to_ascii_lowercase()).collect();
        for (name, inner) in declared {
            path.push(name.clone());
            let selected = !self.selection.dropped.contains(path);
            open &= selected;
            let (node, inner_sent) = self.value(inner, path, depth + 1);
            path.pop();
            let mut sent_as = None;
            if depth == 0 {
                let fixed = self.fixed.contains(&name.as_str());
                if !fixed && (name.len() > MAX_NAME || selected && taken.contains(&name.to_ascii_lowercase())) {
                    sent_as = Some(short_name(name));
                }
            }
            if selected {
                let wire = sent_as.clone().unwrap_or_else(|| name.clone());
                taken.insert(wire.to_ascii_lowercase());
                sent.insert(wire, inner_sent);
            }
            props.push(Prop {
                name: name.clone(),
                quoted: quoted(name),
                sent_as,
                selected,
                key: None,
                cursor: false,
                node,
            });
        }
        (Node { shape: Shape::Object(Object { props, open }), key: false }, sent)
    }

    /// Every declared property, also behind `$ref`, `allOf` and choices.
    fn properties(&self, schema: &'s Json, out: &mut Vec<(&'s String, &'s Json)>, depth: usize) {
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
                self.properties(inner, out, depth + 1);
            }
        }
    }

    fn follow(&self, mut schema: &'s Json) -> &'s Json {
        for _ in 0..MAX_DEPTH {
            let Some(reference) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) else { break };
            match self.root.pointer(reference) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// The types that a schema allows, but null.
    fn types(&self, schema: &'s Json, out: &mut BTreeSet<&'s str>, depth: usize) {
        let schema = self.follow(schema);
        match &schema["type"] {
            Json::String(t) => drop(out.insert(t)),
            Json::Array(types) => out.extend(types.iter().filter_map(Json::as_str)),
            _ if depth < MAX_DEPTH => {
                for choice in ["anyOf", "oneOf", "allOf"] {
                    for inner in schema[choice].as_array().into_iter().flatten() {
                        self.types(inner, out, depth + 1);
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
        out.remove("null");
    }

    fn format(&self, schema: &'s Json) -> Option<&'s str> {
        let schema = self.follow(schema);
        schema["format"].as_str().or_else(|| {
            let choices = ["anyOf", "oneOf"].into_iter().flat_map(|c| schema[c].as_array().into_iter().flatten());
            { choices }.find_map(|inner| inner["format"].as_str())
        })
    }

    fn value(&mut self, schema: &'s Json, path: &mut Vec<String>, depth: usize) -> (Node, Json) {
        let mut types = BTreeSet::new();
        self.types(schema, &mut types, 0);
        let types: Vec<&str> = types.into_iter().collect();
        let plain = |shape, name: &str| (Node { shape, key: false }, json!({"type": ["null", name]}));
        match types.as_slice() {
            ["object"] if depth < MAX_DEPTH => {
                let (node, sent) = self.object(schema, path, depth);
                let mut schema = json!({"type": ["null", "object"]});
                if !sent.is_empty() {
                    schema["properties"] = Json::Object(sent);
                }
                (node, schema)
            }
            ["array"] if depth < MAX_DEPTH => {
                let items = &self.follow(schema)["items"];
                if items.as_object().is_none_or(Map::is_empty) {
                    let any = Box::new(Node { shape: Shape::Any, key: false });
                    return (Node { shape: Shape::Array(any), key: false }, json!({"type": ["null", "array"]}));
                }
                let (node, sent) = self.value(items, path, depth + 1);
                let mut schema = json!({"type": ["null", "array"]});
                schema["items"] = sent;
                (Node { shape: Shape::Array(Box::new(node)), key: false }, schema)
            }
            ["string"] => match self.format(schema) {
                Some("date-time") => (
                    Node { shape: Shape::DateTime, key: false },
                    json!({"type": ["null", "string"], "format": "date-time"}),
                ),
                Some("date") => {
                    (Node { shape: Shape::Date, key: false }, json!({"type": ["null", "string"], "format": "date"}))
                }
                _ => plain(Shape::String, "string"),
            },
            ["integer"] => plain(Shape::Integer, "integer"),
            ["number"] | ["integer", "number"] => plain(Shape::Number, "number"),
            ["boolean"] => plain(Shape::Bool, "boolean"),
            _ => plain(Shape::Mixed, "string"),
        }
    }
}

/// A name as a JSON key.
pub(super) fn quoted(name: &str) -> Vec<u8> {
    format!("{}:", Json::String(name.into())).into_bytes()
}

/// A name that fits, the same every time: its start and a hash of all of it.
fn short_name(name: &str) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(name.as_bytes());
    let mut end = name.len().min(MAX_NAME - 9);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{:02x}{:02x}{:02x}{:02x}", &name[..end], hash[0], hash[1], hash[2], hash[3])
}
