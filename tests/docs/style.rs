//! English that a person in a hurry can read: no banned turns in README, docs and help, and few long sentences.

use std::fmt::Write as _;

use super::pages;
use crate::support::tap::Tap;

/// Turns that make one read twice.
const BANNED: &[&str] =
    &["is no part of", "who knows", "says so", "as if nothing", "begins anew", "anew", "is told", "told"];

/// The most words of a sentence.
const MOST_WORDS: usize = 30;

/// Sentences above that. Lower the number with each that is mended; it never rises.
const LONG_SENTENCES: usize = 5;

/// The verbs, with those of `drift`; no verb is the program itself.
pub(super) const VERBS: &[&str] = &[
    "",
    "check",
    "discover",
    "read",
    "sync",
    "schedule",
    "status",
    "drift",
    "drift show",
    "drift check",
    "drift accept",
    "drift reject",
    "drift promote",
    "drift learn",
    "drift replay",
    "sources",
    "spec",
    "init",
    "test",
    "validate",
    "sandbox",
    "completions",
    "man",
];

/// The words of a text in lower case, one space between them and around all.
fn words(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    let mut out = String::from(" ");
    words.for_each(|word| {
        let _ = write!(out, "{} ", word.to_lowercase());
    });
    out
}

/// The banned turns of a text.
fn banned(text: &str) -> Vec<&'static str> {
    let text = words(text);
    BANNED.iter().copied().filter(|turn| text.contains(&format!(" {turn} "))).collect()
}

#[test]
fn readme_docs_and_help_have_no_banned_turn() {
    let mut broken = Vec::new();
    for page in pages() {
        for (number, line) in page.text.lines().enumerate() {
            broken.extend(banned(line).iter().map(|turn| format!("{}:{}: `{turn}`", page.path, number + 1)));
        }
        // A turn may go over the end of a line.
        let prose: Vec<&str> = page.prose().into_iter().map(|(_, line)| line).collect();
        broken.extend(banned(&prose.join(" ")).iter().map(|turn| format!("{}: `{turn}`", page.path)));
    }
    for verb in VERBS {
        let help = Tap::new(&format!("{verb} --help")).run().out;
        broken.extend(banned(&help).iter().map(|turn| format!("dripfeed {verb} --help: `{turn}`")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The sentences of a page's prose: tables are cells, items of a list and headings stand alone, code spans are a word.
fn sentences(prose: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut paragraphs: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in prose {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            open = false;
        } else if text.starts_with('|') {
            open = false;
            paragraphs.extend(text.split('|').map(|cell| (*number, cell.to_owned())));
        } else {
            let item = text.starts_with("- ") || text.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
            if open && !item {
                let last = paragraphs.last_mut().unwrap();
                last.1 += " ";
                last.1 += text;
            } else {
                paragraphs.push((*number, text.to_owned()));
            }
            open = true;
        }
    }
    let mut out = Vec::new();
    for (number, paragraph) in paragraphs {
        let spans: Vec<&str> =
            paragraph.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "code" }).collect();
        let plain = spans.concat().replace("](", "] (");
        let ends = [". ", "? ", "! ", ": "];
        let marked = ends.iter().fold(format!("{plain} "), |text, end| text.replace(end, "\n"));
        out.extend(marked.lines().map(|sentence| (number, sentence.to_owned())));
    }
    out
}

#[test]
fn sentences_are_short() {
    let mut long = Vec::new();
    for page in pages() {
        let prose = page.prose();
        for (number, sentence) in sentences(&prose) {
            let count = sentence.split_whitespace().filter(|w| w.chars().any(char::is_alphanumeric)).count();
            if count > MOST_WORDS {
                long.push(format!("{}:{number}: {count} words: {}", page.path, sentence.trim()));
            }
        }
    }
    let list = long.join("\n");
    assert!(long.len() <= LONG_SENTENCES, "{} sentences are long, {LONG_SENTENCES} are allowed\n{list}", long.len());
}
