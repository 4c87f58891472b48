//! Builds a tree of nodes from the parts of a document.
//!
//! Input: scalars, and the starts and ends of collections. Output: the tree, with merges (`<<`) applied. Called by
//! `anchor`.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::scalar::{Integer, Scalar};
use super::tag::Shape;
use super::{Mark, Part, YamlError};
use crate::manifest::node::{Fields, Node, NodeKind};

/// The maximum number of nodes as written, including keys: a manifest of 10 MB has up to a million.
const MAX_WRITTEN: usize = 2_000_000;

/// The maximum number of nodes that aliases repeat, against bombs of aliases.
const MAX_REPEATED: usize = 400_000;

/// The maximum nesting.
const MAX_DEPTH: usize = 200;

/// The maximum total length of all scalars, in bytes.
const MAX_TEXT: usize = 64 << 20;

/// The origin of a part.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    Written(Mark),
    /// Repeated by an alias.
    Alias(Mark),
}

impl Origin {
    fn mark(self) -> Mark {
        match self {
            Origin::Written(mark) | Origin::Alias(mark) => mark,
        }
    }
}

/// A collection that is not complete yet.
enum Open {
    Seq(u32, Vec<Node>),
    Map(Mapping),
    /// A sequence of mappings to merge: their fields.
    Merge(Vec<(String, Node)>),
}

struct Mapping {
    line: u32,
    fields: Fields,
    /// Integer keys, which can be written in several notations.
    integers: HashSet<Integer>,
    /// Merged fields: used if the mapping itself does not have the key.
    merged: Vec<(String, Node)>,
    next: Next,
}

/// A document that was read.
pub(super) struct Document {
    pub(super) root: Node,
    /// Duplicate keys, each with the line of the later one.
    pub(super) duplicates: Vec<(String, u32)>,
}

/// What is expected next in a mapping.
enum Next {
    Key,
    /// The value of this key.
    Value(String, Mark),
    /// The value to merge.
    Merge,
}

/// A tree under construction.
#[derive(Default)]
pub(super) struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    /// The outermost merge: its nesting depth and its line. All its nodes get that line.
    merge: Option<(usize, u32)>,
    written: usize,
    repeated: usize,
    text: usize,
    /// Duplicate keys, each with the line of the later one.
    duplicates: Vec<(String, u32)>,
}

impl Builder {
    /// How many collections are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Adds the next part.
    pub(super) fn part(&mut self, part: Part<'_>, origin: Origin) -> Result<(), YamlError> {
        let mark = origin.mark();
        if !matches!(part, Part::End) {
            let (nodes, most) = match origin {
                Origin::Written(_) => (&mut self.written, MAX_WRITTEN),
                Origin::Alias(_) => (&mut self.repeated, MAX_REPEATED),
            };
            *nodes += 1;
            if *nodes > most {
                return Err(mark.error(format!("it has more than {most} values")));
            }
            if self.open.is_empty() && self.root.is_some() {
                return Err(mark.error("it has more than one document"));
            }
        }
        match part {
            Part::Scalar(scalar) => self.scalar(scalar, origin),
            Part::Start(shape) => self.start(shape, origin),
            Part::End => {
                self.end();
                Ok(())
            }
        }
    }

    /// The tree, with the position of the end of the text. A text without documents is null.
    pub(super) fn finish(self, end: Mark) -> Document {
        let root = self.root.unwrap_or(Node { line: end.line, kind: NodeKind::Scalar(Json::Null) });
        Document { root, duplicates: self.duplicates }
    }

    fn line(&self, origin: Origin) -> u32 {
        match (origin, self.merge) {
            (Origin::Written(_), Some((_, line))) => line,
            _ => origin.mark().line,
        }
    }

    fn scalar(&mut self, scalar: Scalar<'_>, origin: Origin) -> Result<(), YamlError> {
        let mark = origin.mark();
        self.text += scalar.len();
        if self.text > MAX_TEXT {
            return Err(mark.error(format!("it has more than {} MiB of text", MAX_TEXT >> 20)));
        }
        match self.open.last_mut() {
            Some(Open::Map(mapping)) if matches!(mapping.next, Next::Key) => mapping.key(scalar, mark),
            Some(Open::Map(Mapping { next: next @ Next::Merge, .. })) if scalar.is_null() => {
                *next = Next::Key;
                Ok(())
            }
            Some(Open::Merge(_)) if scalar.is_null() => Ok(()),
            Some(Open::Map(Mapping { next: Next::Merge, .. }) | Open::Merge(_)) => {
                Err(mark.error("only mappings can be merged (`<<`)"))
            }
            _ => {
                let value = scalar.value().map_err(|message| mark.error(message))?;
                self.put(Node { line: self.line(origin), kind: NodeKind::Scalar(value) });
                Ok(())
            }
        }
    }

    fn start(&mut self, shape: Shape, origin: Origin) -> Result<(), YamlError> {
        let mark = origin.mark();
        let merges = match self.open.last() {
            Some(Open::Map(Mapping { next: Next::Key, .. })) => {
                return Err(mark.error("a key must be a scalar"));
            }
            Some(Open::Map(Mapping { next: Next::Merge, .. })) => true,
            Some(Open::Merge(_)) => {
                self.merge.get_or_insert((self.open.len(), mark.line));
                true
            }
            _ => false,
        };
        if self.open.len() == MAX_DEPTH {
            return Err(mark.error(format!("it is nested more than {MAX_DEPTH} levels deep")));
        }
        if merges && shape == Shape::Map {
            self.merge.get_or_insert((self.open.len(), mark.line));
        }
        let line = self.line(origin);
        self.open.push(match shape {
            Shape::Seq if merges => Open::Merge(Vec::new()),
            Shape::Seq => Open::Seq(line, Vec::new()),
            Shape::Map => Open::Map(Mapping::new(line)),
        });
        Ok(())
    }

    fn end(&mut self) {
        let Some(ended) = self.open.pop() else { return };
        self.merge = self.merge.filter(|(depth, _)| *depth < self.open.len());
        match ended {
            Open::Seq(line, items) => self.put(Node { line, kind: NodeKind::Seq(items) }),
            Open::Map(mapping) => self.put(mapping.whole()),
            Open::Merge(fields) => self.put_merged(fields),
        }
    }

    /// Inserts a node at the current position.
    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(Open::Seq(_, items)) => items.push(node),
            Some(Open::Map(Mapping { next: Next::Merge, .. }) | Open::Merge(_)) => {
                if let NodeKind::Map(fields) = node.kind {
                    self.put_merged(fields);
                }
            }
            Some(Open::Map(mapping)) => self.duplicates.extend(mapping.value(node)),
            None => self.root = Some(node),
        }
    }

    fn put_merged(&mut self, fields: impl IntoIterator<Item = (String, Node)>) {
        match self.open.last_mut() {
            Some(Open::Map(mapping)) => {
                mapping.merged.extend(fields);
                mapping.next = Next::Key;
            }
            Some(Open::Merge(all)) => all.extend(fields),
            _ => {}
        }
    }
}

impl Mapping {
    fn new(line: u32) -> Self {
        let (fields, integers, merged) = (Fields::default(), HashSet::new(), Vec::new());
        Mapping { line, fields, integers, merged, next: Next::Key }
    }

    fn key(&mut self, scalar: Scalar<'_>, mark: Mark) -> Result<(), YamlError> {
        if scalar.is_merge() {
            self.next = Next::Merge;
            return Ok(());
        }
        let (key, integer) = scalar.key().map_err(|message| mark.error(message))?;
        let is_new = integer.is_none_or(|integer| self.integers.insert(integer));
        if !is_new && !self.fields.contains_key(&key) {
            return Err(mark.error(format!("the key `{key}` is duplicated")));
        }
        self.next = Next::Value(key, mark);
        Ok(())
    }

    /// Sets a value. For a duplicate key the last value wins, as in PyYAML; returns that key with its line.
    fn value(&mut self, node: Node) -> Option<(String, u32)> {
        let Next::Value(key, mark) = std::mem::replace(&mut self.next, Next::Key) else { return None };
        let (index, replaced) = self.fields.insert_full(key, node);
        replaced.and_then(|_| Some((self.fields.get_index(index)?.0.clone(), mark.line)))
    }

    fn whole(mut self) -> Node {
        for (key, node) in self.merged {
            self.fields.entry(key).or_insert(node);
        }
        Node { line: self.line, kind: NodeKind::Map(self.fields) }
    }
}
