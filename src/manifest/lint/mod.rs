//! Lints a manifest: finds all problems at once.
//!
//! Input: the manifest's text. Output: a fault for each problem that loading would refuse, a warning for each that it
//! tolerates, and the texts that may contain templates. Called by `cli` for `validate`; loading itself stops at the
//! first fault.

mod config_keys;
pub mod sample;
mod streams;
mod text_fields;

pub use config_keys::UndeclaredKey;

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::node::{self, Node, NodeKind, Place, Raw};
use super::yaml;
use super::{fits, model, rooted};
use crate::base::fault::{Fault, Result};

/// Fields that hold no templates.
const PLAIN: [&str; 8] =
    ["schema", "description", "title", "spec", "metadata", "definitions", "schemas", "$parameters"];

/// The config path that selects an authenticator.
const SELECTION: &str = "authenticator_selection_path";

/// The result of the lint.
#[derive(Debug, Default)]
pub struct Examined {
    /// Problems that loading refuses.
    pub faults: Vec<Fault>,
    /// Problems that loading tolerates.
    pub warnings: Vec<Fault>,
    /// Texts with templates, each with its location.
    pub templates: Vec<(String, Place)>,
    /// Names that parents add to the templates of their children.
    pub extra: BTreeSet<String>,
    /// Config paths that select an authenticator, each with its location.
    selections: Vec<(Vec<String>, Place)>,
    /// The manifest; valid only without faults.
    pub source: Option<model::DeclarativeSource>,
    root: Option<Node>,
}

/// Lints a manifest.
///
/// # Errors
/// The text cannot be read at all: it is too large, is not YAML, or has unresolved references.
pub fn examine(text: &str, file: &str) -> Result<Examined> {
    fits(text, file)?;
    let top = Place::top(file);
    let (written, duplicates) = yaml::parse_with_warnings(text, file)?;
    let root = rooted(written, file)?;
    let mut out = Examined::default();
    texts(&root, &top, &mut out);
    let node::Reading { read, faults, warnings } = node::examine::<model::DeclarativeSource>(&root, &top);
    (out.source, out.faults, out.warnings) = (read, faults, warnings);
    out.warnings.extend(duplicates);
    // A dynamic stream template is read after its values are filled in. Without them it may be incomplete.
    for streams in out.source.iter().flat_map(|source| source.dynamic_streams.iter().flatten()) {
        let Raw { node, at } = &streams.stream_template;
        out.warnings.extend(node::examine::<model::Stream>(node, at).warnings);
    }
    if let Some(source) = out.source.as_ref().filter(|_| out.faults.is_empty()) {
        out.warnings.extend(streams::warnings(source, &top));
        out.warnings.extend(text_fields::untyped(source));
        if let Some(spec) = &source.spec {
            let (read, selected) = (&out.templates, &out.selections);
            let found = config_keys::undeclared(&root, read, selected, &spec.connection_specification);
            out.warnings.extend(found.into_iter().map(|key| key.warning));
        }
    }
    once(&mut out.faults);
    once(&mut out.warnings);
    out.root = Some(root);
    Ok(out)
}

/// The keys of the config that a manifest reads and its spec does not declare, for a run. `text` is the manifest as
/// written, if it has a text.
pub(super) fn undeclared_keys(
    root: &Node,
    text: Option<&str>,
    top: &Place,
    specification: &Json,
) -> Vec<UndeclaredKey> {
    if text.is_some_and(|text| !config_keys::suspects(text, specification)) {
        return Vec::new();
    }
    let mut found = Examined::default();
    texts(root, top, &mut found);
    config_keys::undeclared(root, &found.templates, &found.selections, specification)
}

impl Examined {
    /// Does a fault at a path occur with every config? `again` states whether it also occurred with another config.
    pub fn holds_for_every_config(&self, path: &str, again: bool) -> bool {
        // The config decides what is selected.
        if path.ends_with(SELECTION) {
            return false;
        }
        let Some(root) = &self.root else { return false };
        let node = nearest(root, path);
        // A parameter may come from the config.
        let by_parameters = parameters_name_config(root);
        let names_config = |node: &Node| names(node, "config") || by_parameters && names(node, "parameters");
        match &node.kind {
            // Only the component's own fields count, not those of nested components.
            NodeKind::Map(map) => again || !map.values().filter(|value| !holds_components(value)).any(names_config),
            _ => !names_config(node),
        }
    }
}

/// Does a text in a node contain the word?
fn names(node: &Node, word: &str) -> bool {
    match &node.kind {
        NodeKind::Scalar(Json::String(text)) => text.contains(word),
        NodeKind::Scalar(_) => false,
        NodeKind::Seq(items) => items.iter().any(|item| names(item, word)),
        NodeKind::Map(map) => map.values().any(|value| names(value, word)),
    }
}

/// Are there component parameters that depend on the config?
fn parameters_name_config(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Scalar(_) => false,
        NodeKind::Seq(items) => items.iter().any(parameters_name_config),
        NodeKind::Map(map) => map.iter().any(|(key, value)| {
            let named = key == "$parameters" && names(value, "config");
            named || parameters_name_config(value)
        }),
    }
}

/// The node at a path, or its nearest existing ancestor.
fn nearest<'n>(node: &'n Node, path: &str) -> &'n Node {
    let after = |step: &str| {
        let rest = path.strip_prefix('.').unwrap_or(path).strip_prefix(step)?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
    };
    match &node.kind {
        NodeKind::Map(map) => {
            let mut steps = map.iter().filter_map(|(key, value)| Some((value, after(key)?)));
            steps.next().map_or(node, |(value, rest)| nearest(value, rest))
        }
        NodeKind::Seq(items) => {
            let mut steps =
                items.iter().enumerate().filter_map(|(index, item)| Some((item, after(&format!("[{index}]"))?)));
            steps.next().map_or(node, |(item, rest)| nearest(item, rest))
        }
        NodeKind::Scalar(_) => node,
    }
}

fn holds_components(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Map(_) => true,
        NodeKind::Seq(items) => items.iter().any(Node::is_map),
        NodeKind::Scalar(_) => false,
    }
}

/// Removes duplicates: a fault in a definition appears wherever it is referenced.
fn once(faults: &mut Vec<Fault>) {
    let mut seen = BTreeSet::new();
    faults.retain(|fault| {
        let place = fault.location.as_ref();
        // Without line numbers, the path distinguishes places.
        let path = place.filter(|place| place.line == 0).map(|place| place.path.to_string());
        seen.insert((place.map(|place| place.line), path, fault.message.clone()))
    });
}

fn texts(node: &Node, place: &Place, out: &mut Examined) {
    match &node.kind {
        NodeKind::Scalar(Json::String(text)) if text.contains("{{") || text.contains("{%") => {
            out.templates.push((text.clone(), place.clone()));
        }
        NodeKind::Seq(items) => {
            items.iter().enumerate().for_each(|(index, item)| texts(item, &place.element(index, item), out));
        }
        NodeKind::Map(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !PLAIN.contains(&key.as_str())) {
                if key == "extra_fields" {
                    let paths = value.to_json();
                    let names = paths.as_array().into_iter().flatten().filter_map(Json::as_array);
                    out.extra
                        .extend(names.map(|path| path.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(".")));
                }
                if key == SELECTION {
                    let path = value.to_json();
                    let steps = path.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned);
                    out.selections.push((steps.collect(), place.field(key, Some(value))));
                }
                // Most of a manifest is plain text and needs no location.
                if !matches!(&value.kind, NodeKind::Scalar(_)) || value.as_str().is_some_and(|text| text.contains('{'))
                {
                    texts(value, &place.field(key, Some(value)), out);
                }
            }
        }
        NodeKind::Scalar(_) => {}
    }
}
