//! YAML or JSON text to a tree of nodes.
//!
//! Comes in: a text. Goes out: its tree, with the line of each node, or a fault with the line. Called by `manifest`,
//! `lint` and `engine::build::dynamic`. `fast` reads almost every manifest; what it leaves (anchors, tags, merges,
//! faults) is read through serde-saphyr, whose rules and messages count.

mod fast;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use super::node::{Node, NodeKind};
use crate::base::fault::{Fault, Location, Result};

/// The most nodes of a manifest as it is written.
pub(super) const MAX_NODES: usize = 400_000;

/// Reads YAML into a tree. Aliases are expanded within a bound, so that a bomb is an error.
pub fn parse_yaml(text: &str, file: &str) -> Result<Node> {
    if let Some(tree) = fast::tree(text) {
        return Ok(tree);
    }
    let spanned = spanned(text).map_err(|e| {
        let line = e.location().map_or(0, |l| u32::try_from(l.line()).unwrap_or(0));
        let message = e.to_string();
        let first = message.lines().next().unwrap_or("not valid YAML").trim_start_matches("error: ");
        Fault::config(format!("the manifest is not valid YAML: {first}")).at(&Location {
            file: file.into(),
            line,
            path: "".into(),
        })
    })?;
    let lines: Vec<&str> = text.lines().collect();
    Ok(node(spanned, &lines))
}

fn spanned(text: &str) -> std::result::Result<Spanned<Tree>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_depth: 200,
            max_anchors: 10_000,
            max_aliases: 50_000,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// What a plain scalar means that stands alone.
pub(super) fn plain(text: &str) -> Option<Json> {
    match spanned(text).ok()?.value {
        Tree::Scalar(scalar) => Some(scalar),
        _ => None,
    }
}

/// A YAML value whose children know their lines.
enum Tree {
    Scalar(Json),
    Seq(Vec<Spanned<Tree>>),
    Map(Vec<(String, Spanned<Tree>)>),
}

fn node(spanned: Spanned<Tree>, lines: &[&str]) -> Node {
    let line = u32::try_from(spanned.referenced.line()).unwrap_or(0);
    let defined = spanned.defined;
    let kind = match spanned.value {
        Tree::Scalar(Json::String(s)) => match bool_word(&s) {
            Some(b) if !is_quoted(lines, defined.line(), defined.column()) => NodeKind::Scalar(Json::Bool(b)),
            _ => NodeKind::Scalar(Json::String(s)),
        },
        Tree::Scalar(s) => NodeKind::Scalar(s),
        Tree::Seq(items) => NodeKind::Seq(items.into_iter().map(|i| node(i, lines)).collect()),
        Tree::Map(pairs) => NodeKind::Map(pairs.into_iter().map(|(k, v)| (k, node(v, lines))).collect()),
    };
    Node { line, kind }
}

/// The words that PyYAML takes for bools beside `true` and `false`; unlike YAML 1.1 it leaves `y` and `n` alone.
pub(super) fn bool_word(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Does the scalar at this place (1-based) start with a quote, or stand in a block?
fn is_quoted(lines: &[&str], line: u64, column: u64) -> bool {
    let at = |n: u64| usize::try_from(n).ok().and_then(|n| n.checked_sub(1));
    let first = at(line).and_then(|l| lines.get(l)).zip(at(column)).and_then(|(l, c)| l.chars().nth(c));
    first.is_none_or(|c| "'\"|>!".contains(c))
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct TreeVisitor;
        macro_rules! scalar {
            ($($method:ident: $ty:ty),*) => {$(
                fn $method<E>(self, v: $ty) -> std::result::Result<Tree, E> {
                    Ok(Tree::Scalar(Json::from(v)))
                }
            )*};
        }
        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a YAML value")
            }
            scalar!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_string: String);
            fn visit_i128<E>(self, v: i128) -> std::result::Result<Tree, E> {
                Ok(Tree::Scalar(serde_json::from_str(&v.to_string()).unwrap_or(Json::Null)))
            }
            fn visit_u128<E>(self, v: u128) -> std::result::Result<Tree, E> {
                Ok(Tree::Scalar(serde_json::from_str(&v.to_string()).unwrap_or(Json::Null)))
            }
            fn visit_unit<E>(self) -> std::result::Result<Tree, E> {
                Ok(Tree::Scalar(Json::Null))
            }
            fn visit_none<E>(self) -> std::result::Result<Tree, E> {
                Ok(Tree::Scalar(Json::Null))
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Tree, D::Error> {
                Tree::deserialize(d)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Seq(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Tree, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Tree::Map(pairs))
            }
        }
        d.deserialize_any(TreeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn slowly(text: &str) -> Option<Node> {
        let lines: Vec<&str> = text.lines().collect();
        spanned(text).ok().map(|spanned| node(spanned, &lines))
    }

    /// Both ways give the same tree; says whether the quick one gave it.
    fn is_quick(text: &str) -> bool {
        let (quick, slow) = (fast::tree(text), slowly(text));
        assert!(quick.is_none() || quick == slow, "{text}\n{quick:?}\n{slow:?}");
        quick.is_some()
    }

    #[test]
    fn both_ways_read_the_same() {
        for text in [
            "a:\nb: ~\nc: {}\nd: []\n? e\n: f\n",
            "---\na: |\n  one\n\n  two\nb: >-\n  x\n  y\nc: 'it''s'\nd: \"\\u00e9\\n\"\ne: two\n  lines\n# end\n",
            "a:\n- 1\n-\n- - b: {c: [d, {e: f}], g:, h: }\n  - i\n",
            "$ref: '#/x'\nü: ß\n\"<\": 1\n'': 2\n",
            "\u{feff}a: 1\n",
            "%YAML 1.2\n---\na: 1\n...\n",
        ] {
            assert!(is_quick(text), "{text}");
        }
        let scalars = "yes No on y n True FALSE true 'true' null Null NULL nUll ~ 0 1 -1 +1 007 0x1F 0o17 0b11 1_000 1__0 _1 \
            18446744073709551615 18446744073709551616 -9223372036854775809 1.5 -0.0 .5 5. 1e3 1e400 1E-3 1.2.3 7.39.1 \
            2024-01-01 2024-01-01T00:00:00Z 12:30 inf nan .inf -.inf .nan .Inf infinity e5 +e5 - . ... ---1 --- -.- +.5 0x \
            0xZZ 1f 1d 'a' \"1\" '1' \"yes\" | > 09 0_9 00 0. 1e 1a -a .a +a \u{a0}1 =";
        for scalar in scalars.split_whitespace() {
            for text in [format!("a: {scalar}\n"), format!("a: [{scalar}, {scalar}]\n"), format!("{scalar}: a\n")] {
                is_quick(&text);
            }
        }
    }

    #[test]
    fn both_ways_read_every_manifest_the_same() {
        for (folder, least) in [("catalog", 2), ("fixtures/transcripts", 50), ("fixtures/oracle", 50)] {
            let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
            let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
            let paths = paths.map(|path| if path.is_dir() { path.join("manifest.yaml") } else { path });
            let manifests = paths.filter(|path| path.extension().is_some_and(|e| e == "yaml"));
            let texts = manifests.filter_map(|path| std::fs::read_to_string(path).ok());
            assert!(texts.filter(|text| is_quick(text)).count() >= least, "{folder}");
        }
    }

    #[test]
    fn what_takes_more_than_a_look_is_left_to_the_slow_way() {
        for text in [
            "a: &x 1\nb: *x\n",
            "a: !!str 1\n",
            "a: 1\na: 2\n",
            "a: 1\n'a': 2\n",
            "<<: {a: 1}\n",
            "1: a\n0x1: b\n",
            "~: a\n",
            "[a]: b\n",
            "a: 1\n---\nb: 2\n",
            "a: .inf\n",
            "a: [\n",
            "a",
            "- a\n",
            "",
        ] {
            assert!(!is_quick(text), "{text}");
        }
        assert!(fast::tree(&format!("a: {}{}", "[".repeat(70), "]".repeat(70))).is_none());
    }
}
