//! The house rules that a compiler does not hold: ten wings, arrows one way, no circles, files that say what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::rust_files;

/// What each wing may name. Sorted: a wing names only wings above it.
const WINGS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("sandbox", &["base"]),
    ("manifest", &["base"]),
    ("protocol", &["base"]),
    ("pace", &["base", "manifest"]),
    ("drift", &["base"]),
    ("engine", &["base", "manifest", "protocol", "pace", "drift"]),
    ("tenant", &["base", "protocol", "pace", "drift"]),
    ("run", &["base", "sandbox", "manifest", "protocol", "pace", "drift", "engine", "tenant"]),
    ("cli", &["base", "sandbox", "manifest", "protocol", "pace", "drift", "engine", "tenant", "run"]),
];

/// What each part of the engine may name of the engine. Stages name none; the files beside them join what stages do.
const STAGES: &[&str] = &["auth", "cursor", "extract", "fetch", "page", "shape", "slice"];

/// A source file: its path under `src`, as module names, and its text.
struct Source {
    file: String,
    module: Vec<String>,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let of = |path: &PathBuf| {
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        let module = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(str::to_owned).collect();
        Source { file, module, text: std::fs::read_to_string(path).unwrap() }
    };
    rust_files("src").iter().map(of).collect()
}

/// The modules that a file names, as paths from the root: `crate::…` and `super::…`, without what tests name.
fn named(source: &Source) -> Vec<Vec<String>> {
    let text = source.text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |a, l| a + l + "\n");
    let mut out = Vec::new();
    let starts = code.match_indices("crate::").map(|(at, found)| (Vec::new(), at + found.len()));
    // Of `super::super::` the first stands for the chain.
    let begins = |at: usize| {
        !code[..at].ends_with("super::") && !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    let supers = code.match_indices("super::").filter(|(at, _)| begins(*at)).map(|(at, _)| {
        let chain = code[at..].split("super::").take_while(|piece| piece.is_empty()).count();
        let keep = source.module.len() - chain.min(source.module.len());
        (source.module[..keep].to_vec(), at + chain * "super::".len())
    });
    for (base, at) in starts.chain(supers).collect::<Vec<_>>() {
        let rest = &code[at..];
        let groups: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        };
        for piece in groups {
            let path = piece
                .trim()
                .split("::")
                .map(|part| part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>());
            out.push(base.iter().cloned().chain(path).take(4).collect());
        }
    }
    out
}

#[test]
fn wings_name_only_wings_before_them() {
    let order: Vec<&str> = WINGS.iter().map(|(wing, _)| *wing).collect();
    for (at, (wing, allowed)) in WINGS.iter().enumerate() {
        for other in *allowed {
            let place = order.iter().position(|name| name == other).unwrap_or_else(|| panic!("{other} is no wing"));
            assert!(place < at, "`{wing}` may name `{other}`, which stands after it: a circle");
        }
    }
    let mut used: BTreeSet<(String, String)> = BTreeSet::new();
    for source in sources() {
        let wing = source.module[0].clone();
        if wing == "lib" || wing == "main" {
            continue;
        }
        let (_, allowed) = WINGS.iter().find(|(name, _)| *name == wing).unwrap_or_else(|| panic!("{wing} is no wing"));
        for path in named(&source) {
            let other = path[0].clone();
            if other == wing || !order.contains(&other.as_str()) {
                continue;
            }
            assert!(allowed.contains(&other.as_str()), "{} names `{other}`, which `{wing}` may not", source.file);
            used.insert((wing.clone(), other));
        }
    }
    for (wing, allowed) in WINGS {
        for other in *allowed {
            assert!(
                used.contains(&((*wing).into(), (*other).into())),
                "nothing in `{wing}` names `{other}`: strike it out"
            );
        }
    }
}

#[test]
fn stages_of_the_engine_never_name_each_other() {
    for source in sources().iter().filter(|source| source.module[0] == "engine") {
        let Some(stage) = source.module.get(1).filter(|part| STAGES.contains(&part.as_str())) else { continue };
        for path in named(source).iter().filter(|path| path[0] == "engine") {
            let Some(other) = path.get(1) else { continue };
            assert!(
                other == stage || !other.starts_with(char::is_lowercase),
                "{}: the stage `{stage}` names `{other}`",
                source.file
            );
        }
    }
}

/// The circle that a node is on, if there is one.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        node: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if way.iter().any(|n| n == node) {
            way.push(node.to_owned());
            return true;
        }
        if !done.insert(node.to_owned()) {
            return false;
        }
        way.push(node.to_owned());
        if edges.get(node).into_iter().flatten().any(|next| walk(next, edges, way, done)) {
            return true;
        }
        way.pop();
        false
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|node| {
        let mut way = Vec::new();
        walk(node, edges, &mut way, &mut done).then_some(way)
    })
}

/// Edges between the children of a module.
fn edges_in(sources: &[Source], parent: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let children: BTreeSet<&str> = sources
        .iter()
        .filter(|s| s.module.starts_with(parent))
        .filter_map(|s| s.module.get(parent.len()).map(String::as_str))
        .collect();
    for source in sources.iter().filter(|s| s.module.starts_with(parent)) {
        let Some(child) = source.module.get(parent.len()) else { continue };
        for path in named(source).iter().filter(|path| path.starts_with(parent)) {
            let Some(other) = path.get(parent.len()).filter(|other| children.contains(other.as_str())) else {
                continue;
            };
            if other != child {
                edges.entry(child.clone()).or_default().insert(other.clone());
            }
        }
    }
    edges
}

#[test]
fn no_folders_name_each_other_in_a_circle_and_no_files_of_cli_and_run() {
    let sources = sources();
    let folders: BTreeSet<Vec<String>> =
        sources.iter().filter(|s| s.file.ends_with("/mod.rs")).map(|s| s.module.clone()).collect();
    for parent in folders.iter().cloned().chain([Vec::new()]) {
        let mut edges = edges_in(&sources, &parent);
        if !parent.first().is_some_and(|wing| wing == "cli" || wing == "run") {
            // Elsewhere files of one folder may know each other; folders may not.
            let is_folder =
                |child: &String| folders.contains(&parent.iter().chain([child]).cloned().collect::<Vec<_>>());
            edges.retain(|child, _| is_folder(child));
            for others in edges.values_mut() {
                others.retain(is_folder);
            }
        }
        assert_eq!(circle(&edges), None, "a circle in {}", parent.join("::"));
    }
}

#[test]
fn every_file_says_what_it_is() {
    for source in sources() {
        assert!(source.text.starts_with("//!"), "{} does not start with //!", source.file);
        for banned in ["println!(", "eprintln!(", "dbg!(", "todo!(", "unimplemented!("] {
            assert!(!source.text.contains(banned), "{} uses {banned}", source.file);
        }
    }
}
