//! Replaces a value in a manifest's text and leaves everything else, comments too, as it is.
//!
//! Input: the text, the line of a key, and a new value. Output: the new text. Called by `discover --infer --write`,
//! which reads the result again before it stores it: what cannot be replaced safely is not replaced.

use serde_json::Value as Json;

use super::scaffold::yaml_text::scalar_text;

/// Replaces the value of `key`, which is in the line `line` (from 1) or in one of the three lines above it. `None` if
/// the key is not there, or shares its line with other keys.
pub fn replace(text: &str, line: u32, key: &str, value: &Json) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let is_key = |text: &str| text.trim_start().strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
    let at = (line.saturating_sub(3)..=line.min(lines.len().checked_sub(1)?)).rev().find(|at| is_key(lines[*at]))?;
    let indent = lines[at].len() - lines[at].trim_start().len();
    let inner = |text: &&&str| text.trim().is_empty() || text.len() - text.trim_start().len() > indent;
    let below = lines[at + 1..].iter().take_while(inner).count();
    // Empty lines and comments at the end stand before what follows.
    let is_apart = |text: &&&str| text.trim().is_empty() || text.trim_start().starts_with('#');
    let apart = lines[at + 1..at + 1 + below].iter().rev().take_while(is_apart).count();
    let mut out: String = lines[..at].concat();
    out += &format!("{}{key}:{}", " ".repeat(indent), block(value, indent + 2));
    out += &lines[at + 1 + below - apart..].concat();
    Some(out)
}

/// A value as block YAML behind its key, with its line end.
fn block(value: &Json, indent: usize) -> String {
    let Some(map) = value.as_object().filter(|map| !map.is_empty()) else { return format!(" {value}\n") };
    let entries = map
        .iter()
        .map(|(key, value)| format!("{}{}:{}", " ".repeat(indent), scalar_text(key), block(value, indent + 2)));
    format!("\n{}", entries.collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::replace;

    #[test]
    fn a_block_is_replaced_and_its_surroundings_stay() {
        let text = "a: 1 # one\nloader:\n  schema: # old\n    type: object\n    properties: {x: {}}\n\n# next\nb: 2\n";
        let value = json!({"type": ["null", "object"], "properties": {"y": {}, "id": {"type": "string"}}});
        let wanted = "a: 1 # one\nloader:\n  schema:\n    type: [\"null\",\"object\"]\n    properties:\n      \
                      \"y\": {}\n      \
                      id:\n        type: \"string\"\n\n# next\nb: 2\n";
        assert_eq!(replace(text, 4, "schema", &value).as_deref(), Some(wanted));
        let flow = "loader:\n  schema: {type: object}\nb: 2\n";
        assert_eq!(replace(flow, 2, "schema", &json!({})).as_deref(), Some("loader:\n  schema: {}\nb: 2\n"));
        assert_eq!(replace("loader: {schema: {type: object}}\n", 1, "schema", &json!({})), None);
    }
}
