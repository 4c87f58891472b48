//! Reads typed values from nodes: the trait, and the basic types of components.
//!
//! Input: a node and its location. Output: a value, or a fault with the expected and the actual type. Called by
//! `component!`.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::faults::note;
use super::{Node, NodeKind, Place, mapping};
use crate::base::fault::{Fault, Result};

/// A type that can be read from a node.
pub trait Read: Sized {
    /// Is the location needed only for faults? True for most values, which therefore store none.
    const PLACELESS: bool = false;

    /// Reads the value.
    fn read(node: &Node, at: &Place) -> Result<Self>;

    /// The value of an absent field; a fault unless the type is optional.
    fn absent(at: impl FnOnce() -> Place) -> Result<Self> {
        let at = at();
        let name = at.location.path.rsplit('.').next().unwrap_or_default();
        Err(at.fault(format!("`{name}` is missing")))
    }
}

/// Reads a child of the node at `parent`.
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
            _ => wrong("a string", node, at),
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
            NodeKind::Scalar(Json::Number(n)) => n.as_u64().ok_or_else(|| at.fault("expected an integer of 0 or more")),
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
            NodeKind::Scalar(value) if !value.is_null() => wrong("a list", node, at).map_err(|fault: Fault| {
                fault.hint("write it in brackets, as `[a, b]`, or its items below, each after `- `")
            }),
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

/// A value that may contain templates: as written, with its location.
#[derive(Debug, Clone)]
pub struct Text {
    /// The value as written.
    pub value: Json,
    /// The location.
    pub at: Place,
}

impl Text {
    /// Can it contain values of the config?
    pub fn reads_config(&self) -> bool {
        self.value.to_string().contains("config")
    }
}

impl Read for Text {
    fn read(node: &Node, at: &Place) -> Result<Self> {
        Ok(Text { value: node.to_json(), at: at.clone() })
    }
}

/// A node as written, for later processing.
#[derive(Debug, Clone)]
pub struct Raw {
    /// The node.
    pub node: Node,
    /// The location.
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

/// How one or several components are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// As a single component.
    One,
    /// As a list, possibly with a single item.
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
