//! README and the book: their commands are run, their manifests validated, their links followed, their English read,
//! and the pages of the reference compared with the code.

mod commands;
mod examples;
mod links;
mod manifests;
mod reference;
mod style;

use std::path::{Path, PathBuf};

/// A page of Markdown.
struct Page {
    /// From the repository's root.
    path: String,
    text: String,
}

/// A fenced block of a page.
struct Block {
    /// The line of its first fence.
    line: usize,
    /// The word behind the fence: `sh`, `yaml`, `json`, nothing.
    language: String,
    /// What stands between the fences, without the fences' own indentation.
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

impl Page {
    fn read(path: &str) -> Page {
        Page { path: path.to_owned(), text: read(path) }
    }

    /// The fenced blocks in order.
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(language) = line.trim_start().strip_prefix("```") else { continue };
            let indent = line.len() - line.trim_start().len();
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
            let text = inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
            blocks.push(Block { line: number + 1, language: language.trim().to_owned(), text });
        }
        blocks
    }

    /// The lines outside of fenced blocks, with their numbers.
    fn prose(&self) -> Vec<(usize, &str)> {
        let mut fenced = false;
        let mut out = Vec::new();
        for (number, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                out.push((number + 1, line));
            }
        }
        out
    }
}

/// The pages of the book, sorted by path.
fn book() -> Vec<Page> {
    fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    collect(&root().join("docs/src"), &mut paths);
    paths.sort();
    paths.iter().map(|path| Page::read(path.strip_prefix(root()).unwrap().to_str().unwrap())).collect()
}

/// README and the pages of the book.
fn pages() -> Vec<Page> {
    std::iter::once(Page::read("README.md")).chain(book()).collect()
}
