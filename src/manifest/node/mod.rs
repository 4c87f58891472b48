//! A manifest as a tree with line numbers, and the reading of typed components from it.
//!
//! Input: the tree of `yaml`, or JSON. Output: a [`Node`] tree; then, through [`Read`] and the `component!` macro,
//! the typed components of `model`. Every fault has file, line and path. Called by `manifest`.

mod component;
mod describe;
mod faults;
mod place;
mod read;

use indexmap::IndexMap;
use serde_json::Value as Json;

pub(super) use component::{choice, component, held};
pub use component::{field, mapping, refuse_later, refused, warn_of_unknown_keys};
pub use describe::{Definitions, Describe, Field, SchemaFacts};
pub use faults::{Reading, examine, last_of};
pub use place::Place;
pub use read::{OneOrMany, Raw, Read, Spelling, Text};

/// One node of a manifest, with the line it was written on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// 1-based, 0 when unknown.
    pub line: u32,
    /// The content.
    pub kind: NodeKind,
}

/// A mapping in written order. Lookups are frequent, and nobody gains from hash collisions in their own manifest:
/// hence the fast hasher.
pub type Fields = IndexMap<String, Node, foldhash::fast::RandomState>;

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// Null, bool, number or text.
    Scalar(Json),
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping in written order.
    Map(Fields),
}

impl Node {
    /// A node from JSON, without lines.
    pub fn from_json(json: &Json) -> Node {
        let kind = match json {
            Json::Array(items) => NodeKind::Seq(items.iter().map(Node::from_json).collect()),
            Json::Object(map) => NodeKind::Map(map.iter().map(|(k, v)| (k.clone(), Node::from_json(v))).collect()),
            scalar => NodeKind::Scalar(scalar.clone()),
        };
        Node { line: 0, kind }
    }

    /// The JSON of a node.
    pub fn to_json(&self) -> Json {
        match &self.kind {
            NodeKind::Scalar(s) => s.clone(),
            NodeKind::Seq(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            NodeKind::Map(map) => Json::Object(map.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()),
        }
    }

    /// Is the node equal to this JSON, including the order of keys?
    pub(super) fn spells(&self, json: &Json) -> bool {
        match (&self.kind, json) {
            (NodeKind::Scalar(own), json) => own == json,
            (NodeKind::Seq(own), Json::Array(items)) => {
                own.len() == items.len() && own.iter().zip(items).all(|(node, item)| node.spells(item))
            }
            (NodeKind::Map(own), Json::Object(map)) => {
                own.len() == map.len()
                    && own.iter().zip(map).all(|((a, node), (b, value))| a == b && node.spells(value))
            }
            _ => false,
        }
    }

    /// A text node.
    pub fn text(text: impl Into<String>, line: u32) -> Node {
        Node { line, kind: NodeKind::Scalar(Json::String(text.into())) }
    }

    /// The text of a text node.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar(Json::String(s)) => Some(s),
            _ => None,
        }
    }

    /// The mapping of a mapping node.
    pub fn as_map(&self) -> Option<&Fields> {
        match &self.kind {
            NodeKind::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Is it a mapping?
    pub fn is_map(&self) -> bool {
        matches!(self.kind, NodeKind::Map(_))
    }

    /// Is it null?
    pub fn is_null(&self) -> bool {
        matches!(self.kind, NodeKind::Scalar(Json::Null))
    }

    /// A child of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// Is it falsy in Python: null, false, 0, "", [], {}?
    pub fn is_falsy(&self) -> bool {
        match &self.kind {
            NodeKind::Scalar(Json::Null | Json::Bool(false)) => true,
            NodeKind::Scalar(Json::Number(n)) => n.as_f64() == Some(0.0),
            NodeKind::Scalar(Json::String(s)) => s.is_empty(),
            NodeKind::Scalar(_) => false,
            NodeKind::Seq(items) => items.is_empty(),
            NodeKind::Map(map) => map.is_empty(),
        }
    }

    fn type_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::Scalar(Json::Null) => "nothing",
            NodeKind::Scalar(Json::Bool(_)) => "true or false",
            NodeKind::Scalar(Json::Number(_)) => "a number",
            NodeKind::Scalar(_) => "a string",
            NodeKind::Seq(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }
}
