//! A quick check of a config against the plain keywords of JSON Schema.
//!
//! Input: JSON and a schema. Output: whether it is valid, or that only the whole validator can say; whether a schema of
//! others has the form of one. Called by [`super::validate()`]: most configs are plainly valid, and compiling a
//! validator takes longer than the rest of a start. It only ever says yes or no where each keyword is known to it; the
//! messages of a no are the validator's.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Map, Value as Json};

/// Schemas that refer to each other more deeply are left to the validator.
const MAX_DEPTH: usize = 32;

/// Keywords that say nothing about validity. Formats are advice.
const ANNOTATIONS: [&str; 24] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "airbyte_hidden",
    "airbyte_secret",
    "always_show",
    "default",
    "definitions",
    "deprecated",
    "description",
    "desc",
    "display_type",
    "examples",
    "format",
    "group",
    "multiline",
    "order",
    "pattern_descriptor",
    "readOnly",
    "secret",
    "sensitive",
    "title",
    "writeOnly",
];

/// The drafts in which the keywords here mean the same.
const DRAFTS: [&str; 4] = [
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];

/// Is it valid? `None` if the validator must say.
pub(super) fn is_valid(json: &Json, schema: &Json) -> Option<bool> {
    Check { root: schema }.value(json, schema, 0)
}

/// Does a schema have the form of a schema, also where no value reaches it? The validator refuses one that has not,
/// whatever the config holds. False for what only the validator knows.
pub(super) fn is_sound(schema: &Json) -> bool {
    is_sound_at(schema, 0)
}

fn is_sound_at(schema: &Json, depth: usize) -> bool {
    let schema = match schema {
        Json::Bool(_) => return true,
        Json::Object(schema) if depth < MAX_DEPTH => schema,
        _ => return false,
    };
    let below = |schema: &Json| is_sound_at(schema, depth + 1);
    schema.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" => depth == 0 && rule.as_str().is_some_and(|uri| DRAFTS.contains(&uri.trim_end_matches('#'))),
        "$id" => depth == 0 && rule.is_string(),
        "$comment" | "$ref" | "description" | "format" | "title" => rule.is_string(),
        "deprecated" | "readOnly" | "uniqueItems" | "writeOnly" => rule.is_boolean(),
        "enum" | "examples" => rule.is_array(),
        "type" => types(rule).iter().all(|name| name.as_str().is_some_and(|name| TYPES.contains(&name))),
        "required" => rule.as_array().is_some_and(|names| names.iter().all(Json::is_string)),
        "pattern" => rule.as_str().is_some_and(|pattern| Regex::new(pattern).is_ok()),
        "exclusiveMaximum" | "exclusiveMinimum" | "maximum" | "minimum" => rule.is_number(),
        "maxItems" | "maxLength" | "maxProperties" | "minItems" | "minLength" | "minProperties" => rule.is_u64(),
        "$defs" | "definitions" | "properties" => rule.as_object().is_some_and(|all| all.values().all(below)),
        "additionalProperties" | "contains" | "else" | "if" | "items" | "not" | "propertyNames" | "then" => below(rule),
        "allOf" | "anyOf" | "oneOf" => rule.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(below)),
        keyword => !OTHERS.contains(&keyword),
    })
}

/// The names of types.
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// Keywords whose form is not checked here.
const OTHERS: [&str; 17] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
    "additionalItems",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "maxContains",
    "minContains",
    "multipleOf",
    "patternProperties",
    "prefixItems",
    "unevaluatedItems",
    "unevaluatedProperties",
];

struct Check<'s> {
    root: &'s Json,
}

impl Check<'_> {
    fn value(&self, json: &Json, schema: &Json, depth: usize) -> Option<bool> {
        let schema = match schema {
            Json::Bool(valid) => return Some(*valid),
            Json::Object(schema) if depth < MAX_DEPTH => schema,
            _ => return None,
        };
        // What stands beside a reference counts in some drafts only.
        let is_beside = |keyword: &String| !ANNOTATIONS.contains(&&**keyword);
        if schema.contains_key("$ref") && schema.keys().filter(|keyword| is_beside(keyword)).count() > 1 {
            return None;
        }
        let mut rules = schema.iter();
        rules.try_fold(true, |valid, rule| Some(valid & self.keyword(json, (rule.0, rule.1), schema, depth)?))
    }

    fn keyword(
        &self,
        json: &Json,
        (keyword, rule): (&str, &Json),
        schema: &Map<String, Json>,
        depth: usize,
    ) -> Option<bool> {
        let each = |schemas: &Json| -> Option<Vec<bool>> {
            schemas.as_array()?.iter().map(|schema| self.value(json, schema, depth + 1)).collect()
        };
        match (keyword, json) {
            (keyword, _) if ANNOTATIONS.contains(&keyword) => Some(true),
            ("type", _) => {
                let fits: Option<Vec<bool>> = types(rule).iter().map(|name| has_type(json, name.as_str()?)).collect();
                Some(fits?.contains(&true))
            }
            ("$ref", _) => self.value(json, self.root.pointer(rule.as_str()?.strip_prefix('#')?)?, depth + 1),
            ("const", Json::String(_) | Json::Bool(_) | Json::Null) => Some(json == rule),
            ("enum", Json::String(_) | Json::Bool(_) | Json::Null) => Some(rule.as_array()?.contains(json)),
            ("allOf", _) => Some(each(rule)?.iter().all(|valid| *valid)),
            ("anyOf", _) => Some(each(rule)?.contains(&true)),
            ("oneOf", _) => Some(each(rule)?.iter().filter(|valid| **valid).count() == 1),
            ("minimum", Json::Number(_)) => Some(order(json, rule)?.is_ge()),
            ("maximum", Json::Number(_)) => Some(order(json, rule)?.is_le()),
            ("minLength", Json::String(text)) => Some(text.chars().count() as u64 >= rule.as_u64()?),
            ("maxLength", Json::String(text)) => Some(text.chars().count() as u64 <= rule.as_u64()?),
            ("required", Json::Object(map)) => {
                let names: Option<Vec<&str>> = rule.as_array()?.iter().map(Json::as_str).collect();
                Some(names?.iter().all(|name| map.contains_key(*name)))
            }
            ("properties", Json::Object(map)) => {
                let known = rule.as_object()?;
                let mut valid = map.iter().filter_map(|(name, value)| Some((value, known.get(name)?)));
                valid.try_fold(true, |all, (value, schema)| Some(all & self.value(value, schema, depth + 1)?))
            }
            ("additionalProperties", Json::Object(map)) if !schema.contains_key("patternProperties") => {
                let known = schema.get("properties").and_then(Json::as_object);
                let mut others = map.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
                others.try_fold(true, |all, (_, value)| Some(all & self.value(value, rule, depth + 1)?))
            }
            ("items", Json::Array(items)) if !schema.contains_key("prefixItems") && !rule.is_array() => {
                items.iter().try_fold(true, |all, item| Some(all & self.value(item, rule, depth + 1)?))
            }
            // A keyword for another type of value.
            ("minimum" | "maximum", other) if !other.is_number() => Some(true),
            ("required" | "properties" | "additionalProperties", other) if !other.is_object() => Some(true),
            ("items", other) if !other.is_array() => Some(true),
            ("pattern" | "minLength" | "maxLength", other) if !other.is_string() => Some(true),
            _ => None,
        }
    }
}

/// How two numbers compare; `None` if rounding decides.
fn order(one: &Json, other: &Json) -> Option<Ordering> {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?).filter(|order| order.is_ne()),
    }
}

/// The names in a `type`: one, or a list of them.
fn types(rule: &Json) -> &[Json] {
    rule.as_array().map_or(std::slice::from_ref(rule), Vec::as_slice)
}

/// Does a value have this type? `None` for an unknown name, and for a number whose notation matters.
fn has_type(json: &Json, name: &str) -> Option<bool> {
    Some(match name {
        "object" => json.is_object(),
        "array" => json.is_array(),
        "string" => json.is_string(),
        "boolean" => json.is_boolean(),
        "null" => json.is_null(),
        "number" => json.is_number(),
        // `5.0` is an integer too.
        "integer" => match json {
            Json::Number(number) => number.as_i64().map(|_| true)?,
            _ => false,
        },
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_that_the_validator_refuses_or_reads_otherwise_is_left_to_it() {
        let branch = |kind: &str| json!({"properties": {"kind": {"const": kind}}});
        let drafts = json!({"$schema": "http://json-schema.org/draft-04/schema#", "oneOf": [branch("a"), branch("b")]});
        let schemas = [
            drafts,
            json!({"properties": {"b": {"type": "text"}}}),
            json!({"properties": {"b": {"required": true}}}),
            json!({"properties": {"b": {"pattern": "("}}}),
            json!({"properties": {"b": {"minLength": "1"}}}),
            json!({"properties": {"b": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"}}}),
            json!({"$schema": 7}),
            json!({"anyOf": [true, {"allOf": []}]}),
        ];
        for schema in schemas {
            assert!(!is_sound(&schema), "{schema}");
        }
    }

    #[test]
    fn our_own_schema_is_one() {
        assert!(jsonschema::meta::is_valid(&crate::base::config::schema()));
    }

    #[test]
    fn it_agrees_with_the_validator_or_says_nothing() {
        let schemas = [
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "pattern": "^x"}}}),
            json!({"type": ["object", "null"], "additionalProperties": false, "properties": {"a": {"enum": ["x", 1]}}}),
            json!({"oneOf": [{"properties": {"a": {"const": "x"}}, "required": ["a"]}, {"required": ["b"]}]}),
            json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"type": "integer", "minimum": 2}}}}),
            json!({"type": ["string", "number"], "minLength": 2, "maxLength": 3, "minimum": 0.5, "maximum": 7}),
            json!({"anyOf": [
                {"type": "null"},
                {"allOf": [{"type": "object"}, {"additionalProperties": {"type": "number"}}]},
            ]}),
        ];
        let values = [
            json!({}),
            json!(null),
            json!({"a": "x"}),
            json!({"a": "y"}),
            json!({"a": 1, "b": 2}),
            json!({"a": "x", "b": 2.5}),
            json!([1, 2, 3]),
            json!([2, 3.0]),
            json!([2, 3]),
            json!("x"),
            json!("éé"),
            json!("four"),
            json!(0.25),
            json!(0.75),
            json!(7),
            json!(7.5),
            json!({"b": true}),
        ];
        let mut said = 0;
        for schema in &schemas {
            assert!(is_sound(schema), "{schema}");
            let validator = jsonschema::validator_for(schema).unwrap();
            for value in &values {
                if let Some(valid) = is_valid(value, schema) {
                    assert_eq!(valid, validator.is_valid(value), "{value} by {schema}");
                    said += 1;
                }
            }
        }
        assert!(said > 40, "{said} of {} were plain", schemas.len() * values.len());
    }
}
