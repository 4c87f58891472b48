//! The location of a component, for faults and templates.
//!
//! Input: a location and a step to a child. Output: the child's location. Called by all code that reads nodes.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Node;
use crate::base::fault::{Fault, Location};

/// The location of a component, and the `$parameters` that apply there.
#[derive(Debug, Clone)]
pub struct Place {
    /// File, line and path, for faults.
    pub location: Location,
    /// The `parameters` variable of templates.
    pub parameters: Arc<Json>,
}

impl Place {
    /// The top of a file.
    pub fn top(file: &str) -> Place {
        Place {
            location: Location { file: file.into(), line: 0, path: "".into() },
            parameters: Arc::new(Json::Object(serde_json::Map::new())),
        }
    }

    /// The place of `node`, the child `key` of this one.
    pub fn field(&self, key: &str, node: Option<&Node>) -> Place {
        let path = &*self.location.path;
        self.below(if path.is_empty() { key.to_owned() } else { [path, ".", key].concat() }, node)
    }

    /// The place of `node`, the element `index` of this one.
    pub fn element(&self, index: usize, node: &Node) -> Place {
        let mut path = self.location.path.to_string();
        let _ = write!(path, "[{index}]");
        self.below(path, Some(node))
    }

    fn below(&self, path: String, node: Option<&Node>) -> Place {
        let line = node.map_or(0, |n| n.line);
        let line = if line == 0 { self.location.line } else { line };
        let parameters = match node.and_then(|n| n.get("$parameters")) {
            // Most components pass on their parameters unchanged.
            Some(p) if !p.spells(&self.parameters) => Arc::new(p.to_json()),
            _ => self.parameters.clone(),
        };
        Place { location: Location { file: self.location.file.clone(), line, path: path.into() }, parameters }
    }

    /// A fault of the manifest at this location.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::config(message).at(&self.location)
    }
}
