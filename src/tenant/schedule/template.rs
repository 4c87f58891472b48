//! Fixed text of definitions with named places.
//!
//! Input: a template and a value for each place, `{{name}}`. Output: the text. Called by the writers of schedules,
//! which quote the values: nothing is quoted here, and a value is never searched for places.

use super::indented;

/// The template with its values. A place that has a line of its own takes all lines of its value, each as far indented
/// as the place; of a value without lines the line is left out.
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
            // A place without a value stays as it is, so that no test that reads the text can miss it.
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
