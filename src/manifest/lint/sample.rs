//! Generates a sample config that fits a specification.
//!
//! Input: the schema of a source's config. Output: a config with a value for each declared key. Called by `cli` for
//! `validate`, which compiles a manifest without a real config.

use serde_json::{Map, Value as Json, json};

/// The maximum nesting of a specification that is followed.
const MAX_DEPTH: usize = 20;

/// Selects one of two configs that differ wherever the specification leaves a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The first config.
    One,
    /// The second config.
    Other,
}

/// A config that fits a specification, by its types, formats and examples.
pub fn config(specification: &Json, sample: Sample) -> Json {
    match value(specification, "", sample, 0) {
        config @ Json::Object(_) => config,
        _ => json!({}),
    }
}

fn value(schema: &Json, key: &str, sample: Sample, depth: usize) -> Json {
    let written = [&schema["const"], &schema["default"], &schema["examples"][0], &schema["enum"][0]];
    if let Some(written) = written.into_iter().find(|value| !value.is_null()) {
        return written.clone();
    }
    if depth > MAX_DEPTH {
        return Json::Null;
    }
    let name = match &schema["type"] {
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null"),
        name => name.as_str(),
    };
    match name {
        Some("integer" | "number") => {
            let bounds = [&schema["minimum"], &schema["maximum"]];
            let number = if sample == Sample::One { 1 } else { 2 };
            bounds.into_iter().find(|bound| bound.is_number()).cloned().unwrap_or_else(|| json!(number))
        }
        Some("boolean") => json!(sample == Sample::Other),
        Some("array") => json!([value(&schema["items"], key, sample, depth + 1)]),
        Some("string") => json!(text(schema, key, sample)),
        _ if name == Some("object") || schema["properties"].is_object() || schema["oneOf"].is_array() => {
            let mut out = Map::new();
            let branches = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].get(0));
            let all = schema["allOf"].as_array().into_iter().flatten();
            for branch in branches.chain(all) {
                if let Json::Object(more) = value(branch, key, sample, depth + 1) {
                    out.extend(more);
                }
            }
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                out.insert(key.clone(), value(schema, key, sample, depth + 1));
            }
            Json::Object(out)
        }
        _ => json!("x"),
    }
}

/// A text that fits the schema's format, its pattern, or the name of its key.
fn text(schema: &Json, key: &str, sample: Sample) -> &'static str {
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let one_or = |one, other| if sample == Sample::One { one } else { other };
    let looks_like_date = key.contains("date") || key.contains("start") || key.contains("since");
    match schema["format"].as_str() {
        Some("date") => one_or("2024-01-01", "2024-02-02"),
        Some("uri" | "url") => one_or("https://example.test", "https://example.invalid"),
        Some("date-time") => one_or("2024-01-01T00:00:00Z", "2024-02-02T00:00:00Z"),
        _ if pattern.contains("{4}-") && !pattern.contains('T') => one_or("2024-01-01", "2024-02-02"),
        _ if pattern.contains("{4}-") || looks_like_date => one_or("2024-01-01T00:00:00Z", "2024-02-02T00:00:00Z"),
        _ => one_or("x", "y"),
    }
}
