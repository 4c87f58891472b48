//! Table names: prevents loaders from merging two streams into one table.
//!
//! Input: the names of all streams of a source. Output: the streams that a loader would put into one table, and safe
//! names for them; the result depends only on the set of all streams, not on the selection. Called by `engine::build`
//! (names in SCHEMA and RECORD), `run` and `cli validate` (warnings).
//!
//! Loaders fold case, cut names at 63 bytes, treat text before a hyphen as a database schema, and replace other
//! characters with `_` or drop them. A name of lower-case letters, digits and `_` is always safe and unchanged.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

/// The longest table name that every warehouse accepts, in bytes.
const MAX_NAME: usize = 63;

/// The streams of a source with their possible table names.
#[derive(Debug, Clone, Default)]
pub struct TableNames {
    renamed: BTreeMap<String, String>,
    meetings: BTreeSet<Vec<String>>,
}

impl TableNames {
    /// The table names of all streams of a source.
    pub fn of<'n>(streams: impl IntoIterator<Item = &'n str>) -> TableNames {
        let streams: BTreeSet<&str> = streams.into_iter().collect();
        let mut by_table: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for stream in &streams {
            for table in tables(stream) {
                by_table.entry(table).or_default().insert(stream);
            }
        }
        let mut names = TableNames::default();
        let met: Vec<&BTreeSet<&str>> = by_table.values().filter(|streams| streams.len() > 1).collect();
        names.meetings.extend(met.iter().map(|streams| streams.iter().map(|name| (*name).to_owned()).collect()));
        let odd: BTreeSet<&str> = met.into_iter().flatten().copied().filter(|name| !is_plain(name)).collect();
        let mut simple: BTreeMap<String, usize> = BTreeMap::new();
        for stream in &odd {
            *simple.entry(simplified(stream)).or_default() += 1;
        }
        for stream in odd {
            let name = simplified(stream);
            let others = by_table.get(&name).into_iter().flatten().any(|other| *other != stream);
            let is_free = !others && simple.get(&name) == Some(&1) && (1..=MAX_NAME).contains(&name.len());
            names.renamed.insert(stream.to_owned(), if is_free { name } else { with_hash(&name, stream) });
        }
        names
    }

    /// The safe name of a stream that would collide with another.
    pub fn renamed(&self, stream: &str) -> Option<&str> {
        self.renamed.get(stream).map(String::as_str)
    }

    /// The safe names of colliding streams, in readable form.
    pub fn sent_as(&self, streams: &[String]) -> String {
        let sent = streams.iter().filter_map(|stream| Some(format!("`{stream}` as `{}`", self.renamed(stream)?)));
        sent.collect::<Vec<_>>().join(", ")
    }

    /// The colliding streams, by table.
    pub fn meetings(&self) -> impl Iterator<Item = &[String]> {
        self.meetings.iter().map(Vec::as_slice)
    }
}

/// Does every loader keep this name unchanged?
fn is_plain(name: &str) -> bool {
    name.len() <= MAX_NAME && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// The tables that loaders may create for a stream.
fn tables(stream: &str) -> BTreeSet<String> {
    if is_plain(stream) {
        return BTreeSet::from([stream.to_owned()]);
    }
    // `schema-table` and `catalog-schema-table`.
    let last = stream.rsplit('-').next().unwrap_or_default();
    let third = stream.splitn(3, '-').last().unwrap_or_default();
    let mut tables = BTreeSet::new();
    for part in [stream, last, third] {
        for spelled in [replaced(part), without(part), snake(&without(part)), snake(&replaced(part))] {
            let table = spelled.to_lowercase();
            tables.insert(cut(&table, MAX_NAME).to_owned());
        }
    }
    tables.remove("");
    tables
}

/// Replaces everything but letters and digits with `_`.
fn replaced(text: &str) -> String {
    text.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}

/// Removes the characters that loaders drop.
fn without(text: &str) -> String {
    let allowed = text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' '));
    replaced(&allowed.collect::<String>())
}

/// `openIssues` as `open_issues`.
fn snake(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = '_';
    for c in text.chars() {
        if c.is_uppercase() && (before.is_lowercase() || before.is_numeric()) {
            out.push('_');
        }
        out.push(c);
        before = c;
    }
    out
}

/// A name that every loader keeps unchanged; it may not be unique.
fn simplified(stream: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    snake(stream).chars().map(plain).collect()
}

/// The simplified name with a hash of the full name, which makes it unique.
fn with_hash(name: &str, stream: &str) -> String {
    let hash: String = Sha256::digest(stream.as_bytes()).iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{}_{hash}", cut(name, MAX_NAME - 9))
}

/// The start of a text, with at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
