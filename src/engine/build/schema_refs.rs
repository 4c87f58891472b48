//! Resolves references in schema files.
//!
//! Input: the content of a schema file. Output: the same with references replaced by their targets. Called by
//! [`super`]. A reference points into the file itself, or to a file in `schemas/shared`, as in airbyte-cdk's
//! `ResourceSchemaLoader`.

use std::cell::Cell;
use std::path::Path;

use serde_json::Value as Json;

use super::stream_schema::read_schema;
use crate::base::fault::Result;
use crate::manifest::node::Place;

/// The maximum nesting of references.
const MAX_DEPTH: usize = 50;
/// The maximum number of values in a schema: references can double at each step.
const MAX_NODES: usize = 200_000;

/// Files of a manifest, and the location for faults.
pub(super) struct SchemaRefs<'r> {
    /// The folder; files outside are not read.
    pub(super) folder: &'r Path,
    /// The folder of shared schemas.
    pub(super) shared: &'r Path,
    pub(super) at: &'r Place,
    pub(super) nodes: Cell<usize>,
}

/// A document, and its folder among the shared ones.
#[derive(Clone, Copy)]
struct Document<'d> {
    root: &'d Json,
    folder: &'d str,
}

impl SchemaRefs<'_> {
    /// The schema with references resolved; referenced schemas lose their own definitions, as in the reference.
    pub(super) fn resolved(&self, root: &Json) -> Result<Json> {
        self.within(root, Document { root, folder: "" }, 0)
    }

    fn within(&self, node: &Json, document: Document<'_>, depth: usize) -> Result<Json> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > MAX_NODES {
            return Err(self.at.fault(format!("the schema's references expand to more than {MAX_NODES} values")));
        }
        match node {
            Json::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(Json::as_str) {
                    return self.referred(reference, document, depth);
                }
                map.iter().map(|(key, value)| Ok((key.clone(), self.within(value, document, depth)?))).collect()
            }
            Json::Array(items) => items.iter().map(|item| self.within(item, document, depth)).collect(),
            other => Ok(other.clone()),
        }
    }

    fn referred(&self, reference: &str, document: Document<'_>, depth: usize) -> Result<Json> {
        if depth >= MAX_DEPTH {
            return Err(self.at.fault(format!("the schema's reference `{reference}` refers to itself")));
        }
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        // Files refer to each other as if they were next to the schemas, not below.
        let path = beside(document.folder, file);
        let other = match file {
            "" => None,
            _ => Some(read_schema(self.folder, &self.shared.join(&path), &path, self.at)?),
        };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let document = other.as_ref().map_or(document, |root| Document { root, folder });
        let target = document
            .root
            .pointer(pointer)
            .ok_or_else(|| self.at.fault(format!("the schema's reference `{reference}` points to nothing")))?;
        let mut target = self.within(target, document, depth + 1)?;
        if let Some(map) = target.as_object_mut() {
            map.shift_remove("definitions");
        }
        Ok(target)
    }
}

/// A path relative to another one; it must not leave the common folder.
fn beside(folder: &str, file: &str) -> String {
    let mut out: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(out.pop()),
            part => out.push(part),
        }
    }
    out.join("/")
}
