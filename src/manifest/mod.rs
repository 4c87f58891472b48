//! Loads a manifest: from text to typed components.
//!
//! Input: YAML text with its file name, or the JSON of a manifest inside a config. Output: a [`Manifest`]; a fault
//! has file, line and path. Called by `run` and `cli`; no request is sent here.

pub mod builtin;
pub mod dpath;
pub mod edit;
pub mod jinja;
pub mod lint;
pub mod model;
pub mod node;
pub mod refs;
pub(crate) mod scaffold;
pub mod schema;
pub mod template;
pub mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::fault::{Fault, Result};
use node::{Node, NodeKind, Place, Read};

/// Largest manifest text, in bytes: ten times the largest known.
const MAX_BYTES: usize = 16 << 20;

/// A typed manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The components of the manifest.
    pub source: model::DeclarativeSource,
    /// The name of the source: the file's stem, or a built-in name.
    pub name: Arc<str>,
    /// The folder of its schema files, if it came from a file.
    pub folder: Option<PathBuf>,
    /// Keys of the config that it reads and does not declare.
    pub undeclared: Vec<lint::UndeclaredKey>,
}

impl Manifest {
    /// Loads a manifest from a file.
    pub fn from_file(path: &Path) -> Result<Manifest> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Fault::config(format!("cannot read the manifest {shown}: {e}"))
                .hint("--source takes a built-in source (see `dripfeed sources`) or a file")
        })?;
        let (stem, folder) = named(path);
        Self::from_yaml(&text, &shown, &stem, folder)
    }

    /// A manifest from components that were read from a file.
    pub fn of_source(source: model::DeclarativeSource, path: &Path) -> Result<Manifest> {
        let (stem, folder) = named(path);
        Self::from_source(source, &path.display().to_string(), &stem, folder)
    }

    /// Loads a manifest from text.
    pub fn from_yaml(text: &str, file: &str, name: &str, folder: Option<PathBuf>) -> Result<Manifest> {
        fits(text, file)?;
        Self::from_node((yaml::parse_yaml(text, file)?, Some(text)), file, name, folder)
    }

    /// Loads a manifest from JSON, as in `__injected_declarative_manifest`.
    pub fn from_json(json: &serde_json::Value) -> Result<Manifest> {
        Self::from_node((Node::from_json(json), None), "__injected_declarative_manifest", "manifest", None)
    }

    /// From the tree, and the text that it was read from, if there is one.
    fn from_node(
        (root, text): (Node, Option<&str>),
        file: &str,
        name: &str,
        folder: Option<PathBuf>,
    ) -> Result<Manifest> {
        let top = Place::top(file);
        let root = rooted(root, file)?;
        let source = model::DeclarativeSource::read(&root, &top)?;
        let mut manifest = Self::from_source(source, file, name, folder)?;
        if let Some(spec) = &manifest.source.spec {
            manifest.undeclared = lint::undeclared_keys(&root, text, &top, &spec.connection_specification);
        }
        Ok(manifest)
    }

    fn from_source(
        mut source: model::DeclarativeSource,
        file: &str,
        name: &str,
        folder: Option<PathBuf>,
    ) -> Result<Manifest> {
        if source.streams.is_none() && source.dynamic_streams.is_none() {
            return Err(Place::top(file).fault("the manifest has neither `streams` nor `dynamic_streams`"));
        }
        if let Some(spec) = &mut source.spec {
            let specification = &mut spec.connection_specification;
            // Pydantic's default; the reference only requires that a spec is an object.
            if specification.is_null() {
                *specification = serde_json::json!({"type": "object"});
            }
            if !specification.is_object() {
                let at = spec.at.field("connection_specification", None);
                return Err(at.fault("a JSON schema must be an object").hint("write `type: object` and `properties`"));
            }
        }
        Ok(Manifest { source, name: name.into(), folder, undeclared: Vec::new() })
    }
}

/// The source name of a file, and the folder of its schemas.
fn named(path: &Path) -> (String, Option<PathBuf>) {
    let stem = path.file_stem().map_or_else(|| "manifest".into(), |s| s.to_string_lossy().into_owned());
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p.to_path_buf() });
    (stem, folder)
}

/// Refuses a text that is too large.
fn fits(text: &str, file: &str) -> Result<()> {
    if text.len() > MAX_BYTES {
        return Err(Fault::config(format!("the manifest {file} is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(())
}

/// The manifest's tree with references resolved, and parameters and types propagated.
fn rooted(written: Node, file: &str) -> Result<Node> {
    let top = Place::top(file);
    if written.as_map().is_none() {
        return Err(top.fault("a manifest is a mapping with `version`, `check` and `streams`"));
    }
    let mut root = refs::resolve(written, file)?;
    if let NodeKind::Map(map) = &mut root.kind {
        map.entry("type".into()).or_insert_with(|| Node::text("DeclarativeSource", 0));
    }
    let root = refs::propagate(root, false);
    if root.get("type").and_then(Node::as_str) != Some("DeclarativeSource") {
        return Err(top.fault("the `type` at the root of a manifest must be `DeclarativeSource`"));
    }
    Ok(root)
}
