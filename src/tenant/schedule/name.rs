//! Valid and unique names for a scheduler.
//!
//! Input: the parts of a name: source, tenant, tier. Output: a unique name with allowed characters and length. Called
//! by the schedule writers.

use std::collections::BTreeMap;

use super::jenkins_hash::mark;

/// A scheduler's naming rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The separator of parts, and the replacement of other characters.
    pub joint: char,
    /// Allowed characters besides letters and digits.
    pub more: &'static str,
    /// Are upper-case letters allowed?
    pub upper: bool,
    /// The maximum length.
    pub longest: usize,
}

impl Rule {
    /// A name for each thing. A name that was changed, or that is too similar to another, ends with a hash, so that
    /// it stays the same when others are added.
    pub fn names(&self, things: Vec<Vec<&str>>) -> Vec<String> {
        let plain: Vec<String> = things.iter().map(|parts| self.name(parts)).collect();
        let mut count = BTreeMap::new();
        for name in &plain {
            *count.entry(name).or_insert(0) += 1;
        }
        let own = |(name, parts): (&String, &Vec<&str>)| {
            if count.get(name) == Some(&1) { name.clone() } else { self.marked(name, parts) }
        };
        plain.iter().zip(&things).map(own).collect()
    }

    fn name(&self, parts: &[&str]) -> String {
        let joint = self.joint.to_string();
        let text = parts.join(&joint);
        let mut name = String::new();
        for c in text.chars() {
            let c = if self.upper { c } else { c.to_ascii_lowercase() };
            let allowed = c.is_ascii_alphanumeric() || self.more.contains(c);
            if allowed || !name.ends_with(self.joint) {
                name.push(if allowed { c } else { self.joint });
            }
        }
        let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if name == text && name.len() <= self.longest { text } else { self.marked(name, parts) }
    }

    fn marked(&self, name: &str, parts: &[&str]) -> String {
        let mark = mark(parts);
        let stem = name.get(..self.longest - mark.len() - 1).unwrap_or(name);
        let stem = stem.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if stem.is_empty() { format!("x{mark}") } else { format!("{stem}{}{mark}", self.joint) }
    }
}
