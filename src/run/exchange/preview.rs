//! JSON for people, trimmed: the first items of a list, the start of a long text.
//!
//! Input: a value. Output: indented lines. Called by `exchange` and by the text of a test read.

use serde_json::Value as Json;

use crate::base::display::{number, plain};

/// The items of a list that are shown.
const ITEMS: usize = 2;
/// The fields of an object that are shown.
const FIELDS: usize = 40;
/// The longest text that is shown whole, in characters.
const LONGEST: usize = 60;
/// Objects and lists deeper than this are shown as their size.
const DEEPEST: usize = 4;

/// The lines of a value.
pub(in crate::run) fn json(value: &Json) -> Vec<String> {
    let mut lines = vec![String::new()];
    write(value, 0, &mut lines);
    lines
}

/// A line of at most `width` characters.
pub(in crate::run) fn cut(line: &str, width: usize) -> String {
    let line = plain(line);
    if line.chars().count() <= width {
        return line;
    }
    line.chars().take(width.saturating_sub(1)).collect::<String>() + "…"
}

fn append(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

fn write(value: &Json, depth: usize, lines: &mut Vec<String>) {
    match value {
        Json::Object(map) if map.is_empty() => append(lines, "{}"),
        Json::Array(items) if items.is_empty() => append(lines, "[]"),
        Json::Object(map) if depth >= DEEPEST => append(lines, &format!("{{ {} }}", number(map.len(), "field"))),
        Json::Array(items) if depth >= DEEPEST => append(lines, &format!("[ {} ]", number(items.len(), "item"))),
        Json::Object(map) => {
            let entries = map.iter().take(FIELDS).map(|(name, value)| (Some(name), value));
            let more = map.len().saturating_sub(FIELDS);
            inside(("{", "}"), entries, (more, "field"), depth, lines);
        }
        Json::Array(items) => {
            let entries = items.iter().take(ITEMS).map(|value| (None, value));
            let more = items.len().saturating_sub(ITEMS);
            inside(("[", "]"), entries, (more, "item"), depth, lines);
        }
        Json::String(text) if text.chars().count() > LONGEST => {
            let start: String = text.chars().take(LONGEST).collect();
            append(lines, &format!("{}…", Json::String(start).to_string().trim_end_matches('"')));
        }
        value => append(lines, &value.to_string()),
    }
}

/// The entries of an object or list, one below the other; what is left out is counted.
fn inside<'v>(
    (open, close): (&str, &str),
    entries: impl Iterator<Item = (Option<&'v String>, &'v Json)>,
    (more, what): (usize, &str),
    depth: usize,
    lines: &mut Vec<String>,
) {
    append(lines, open);
    let indent = "  ".repeat(depth + 1);
    for (position, (name, value)) in entries.enumerate() {
        if position > 0 {
            append(lines, ",");
        }
        let name = name.map(|name| format!("{}: ", Json::String(name.clone()))).unwrap_or_default();
        lines.push(format!("{indent}{name}"));
        write(value, depth + 1, lines);
    }
    if more > 0 {
        append(lines, ",");
        lines.push(format!("{indent}… {}", number(more, &format!("more {what}"))));
    }
    lines.push(format!("{}{close}", "  ".repeat(depth)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn lists_and_texts_are_trimmed_and_what_is_left_out_is_counted() {
        let deep = json!({"a": {"b": {"c": {"d": 1}}}});
        let value = json!({"data": [1, 2, 3], "text": "x".repeat(61), "deep": deep, "no": []});
        let wanted = format!(
            "{{\n  \"data\": [\n    1,\n    2,\n    … 1 more item\n  ],\n  \"text\": \"{}…,\n  \
             \"deep\": {{\n    \"a\": \
             {{\n      \"b\": {{\n        \"c\": {{ 1 field }}\n      }}\n    }}\n  }},\n  \"no\": []\n}}",
            "x".repeat(60)
        );
        assert_eq!(super::json(&value).join("\n"), wanted);
    }
}
