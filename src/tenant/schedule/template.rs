//! Templates of definitions with named placeholders.
//!
//! Input: a template and a value for each placeholder, `{{name}}`. Output: the text. Called by the schedule writers,
//! which quote the values: nothing is quoted here, and placeholders in values are not expanded.

use super::indented;

/// Fills the template. A placeholder on its own line receives all lines of its value, each with the indentation of
/// the placeholder; if the value is empty, the line is omitted.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let value = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let mut out = String::new();
    for line in template.lines() {
        let text = line.trim_start();
        let alone = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}")).and_then(value);
        if let Some(lines) = alone {
            out += &indented(lines, &line[..line.len() - text.len()]);
            continue;
        }
        let mut rest = line;
        while let Some((before, place)) = rest.split_once("{{") {
            let (name, after) = place.split_once("}}").unwrap_or((place, ""));
            out += before;
            // A placeholder without a value stays, so that tests notice it.
            out +=
                &value(name).map_or_else(|| format!("{{{{{name}}}}}"), |value| value.trim_end_matches('\n').to_owned());
            rest = after;
        }
        out += rest;
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn a_value_is_put_in_once_and_indented_where_it_is_alone() {
        let template = "a: {{a}} {x: {{b}}}\n  {{lines}}\n  {{none}}\n{{unknown}}\n";
        let values = [("a", "{{b}}"), ("b", "2"), ("lines", "one\n\n  two\n"), ("none", "")];
        assert_eq!(fill(template, &values), "a: {{b}} {x: 2}\n  one\n\n    two\n{{unknown}}\n");
    }
}
