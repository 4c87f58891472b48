//! Dates in a config, in the form that the source expects.
//!
//! Input: the source's part of a config, and the specification. Output: the same with each date or time written as its
//! pattern wants it, where an author left parts of it away or gave more of them. Called when a config is loaded: all
//! that reads a date then reads one form.

use regex::Regex;
use serde_json::Value as Json;

use crate::base::timefmt::{Format, parse_iso};

/// The forms that sources expect, the most precise first.
const FORMS: [&str; 10] = [
    "%Y-%m-%dT%H:%M:%S.%fZ",
    "%Y-%m-%dT%H:%M:%S.%_msZ",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S+00:00",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%MZ",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
    "%Y-%m",
];
/// Words in the names of dates.
const NAMES: [&str; 6] = ["date", "time", "start", "since", "from", "until"];

/// Writes dates as their patterns want them.
pub(crate) fn complete(config: &mut Json, schema: &Json) {
    within(config, "", schema);
}

fn within(value: &mut Json, name: &str, schema: &Json) {
    if let (Json::String(text), Some(pattern)) = (&*value, schema["pattern"].as_str()) {
        let is_date = ["date", "date-time"].iter().any(|format| schema["format"] == *format)
            || NAMES.iter().any(|word| name.contains(word));
        if let Some(completed) = completed(text, pattern).filter(|_| is_date) {
            *value = Json::String(completed);
        }
        return;
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get_mut(name) {
            within(value, name, inner);
        }
    }
    for alternatives in ["oneOf", "anyOf", "allOf"] {
        for inner in schema[alternatives].as_array().into_iter().flatten() {
            within(value, name, inner);
        }
    }
}

/// The time of a text in the first form that fits the pattern, if the text itself does not.
fn completed(text: &str, pattern: &str) -> Option<String> {
    let pattern = Regex::new(pattern).ok()?;
    if pattern.is_match(text) || text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let time = parse_iso(text)?.checked_to_offset(time::UtcOffset::UTC)?;
    let mut forms = FORMS.iter().filter_map(|form| Format::compile(form).ok()).map(|form| form.format(time));
    forms.find(|form| pattern.is_match(form))
}

#[cfg(test)]
mod tests {
    use super::completed;

    #[test]
    fn a_time_is_written_as_its_pattern_wants_it() {
        let seconds = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$";
        for (text, pattern, wanted) in [
            ("2024-01-02", seconds, Some("2024-01-02T00:00:00Z")),
            ("2024-01", seconds, Some("2024-01-01T00:00:00Z")),
            ("2024-01-02T03:04Z", seconds, Some("2024-01-02T03:04:00Z")),
            ("2024-01-02T03:04:05.678Z", seconds, Some("2024-01-02T03:04:05Z")),
            ("2024-01-02T03:04:05+01:00", seconds, Some("2024-01-02T02:04:05Z")),
            ("2024-01-02T03:04:05Z", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", Some("2024-01-02")),
            ("2024-01-02", r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", Some("2024-01-02T00:00:00.000Z")),
            ("2024-01-02T03:04:05Z", seconds, None),
            ("yesterday", seconds, None),
            ("20240102", seconds, None),
            ("2024-13-01", seconds, None),
        ] {
            assert_eq!(completed(text, pattern).as_deref(), wanted, "{text}");
        }
    }
}
