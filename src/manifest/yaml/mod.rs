//! Parses YAML or JSON text into a tree of nodes.
//!
//! Input: a text. Output: its tree, with the line of each node, or a fault with the line. Called by `manifest`,
//! `lint` and `engine::build::dynamic`. The parser's events pass through `anchor`, which expands aliases, into
//! `tree`; `scalar` types scalars, `tag` defines the accepted tags.

mod anchor;
#[cfg(test)]
mod judge;
mod scalar;
mod tag;
mod tree;

use std::borrow::Cow;

use granit_parser::{Event, Marker, Options, Parser, ScanError, Tag as Written};

use super::node::Node;
use crate::base::fault::{Fault, Location, Result};
use anchor::Anchors;
use scalar::Scalar;
use tag::{Shape, Tag};
use tree::Document;

/// A position in the text; line and column start at 1.
#[derive(Debug, Clone, Copy)]
struct Mark {
    line: u32,
    column: u32,
}

impl Mark {
    fn of(marker: &Marker) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Mark { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
    }

    fn error(self, message: impl Into<String>) -> YamlError {
        YamlError { mark: self, message: message.into() }
    }
}

/// A YAML error with its position.
#[derive(Debug)]
struct YamlError {
    mark: Mark,
    message: String,
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        Mark::of(error.marker()).error(error.info())
    }
}

/// The parts of a document.
#[derive(Debug, Clone)]
enum Part<'t> {
    Scalar(Scalar<'t>),
    Start(Shape),
    End,
}

/// What is probably wrong where the parser gives up.
fn cure(message: &str) -> Option<&'static str> {
    let cures = [
        ("a key must be a scalar", "quote a template: \"{{ … }}\""),
        (
            "did not find expected key",
            "keys of one mapping begin in one column: look at the indentation here and above",
        ),
        ("did not find expected '-'", "items of one list begin in one column: look at the indentation here and above"),
        ("mapping values are not allowed", "quote a text that holds `: `, or look at the indentation here and above"),
        ("quoted scalar", "a quote has no end"),
    ];
    cures.iter().find(|(part, _)| message.contains(part)).map(|(_, cure)| *cure)
}

/// Parses YAML into a tree. Alias expansion is limited, so that a YAML bomb is an error.
pub fn parse_yaml(text: &str, file: &str) -> Result<Node> {
    parse_with_warnings(text, file).map(|(root, _)| root)
}

/// Parses YAML into a tree, with a warning for each duplicate key.
pub fn parse_with_warnings(text: &str, file: &str) -> Result<(Node, Vec<Fault>)> {
    let at = |line| Location { file: file.into(), line, path: "".into() };
    let Document { root, duplicates } = tree(text).map_err(|YamlError { mark: Mark { line, column }, message }| {
        let message_of = message;
        let message = format!("the manifest is not valid YAML: line {line} column {column}: {message_of}");
        let fault = Fault::config(message).at(&at(line));
        let tab = text.lines().zip(1..).find(|(text, _)| text.trim_start_matches(' ').starts_with('\t'));
        match (tab, cure(&message_of)) {
            (Some((_, tab)), _) => fault.hint(format!("indent with spaces: line {tab} begins with a tab")),
            (None, Some(cure)) => fault.hint(cure),
            (None, None) => fault,
        }
    })?;
    let twice = |(key, line): (String, u32)| {
        Fault::config(format!("the mapping has the key `{key}` twice; the last one is used")).at(&at(line))
    };
    Ok((root, duplicates.into_iter().map(twice).collect()))
}

fn tree(text: &str) -> std::result::Result<Document, YamlError> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut anchors = Anchors::default();
    let mut end = Mark { line: 1, column: 1 };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event?;
        let mark = Mark::of(&span.start);
        end = mark;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = fitting(tag, None, mark)?;
                anchors.part(Part::Scalar(Scalar::new(text, style, tag)), anchor, mark)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                fitting(tag, Some(Shape::Seq), mark)?;
                anchors.part(Part::Start(Shape::Seq), anchor, mark)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                fitting(tag, Some(Shape::Map), mark)?;
                anchors.part(Part::Start(Shape::Map), anchor, mark)?;
            }
            Event::SequenceEnd | Event::MappingEnd => anchors.part(Part::End, 0, mark)?,
            Event::Alias(anchor) => anchors.alias(anchor, mark)?,
            _ => {}
        }
    }
    anchors.finish(end)
}

/// The tag of a collection or scalar, if it fits the shape.
fn fitting(tag: Option<Cow<'_, Written>>, shape: Option<Shape>, mark: Mark) -> std::result::Result<Tag, YamlError> {
    let Some(written) = tag else { return Ok(Tag::None) };
    let tag = Tag::of(&written);
    if written.suffix_in_namespace("tag:yaml.org,2002:").is_some_and(|name| name.starts_with("python/")) {
        return Err(
            mark.error(format!("the tag `{}` makes an object of Python, which no manifest needs", written.original()))
        );
    }
    if tag.fits(shape) {
        return Ok(tag);
    }
    let node = match shape {
        None => "a scalar",
        Some(Shape::Seq) => "a sequence",
        Some(Shape::Map) => "a mapping",
    };
    Err(mark.error(format!("the tag `{}` does not fit {node}", written.original())))
}
