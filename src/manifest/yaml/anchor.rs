//! Anchors and aliases.
//!
//! Input: the parts of a document, and aliases. Output: the same parts to `tree`, each alias as the parts of what
//! it refers to. Called by `yaml`.

use std::collections::HashMap;
use std::ops::Range;

use super::tree::{Builder, Document, Origin};
use super::{Mark, Part, YamlError};

const MAX_ANCHORS: usize = 10_000;
const MAX_ALIASES: usize = 50_000;

/// So many aliases are fine, however few the anchors are.
const FREE_ALIASES: usize = 100;

/// Beyond these, so many for each anchor. A bomb has few anchors that are referred to again and again.
const ALIASES_PER_ANCHOR: usize = 10;

/// An anchored node whose end was not read yet.
struct Open {
    anchor: usize,
    /// Its first part on the tape.
    start: usize,
    /// How many collections stand around it.
    depth: usize,
}

/// The parts of every anchored node, and the tree that is built.
#[derive(Default)]
pub(super) struct Anchors<'t> {
    builder: Builder,
    tape: Vec<Part<'t>>,
    open: Vec<Open>,
    /// Where on the tape each anchored node is.
    nodes: HashMap<usize, Range<usize>>,
    /// Anchors so far.
    defined: usize,
    /// Aliases so far.
    aliases: usize,
}

impl<'t> Anchors<'t> {
    /// The next part of the text. Anchor 0 is none.
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

    /// What the alias refers to, once more.
    pub(super) fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), YamlError> {
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            return Err(mark.error(format!("it has more than {MAX_ALIASES} aliases")));
        }
        // The parser knows every anchor that it gives an alias of: what is not complete is still open.
        let Some(parts) = self.nodes.get(&anchor).cloned() else {
            return Err(mark.error("the alias stands inside what it refers to"));
        };
        for index in parts {
            self.build(self.tape[index].clone(), Origin::Alias(mark))?;
        }
        Ok(())
    }

    /// The tree, with the place where the text ends.
    pub(super) fn finish(self, end: Mark) -> Result<Document, YamlError> {
        if self.aliases >= FREE_ALIASES && self.aliases > ALIASES_PER_ANCHOR * self.defined {
            return Err(end.error(format!("{} aliases are too many for {} anchors", self.aliases, self.defined)));
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
