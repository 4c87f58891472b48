//! Writes YAML with comments, in the order that a person reads.
//!
//! Input: an ordered tree. Output: its text, which PyYAML and our own parser read alike. Called by `render`.

use serde_json::Value as Json;

/// The widest line that is filled.
const WIDTH: usize = 110;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    /// Plain data: on one line if it fits.
    Data(Json),
    /// A mapping, one key a line.
    Map(YamlMap),
    /// A list, one item a line or more.
    List(Vec<Yaml>),
}

/// A part of a mapping.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Field(String, Yaml),
    Note(String),
    Blank,
}

/// A mapping with comments between its fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct YamlMap(Vec<Part>);

impl From<Json> for Yaml {
    fn from(data: Json) -> Self {
        Yaml::Data(data)
    }
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Yaml::Data(Json::String(text.to_owned()))
    }
}

impl From<YamlMap> for Yaml {
    fn from(map: YamlMap) -> Self {
        Yaml::Map(map)
    }
}

impl YamlMap {
    /// A mapping that begins with `type`.
    pub(crate) fn of(kind: &str) -> YamlMap {
        YamlMap::default().set("type", kind)
    }

    /// A reference to a definition.
    pub(crate) fn reference(name: &str) -> YamlMap {
        YamlMap::default().set("$ref", format!("#/definitions/{name}").as_str())
    }

    /// Adds a field.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Yaml>) -> YamlMap {
        self.0.push(Part::Field(key.to_owned(), value.into()));
        self
    }

    /// Adds a field, if there is a value.
    pub(crate) fn set_some(self, key: &str, value: Option<impl Into<Yaml>>) -> YamlMap {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    /// Adds comments, each of them on lines of its own.
    pub(crate) fn notes<T: AsRef<str>>(mut self, notes: impl IntoIterator<Item = T>) -> YamlMap {
        self.0.extend(notes.into_iter().map(|note| Part::Note(note.as_ref().to_owned())));
        self
    }

    /// Adds an empty line.
    pub(crate) fn blank(mut self) -> YamlMap {
        self.0.push(Part::Blank);
        self
    }

    /// The text of a document.
    pub(crate) fn text(&self) -> String {
        let lines = self.lines(0);
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// The lines of the mapping, without indentation; `depth` is the column where they will begin.
    fn lines(&self, depth: usize) -> Vec<String> {
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Blank => out.push(String::new()),
                Part::Note(note) => out.extend(comment(note, depth)),
                Part::Field(key, value) => field(key, value, depth, &mut out),
            }
        }
        out
    }
}

/// A comment, filled; its own line breaks and their indentation stay.
fn comment(note: &str, depth: usize) -> Vec<String> {
    let mut out = Vec::new();
    for line in note.lines() {
        let indent = line.len() - line.trim_start().len();
        let room = WIDTH.saturating_sub(depth + indent + 2);
        out.extend(filled(line.trim(), room).into_iter().map(|part| format!("# {}{part}", &line[..indent])));
    }
    out
}

/// Words in lines of at most `width` characters, if no word is longer.
fn filled(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn indented(lines: Vec<String>) -> impl Iterator<Item = String> {
    lines.into_iter().map(|line| if line.is_empty() { line } else { format!("  {line}") })
}

fn field(key: &str, value: &Yaml, depth: usize, out: &mut Vec<String>) {
    let key = scalar_text(key);
    match value {
        Yaml::Data(data) => data_lines(&key, data, depth, out),
        Yaml::Map(map) => {
            out.push(format!("{key}:"));
            out.extend(indented(map.lines(depth + 2)));
        }
        Yaml::List(items) if items.is_empty() => out.push(format!("{key}: []")),
        Yaml::List(items) => {
            out.push(format!("{key}:"));
            for one in items {
                out.extend(indented(item(one, depth + 2)));
            }
        }
    }
}

/// An item of a list: comments first, then the dash.
fn item(value: &Yaml, depth: usize) -> Vec<String> {
    let lines = match value {
        Yaml::Data(data) => vec![flow(data)],
        Yaml::Map(map) => map.lines(depth + 2),
        Yaml::List(_) => vec!["[]".to_owned()],
    };
    let first = lines.iter().position(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or(0);
    let place = |(number, line): (usize, String)| match number {
        number if number < first || line.is_empty() => line,
        number if number == first => format!("- {line}"),
        _ => format!("  {line}"),
    };
    lines.into_iter().enumerate().map(place).collect()
}

/// A key with plain data: one line if it fits, else blocks.
fn data_lines(key: &str, data: &Json, depth: usize, out: &mut Vec<String>) {
    let line = format!("{key}: {}", flow(data));
    if depth + line.chars().count() <= WIDTH {
        out.push(line);
        return;
    }
    match data {
        Json::Object(map) if !map.is_empty() => {
            out.push(format!("{key}:"));
            let mut inner = Vec::new();
            map.iter().for_each(|(key, value)| data_lines(&scalar_text(key), value, depth + 2, &mut inner));
            out.extend(indented(inner));
        }
        Json::Array(items) if !items.is_empty() => {
            out.push(format!("{key}:"));
            out.extend(items.iter().map(|item| format!("  - {}", flow(item))));
        }
        Json::String(text) if may_fold(text) => {
            out.push(format!("{key}: >-"));
            out.extend(indented(filled(text, WIDTH.saturating_sub(depth + 2))));
        }
        _ => out.push(line),
    }
}

/// Does a folded block give back the same text?
fn may_fold(text: &str) -> bool {
    let spaces = text.starts_with(' ') || text.ends_with(' ') || text.contains("  ");
    !spaces && !text.is_empty() && !text.chars().any(needs_escape)
}

/// Data on one line.
fn flow(data: &Json) -> String {
    match data {
        Json::String(text) => scalar_text(text),
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::Object(map) => {
            let fields: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", scalar_text(key), flow(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Characters that a YAML reader refuses, folds or takes for a line's end.
fn needs_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

/// A text as a scalar: plain where every reader takes it for a text, else in double quotes.
pub(in crate::manifest) fn scalar_text(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if needs_escape(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan"];
    let is_version = text.matches('.').count() > 1 && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/' | '$'));
    let inside = |c: char| c.is_ascii_alphanumeric() || "_ ./-'()$;+".contains(c);
    let is_text = starts && !text.ends_with(' ') && text.chars().all(inside);
    let is_plain = is_text && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    is_plain || is_version && !text.starts_with('.') && !text.ends_with('.')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::yaml::parse_yaml;

    #[test]
    fn each_text_comes_back() {
        for text in [
            "plain",
            "true",
            "No",
            "1",
            "7.39.1",
            "a: b",
            "#/a",
            "{{ x }}",
            "",
            " a",
            "a ",
            "é",
            "\u{2028}",
            "\u{85}",
            "a\nb",
            "it's",
            "- a",
            "a #b",
            "~",
            "$ref",
            "/a/{b}",
            "page[size]",
            "\u{1f600}",
            "\\\"",
            "<<",
            "=",
            ".inf",
        ] {
            let data = json!({"a": text, "list": [text], text: {"b": text}});
            let written = YamlMap::default().set("all", data.clone()).text();
            let read = parse_yaml(&written, "t").unwrap_or_else(|fault| panic!("{fault}: {written}")).to_json();
            assert_eq!(read["all"], data, "{written}");
        }
    }

    #[test]
    fn long_data_stands_in_blocks_and_comes_back() {
        let long = "word ".repeat(60).trim().to_owned();
        let data = json!({"a": {"b": long, "c": [1, 2]}, "d": [long, {"e": long}], "f": {}});
        let written = YamlMap::default().notes(["A note."]).set("all", data.clone()).text();
        assert!(written.lines().filter(|line| !line.contains('{')).all(|line| line.len() < 400), "{written}");
        assert_eq!(parse_yaml(&written, "t").expect("YAML").to_json()["all"], data, "{written}");
    }

    #[test]
    fn comments_stand_before_the_dash() {
        let item = YamlMap::default().notes(["why"]).set("a", "b").set("c", "d");
        let text = YamlMap::default().set("list", Yaml::List(vec![item.into()])).text();
        assert_eq!(text, "list:\n  # why\n  - a: b\n    c: d\n");
    }
}
