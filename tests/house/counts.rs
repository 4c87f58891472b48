//! The house rules that are numbers: how long functions, lines and files are, how many parameters a function takes, and
//! which names more than one public type bears. (Circles between folders: `layers.rs`.)
//!
//! Comes in: the source text of `src/`, `tests/` and `benches/`. Goes out: a table on stdout, captured or not, and a
//! list of every place that breaks a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

use super::rust_files;

/// Lines from `fn` to the closing brace.
const LONGEST_FUNCTION: usize = 100;

/// Self is one of them.
const MOST_PARAMETERS: usize = 5;

/// Characters, in code and comments.
const LONGEST_LINE: usize = 120;

/// Names that several public types bear, since their module's name is said with them, and where these are.
const SAID_WITH_THEIR_MODULE: &[(&str, &[&str])] = &[
    // Sections of a config, read as `config::Pace`.
    ("Drift", &["base::config::settings", "tenant::status"]),
    ("Limit", &["base::config::settings", "pace::limit"]),
    ("Pace", &["base::config::settings", "pace"]),
];

/// A source file as it is parsed.
struct Source {
    /// From the repository's root.
    file: String,
    text: String,
    tree: syn::File,
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parsed = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root).unwrap().display().to_string();
        let tree = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        Source { file, text, tree }
    };
    folders.iter().flat_map(|folder| rust_files(folder)).map(parsed).collect()
}

/// A function with a body or, in a trait, without one.
struct Function {
    name: String,
    line: usize,
    lines: usize,
    parameters: usize,
}

#[derive(Default)]
struct Functions(Vec<Function>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, body: Option<&syn::Block>) {
        let line = signature.fn_token.span.start().line;
        let end = body.map_or(line, |body| body.brace_token.span.close().end().line);
        let (name, parameters) = (signature.ident.to_string(), signature.inputs.len());
        self.0.push(Function { name, line, lines: end + 1 - line, parameters });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, Some(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, Some(&item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.add(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }
}

/// Every function that `broken` finds words for: where it is, and these.
fn functions(sources: &[Source], broken: impl Fn(&Function) -> Option<String>) -> Vec<String> {
    let mut out = Vec::new();
    for source in sources {
        let mut found = Functions::default();
        found.visit_file(&source.tree);
        for function in &found.0 {
            out.extend(
                broken(function).map(|why| format!("{}:{} `{}` {why}", source.file, function.line, function.name)),
            );
        }
    }
    out
}

/// Public types of a file with their lines; those of modules for tests are none.
fn public_types(items: &[syn::Item], out: &mut Vec<(String, usize)>) {
    for item in items {
        let (visibility, ident) = match item {
            syn::Item::Struct(item) => (&item.vis, &item.ident),
            syn::Item::Enum(item) => (&item.vis, &item.ident),
            syn::Item::Union(item) => (&item.vis, &item.ident),
            syn::Item::Trait(item) => (&item.vis, &item.ident),
            syn::Item::Type(item) => (&item.vis, &item.ident),
            syn::Item::Mod(item) if item.ident != "tests" => {
                public_types(item.content.as_ref().map_or(&[], |(_, items)| items), out);
                continue;
            }
            _ => continue,
        };
        if matches!(visibility, syn::Visibility::Public(_)) {
            out.push((ident.to_string(), ident.span().start().line));
        }
    }
}

/// `src/pace/limit/mod.rs` as `pace::limit`.
fn module(file: &str) -> String {
    file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::")
}

/// Past the test runner's capture: the numbers are seen in every run.
fn print(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Holds a rule. `left` places break it still: the number goes down with each that is mended, and never up.
fn hold(rule: &str, broken: &[String], left: usize) {
    print(&format!("house: {rule}: {}", broken.len()));
    assert!(broken.len() <= left, "{rule}: {}, and {left} are allowed\n{}", broken.len(), broken.join("\n"));
    assert!(broken.len() == left, "{rule}: only {} are left: lower the number", broken.len());
}

#[test]
fn no_function_is_longer_than_a_hundred_lines() {
    let long =
        |function: &Function| (function.lines > LONGEST_FUNCTION).then(|| format!("has {} lines", function.lines));
    hold("functions above 100 lines", &functions(&sources(&["src", "tests", "benches"]), long), 0);
}

#[test]
fn no_function_takes_more_than_five_parameters() {
    let many = |function: &Function| {
        (function.parameters > MOST_PARAMETERS).then(|| format!("takes {} parameters", function.parameters))
    };
    hold("functions with six or more parameters", &functions(&sources(&["src", "tests", "benches"]), many), 0);
}

#[test]
fn no_line_is_wider_than_120_columns() {
    let mut wide = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        for (index, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > LONGEST_LINE {
                wide.push(format!("{}:{} has {columns} columns", source.file, index + 1));
            }
        }
    }
    hold("lines above 120 columns", &wide, 0);
}

#[test]
fn the_lengths_of_files_are_printed() {
    let mut lengths: Vec<(usize, String)> =
        sources(&["src"]).into_iter().map(|source| (source.text.lines().count(), source.file)).collect();
    lengths.sort_by(|a, b| b.cmp(a));
    let sum: usize = lengths.iter().map(|(lines, _)| lines).sum();
    print(&format!("house: {} files in src, {sum} lines, {} a file", lengths.len(), sum / lengths.len()));
    let longest: Vec<String> = lengths.iter().take(5).map(|(lines, file)| format!("{file} {lines}")).collect();
    print(&format!("house: the longest: {}", longest.join(", ")));
}

#[test]
fn a_name_is_borne_by_one_public_type() {
    let mut places: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for source in sources(&["src"]) {
        let mut types = Vec::new();
        public_types(&source.tree.items, &mut types);
        for (name, line) in types {
            let place = format!("{}:{line}", source.file);
            places.entry(name).or_default().insert(module(&source.file), place);
        }
    }
    places.retain(|_, modules| modules.len() > 1);
    let mut broken = Vec::new();
    for (name, modules) in &places {
        let paths: BTreeSet<&str> = modules.keys().map(String::as_str).collect();
        print(&format!(
            "house: `{name}` is {}",
            paths.iter().map(|path| format!("{path}::{name}")).collect::<Vec<_>>().join(", ")
        ));
        let allowed = SAID_WITH_THEIR_MODULE.iter().find(|(allowed, _)| allowed == name);
        if allowed.is_none_or(|(_, modules)| modules.iter().copied().collect::<BTreeSet<_>>() != paths) {
            let at: Vec<&str> = modules.values().map(String::as_str).collect();
            broken.push(format!("`{name}`: {}", at.join(", ")));
        }
    }
    for (name, _) in SAID_WITH_THEIR_MODULE {
        if !places.contains_key(*name) {
            broken.push(format!("`{name}` is the name of one type: strike it out"));
        }
    }
    hold("names of more than one public type that are not allowed", &broken, 0);
}
