//! Converts a stream's own schema to the schema for targets.
//!
//! Input: a JSON schema with references, alternatives and bounds, and the user's selection. Output: the relaxed
//! schema, and the tree for scanning records. Called by [`super::RecordSchema::build`].

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::{COLUMN, Node, Object, Other, Prop, Selection, Shape};
use crate::base::json::schema::{MAX_DEPTH, Reader};
use crate::protocol::singer_catalog::SchemaOverrides;

/// The longest column name that every warehouse accepts, in bytes.
const MAX_NAME: usize = 63;

/// Builds the wire schema and its tree.
pub(super) struct Relax<'s> {
    pub(super) schema: Reader<'s>,
    pub(super) selection: &'s Selection,
    /// Key and cursor fields: they keep their names.
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
        let mut declared = self.schema.properties(schema);
        let selection = self.selection;
        let known: HashSet<&String> = declared.iter().map(|(name, _)| *name).collect();
        declared.extend(selection.overrides.under(path).into_iter().filter(|(name, _)| !known.contains(*name)));
        // An additional column must not have the name of a field.
        let names: HashSet<String> = declared.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let mut open = true;
        // Warehouses ignore the case of names.
        let mut taken: HashSet<String> = self.fixed.iter().map(|name| name.to_ascii_lowercase()).collect();
        for (name, inner) in declared {
            path.push(name.clone());
            let selected = !self.selection.dropped.contains(path);
            open &= selected;
            let column = if depth == 0 { inner.get(COLUMN) } else { None };
            let (node, inner_sent) = self.value(column.unwrap_or(inner), path, depth + 1);
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
            let others =
                column.filter(|_| selected).map(|column| self.others(name, column, inner, &names)).unwrap_or_default();
            for other in &others {
                taken.insert(other.name.to_ascii_lowercase());
                sent.insert(other.name.clone(), json!({"type": ["null", other.kind]}));
            }
            props.push(Prop {
                name: name.clone(),
                quoted: quoted(name),
                sent_as,
                selected,
                key: None,
                cursor: false,
                node,
                others,
            });
        }
        (Node::of(Shape::Object(Object { props, open })), sent)
    }

    /// Additional columns for values that do not fit a column that was announced with a narrower schema.
    fn others(&self, name: &str, column: &'s Json, schema: &'s Json, names: &HashSet<String>) -> Vec<Other> {
        let before = self.schema.types(column);
        let mut kinds: Vec<&str> = self.schema.types(schema).difference(&before).copied().collect();
        if self.schema.format(column).is_some() && self.schema.format(schema).is_none() {
            kinds.push("string");
        }
        let other = |kind: &str| {
            let (shape, kind) = match kind {
                "object" => (Shape::Any, "object"),
                "array" => (Shape::Any, "array"),
                "integer" => (Shape::Integer, "integer"),
                "number" => (Shape::Number, "number"),
                "boolean" => (Shape::Bool, "boolean"),
                "string" => (Shape::String, "string"),
                _ => return None,
            };
            let name = format!("{name}__{kind}");
            let clashes = names.contains(&name.to_ascii_lowercase());
            let name = if clashes || name.len() > MAX_NAME { short_name(&name) } else { name };
            let wanted = !self.selection.dropped.contains(std::slice::from_ref(&name));
            wanted.then_some(Other { name, kind, node: Node::of(shape) })
        };
        kinds.into_iter().filter_map(other).collect()
    }

    fn value(&mut self, schema: &'s Json, path: &mut Vec<String>, depth: usize) -> (Node, Json) {
        if let Some(written) = self.selection.overrides.at(path) {
            let mut own = Relax { schema: Reader::new(written), selection: Selection::ALL, fixed: &[] };
            let (node, sent) = own.value(written, &mut Vec::new(), depth);
            return (node, SchemaOverrides::announced(sent, written));
        }
        let types: Vec<&str> = self.schema.types(schema).into_iter().filter(|t| *t != "null").collect();
        let plain = |shape, name: &str| (Node::of(shape), json!({"type": ["null", name]}));
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
                let Some(items) = self.schema.items(schema) else {
                    let any = Box::new(Node::of(Shape::Any));
                    return (Node::of(Shape::Array(any)), json!({"type": ["null", "array"]}));
                };
                let (node, sent) = self.value(items, path, depth + 1);
                let mut schema = json!({"type": ["null", "array"]});
                schema["items"] = sent;
                (Node::of(Shape::Array(Box::new(node))), schema)
            }
            ["string"] => match self.schema.format(schema) {
                Some("date-time") => {
                    (Node::of(Shape::DateTime), json!({"type": ["null", "string"], "format": "date-time"}))
                }
                Some("date") => (Node::of(Shape::Date), json!({"type": ["null", "string"], "format": "date"})),
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

/// A deterministic short name: the start of the name and a hash of all of it.
fn short_name(name: &str) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(name.as_bytes());
    let mut end = name.len().min(MAX_NAME - 9);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{:02x}{:02x}{:02x}{:02x}", &name[..end], hash[0], hash[1], hash[2], hash[3])
}
