//! What is shipped beside the crate knows every built-in source: the wheel's scripts, the registries' files.

use std::collections::BTreeSet;
use std::path::Path;

/// The text of a file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names in a folder, without their ends.
fn names(folder: &str, end: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_suffix(end).map(str::to_owned)).collect()
}

#[test]
fn the_wheel_has_two_scripts_for_each_source() {
    let text = read("pyproject.toml");
    let scripts = text.split("[project.scripts]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let found: BTreeSet<String> = scripts.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let sources = names("catalog", ".yaml").into_iter().chain(["dripfeed".to_owned()]);
    let line = |name: String| format!("{name} = \"tap_dripfeed:main\"");
    let wanted = sources.flat_map(|source| [line(format!("tap-{source}")), line(format!("source-{source}"))]).collect();
    assert_eq!(found, wanted);
}

#[test]
fn the_registries_files_are_those_of_the_sources() {
    let sources = names("catalog", ".yaml");
    let taps = names("packaging/hub", ".yml").iter().map(|name| name.replacen("tap-", "", 1)).collect();
    assert_eq!(sources, taps, "run packaging/registry.py");
    let airbyte = names("packaging/airbyte", "").into_iter().filter(|name| name.starts_with("source-"));
    assert_eq!(sources, airbyte.map(|name| name.replacen("source-", "", 1)).collect(), "run packaging/registry.py");
}
