//! What a manifest's text means before its components are read: references, types, parameters.
//!
//! Comes in: the tree as written. Goes out: the same tree with `$ref`s replaced, omitted `type`s
//! filled in and `$parameters` handed down. Called by `manifest::load`. The rules, odd ones included, are those
//! of airbyte-cdk's `ManifestReferenceResolver` and `ManifestComponentTransformer`.

use indexmap::IndexMap;

use super::node::{Kind, Node, Place};
use crate::fault::Result;

/// Nodes that references may expand to: a bomb ends here.
const MAX_NODES: usize = 1_000_000;
/// Deepest nesting of a resolved manifest.
const MAX_DEPTH: usize = 250;

/// Replaces every reference in the manifest.
pub fn resolve(root: &Node, file: &str) -> Result<Node> {
    let mut resolver = Resolver { root, file, way: Vec::new(), open: Vec::new(), nodes: 0, depth: 0 };
    resolver.node(root)
}

struct Resolver<'r> {
    root: &'r Node,
    file: &'r str,
    /// From the root to the node that is looked at: a place is made of it where something is wrong, and not for each of
    /// the many where nothing is.
    way: Vec<(Step<'r>, &'r Node)>,
    open: Vec<String>,
    nodes: usize,
    depth: usize,
}

#[derive(Clone, Copy)]
enum Step<'r> {
    Field(&'r str),
    Element(usize),
}

impl<'r> Resolver<'r> {
    /// Where the node that is looked at stands.
    fn place(&self) -> Place {
        self.way.iter().fold(Place::top(self.file), |place, (step, node)| match step {
            Step::Field(key) => place.field(key, Some(node)),
            Step::Element(index) => place.element(*index, node),
        })
    }

    /// The child of the node that is looked at.
    fn child(&mut self, step: Step<'r>, child: &'r Node) -> Result<Node> {
        self.way.push((step, child));
        let resolved = self.node(child);
        self.way.pop();
        resolved
    }

    fn node(&mut self, node: &'r Node) -> Result<Node> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || self.depth > MAX_DEPTH {
            return Err(self.place().fault("the manifest's references expand without bound"));
        }
        self.depth += 1;
        let resolved = match &node.kind {
            Kind::Scalar(_) => match node.as_str().filter(|s| s.starts_with("#/")) {
                Some(reference) => self.target(reference)?,
                None => node.clone(),
            },
            Kind::Seq(items) => {
                let items = items.iter().enumerate().map(|(i, item)| self.child(Step::Element(i), item));
                Node { line: node.line, kind: Kind::Seq(items.collect::<Result<_>>()?) }
            }
            Kind::Map(map) => self.map(node.line, map)?,
        };
        self.depth -= 1;
        Ok(resolved)
    }

    fn map(&mut self, line: u32, map: &'r IndexMap<String, Node>) -> Result<Node> {
        let mut out = IndexMap::with_capacity(map.len());
        if let Some((node, reference)) = map.get("$ref").and_then(|node| Some((node, node.as_str()?))) {
            self.way.push((Step::Field("$ref"), node));
            let target = self.target(reference);
            self.way.pop();
            let target = target?;
            match target.kind {
                Kind::Map(target) => out = target,
                // A reference to something that is no mapping replaces its node wholly.
                _ => return Ok(target),
            }
        }
        for (key, value) in map {
            if key == "$ref" && value.as_str().is_some() {
                continue;
            }
            let value = if key == "config_overrides" { value.clone() } else { self.child(Step::Field(key), value)? };
            out.insert(key.clone(), value);
        }
        Ok(Node { line, kind: Kind::Map(out) })
    }

    fn target(&mut self, reference: &str) -> Result<Node> {
        let path = reference.strip_prefix("#/").ok_or_else(|| {
            self.place()
                .fault(format!("the reference `{reference}` does not start with `#/`"))
                .hint("only references inside the manifest are followed")
        })?;
        if self.open.iter().any(|open| open == reference) {
            return Err(self.place().fault(format!("the reference `{reference}` leads back to itself")));
        }
        let Some(target) = look_up(self.root, path) else {
            return Err(self.place().fault(format!("the reference `{reference}` leads nowhere")));
        };
        self.open.push(reference.to_owned());
        let resolved = self.node(target)?;
        self.open.pop();
        Ok(resolved)
    }
}

/// Follows a path: the whole rest as one key first, else its first segment.
fn look_up<'n>(node: &'n Node, path: &str) -> Option<&'n Node> {
    if let Some(found) = node.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('/').map_or((path, None), |(f, r)| (f, Some(r)));
    let next = match &node.kind {
        Kind::Map(map) => map.get(first)?,
        Kind::Seq(items) => items.get(first.parse::<usize>().ok()?)?,
        Kind::Scalar(_) => return None,
    };
    rest.map_or(Some(next), |rest| look_up(next, rest))
}

/// The type of a component that does not say it, by its parent's type and field.
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

/// Fills in types and hands `$parameters` down, from the root. Of two with one name the inner one wins, or the outer one.
pub fn propagate(root: Node, outer_wins: bool) -> Node {
    component(root, None, &IndexMap::new(), outer_wins)
}

type Parameters = IndexMap<String, Node>;

fn component(node: Node, parent: Option<(&str, &str)>, inherited: &Parameters, outer_wins: bool) -> Node {
    let line = node.line;
    let Kind::Map(mut map) = node.kind else { return node };
    if !map.contains_key("type")
        && let Some((parent, field)) = parent
        && !map.contains_key("class_name")
        && let Some((_, _, name)) = DEFAULT_TYPES.iter().find(|(p, f, _)| *p == parent && *f == field)
    {
        map.insert("type".into(), Node::text(*name, line));
    }
    let merged;
    let parameters = match map.shift_remove("$parameters").map(|own| own.kind) {
        Some(Kind::Map(own)) => {
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
    // A JSON schema has a `type` too, but it is none of ours.
    let kind = match map.get("type").map(|t| (&t.kind, t.as_str())) {
        Some((_, Some("object")) | (Kind::Seq(_) | Kind::Map(_), _)) => None,
        Some((_, Some(name))) => Some(name.to_owned()),
        _ => None,
    };
    let Some(kind) = kind else {
        if !map.contains_key("type") {
            for value in map.values_mut().filter(|v| v.get("type").is_some()) {
                let child = std::mem::replace(value, Node { line, kind: Kind::Seq(Vec::new()) });
                *value = component(child, None, parameters, outer_wins);
            }
        }
        return Node { line, kind: Kind::Map(map) };
    };
    for (key, value) in parameters {
        if map.get(key).is_none_or(Node::is_falsy) {
            map.insert(key.clone(), value.clone());
        }
    }
    for (field, value) in &mut map {
        if matches!(value.kind, Kind::Scalar(_)) {
            continue;
        }
        let withheld;
        let passed = if parameters.contains_key(field) {
            withheld = parameters.iter().filter(|(k, _)| *k != field).map(|(k, v)| (k.clone(), v.clone())).collect();
            &withheld
        } else {
            parameters
        };
        let child = std::mem::replace(value, Node { line, kind: Kind::Seq(Vec::new()) });
        *value = match child.kind {
            Kind::Seq(items) => {
                let items =
                    items.into_iter().map(|item| component(item, Some((&kind, field)), passed, outer_wins)).collect();
                Node { line: child.line, kind: Kind::Seq(items) }
            }
            _ => component(child, Some((&kind, field)), passed, outer_wins),
        };
    }
    if !parameters.is_empty() {
        map.insert("$parameters".into(), Node { line, kind: Kind::Map(parameters.clone()) });
    }
    Node { line, kind: Kind::Map(map) }
}
