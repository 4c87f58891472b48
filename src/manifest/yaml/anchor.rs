//! Anchors and aliases.
//!
//! Input: the parts of a document, and aliases. Output: the same parts for `tree`, with each alias expanded. Called
//! by `yaml`.

use std::collections::HashMap;
use std::ops::Range;

use super::tree::{Builder, Document, Origin};
use super::{Mark, Part, YamlError};

const MAX_ANCHORS: usize = 10_000;
const MAX_ALIASES: usize = 50_000;

/// The number of aliases that is always allowed.
const FREE_ALIASES: usize = 100;

/// Beyond that, the allowed number per anchor. A YAML bomb has few anchors with many aliases.
const ALIASES_PER_ANCHOR: usize = 10;

/// An anchored node that is not complete yet.
struct Open {
    anchor: usize,
    /// The index of the anchor's first part in the recording.
    start: usize,
    /// The number of collections around it.
    depth: usize,
}

/// The parts of all anchored nodes, and the tree under construction.
#[derive(Default)]
pub(super) struct Anchors<'t> {
    builder: Builder,
    tape: Vec<Part<'t>>,
    open: Vec<Open>,
    /// The range of each anchored node in the recording.
    nodes: HashMap<usize, Range<usize>>,
    /// Anchors so far.
    defined: usize,
    /// Aliases so far.
    aliases: usize,
}

impl<'t> Anchors<'t> {
    /// Adds the next part of the text. Anchor 0 means none.
    pub(super) fn part(&mut self, part: Part<'t>, anchor: usize, mark: Mark) -> Result<(), YamlError> {
        if anchor != 0 {
            self.defined += 1;
            if self.defined > MAX_ANCHORS {
                return Err(mark.error(format!("it has more than {MAX_ANCHORS} anchors")));
            }
            self.open.push(Open { anchor, start: self.tape.len(), depth: self.builder.depth() });
        }
        self.build(part, Origin::Written(mark))
    }

    /// Repeats the node that the alias refers to.
    pub(super) fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), YamlError> {
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            return Err(mark.error(format!("it has more than {MAX_ALIASES} aliases")));
        }
        // The parser knows all its anchors: one that is not complete is still open.
        let Some(parts) = self.nodes.get(&anchor).cloned() else {
            return Err(mark.error("the alias refers to a value that contains it"));
        };
        for index in parts {
            self.build(self.tape[index].clone(), Origin::Alias(mark))?;
        }
        Ok(())
    }

    /// The tree, with the position of the end of the text.
    pub(super) fn finish(self, end: Mark) -> Result<Document, YamlError> {
        if self.aliases >= FREE_ALIASES && self.aliases > ALIASES_PER_ANCHOR * self.defined {
            return Err(end.error(format!(
                "it has too many aliases ({}) for its number of anchors ({})",
                self.aliases, self.defined
            )));
        }
        Ok(self.builder.finish(end))
    }

    fn build(&mut self, part: Part<'t>, origin: Origin) -> Result<(), YamlError> {
        if self.open.is_empty() {
            return self.builder.part(part, origin);
        }
        self.tape.push(part.clone());
        self.builder.part(part, origin)?;
        while let Some(node) = self.open.pop_if(|node| node.depth == self.builder.depth()) {
            self.nodes.insert(node.anchor, node.start..self.tape.len());
        }
        Ok(())
    }
}
