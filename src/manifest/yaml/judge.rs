//! Compares `parse_yaml` with serde-saphyr: both accept, read and refuse the same.
//!
//! Input: every manifest of the repository, a table of odd documents, and documents assembled from odd pieces.
//! Intended differences are in a table.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value as Json, json};
use serde_saphyr::Spanned;

use super::parse_yaml;
use super::scalar::bool_word;
use crate::manifest::node::{Node, NodeKind};

/// A YAML value with lines for its children.
enum Tree {
    Scalar(Json),
    Seq(Vec<Spanned<Tree>>),
    Map(Vec<(String, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct TreeVisitor;
        macro_rules! scalar {
            ($($method:ident: $ty:ty),*) => {$(
                fn $method<E>(self, v: $ty) -> Result<Tree, E> {
                    Ok(Tree::Scalar(Json::from(v)))
                }
            )*};
        }
        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a YAML value")
            }
            scalar!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Scalar(Json::Null))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Seq(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
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

fn node(spanned: Spanned<Tree>, lines: &[&str]) -> Node {
    let line = u32::try_from(spanned.referenced.line()).unwrap();
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

/// Is the scalar at this position (1-based) quoted or in a block?
fn is_quoted(lines: &[&str], line: u64, column: u64) -> bool {
    let at = |n: u64| usize::try_from(n).ok().and_then(|n| n.checked_sub(1));
    let first = at(line).and_then(|l| lines.get(l)).zip(at(column)).and_then(|(l, c)| l.chars().nth(c));
    first.is_none_or(|c| "'\"|>".contains(c))
}

/// The tree, or the line and the message of the fault.
type Verdict = Result<Node, (u32, String)>;

fn judged(text: &str) -> Verdict {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_nodes: 2_000_000,
            max_events: 4_000_000,
            max_depth: 200,
            max_anchors: 10_000,
            max_aliases: 50_000,
        },
    };
    let read = serde_saphyr::from_str_with_options::<Spanned<Tree>>(text, options);
    let lines: Vec<&str> = text.lines().collect();
    read.map(|tree| node(tree, &lines)).map_err(|error| {
        let line = error.location().map_or(0, |place| u32::try_from(place.line()).unwrap());
        (line, error.to_string().lines().next().unwrap_or_default().to_owned())
    })
}

fn parsed(text: &str) -> Verdict {
    parse_yaml(text, "manifest.yaml").map_err(|fault| (fault.location.unwrap().line, fault.message))
}

/// The difference between both parsers, if any: in the result, or in the line of the fault. For aliases, serde-saphyr
/// reports the line of the anchor, and we report that of the alias.
fn difference(text: &str) -> Option<String> {
    let (parsed, judged) = (parsed(text), judged(text));
    let is_same = match (&parsed, &judged) {
        (Ok(a), Ok(b)) => a == b,
        // serde-saphyr refuses a duplicate key; we use the last one.
        (_, Err((_, message))) if message.contains("duplicate") => true,
        (Err((a, _)), Err((b, _))) => a == b || text.contains('*'),
        _ => false,
    };
    (!is_same).then(|| format!("{text}\n{parsed:.500?}\n{judged:.500?}\n"))
}

fn agree<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) {
    let differences: Vec<String> = texts.into_iter().filter_map(|text| difference(text.as_ref())).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn plain_documents_read_the_same() {
    let texts = [
        "a:\nb: ~\nc: {}\nd: []\n? e\n: f\n",
        "---\na: |\n  one\n\n  two\nb: >-\n  x\n  y\nc: 'it''s'\nd: \"\\u00e9\\n\"\ne: two\n  lines\n# end\n",
        "a:\n- 1\n-\n- - b: {c: [d, {e: f}], g:, h: }\n  - i\n",
        "$ref: '#/x'\nü: ß\n\"<\": 1\n'': 2\n",
        "\u{feff}a: 1\n",
        "%YAML 1.2\n---\na: 1\n...\n",
        "{\"a\": [1, 2.5, true, null, \"b\"]}",
        "a",
        "'a'",
        "- a\n",
        "12",
        "",
        "# only this\n\n",
        "---\n",
        "--- \n- 1\n- &x b\n-\n  *x\n",
        "a: 1\r\nb:\r\n  - yes\r\n",
        "1: a\ntrue: b\n1.5: c\n-3: d\n0x10: e\n.inf: f\n",
    ];
    agree(texts);
    assert!(texts.iter().all(|text| parsed(text).is_ok()));
}

#[test]
fn scalars_mean_the_same() {
    let scalars = "yes No on y n True FALSE true 'true' null Null NULL nUll ~ 0 1 -1 +1 007 0x1F 0o17 0b11 1_000 1__0 \
        _1 18446744073709551615 18446744073709551616 -9223372036854775808 -9223372036854775809 1.5 -0.0 .5 5. 1e3 \
        1e400 1E-3 1.2.3 7.39.1 2024-01-01 2024-01-01T00:00:00Z 12:30 inf nan .inf -.inf .nan +.nan .Inf infinity \
        e5 +e5 - . ... ---1 --- -.- +.5 0x 0xZZ 1f 1d 'a' \"1\" '1' \"yes\" | > 09 0_9 00 0. 1e 1a -a .a +a \u{a0}1 = \
        0X1F -0x1F +0b1 0b2 0o8 1_000.5 -1_0 0x_1 0x1_F 1_ -0 -00 +0 -0.5 .9e999 -1e999 +inf -nan \
        1e-999 0xffffffffffffffff 0x10000000000000000 -0x8000000000000000 -0x8000000000000001 0.1e1 01e2 00.5 1+1 + +- \
        340282366920938463463374607431768211456";
    let tags = "!!str !!int !!float !!bool !!null !!seq !!map !!binary !!timestamp !!merge !!value !!omap ! !a !int \
        !str !bool !include !time !<tag:yaml.org,2002:int> !<x> &a !x!y";
    for scalar in scalars.split_whitespace() {
        agree([
            format!("a: {scalar}\n"),
            format!("a: [{scalar}, {scalar}]\n"),
            format!("{scalar}: a\n"),
            format!("x: &x {scalar}\n*x : 1\ny: *x\n"),
            scalar.to_owned(),
        ]);
        for tag in tags.split_whitespace() {
            agree([format!("{tag} {scalar}: a\n")]);
            // See `what_differs_on_purpose`.
            if bool_word(scalar).is_none() {
                agree([format!("a: {tag} {scalar}\n"), format!("a: {tag}\n  |-\n  {scalar}\n")]);
            }
        }
    }
    agree([
        "a: !!binary YWJj\n",
        "a: !!binary |\n  YW\n  Jj\n",
        "a: !!binary /w==\n",
        "a: !!int ' 1 '\n",
        "a: !!bool ' true'\n",
    ]);
}

#[test]
fn odd_documents_read_the_same() {
    agree([
        "a: &x 1\nb: *x\n",
        "a: &x {b: [1,\n 2]}\nc:\n  *x\nd: [*x, 3]\n",
        "a: &x\n  b: &y\n    c: 1\n  d: *y\ne: *x\nf: *y\n",
        "a: &x yes\nb: *x\nc: &y 'yes'\nd: *y\n*x : 1\n",
        "a: &x 1\nb: &x 2\nc: *x\n",
        "&k key: v\nb: *k\n*k : w\n",
        "<<: {a: 1}\nb: 2\n",
        "<<:\n  a: 1\n  b:\n    c: 2\nd: 3\n",
        "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n  c: 4\n",
        "x: &x {a: 1, b: 2}\ny: &y\n  <<: *x\n  b: 3\nz:\n  c: 5\n  <<: *y\n",
        "x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz:\n  <<: [*x, *y,\n    {c: 3,\n     d: *x}, ~, [{e: 1}]]\n  f:\n    1\n",
        "x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz:\n  <<: *y\n  <<: *x\n",
        "z:\n  <<:\n    <<:\n      a: 1\n      b: [1,\n        2]\n    c: 1\n  d: 1\n",
        "z:\n  <<:\n  - <<:\n    - a: 1\n      b: 2\n    - c: 1\n    d: 2\n  - e:\n      f\n",
        "<<: ~\na: 1\n<<: []\n",
        "<<: 1\n",
        "<<: [1]\n",
        "<<: [[x]]\n",
        "'<<': {a: 1}\n",
        "!!merge '<<': {a: 1}\n",
        "!!str <<: {a: 1}\n",
        "a: <<\nb: [<<]\n",
        "m: &m <<\n*m : {a: 1}\n",
        "x: &x [{a: 1}, {b: 2}]\ny: {<<: *x}\n",
        "x: &x 1\ny: {<<: *x}\n",
        "<<: {a: 1, a: 2}\n",
        "<<: {a: {b: &x 1}}\nc: *x\n",
        "a: 1\na: 2\n",
        "a: 1\n'a': 2\n",
        "a:\n  b: 1\n  c: 2\n  b: 3\n",
        "1: a\n0x1: b\n",
        "+1: a\n1: b\n",
        "1: a\n'1': b\n",
        "!x a: 1\na: 2\n",
        "~: a\n",
        "null: a\n",
        "'': a\n",
        ": a\n",
        "!!str ~: a\n",
        "! null: a\n",
        "[a]: b\n",
        "? {a: 1}\n: b\n",
        "a: &x [1]\n*x : 1\n",
        "a: 1\n---\nb: 1\n",
        "a: 1\n---\n",
        "a: 1\n...\n---\n...\n",
        "a: 1\n...\nb: 2\n",
        "a: [\n",
        "a: b: c\n",
        "a: 'x\n",
        "a: *x\n",
        "a: &x [*x]\n",
        "a: &x {b: *x}\n",
        "a: &x {*x : b}\n",
        "a: &x {<<: *x}\n",
        "a: !!seq [1]\nb: !!map {c: !!str 1}\nc: !foo [1]\nd: ! {a: 1}\n",
        "a: !!seq {a: 1}\n",
        "a: !!map [1]\n",
        "a: !!int [1]\n",
        "a: !!str {a: 1}\n",
        "a: !include {a: 1}\n",
        "a: !!value {a: 1}\n",
        "a: !foo &x {b: !bar 1}\nc: *x\n",
        "a: &x !!int '12'\nb: *x\n",
        "a: &x !!int 'z'\n",
        "%TAG !e! tag:yaml.org,2002:\n---\na: !e!str 1\n",
        "&r\na: 1\nb: &s [c]\nd: *s\n",
        "a: &x\nb: *x\nc: &y ''\nd: *y\n",
        "a: !!str\nb: !!null\nc: !!int\n",
        "a: !!str\nb: !\nc: !foo\n",
        "a: &x |\n  b\n  c\nd: *x\ne: >+\n  f\n\n",
        "[a, b: c, ? d, {e}, f: ]",
        "a: {b, c: , 'd', ? e : f}\n",
    ]);
}

#[test]
fn what_differs_on_purpose() {
    for (text, value) in [
        // A value tagged as text is text.
        ("a: !!str yes\nb: ! no\n", Some(json!({"a": "yes", "b": "no"}))),
        ("a: &x 1\nb: |-\n  yes\n", Some(json!({"a": 1, "b": "yes"}))),
        // Merged keys are compared with the others by their text.
        ("<<: {1: a}\n0x1: b\n", Some(json!({"0x1": "b", "1": "a"}))),
        // A fault counts even if another key hides it.
        ("<<: {a: .inf}\na: 1\n", None),
    ] {
        assert!(difference(text).is_some(), "{text}");
        assert_eq!(parsed(text).ok().map(|node| node.to_json()), value, "{text}");
    }
}

#[test]
fn bounds_are_the_same() {
    for depth in [199, 200, 254, 255, 256] {
        agree([format!("a: {}{}\n", "[".repeat(depth), "]".repeat(depth))]);
    }
    for aliases in [99, 100, 101] {
        agree([format!("a: &x 1\nb: [{}]\n", "*x,".repeat(aliases))]);
        agree([format!("a: [{}]\nb: [{}]\n", "&x 1,".repeat(10), "*x,".repeat(aliases))]);
    }
    for anchors in [10_000, 10_001] {
        agree([format!("a: [{}]\n", "&x 1,".repeat(anchors))]);
    }
    for aliases in [50_000, 50_001] {
        agree([format!("a: [{}]\nb: [{}]\n", "&x 1,".repeat(5_000), "*x,\n".repeat(aliases))]);
    }
    for nodes in [2_000_000 - 3, 2_000_000 - 2] {
        agree([format!("a: [{}]\n", "1,\n".repeat(nodes))]);
    }
    let long = "x".repeat(1 << 20);
    for aliases in [63, 64] {
        agree([format!("a: &x {long}\nb: [{}]\n", "*x,\n".repeat(aliases))]);
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb += &format!("a{i}: &a{i} [{list}]\n");
    }
    assert!(parsed(&bomb).is_err());
    agree([bomb]);
}

#[test]
fn every_manifest_reads_the_same() {
    for (folder, least) in [("catalog", 2), ("fixtures/transcripts", 50), ("fixtures/oracle", 50)] {
        let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        let paths = paths.map(|path| if path.is_dir() { path.join("manifest.yaml") } else { path });
        let manifests = paths.filter(|path| path.extension().is_some_and(|e| e == "yaml"));
        let texts: Vec<String> = manifests.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        agree(&texts);
        assert!(texts.iter().filter(|text| parsed(text).is_ok()).count() >= least, "{folder}");
    }
}

/// A node to be written as a flow or as a block.
#[derive(Debug, Clone)]
enum Piece {
    Leaf(String),
    Seq(bool, String, Vec<Piece>),
    Map(bool, String, Vec<(String, Piece)>),
}

impl Piece {
    /// The text after a key's colon or a sequence's dash.
    fn write(&self, text: &mut String, indent: usize, in_flow: bool) {
        let (is_flow, properties, children) = match self {
            Piece::Leaf(leaf) => {
                *text += leaf;
                return;
            }
            Piece::Seq(flow, properties, items) => {
                (*flow, properties, items.iter().map(|item| (None, item)).collect::<Vec<_>>())
            }
            Piece::Map(flow, properties, fields) => {
                (*flow, properties, fields.iter().map(|(key, value)| (Some(key), value)).collect())
            }
        };
        *text += properties;
        let is_flow = in_flow || is_flow || children.is_empty();
        let (start, end) = if matches!(self, Piece::Seq(..)) { ("[", "]") } else { ("{", "}") };
        *text += if is_flow { start } else { "" };
        for (key, child) in children {
            match key {
                Some(key) if is_flow => *text += &format!("{key} : "),
                Some(key) => *text += &format!("\n{:indent$}{key} : ", ""),
                None if is_flow => {}
                None => *text += &format!("\n{:indent$}- ", ""),
            }
            child.write(text, indent + 2, is_flow);
            *text += if is_flow { ",\n          " } else { "" };
        }
        *text += if is_flow { end } else { "" };
    }
}

fn piece() -> impl Strategy<Value = Piece> {
    let one_of = |words: &'static [&'static str]| prop::sample::select(words).prop_map(str::to_owned);
    let leaf = prop_oneof![
        one_of(&[
            "1", "yes", "'no'", "~", "x y", "\"\\n\"", "-1.5", "0x1F", "''", "&a 7", "&d off", "!t 12", "!!str 3"
        ]),
        one_of(&[
            "*a",
            "*b",
            "*c",
            "*c",
            "!!float 2",
            "&b {p: *c}",
            "!!null x",
            "! 1",
            "!!binary YQ==",
            "0o17",
            "[1, *c]"
        ]),
    ];
    let merged = prop_oneof![one_of(&["*a", "*b", "~", "[*a, ~]", "[{q: &c 5}, *a]"])].prop_map(Piece::Leaf);
    let properties = move || one_of(&["", "", "", "", "&a ", "&b ", "&c ", "!t ", "! &a "]);
    leaf.prop_map(Piece::Leaf).prop_recursive(4, 24, 4, move |inner| {
        let key = || one_of(&["p", "q", "r", "1", "true", "'s t'", "!!str u", "*k", "&l v"]);
        let fields = prop::collection::btree_map(key(), inner.clone(), 0..4);
        let mapping = (any::<bool>(), properties(), prop::collection::btree_map(key(), inner.clone(), 0..4))
            .prop_map(|(flow, properties, fields)| Piece::Map(flow, properties, fields.into_iter().collect()));
        let merge = prop_oneof![Just(None), merged.clone().prop_map(Some), mapping.prop_map(Some)];
        let map = (any::<bool>(), properties(), fields, merge, any::<bool>()).prop_map(
            |(flow, properties, fields, merge, first)| {
                let mut fields: Vec<_> = fields.into_iter().collect();
                if let Some(merge) = merge {
                    let place = if first { 0 } else { fields.len() };
                    fields.insert(place, ("<<".to_owned(), merge));
                }
                Piece::Map(flow, properties, fields)
            },
        );
        let seq = (any::<bool>(), properties(), prop::collection::vec(inner, 0..4))
            .prop_map(|(flow, properties, items)| Piece::Seq(flow, properties, items));
        prop_oneof![2 => map, 1 => seq]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn documents_of_odd_pieces_read_the_same(pieces in prop::collection::vec(piece(), 1..4)) {
        let mut text = "w: &a {p: 1, q: &c yes}\nx: &b\n  r: [2,\n    *c]\n  1: !!str 7\ny: &k k\n".to_owned();
        for (n, piece) in pieces.iter().enumerate() {
            text += &format!("k{n}: ");
            piece.write(&mut text, 2, false);
            text += "\n";
        }
        // Only faults that another key hides, see `what_differs_on_purpose`.
        if !(text.contains("<<") && parsed(&text).is_err() && judged(&text).is_ok()) {
            prop_assert_eq!(difference(&text), None);
        }
    }
}
