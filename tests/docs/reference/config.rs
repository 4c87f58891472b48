//! The `dripfeed` object of a config, from the schema that `spec` prints.

use serde_json::Value as Json;

use super::{code, table};
use crate::support::golden::assert_part;
use crate::support::tap::Tap;

/// An object of the schema that gets a table of its own.
struct Part {
    /// `dripfeed.pace.limits[]`.
    path: String,
    schema: Json,
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

/// The description without its default, and that.
fn described(schema: &Json) -> (String, String) {
    let description = text(&schema["description"]).replace('\n', " ");
    match description.split_once(" Default: ") {
        Some((what, default)) => (what.to_owned(), default.trim_end_matches('.').to_owned()),
        None => {
            let default = match &schema["default"] {
                Json::Bool(_) | Json::String(_) | Json::Number(_) => format!("`{}`", schema["default"]),
                _ => String::new(),
            };
            (description, default)
        }
    }
}

/// The constants that a value may be; of an optional value they stand one level deeper.
fn constants(schema: &Json) -> Vec<&Json> {
    let optional = schema["anyOf"].as_array().into_iter().flatten();
    let each = optional.chain([schema]).flat_map(|form| form["oneOf"].as_array().into_iter().flatten());
    each.filter(|one| one["const"].is_string()).collect()
}

/// A type in words.
fn kind(schema: &Json) -> String {
    let names: Vec<&str> = match &schema["type"] {
        Json::Array(names) => names.iter().map(text).filter(|name| *name != "null").collect(),
        name => vec![text(name)],
    };
    let name = names.join(" or ");
    let constants: Vec<String> = constants(schema).iter().map(|one| code(text(&one["const"]))).collect();
    if !constants.is_empty() {
        return constants.join(", ");
    }
    if schema["anyOf"].is_array() {
        return "object".to_owned();
    }
    match name.as_str() {
        "array" => format!("list of {}s", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}s by name", kind(&schema["additionalProperties"]))
        }
        "string" if text(&schema["pattern"]).starts_with("^P(") => "duration".to_owned(),
        "integer" | "number" => name + &range(schema),
        _ => name,
    }
}

/// ` from 0.01 to 1`, where the schema bounds a number.
fn range(schema: &Json) -> String {
    let least = schema["minimum"].as_f64().filter(|least| *least != 0.0 || !schema["maximum"].is_null());
    match (least, schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        _ => String::new(),
    }
}

/// The objects below a schema that get tables: itself in a list or by name, or each of its forms.
fn below(path: &str, schema: &Json) -> Vec<Part> {
    let named = path.rsplit('.').next().unwrap_or_default().trim_end_matches('s');
    if schema["items"].is_object() {
        return below(&format!("{path}[]"), &schema["items"]);
    }
    if schema["additionalProperties"].is_object() {
        return below(&format!("{path}.<{named}>"), &schema["additionalProperties"]);
    }
    let forms = schema["anyOf"].as_array().into_iter().flatten();
    let objects = forms.chain([schema]).filter(|form| form["properties"].is_object());
    objects.map(|schema| Part { path: path.to_owned(), schema: schema.clone() }).collect()
}

/// The tables of an object and of those below it.
fn tables(part: &Part, out: &mut String) {
    let path = &part.path;
    *out += &format!("## `{path}`\n\n");
    let what = described(&part.schema).0;
    if !what.is_empty() {
        *out += &format!("{what}\n\n");
    }
    let (mut rows, mut parts) = (Vec::new(), Vec::new());
    let required: Vec<&str> = part.schema["required"].as_array().into_iter().flatten().map(text).collect();
    for (name, schema) in part.schema["properties"].as_object().into_iter().flatten() {
        let (what, default) = described(schema);
        let default = if required.contains(&name.as_str()) { "required".to_owned() } else { default };
        rows.push(vec![code(name), kind(schema), default, what]);
        parts.extend(below(&format!("{path}.{name}"), schema));
    }
    *out += &table(&["key", "type", "default", "what it is"], rows);
    for (name, schema) in part.schema["properties"].as_object().into_iter().flatten() {
        let constants = constants(schema);
        if !constants.is_empty() {
            let row = |one: &&Json| vec![code(text(&one["const"])), text(&one["description"]).replace('\n', " ")];
            *out += &format!("\n{}\n", table(&[&code(name), "what it does"], constants.iter().map(row)).trim_end());
        }
    }
    *out += "\n";
    for part in &parts {
        tables(part, out);
    }
}

#[test]
fn the_dripfeed_object_is_that_of_spec() {
    let spec: Json = serde_json::from_str(&Tap::new("spec --source sandbox").run().expect(0, &[]).out).unwrap();
    let ours = &spec["properties"]["dripfeed"];
    let mut out = String::new();
    tables(&Part { path: "dripfeed".to_owned(), schema: ours.clone() }, &mut out);
    assert!(!out.contains(" when not said"), "the default stands behind `Default:`");
    assert_part("docs/src/reference/config.md", "keys", &out);
}
