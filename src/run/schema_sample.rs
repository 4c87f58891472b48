//! Infers a JSON schema from sample records.
//!
//! Input: records. Output: a schema in which each place has the set of types that were seen, `null` where a value was
//! null or missing, and the format of texts that all look alike. Called by `run::test_read` and by
//! `discover --infer`. A sample proves little: nothing is required, and every place may be null.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::base::timefmt::{is_date, parse_iso};

/// The deepest place that is described; below it any value is allowed.
const DEEPEST: usize = 12;
/// An object with more names than this uses names as data: they are not described one by one.
const MOST_NAMES: usize = 200;

/// What was seen at a place.
#[derive(Debug, Clone, Default)]
pub(crate) struct SchemaSample {
    types: BTreeSet<&'static str>,
    /// How often a value other than null was seen.
    seen: u64,
    fields: BTreeMap<String, SchemaSample>,
    /// The names in the order of the first record that has them.
    order: Vec<String>,
    items: Option<Box<SchemaSample>>,
    /// The texts so far are date-times, and dates; meaningless without texts.
    times: bool,
    dates: bool,
    has_text: bool,
}

impl SchemaSample {
    /// Adds a value.
    pub(crate) fn add(&mut self, value: &Json) {
        self.add_at(value, 0);
    }

    fn add_at(&mut self, value: &Json, depth: usize) {
        self.seen += u64::from(!value.is_null());
        match value {
            Json::Null => {
                self.types.insert("null");
            }
            Json::Bool(_) => {
                self.types.insert("boolean");
            }
            Json::Number(number) => {
                self.types.insert(if number.is_i64() { "integer" } else { "number" });
            }
            Json::String(text) => self.add_text(text),
            Json::Array(items) => {
                self.types.insert("array");
                if depth < DEEPEST {
                    let inner = self.items.get_or_insert_with(Box::default);
                    for item in items {
                        inner.add_at(item, depth + 1);
                    }
                }
            }
            Json::Object(map) => {
                self.types.insert("object");
                if depth < DEEPEST {
                    for (name, value) in map {
                        if !self.fields.contains_key(name) {
                            self.order.push(name.clone());
                        }
                        self.fields.entry(name.clone()).or_default().add_at(value, depth + 1);
                    }
                }
            }
        }
    }

    fn add_text(&mut self, text: &str) {
        self.types.insert("string");
        // An empty text carries no information, like null.
        if text.is_empty() {
            return;
        }
        let is_date = is_date(text.as_bytes());
        let is_time =
            !is_date && text.len() > 10 && text.as_bytes()[4..].starts_with(b"-") && parse_iso(text).is_some();
        self.dates = is_date && (self.dates || !self.has_text);
        self.times = is_time && (self.times || !self.has_text);
        self.has_text = true;
    }

    /// The types other than null, as JSON Schema names them. An integer beside a number is a number.
    pub(crate) fn types(&self) -> Vec<&'static str> {
        let is_number = self.types.contains("number");
        let named = self.types.iter().copied().filter(|name| *name != "null");
        named.filter(|name| !(is_number && *name == "integer")).collect()
    }

    /// The format of all texts: `date-time` or `date`.
    pub(crate) fn format(&self) -> Option<&'static str> {
        match (self.has_text, self.times, self.dates) {
            (true, true, _) => Some("date-time"),
            (true, _, true) => Some("date"),
            _ => None,
        }
    }

    /// The fields of the objects seen here, in the order of the records.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &SchemaSample)> {
        self.order.iter().filter_map(|name| Some((name.as_str(), self.fields.get(name)?)))
    }

    /// How many values other than null were seen here.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// The schema of the values seen here. Without any value but null, every type is allowed.
    pub(crate) fn schema(&self) -> Json {
        let types = self.types();
        if types.is_empty() {
            return json!({});
        }
        let types: Vec<&str> = ["null"].into_iter().chain(types).collect();
        let mut schema = Map::from_iter([("type".to_owned(), json!(types))]);
        if let Some(format) = self.format().filter(|_| types.len() == 2) {
            schema.insert("format".to_owned(), json!(format));
        }
        if types.contains(&"object") && !self.fields.is_empty() && self.fields.len() <= MOST_NAMES {
            let fields: Map<String, Json> =
                self.fields().map(|(name, field)| (name.to_owned(), field.schema())).collect();
            schema.insert("properties".to_owned(), Json::Object(fields));
        }
        if let Some(items) = self.items.as_ref().filter(|items| !items.types.is_empty()) {
            schema.insert("items".to_owned(), items.schema());
        }
        Json::Object(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(records: &[Json]) -> Json {
        let mut sample = SchemaSample::default();
        for record in records {
            sample.add(record);
        }
        sample.schema()
    }

    #[test]
    fn types_are_sets_and_every_place_may_be_null() {
        let schema = inferred(&[json!({"a": 1, "b": "x"}), json!({"a": 1.5, "b": true, "c": [{"d": null}]})]);
        let wanted = json!({"type": ["null", "object"], "properties": {
            "a": {"type": ["null", "number"]},
            "b": {"type": ["null", "boolean", "string"]},
            "c": {"type": ["null", "array"], "items": {"type": ["null", "object"], "properties": {"d": {}}}},
        }});
        assert_eq!(schema, wanted);
    }

    #[test]
    fn a_format_is_that_of_all_texts() {
        let time = "2024-03-01T10:00:00Z";
        let of = |texts: &[&str]| {
            let records: Vec<Json> = texts.iter().map(|text| json!({"t": text})).collect();
            inferred(&records)["properties"]["t"]["format"].clone()
        };
        assert_eq!(of(&[time, "", time]), json!("date-time"));
        assert_eq!(of(&["2024-03-01", "2024-03-02"]), json!("date"));
        assert_eq!(of(&[time, "2024-03-01"]), Json::Null);
        assert_eq!(of(&["today", time]), Json::Null);
        assert_eq!(of(&["20240301"]), Json::Null);
    }
}
