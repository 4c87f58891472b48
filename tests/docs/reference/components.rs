//! Each component of a manifest with its fields, read off `src/manifest/model`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{code, read, root, table};
use crate::support::golden::assert_part;

/// The files of the model in the order of the page, with their headings.
const FILES: &[(&str, &str)] = &[
    ("source", "Source"),
    ("rules", "Config"),
    ("stream", "Streams"),
    ("dynamic", "Dynamic streams and schemas"),
    ("retriever", "Retrievers"),
    ("http", "Requests, errors and limits"),
    ("auth", "Authentication"),
    ("decoder", "Decoders"),
    ("selector", "Records"),
    ("transformation", "Transformations"),
    ("paginator", "Paging"),
    ("partition", "Partitions"),
    ("cursor", "Cursors"),
    ("jobs", "Jobs"),
    ("properties", "Properties"),
    ("files", "Files"),
];

/// A component or a choice as it is declared.
struct Declared {
    name: String,
    doc: String,
    /// Name, type and doc of each field.
    fields: Vec<(String, String, String)>,
}

/// What follows `macro! {` up to its end, for each use.
fn uses<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!("\n{name}! {{\n");
    text.split(start.as_str()).skip(1).map(|part| part.split("\n}\n").next().unwrap()).collect()
}

fn declared(part: &str) -> Declared {
    let (mut doc, mut name, mut fields) = (String::new(), String::new(), Vec::new());
    for line in part.lines() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            format!("{doc} {}", text.trim()).trim().clone_into(&mut doc);
        } else if line.starts_with("later {") || line.starts_with('}') && !name.is_empty() {
            break;
        } else if name.is_empty() && line.contains('{') {
            line.split(' ').next().unwrap().clone_into(&mut name);
            fields.push((String::new(), String::new(), std::mem::take(&mut doc)));
            if line.ends_with("{}") {
                break;
            }
        } else if let Some((field, kind)) = line.split_once(": ") {
            let kind = kind.trim_end_matches(',').to_owned();
            fields.push((field.trim_start_matches("r#").to_owned(), kind, std::mem::take(&mut doc)));
        }
    }
    let doc = fields.remove(0).2;
    Declared { name, doc, fields }
}

/// The alternatives of each choice.
fn choices(text: &str) -> BTreeMap<String, Vec<String>> {
    let choice = |part: &str| {
        let code: String = part.lines().filter(|line| !line.trim().starts_with("///")).collect::<Vec<_>>().join(" ");
        let (name, rest) = code.trim().split_once('{').unwrap();
        let variants = rest.split('}').next().unwrap().split(',');
        let variants = variants.map(|v| v.split(':').next().unwrap().trim().to_owned()).filter(|v| !v.is_empty());
        (name.trim().to_owned(), variants.collect())
    };
    uses(text, "choice").into_iter().map(choice).collect()
}

/// A type in words, with links to components.
fn kind(ty: &str, names: &[String], choices: &BTreeMap<String, Vec<String>>) -> String {
    let inner = |outer: &str| ty.strip_prefix(outer).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inner("Option<").or_else(|| inner("Box<")) {
        return kind(inner, names, choices);
    }
    if let Some(inner) = inner("OneOrMany<") {
        return format!("one or a list of {}", kind(inner, names, choices));
    }
    if let Some(inner) = inner("Vec<") {
        return format!("list of {}", kind(inner, names, choices));
    }
    let link = |name: &String| {
        let known = names.contains(name);
        if known { format!("[{name}](#{})", name.to_lowercase()) } else { name.clone() }
    };
    match ty {
        "Text" => "text, template".to_owned(),
        "String" => "text".to_owned(),
        "bool" => "boolean".to_owned(),
        "u64" | "u32" | "i64" | "usize" => "number".to_owned(),
        "f64" => "number".to_owned(),
        "Json" | "Raw" => "any".to_owned(),
        ty => match choices.get(ty) {
            Some(variants) => variants.iter().map(link).collect::<Vec<_>>().join(", "),
            None if names.iter().any(|name| name == ty) => link(&ty.to_owned()),
            None => "any".to_owned(),
        },
    }
}

#[test]
fn the_components_are_those_of_the_model() {
    let text = |file: &str| read(&format!("src/manifest/model/{file}.rs"));
    let all: Vec<(&str, Vec<Declared>, String)> = FILES
        .iter()
        .map(|(file, title)| (*title, uses(&text(file), "component").into_iter().map(declared).collect(), text(file)))
        .collect();
    let names: Vec<String> = all.iter().flat_map(|(_, parts, _)| parts.iter().map(|part| part.name.clone())).collect();
    let choices: BTreeMap<String, Vec<String>> = all.iter().flat_map(|(_, _, text)| choices(text)).collect();
    for entry in std::fs::read_dir(root().join("src/manifest/model")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(name == "mod" || FILES.iter().any(|(file, _)| *file == name), "{name}.rs has no heading");
    }
    let mut out = String::new();
    for (title, parts, _) in &all {
        let _ = write!(out, "## {title}\n\n");
        for part in parts {
            let _ = write!(out, "### {}\n\n{}\n\n", part.name, part.doc);
            let row = |(name, ty, doc): &(String, String, String)| {
                let optional = ty.starts_with("Option<");
                let need = if optional { "" } else { "required" };
                vec![code(name), kind(ty, &names, &choices), need.to_owned(), doc.clone()]
            };
            if !part.fields.is_empty() {
                out += &table(&["field", "type", "", "what it is"], part.fields.iter().map(row));
                out += "\n";
            }
        }
    }
    assert!(names.len() > 100, "{} components", names.len());
    assert_part("docs/src/reference/components.md", "components", &out);
}
