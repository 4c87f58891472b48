//! The pages of the reference are what the code says. Prose around the generated parts is written by hand.
//!
//! `INSTA_UPDATE=always cargo test docs::reference` writes the generated parts again.

mod components;
mod config;
mod events;
mod tables;

use super::{Page, read, root, style};

/// A table of Markdown; `|` in cells is escaped.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('\n', " ").replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut out = line(head.iter().map(|cell| (*cell).to_owned()).collect());
    out += &format!("|{}\n", "---|".repeat(head.len()));
    rows.into_iter().for_each(|row| out += &line(row));
    out
}

/// A text as a code span; nothing stays nothing.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
