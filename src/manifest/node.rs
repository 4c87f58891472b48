//! A manifest as a tree that remembers lines, and the reading of typed components out of it.
//!
//! Comes in: YAML or JSON text. Goes out: a [`Node`] tree; then, through [`Read`] and the `component!`
//! macro, the typed components of `model`. Every fault names file, line and path. Called by `manifest::load`.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use super::yaml_fast;
use crate::base::fault::{Fault, Location, Result};

/// One node of a manifest, with the line it was written on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// 1-based, 0 when unknown.
    pub line: u32,
    /// What it holds.
    pub kind: Kind,
}

/// A mapping in written order. A manifest is looked into far more often than somebody could want to make its keys collide.
pub type Fields = IndexMap<String, Node, foldhash::fast::RandomState>;

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
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
            Json::Array(items) => Kind::Seq(items.iter().map(Node::from_json).collect()),
            Json::Object(map) => Kind::Map(map.iter().map(|(k, v)| (k.clone(), Node::from_json(v))).collect()),
            scalar => Kind::Scalar(scalar.clone()),
        };
        Node { line: 0, kind }
    }

    /// The JSON of a node.
    pub fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Scalar(s) => s.clone(),
            Kind::Seq(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Kind::Map(map) => Json::Object(map.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()),
        }
    }

    /// Is this its JSON, to the order of keys?
    fn spells(&self, json: &Json) -> bool {
        match (&self.kind, json) {
            (Kind::Scalar(own), json) => own == json,
            (Kind::Seq(own), Json::Array(items)) => {
                own.len() == items.len() && own.iter().zip(items).all(|(node, item)| node.spells(item))
            }
            (Kind::Map(own), Json::Object(map)) => {
                own.len() == map.len()
                    && own.iter().zip(map).all(|((a, node), (b, value))| a == b && node.spells(value))
            }
            _ => false,
        }
    }

    /// A text node.
    pub fn text(text: impl Into<String>, line: u32) -> Node {
        Node { line, kind: Kind::Scalar(Json::String(text.into())) }
    }

    /// The text of a text node.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Json::String(s)) => Some(s),
            _ => None,
        }
    }

    /// The mapping of a mapping node.
    pub fn as_map(&self) -> Option<&Fields> {
        match &self.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Is it a mapping?
    pub fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// Is it null?
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Json::Null))
    }

    /// A child of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// Python's falsity: null, false, 0, "", [], {}.
    pub fn is_falsy(&self) -> bool {
        match &self.kind {
            Kind::Scalar(Json::Null | Json::Bool(false)) => true,
            Kind::Scalar(Json::Number(n)) => n.as_f64() == Some(0.0),
            Kind::Scalar(Json::String(s)) => s.is_empty(),
            Kind::Scalar(_) => false,
            Kind::Seq(items) => items.is_empty(),
            Kind::Map(map) => map.is_empty(),
        }
    }

    fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(Json::Null) => "nothing",
            Kind::Scalar(Json::Bool(_)) => "true or false",
            Kind::Scalar(Json::Number(_)) => "a number",
            Kind::Scalar(_) => "a text",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// The most nodes of a manifest as it is written.
pub(super) const MAX_NODES: usize = 400_000;

/// Reads YAML into a tree. Aliases are expanded within a bound, so that a bomb is an error.
pub fn parse_yaml(text: &str, file: &str) -> Result<Node> {
    if let Some(tree) = yaml_fast::tree(text) {
        return Ok(tree);
    }
    let spanned = spanned(text).map_err(|e| {
        let line = e.location().map_or(0, |l| u32::try_from(l.line()).unwrap_or(0));
        let message = e.to_string();
        let first = message.lines().next().unwrap_or("not valid YAML").trim_start_matches("error: ");
        Fault::config(format!("the manifest is not valid YAML: {first}")).at(&Location {
            file: file.into(),
            line,
            path: "".into(),
        })
    })?;
    let lines: Vec<&str> = text.lines().collect();
    Ok(node(spanned, &lines))
}

fn spanned(text: &str) -> std::result::Result<Spanned<Tree>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_depth: 200,
            max_anchors: 10_000,
            max_aliases: 50_000,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// What a plain scalar means that stands alone.
pub(super) fn plain(text: &str) -> Option<Json> {
    match spanned(text).ok()?.value {
        Tree::Scalar(scalar) => Some(scalar),
        _ => None,
    }
}

/// A YAML value whose children know their lines.
enum Tree {
    Scalar(Json),
    Seq(Vec<Spanned<Tree>>),
    Map(Vec<(String, Spanned<Tree>)>),
}

fn node(spanned: Spanned<Tree>, lines: &[&str]) -> Node {
    let line = u32::try_from(spanned.referenced.line()).unwrap_or(0);
    let defined = spanned.defined;
    let kind = match spanned.value {
        Tree::Scalar(Json::String(s)) => match switch(&s) {
            Some(b) if !is_quoted(lines, defined.line(), defined.column()) => Kind::Scalar(Json::Bool(b)),
            _ => Kind::Scalar(Json::String(s)),
        },
        Tree::Scalar(s) => Kind::Scalar(s),
        Tree::Seq(items) => Kind::Seq(items.into_iter().map(|i| node(i, lines)).collect()),
        Tree::Map(pairs) => Kind::Map(pairs.into_iter().map(|(k, v)| (k, node(v, lines))).collect()),
    };
    Node { line, kind }
}

/// The words that PyYAML takes for bools beside `true` and `false`; unlike YAML 1.1 it leaves `y` and `n` alone.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Does the scalar at this place (1-based) start with a quote, or stand in a block?
fn is_quoted(lines: &[&str], line: u64, column: u64) -> bool {
    let at = |n: u64| usize::try_from(n).ok().and_then(|n| n.checked_sub(1));
    let first = at(line).and_then(|l| lines.get(l)).zip(at(column)).and_then(|(l, c)| l.chars().nth(c));
    first.is_none_or(|c| "'\"|>!".contains(c))
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct TreeVisitor;
        macro_rules! scalar {
            ($($method:ident: $ty:ty),*) => {$(
                fn $method<E>(self, v: $ty) -> std::result::Result<Tree, E> {
                    Ok(Tree::Scalar(Json::from(v)))
                }
            )*};
        }
        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a YAML value")
            }
            scalar!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_string: String);
            fn visit_i128<E>(self, v: i128) -> std::result::Result<Tree, E> {
                Ok(Tree::Scalar(serde_json::from_str(&v.to_string()).unwrap_or(Json::Null)))
            }
            fn visit_u128<E>(self, v: u128) -> std::result::Result<Tree, E> {
                Ok(Tree::Scalar(serde_json::from_str(&v.to_string()).unwrap_or(Json::Null)))
            }
            fn visit_unit<E>(self) -> std::result::Result<Tree, E> {
                Ok(Tree::Scalar(Json::Null))
            }
            fn visit_none<E>(self) -> std::result::Result<Tree, E> {
                Ok(Tree::Scalar(Json::Null))
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Tree, D::Error> {
                Tree::deserialize(d)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Seq(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Tree, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Tree::Map(pairs))
            }
        }
        d.deserialize_any(TreeVisitor)
    }
}

/// Where a component stands, and the `$parameters` that hold there.
#[derive(Debug, Clone)]
pub struct Place {
    /// File, line and path, for faults.
    pub location: Location,
    /// The `parameters` of templates.
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
            // Most components hand down what they got.
            Some(p) if !p.spells(&self.parameters) => Arc::new(p.to_json()),
            _ => self.parameters.clone(),
        };
        Place { location: Location { file: self.location.file.clone(), line, path: path.into() }, parameters }
    }

    /// A fault of the manifest, here.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::config(message).at(&self.location)
    }
}

thread_local! {
    /// The faults so far, where all are wanted.
    static FAULTS: RefCell<Option<Vec<Fault>>> = const { RefCell::new(None) };
}

/// Reads a node and gives every fault, where `T::read` stops at the first; what was read counts only without one.
pub fn every_fault<T: Read>(node: &Node, at: &Place) -> (Option<T>, Vec<Fault>) {
    FAULTS.set(Some(Vec::new()));
    let (read, last) = match T::read(node, at) {
        Ok(read) => (Some(read), None),
        Err(fault) => (None, Some(fault)),
    };
    (read, FAULTS.take().into_iter().flatten().chain(last).collect())
}

/// Goes on after a fault where all are wanted; else it is the end.
fn note(fault: Fault) -> Result<()> {
    FAULTS.with_borrow_mut(|faults| match faults {
        Some(faults) => {
            faults.push(fault);
            Ok(())
        }
        None => Err(fault),
    })
}

/// Ends with the last of a component's faults; those before it are noted.
pub fn together<const N: usize>(faults: [Option<Fault>; N]) -> Result<()> {
    let mut faults = faults.into_iter().flatten().peekable();
    while let Some(fault) = faults.next() {
        if faults.peek().is_none() {
            return Err(fault);
        }
        note(fault)?;
    }
    Ok(())
}

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
fn read_child<T: Read>(node: &Node, parent: &Place, at: impl FnOnce() -> Place) -> Result<T> {
    if T::PLACELESS
        && let Ok(read) = T::read(node, parent)
    {
        return Ok(read);
    }
    T::read(node, &at())
}

fn wrong<T>(wanted: &str, node: &Node, at: &Place) -> Result<T> {
    Err(at.fault(format!("expected {wanted}, found {}", node.type_name())))
}

impl Read for String {
    const PLACELESS: bool = true;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            Kind::Scalar(Json::String(s)) => Ok(s.clone()),
            Kind::Scalar(s @ (Json::Number(_) | Json::Bool(_))) => Ok(s.to_string()),
            _ => wrong("a text", node, at),
        }
    }
}

impl Read for bool {
    const PLACELESS: bool = true;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            Kind::Scalar(Json::Bool(b)) => Ok(*b),
            _ => wrong("true or false", node, at),
        }
    }
}

impl Read for u64 {
    const PLACELESS: bool = true;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            Kind::Scalar(Json::Number(n)) => n.as_u64().ok_or_else(|| at.fault("expected a whole number from 0")),
            _ => wrong("a number", node, at),
        }
    }
}

impl Read for f64 {
    const PLACELESS: bool = true;

    fn read(node: &Node, at: &Place) -> Result<Self> {
        match &node.kind {
            Kind::Scalar(Json::Number(n)) => n.as_f64().ok_or_else(|| at.fault("expected a number")),
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
            Kind::Seq(items) => {
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
pub struct OneOrMany<T>(pub Vec<T>);

impl<T: Read> Read for OneOrMany<T> {
    fn read(node: &Node, at: &Place) -> Result<Self> {
        match node.kind {
            Kind::Seq(_) => Vec::read(node, at).map(OneOrMany),
            _ => Ok(OneOrMany(vec![T::read(node, at)?])),
        }
    }
}

/// Reads field `name` of a component.
pub fn field<T: Read>(map: &Fields, name: &str, at: &Place) -> Result<T> {
    match map.get(name) {
        Some(node) => read_child(node, at, || at.field(name, Some(node))),
        None => T::absent(|| at.field(name, None)),
    }
}

/// The mapping of a component; a fault for anything else.
pub fn mapping<'n>(node: &'n Node, at: &Place) -> Result<&'n Fields> {
    node.as_map().map_or_else(|| wrong("a component", node, at), Ok)
}

/// Refuses a field of the vocabulary that is not built yet, if it is set.
pub fn refuse_later(map: &Fields, name: &str, at: &Place) -> Result<()> {
    match map.get(name) {
        Some(node) if !node.is_null() => {
            Err(at.field(name, Some(node)).fault(format!("`{name}` is not built yet in this version of dripfeed")))
        }
        _ => Ok(()),
    }
}

/// Declares a component: its Rust type and how it is read, from one list of fields.
macro_rules! component {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $ty:ty),* $(,)? } $(later { $($later:ident),* $(,)? })?) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            /// Where it stands.
            pub at: $crate::manifest::node::Place,
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        impl $crate::manifest::node::Read for $name {
            fn read(node: &$crate::manifest::node::Node, at: &$crate::manifest::node::Place) -> $crate::base::fault::Result<Self> {
                #[allow(unused_variables)]
                let map = $crate::manifest::node::mapping(node, at)?;
                $($(let $later = $crate::manifest::node::refuse_later(map, stringify!($later), at);)*)?
                $(let $field: $crate::base::fault::Result<$ty> = $crate::manifest::node::field(map, stringify!($field), at);)*
                if false $($(|| $later.is_err())*)? $(|| $field.is_err())* {
                    $crate::manifest::node::together([
                        $($($later.err(),)*)?
                        $($field.as_ref().err().cloned(),)*
                    ])?;
                }
                Ok($name { $($field: $field?,)* at: at.clone() })
            }
        }
    };
}

/// Declares a choice between components by their `type`; those under `later` are refused by name. One that is much larger
/// than the others stands in a `Box`.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $(: $box:ident)?),* $(,)? } later { $($later:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum $name { $($variant($crate::manifest::node::held!($variant $($box)?))),* }

        impl $crate::manifest::node::Read for $name {
            fn read(node: &$crate::manifest::node::Node, at: &$crate::manifest::node::Place) -> $crate::base::fault::Result<Self> {
                let map = $crate::manifest::node::mapping(node, at)?;
                match map.get("type").and_then($crate::manifest::node::Node::as_str) {
                    $(Some(stringify!($variant)) => $variant::read(node, at).map(|read| $name::$variant(read.into())),)*
                    found => Err($crate::manifest::node::refused(found, &[$(stringify!($variant)),*], &[$(stringify!($later)),*], at)),
                }
            }
        }
    };
}

/// A variant's type.
macro_rules! held {
    ($variant:ident) => { $variant };
    ($variant:ident Box) => { Box<$variant> };
}

pub(super) use {choice, component, held};

/// The fault for a component that cannot be run, by name and place.
pub fn refused(found: Option<&str>, known: &[&str], later: &[&str], at: &Place) -> Fault {
    let Some(found) = found else {
        return at.fault("the component has no `type`").hint(format!("it can be one of {}", known.join(", ")));
    };
    if found.starts_with("Custom") {
        return at
            .fault(format!("`{found}` needs custom Python code, which dripfeed does not run"))
            .hint("replace it by a declarative component, or keep this stream on Airbyte's own runtime");
    }
    if later.contains(&found) {
        return at.fault(format!("component `{found}` is not built yet in this version of dripfeed"));
    }
    let fault = at.fault(format!("component `{found}` cannot stand here, or does not exist"));
    match crate::base::fault::did_you_mean(found, known.iter().chain(later).copied()) {
        Some(name) => fault.hint(format!("did you mean `{name}`?")),
        None => fault.hint(format!("it can be one of {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn slowly(text: &str) -> Option<Node> {
        let lines: Vec<&str> = text.lines().collect();
        spanned(text).ok().map(|spanned| node(spanned, &lines))
    }

    /// Both ways give the same tree; says whether the quick one gave it.
    fn is_quick(text: &str) -> bool {
        let (quick, slow) = (yaml_fast::tree(text), slowly(text));
        assert!(quick.is_none() || quick == slow, "{text}\n{quick:?}\n{slow:?}");
        quick.is_some()
    }

    #[test]
    fn both_ways_read_the_same() {
        for text in [
            "a:\nb: ~\nc: {}\nd: []\n? e\n: f\n",
            "---\na: |\n  one\n\n  two\nb: >-\n  x\n  y\nc: 'it''s'\nd: \"\\u00e9\\n\"\ne: two\n  lines\n# end\n",
            "a:\n- 1\n-\n- - b: {c: [d, {e: f}], g:, h: }\n  - i\n",
            "$ref: '#/x'\nü: ß\n\"<\": 1\n'': 2\n",
            "\u{feff}a: 1\n",
            "%YAML 1.2\n---\na: 1\n...\n",
        ] {
            assert!(is_quick(text), "{text}");
        }
        let scalars = "yes No on y n True FALSE true 'true' null Null NULL nUll ~ 0 1 -1 +1 007 0x1F 0o17 0b11 1_000 1__0 _1 \
            18446744073709551615 18446744073709551616 -9223372036854775809 1.5 -0.0 .5 5. 1e3 1e400 1E-3 1.2.3 7.39.1 \
            2024-01-01 2024-01-01T00:00:00Z 12:30 inf nan .inf -.inf .nan .Inf infinity e5 +e5 - . ... ---1 --- -.- +.5 0x \
            0xZZ 1f 1d 'a' \"1\" '1' \"yes\" | > 09 0_9 00 0. 1e 1a -a .a +a \u{a0}1 =";
        for scalar in scalars.split_whitespace() {
            for text in [format!("a: {scalar}\n"), format!("a: [{scalar}, {scalar}]\n"), format!("{scalar}: a\n")] {
                is_quick(&text);
            }
        }
    }

    #[test]
    fn both_ways_read_every_manifest_the_same() {
        for (folder, least) in [("catalog", 2), ("fixtures/transcripts", 50), ("fixtures/oracle", 50)] {
            let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
            let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
            let paths = paths.map(|path| if path.is_dir() { path.join("manifest.yaml") } else { path });
            let manifests = paths.filter(|path| path.extension().is_some_and(|e| e == "yaml"));
            let texts = manifests.filter_map(|path| std::fs::read_to_string(path).ok());
            assert!(texts.filter(|text| is_quick(text)).count() >= least, "{folder}");
        }
    }

    #[test]
    fn what_takes_more_than_a_look_is_left_to_the_slow_way() {
        for text in [
            "a: &x 1\nb: *x\n",
            "a: !!str 1\n",
            "a: 1\na: 2\n",
            "a: 1\n'a': 2\n",
            "<<: {a: 1}\n",
            "1: a\n0x1: b\n",
            "~: a\n",
            "[a]: b\n",
            "a: 1\n---\nb: 2\n",
            "a: .inf\n",
            "a: [\n",
            "a",
            "- a\n",
            "",
        ] {
            assert!(!is_quick(text), "{text}");
        }
        assert!(yaml_fast::tree(&format!("a: {}{}", "[".repeat(70), "]".repeat(70))).is_none());
    }
}
