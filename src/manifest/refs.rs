//! Resolves references, types and parameters before components are read.
//!
//! Input: the tree as written. Output: the same tree with `$ref`s replaced, omitted `type`s filled in and
//! `$parameters` propagated. Called by `manifest`. The rules, including odd ones, are those of airbyte-cdk's
//! `ManifestReferenceResolver` and `ManifestComponentTransformer`.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::node::{Fields, Node, NodeKind, Place};
use crate::base::fault::{Fault, Result};

/// The maximum number of nodes from expanded references, against reference bombs.
const MAX_COPIES: usize = 1_000_000;
/// The maximum nesting of a resolved manifest.
const MAX_DEPTH: usize = 250;

/// Replaces every reference in the manifest.
pub fn resolve(mut root: Node, file: &str) -> Result<Node> {
    let mut heads = HashSet::new();
    heads_of(&root, &mut heads);
    // Referenced nodes are copied to where they are used. The rest, most of a manifest, is changed in place.
    let mut named = Node { line: root.line, kind: NodeKind::Map(Fields::default()) };
    if let (NodeKind::Map(all), NodeKind::Map(named)) = (&root.kind, &mut named.kind) {
        let heads = all.iter().filter(|(key, _)| heads.contains(*key));
        named.extend(heads.map(|(key, value)| (key.clone(), value.clone())));
    }
    let mut resolver = Resolver { root: &named, open: Vec::new(), copies: 0, depth: 0 };
    resolver.change(&mut root).map_err(|lost| lost.fault(file))?;
    Ok(root)
}

/// The root keys that references may use.
fn heads_of(node: &Node, heads: &mut HashSet<String>) {
    match &node.kind {
        NodeKind::Scalar(Json::String(text)) => {
            if let Some(path) = text.strip_prefix("#/") {
                heads.insert(path.to_owned());
                heads.extend(path.split_once('/').map(|(first, _)| first.to_owned()));
            }
        }
        NodeKind::Scalar(_) => {}
        NodeKind::Seq(items) => items.iter().for_each(|item| heads_of(item, heads)),
        NodeKind::Map(map) => map.values().for_each(|value| heads_of(value, heads)),
    }
}

/// A fault whose location is collected on the way back to the root, so that nodes without faults need none.
struct Lost {
    message: String,
    hint: Option<&'static str>,
    way: Vec<(Step, u32)>,
}

enum Step {
    Field(String),
    Element(usize),
}

impl Lost {
    fn new(message: impl Into<String>) -> Lost {
        Lost { message: message.into(), hint: None, way: Vec::new() }
    }

    /// Adds a step to the location.
    fn below(mut self, step: Step, line: u32) -> Lost {
        self.way.push((step, line));
        self
    }

    fn fault(self, file: &str) -> Fault {
        let place = self.way.iter().rev().fold(Place::top(file), |place, (step, line)| {
            let node = Node::text("", *line);
            match step {
                Step::Field(key) => place.field(key, Some(&node)),
                Step::Element(index) => place.element(*index, &node),
            }
        });
        let fault = place.fault(self.message);
        match self.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}

type Resolved<T> = std::result::Result<T, Lost>;

struct Resolver<'r> {
    /// The tree that references point into.
    root: &'r Node,
    open: Vec<String>,
    /// Nodes that references copied.
    copies: usize,
    depth: usize,
}

impl Resolver<'_> {
    /// Enters a node; the depth is limited, and the number of copies.
    fn enter(&mut self, is_copy: bool) -> Resolved<()> {
        self.copies += usize::from(is_copy);
        if self.copies > MAX_COPIES || self.depth > MAX_DEPTH {
            return Err(Lost::new("the manifest's references expand to too many values"));
        }
        self.depth += 1;
        Ok(())
    }

    /// Resolves a node in place.
    fn change(&mut self, node: &mut Node) -> Resolved<()> {
        let refers = match &node.kind {
            NodeKind::Scalar(_) => node.as_str().is_some_and(|text| text.starts_with("#/")),
            NodeKind::Seq(_) => false,
            NodeKind::Map(map) => reference_of(map).is_some(),
        };
        if refers {
            *node = self.node(node)?;
            return Ok(());
        }
        self.enter(false)?;
        match &mut node.kind {
            NodeKind::Scalar(_) => {}
            NodeKind::Seq(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.change(item).map_err(|lost| lost.below(Step::Element(index), item.line))?;
                }
            }
            NodeKind::Map(map) => {
                for (key, value) in map.iter_mut().filter(|(key, _)| *key != "config_overrides") {
                    self.change(value).map_err(|lost| lost.below(Step::Field(key.clone()), value.line))?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A resolved copy of a node.
    fn node(&mut self, node: &Node) -> Resolved<Node> {
        self.enter(true)?;
        let resolved = match &node.kind {
            NodeKind::Scalar(_) => match node.as_str().filter(|s| s.starts_with("#/")) {
                Some(reference) => self.target(reference)?,
                None => node.clone(),
            },
            NodeKind::Seq(items) => {
                let items = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.node(item).map_err(|lost| lost.below(Step::Element(index), item.line)));
                Node { line: node.line, kind: NodeKind::Seq(items.collect::<Resolved<_>>()?) }
            }
            NodeKind::Map(map) => self.map(node.line, map)?,
        };
        self.depth -= 1;
        Ok(resolved)
    }

    fn map(&mut self, line: u32, map: &Fields) -> Resolved<Node> {
        let mut out = Fields::default();
        out.reserve(map.len());
        if let Some((node, reference)) = reference_of(map) {
            let target = self.target(reference).map_err(|lost| lost.below(Step::Field("$ref".into()), node.line))?;
            match target.kind {
                NodeKind::Map(target) => out = target,
                // A reference to a node that is not a mapping replaces its node entirely.
                _ => return Ok(target),
            }
        }
        for (key, value) in map {
            if key == "$ref" && value.as_str().is_some() {
                continue;
            }
            let value = if key == "config_overrides" {
                value.clone()
            } else {
                self.node(value).map_err(|lost| lost.below(Step::Field(key.clone()), value.line))?
            };
            out.insert(key.clone(), value);
        }
        Ok(Node { line, kind: NodeKind::Map(out) })
    }

    fn target(&mut self, reference: &str) -> Resolved<Node> {
        let path = reference.strip_prefix("#/").ok_or_else(|| {
            let mut lost = Lost::new(format!("the reference `{reference}` does not start with `#/`"));
            lost.hint = Some("a reference must point inside the manifest");
            lost
        })?;
        if self.open.iter().any(|open| open == reference) {
            return Err(Lost::new(format!("the reference `{reference}` refers to itself")));
        }
        let Some(target) = look_up(self.root, path) else {
            let mut lost = Lost::new(format!("the reference `{reference}` points to nothing"));
            lost.hint = Some("`#/definitions/name` is what stands under `name` in the root's `definitions`");
            return Err(lost);
        };
        self.open.push(reference.to_owned());
        let resolved = self.node(target)?;
        self.open.pop();
        Ok(resolved)
    }
}

/// The reference in a mapping, with its node.
fn reference_of(map: &Fields) -> Option<(&Node, &str)> {
    map.get("$ref").and_then(|node| Some((node, node.as_str()?)))
}

/// Follows a path: first tries the whole rest as one key, then its first segment.
fn look_up<'n>(node: &'n Node, path: &str) -> Option<&'n Node> {
    if let Some(found) = node.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('/').map_or((path, None), |(f, r)| (f, Some(r)));
    let next = match &node.kind {
        NodeKind::Map(map) => map.get(first)?,
        NodeKind::Seq(items) => items.get(first.parse::<usize>().ok()?)?,
        NodeKind::Scalar(_) => return None,
    };
    rest.map_or(Some(next), |rest| look_up(next, rest))
}

/// The default type of a component, by its parent's type and field.
#[rustfmt::skip]
const DEFAULT_TYPES: &[(&str, &str, &str)] = &[
    ("CompositeErrorHandler", "error_handlers", "DefaultErrorHandler"),
    ("CursorPagination", "decoder", "JsonDecoder"),
    ("DatetimeBasedCursor", "end_datetime", "MinMaxDatetime"),
    ("DatetimeBasedCursor", "end_time_option", "RequestOption"),
    ("DatetimeBasedCursor", "start_datetime", "MinMaxDatetime"),
    ("DatetimeBasedCursor", "start_time_option", "RequestOption"),
    ("DeclarativeSource", "check", "CheckStream"),
    ("DeclarativeSource", "spec", "Spec"),
    ("DeclarativeSource", "streams", "DeclarativeStream"),
    ("DeclarativeStream", "retriever", "SimpleRetriever"),
    ("DeclarativeStream", "schema_loader", "JsonFileSchemaLoader"),
    ("DefaultErrorHandler", "response_filters", "HttpResponseFilter"),
    ("DefaultPaginator", "decoder", "JsonDecoder"),
    ("DefaultPaginator", "page_size_option", "RequestOption"),
    ("HttpRequester", "error_handler", "DefaultErrorHandler"),
    ("ListPartitionRouter", "request_option", "RequestOption"),
    ("ParentStreamConfig", "request_option", "RequestOption"),
    ("ParentStreamConfig", "stream", "DeclarativeStream"),
    ("RecordSelector", "extractor", "DpathExtractor"),
    ("RecordSelector", "record_filter", "RecordFilter"),
    ("SimpleRetriever", "paginator", "NoPagination"),
    ("SimpleRetriever", "record_selector", "RecordSelector"),
    ("SimpleRetriever", "requester", "HttpRequester"),
    ("SubstreamPartitionRouter", "parent_stream_configs", "ParentStreamConfig"),
    ("AddFields", "fields", "AddedFieldDefinition"),
    ("DynamicDeclarativeStream", "stream_template", "DeclarativeStream"),
    ("DynamicDeclarativeStream", "components_resolver", "ConfigComponentResolver"),
    ("HttpComponentsResolver", "retriever", "SimpleRetriever"),
    ("HttpComponentsResolver", "components_mapping", "ComponentMappingDefinition"),
    ("ConfigComponentsResolver", "stream_config", "StreamConfig"),
    ("ConfigComponentsResolver", "components_mapping", "ComponentMappingDefinition"),
];

/// The type of a component that has none.
pub fn default_type(parent: &str, field: &str) -> Option<&'static str> {
    DEFAULT_TYPES.iter().find(|(p, f, _)| *p == parent && *f == field).map(|(_, _, name)| *name)
}

/// Fills in types and propagates `$parameters` from the root. If two have the same name, the inner one wins, or the
/// outer one with `outer_wins`.
pub fn propagate(root: Node, outer_wins: bool) -> Node {
    component(root, None, &Fields::default(), outer_wins)
}

fn component(node: Node, parent: Option<(&str, &str)>, inherited: &Fields, outer_wins: bool) -> Node {
    let line = node.line;
    let NodeKind::Map(mut map) = node.kind else { return node };
    if !map.contains_key("type")
        && let Some((parent, field)) = parent
        && !map.contains_key("class_name")
        && let Some(name) = default_type(parent, field)
    {
        map.insert("type".into(), Node::text(name, line));
    }
    let merged;
    let parameters = match map.shift_remove("$parameters").map(|own| own.kind) {
        Some(NodeKind::Map(own)) => {
            let mut all = inherited.clone();
            if outer_wins {
                for (key, value) in own {
                    all.entry(key).or_insert(value);
                }
            } else {
                all.extend(own);
            }
            merged = all;
            &merged
        }
        _ => inherited,
    };
    // A JSON schema also has a `type`, but it is not a component type.
    let kind = match map.get("type").map(|t| (&t.kind, t.as_str())) {
        Some((_, Some("object")) | (NodeKind::Seq(_) | NodeKind::Map(_), _)) => None,
        Some((_, Some(name))) => Some(name.to_owned()),
        _ => None,
    };
    let Some(kind) = kind else {
        if !map.contains_key("type") {
            for value in map.values_mut().filter(|v| v.get("type").is_some()) {
                let child = std::mem::replace(value, Node { line, kind: NodeKind::Seq(Vec::new()) });
                *value = component(child, None, parameters, outer_wins);
            }
        }
        return Node { line, kind: NodeKind::Map(map) };
    };
    for (key, value) in parameters {
        if map.get(key).is_none_or(Node::is_falsy) {
            map.insert(key.clone(), value.clone());
        }
    }
    for (field, value) in &mut map {
        if matches!(value.kind, NodeKind::Scalar(_)) {
            continue;
        }
        let withheld;
        let passed = if parameters.contains_key(field) {
            withheld = parameters.iter().filter(|(k, _)| *k != field).map(|(k, v)| (k.clone(), v.clone())).collect();
            &withheld
        } else {
            parameters
        };
        let child = std::mem::replace(value, Node { line, kind: NodeKind::Seq(Vec::new()) });
        *value = match child.kind {
            NodeKind::Seq(items) => {
                let items =
                    items.into_iter().map(|item| component(item, Some((&kind, field)), passed, outer_wins)).collect();
                Node { line: child.line, kind: NodeKind::Seq(items) }
            }
            _ => component(child, Some((&kind, field)), passed, outer_wins),
        };
    }
    if !parameters.is_empty() {
        map.insert("$parameters".into(), Node { line, kind: NodeKind::Map(parameters.clone()) });
    }
    Node { line, kind: NodeKind::Map(map) }
}
