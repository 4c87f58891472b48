//! The house rules that a compiler does not hold: arrows run one way, files say what they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each folder (or file at the top) may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("fault", &[]),
    ("stop", &["fault"]),
    ("mutex", &[]),
    ("dpath", &[]),
    ("pyjson", &[]),
    ("percent", &[]),
    ("scan", &[]),
    ("observe", &["scan"]),
    ("schema", &[]),
    ("timefmt", &["jinja"]),
    ("jinja", &["timefmt", "percent", "pyjson"]),
    ("config", &["fault", "timefmt", "percent"]),
    ("catalog", &[]),
    ("manifest", &["fault"]),
    ("plan", &["manifest", "jinja", "fault"]),
    ("store", &["fault", "stop"]),
    (
        "auth",
        &[
            "mutex", "pace", "plan", "manifest", "dpath", "store", "fault", "percent", "pyjson", "scan", "stop",
            "timefmt",
        ],
    ),
    ("page", &["plan", "manifest", "fault", "pyjson"]),
    ("slice", &["plan", "manifest", "dpath", "fault", "jinja"]),
    ("cursor", &["plan", "manifest", "config", "fault", "timefmt", "pyjson"]),
    ("extract", &["plan", "manifest", "dpath", "fault", "pyjson", "scan"]),
    ("shape", &["plan", "manifest", "dpath", "fault", "jinja", "observe", "scan", "schema", "timefmt"]),
    ("pace", &["plan", "manifest", "config", "fault", "percent", "stop", "timefmt"]),
    ("fetch", &["pace", "plan", "manifest", "fault", "percent", "scan", "stop", "pyjson"]),
    ("show", &["timefmt"]),
    ("drift", &["config", "fault", "observe", "scan", "schema", "show", "stop", "store", "timefmt"]),
    ("state", &["fault"]),
    (
        "tenant",
        &[
            "config", "drift", "fault", "mutex", "pace", "percent", "pyjson", "show", "state", "stop", "store",
            "timefmt",
        ],
    ),
    ("emit", &["fault", "state", "stop", "shape", "timefmt"]),
    (
        "run",
        &[
            "auth", "page", "slice", "config", "cursor", "dpath", "drift", "extract", "shape", "fetch", "emit",
            "mutex", "pace", "plan", "manifest", "fault", "percent", "scan", "stop", "pyjson", "timefmt",
        ],
    ),
    ("sandbox", &["fault", "percent", "timefmt"]),
    (
        "cli",
        &[
            "auth", "catalog", "config", "cursor", "drift", "emit", "extract", "fault", "fetch", "manifest", "mutex",
            "pace", "plan", "run", "sandbox", "scan", "shape", "show", "slice", "state", "stop", "store", "tenant",
            "timefmt",
        ],
    ),
];

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn sources() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    let of = |path: &PathBuf| {
        let relative = path.strip_prefix(&root).unwrap();
        let part =
            relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        (part, relative.display().to_string(), std::fs::read_to_string(path).unwrap())
    };
    paths.iter().map(of).collect()
}

#[test]
fn arrows_run_one_way() {
    for (part, file, text) in sources() {
        if part == "lib" || part == "main" {
            continue;
        }
        let allowed = ALLOWED
            .iter()
            .find(|(p, _)| *p == part)
            .unwrap_or_else(|| panic!("{part} is not in the plan of the house"))
            .1;
        let mut named = BTreeSet::new();
        for piece in text.split("crate::").skip(1) {
            let name: String = piece.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            named.insert(name);
        }
        named.remove(&part);
        for name in named {
            assert!(allowed.contains(&name.as_str()), "{file} names `{name}`, which `{part}` may not");
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (_, file, text) in sources() {
        assert!(text.starts_with("//!"), "{file} does not start with //!");
        for banned in ["println!(", "eprintln!(", "dbg!(", "todo!(", "unimplemented!("] {
            assert!(!text.contains(banned), "{file} uses {banned}");
        }
    }
}
