//! Typed values out of nodes: the trait, and the types that every component is made of.
//!
//! Input: a node and its place. Output: a value, or a fault that says what was expected and what was found. Called
//! by `component!`.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::faults::note;
use super::{Node, NodeKind, Place, mapping};
use crate::base::fault::Result;

/// What can be read from a node.
pub trait Read: Sized {
    /// Is a place needed for nothing but the fault? Most values are such, and have none.
    const PLACELESS: bool = false;

    /// Reads it.
    fn read(node: &Node, at: &Place) -> Result<Self>;

    /// What its absence means; a fault unless the type is optional.
    fn absent(at: impl FnOnce() -> Place) -> Result<Self> {
        let at = at();
        let name = at.location.path.rsplit('.').next().unwrap_or_default();
        Err(at.fault(format!("`{name}` is missing")))
    }
}

/// Reads a child of what stands at `parent`.
pub(super) fn read_child<T: Read>(node: &Node, parent: &Place, at: impl FnOnce() -> Place) -> Result<T> {
    if T::PLACELESS
        && let Ok(read) = T::read(node, parent)
    {
        return Ok(read);
    }
    T::read(node, &at())
}

pub(super) fn wrong<T>(wanted: &str, node: &Node, at: &Place) -> Result<T> {
    Err(at.fault(format!("expected {wanted}, found {}", node.type_name())))
}

impl Read for String {
    const PLACELESS: bool = true;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            NodeKind::Scalar(Json::String(s)) => Ok(s.clone()),
            NodeKind::Scalar(s @ (Json::Number(_) | Json::Bool(_))) => Ok(s.to_string()),
            _ => wrong("a text", node, at),
        }
    }
}

impl Read for bool {
    const PLACELESS: bool = true;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            NodeKind::Scalar(Json::Bool(b)) => Ok(*b),
            _ => wrong("true or false", node, at),
        }
    }
}

impl Read for u64 {
    const PLACELESS: bool = true;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            NodeKind::Scalar(Json::Number(n)) => n.as_u64().ok_or_else(|| at.fault("expected a whole number from 0")),
            _ => wrong("a number", node, at),
        }
    }
}

impl Read for f64 {
    const PLACELESS: bool = true;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            NodeKind::Scalar(Json::Number(n)) => n.as_f64().ok_or_else(|| at.fault("expected a number")),
            _ => wrong("a number", node, at),
        }
    }
}

impl Read for Json {
    const PLACELESS: bool = true;

    fn read(node: &Node, _: &Place) -> Result<Self> {
        Ok(node.to_json())
    }
}

impl<T: Read> Read for Option<T> {
    const PLACELESS: bool = T::PLACELESS;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        if node.is_null() { Ok(None) } else { T::read(node, at).map(Some) }
    }

    fn absent(_: impl FnOnce() -> Place) -> Result<Self> {
        Ok(None)
    }
}

impl<T: Read> Read for Box<T> {
    fn read(node: &Node, at: &Place) -> Result<Self> {
        T::read(node, at).map(Box::new)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            NodeKind::Seq(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    match read_child(item, at, || at.element(i, item)) {
                        Ok(value) => out.push(value),
                        Err(fault) => note(fault)?,
                    }
                }
                Ok(out)
            }
            _ => wrong("a list", node, at),
        }
    }
}

impl<T: Read> Read for IndexMap<String, T> {
    fn read(node: &Node, at: &Place) -> Result<Self> {
        let pairs = mapping(node, at)?.iter().filter(|(key, _)| *key != "$parameters");
        let mut out = IndexMap::new();
        for (key, value) in pairs {
            match read_child(value, at, || at.field(key, Some(value))) {
                Ok(value) => drop(out.insert(key.clone(), value)),
                Err(fault) => note(fault)?,
            }
        }
        Ok(out)
    }
}

/// A value that may hold templates: whatever was written, and where.
#[derive(Debug, Clone)]
pub struct Text {
    /// As written.
    pub value: Json,
    /// Where.
    pub at: Place,
}

impl Text {
    /// May it hold something of the config?
    pub fn reads_config(&self) -> bool {
        self.value.to_string().contains("config")
    }
}

impl Read for Text {
    fn read(node: &Node, at: &Place) -> Result<Self> {
        Ok(Text { value: node.to_json(), at: at.clone() })
    }
}

/// A node as it was written, for what is made of it later.
#[derive(Debug, Clone)]
pub struct Raw {
    /// It.
    pub node: Node,
    /// Where.
    pub at: Place,
}

impl Read for Raw {
    fn read(node: &Node, at: &Place) -> Result<Self> {
        Ok(Raw { node: node.clone(), at: at.clone() })
    }
}

/// One component, or a list of them.
#[derive(Debug, Clone)]
pub struct OneOrMany<T>(pub Vec<T>, pub Spelling);

/// How one component or several are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// By itself.
    One,
    /// In a list, which may hold a single one.
    List,
}

impl<T: Read> Read for OneOrMany<T> {
    fn read(node: &Node, at: &Place) -> Result<Self> {
        match node.kind {
            NodeKind::Seq(_) => Vec::read(node, at).map(|all| OneOrMany(all, Spelling::List)),
            _ => Ok(OneOrMany(vec![T::read(node, at)?], Spelling::One)),
        }
    }
}
