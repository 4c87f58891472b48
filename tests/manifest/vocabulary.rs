//! COMPATIBILITY.md tells of every component and field of the reference's declarative schema, and what it tells is so.
//!
//! `fixtures/components.json` lists them (`fixtures/components.py` makes it); what is built is read off
//! `src/manifest/model`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The cells of the table's rows, by component: same, differs, not there, note.
fn rows() -> BTreeMap<String, [BTreeSet<String>; 3]> {
    let text = read("COMPATIBILITY.md");
    let table = text.split("## Every component and field").nth(1).unwrap().split("\n## ").next().unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| component"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].to_owned(), [names(cells[2]), names(cells[3]), names(cells[4])])
    })
    .collect()
}

/// The fields of each component that is built, and those that are refused by name.
fn built() -> BTreeMap<String, [BTreeSet<String>; 2]> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/model")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for part in text.split("component! {").skip(1) {
            let part = part.split("\n}\n").next().unwrap();
            let (fields, later) = part.split_once("\n    later {").unwrap_or((part, ""));
            let name = fields.lines().find(|line| line.ends_with('{') || line.ends_with("{}")).unwrap();
            let field = |line: &str| line.strip_prefix("        ")?.split_once(": ").map(|(name, _)| name.to_owned());
            let fields = fields.lines().filter(|line| !line.contains("///")).filter_map(field).collect();
            let later = later.split(['}', ',']).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
            out.insert(name.trim().split(' ').next().unwrap().to_owned(), [fields, later.collect()]);
        }
    }
    out
}

#[test]
fn every_component_and_field_has_its_row() {
    let reference: BTreeMap<String, Vec<String>> = serde_json::from_str(&read("fixtures/components.json")).unwrap();
    assert!(reference.len() > 130 && reference["HttpRequester"].len() > 15, "the list is whole");
    let (rows, built) = (rows(), built());
    for (component, fields) in &reference {
        let row = rows.get(component).unwrap_or_else(|| panic!("{component} has no row"));
        let told: BTreeSet<&String> = row.iter().flatten().collect();
        assert_eq!(told, fields.iter().collect(), "{component}: the fields of its row");
        assert_eq!(told.len(), row.iter().map(BTreeSet::len).sum::<usize>(), "{component}: a field stands twice");
        let Some([own, later]) = built.get(component) else { continue };
        for field in &row[2] {
            assert!(!own.contains(field), "{component}.{field} is built, though its row says it is not there");
        }
        for field in later.iter().filter(|field| fields.contains(field)) {
            assert!(row[2].contains(field), "{component}.{field} is refused, and its row does not say so");
        }
        // Of the root, some fields mean nothing to any engine.
        for field in row[0].union(&row[1]).filter(|_| component != "DeclarativeSource") {
            assert!(own.contains(field), "{component}.{field} is not built, and its row does not say so");
        }
    }
    let more: Vec<&String> = rows.keys().filter(|name| !reference.contains_key(*name)).collect();
    assert!(more.is_empty(), "the reference has no {more:?}");
}
