//! Everything that is wrong with a manifest, at once.
//!
//! Comes in: its text. Goes out: a fault for each thing that loading would refuse, a warning for what it passes over,
//! and the texts in which templates may stand. Called by `cli` for `validate`; loading itself stops at the first fault.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::node::{self, Node, NodeKind, Place, Raw};
use super::yaml;
use super::{fits, model, rooted};
use crate::base::fault::{Fault, Result};

/// What holds no templates.
const PLAIN: [&str; 8] =
    ["schema", "description", "title", "spec", "metadata", "definitions", "schemas", "$parameters"];

/// What was found.
#[derive(Debug, Default)]
pub struct Examined {
    /// What loading refuses.
    pub faults: Vec<Fault>,
    /// What loading passes over.
    pub warnings: Vec<Fault>,
    /// Texts with templates, each with its place.
    pub templates: Vec<(String, Place)>,
    /// Names that parents give to templates of their children.
    pub extra: BTreeSet<String>,
    /// The manifest, which counts only without a fault.
    pub source: Option<model::DeclarativeSource>,
}

/// Examines a manifest.
///
/// # Errors
/// The text cannot be read at all: it is too large or no YAML, or its references lead nowhere.
pub fn examine(text: &str, file: &str) -> Result<Examined> {
    fits(text, file)?;
    let top = Place::top(file);
    let root = rooted(yaml::parse_yaml(text, file)?, file)?;
    let mut out = Examined::default();
    texts(&root, &top, &mut out);
    let node::Reading { read, faults, warnings } = node::examine::<model::DeclarativeSource>(&root, &top);
    (out.source, out.faults, out.warnings) = (read, faults, warnings);
    // A template of streams is read once its values are in it. Without them it may lack what they bring.
    for streams in out.source.iter().flat_map(|source| source.dynamic_streams.iter().flatten()) {
        let Raw { node, at } = &streams.stream_template;
        out.warnings.extend(node::examine::<model::Stream>(node, at).warnings);
    }
    once(&mut out.faults);
    once(&mut out.warnings);
    Ok(out)
}

/// A fault of a definition shows wherever that is used, and is one all the same.
fn once(faults: &mut Vec<Fault>) {
    let mut seen = BTreeSet::new();
    faults.retain(|fault| {
        let place = fault.location.as_ref();
        // Without lines the path tells places apart.
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
                // Most of a manifest is plain text: it needs no place.
                if !matches!(&value.kind, NodeKind::Scalar(_)) || value.as_str().is_some_and(|text| text.contains('{'))
                {
                    texts(value, &place.field(key, Some(value)), out);
                }
            }
        }
        NodeKind::Scalar(_) => {}
    }
}
