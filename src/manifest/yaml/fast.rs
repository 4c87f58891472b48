//! The quick way from YAML to a tree: straight from the parser's events.
//!
//! Comes in: a text. Goes out: the tree that [`super::parse_yaml`] would make of it, or nothing where the text has
//! anything that takes more than a look: anchors and tags, keys that are no plain words, too much of anything, faults.
//! All of that is left to the slow way, whose rules and messages count. Called by `parse_yaml`.

use std::borrow::Cow;

use granit_parser::{Event, Options, Parser, ScalarStyle};
use serde_json::Value as Json;

use super::{MAX_NODES, bool_word, plain};
use crate::manifest::node::{Fields, Node, NodeKind};

/// Deepest nesting that is read here.
const MAX_DEPTH: usize = 60;

/// A collection whose end was not read yet.
enum Open {
    Seq(u32, Vec<Node>),
    /// With the key that waits for its value.
    Map(u32, Fields, Option<String>),
}

/// Reads a text that is a mapping.
pub(super) fn tree(text: &str) -> Option<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut open: Vec<Open> = Vec::new();
    let (mut root, mut nodes) = (None, 0);
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.ok()?;
        let line = u32::try_from(span.start.line()).ok()?;
        let whole = match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => continue,
            Event::SequenceStart(_, 0, None) => {
                open.push(Open::Seq(line, Vec::new()));
                None
            }
            Event::MappingStart(_, 0, None) => {
                open.push(Open::Map(line, Fields::default(), None));
                None
            }
            Event::Scalar(value, style, 0, None) => match open.last_mut() {
                Some(Open::Map(_, _, waiting @ None)) => {
                    *waiting = Some(key(value, style)?);
                    None
                }
                _ => Some(Node { line, kind: NodeKind::Scalar(scalar(value, style)?) }),
            },
            Event::SequenceEnd | Event::MappingEnd => match open.pop()? {
                Open::Seq(line, items) => Some(Node { line, kind: NodeKind::Seq(items) }),
                Open::Map(line, map, _) => Some(Node { line, kind: NodeKind::Map(map) }),
            },
            _ => return None,
        };
        nodes += 1;
        if nodes > MAX_NODES || open.len() > MAX_DEPTH {
            return None;
        }
        let Some(node) = whole else { continue };
        match open.last_mut() {
            Some(Open::Seq(_, items)) => items.push(node),
            Some(Open::Map(_, map, waiting)) => {
                // A key that stands twice is a fault.
                if map.insert(waiting.take()?, node).is_some() {
                    return None;
                }
            }
            None if root.is_none() => root = Some(node),
            None => return None,
        }
    }
    root.filter(Node::is_map)
}

/// A key that is itself and nothing else: neither a number, of which several spellings are one, nor a merge.
fn key(text: Cow<'_, str>, style: ScalarStyle) -> Option<String> {
    let is_plain = style == ScalarStyle::Plain;
    (text != "<<" && !(is_plain && (constant(&text).is_some() || may_be_number(&text)))).then(|| text.into_owned())
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Option<Json> {
    if style != ScalarStyle::Plain {
        return Some(Json::String(text.into_owned()));
    }
    match constant(&text) {
        Some(constant) => Some(constant),
        None if may_be_number(&text) => number(&text),
        None => Some(Json::String(text.into_owned())),
    }
}

/// What a word stands for that is no text.
fn constant(text: &str) -> Option<Json> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Json::Null),
        "true" | "True" | "TRUE" => Some(Json::Bool(true)),
        "false" | "False" | "FALSE" => Some(Json::Bool(false)),
        word => bool_word(word).map(Json::Bool),
    }
}

/// Has it only what some number may have, and begins as one?
fn may_be_number(text: &str) -> bool {
    let all = |also: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b));
    text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && all(b"+-._")
        && !text.bytes().all(|b| b"+-.".contains(&b))
}

/// A number, or the text that it is not after all. Most are small and whole; what others are is settled the slow way.
fn number(text: &str) -> Option<Json> {
    if text.len() < 19 && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) {
        return text.parse::<u64>().ok().map(Json::from);
    }
    plain(text)
}
