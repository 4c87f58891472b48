//! What a violation of a JSON schema means for the author of a config: what is wrong there, and what to write.
//!
//! Input: the error of the `jsonschema` crate, and the schema. Output: a [`Finding`]; no value of the config is in it.
//! Called by `validate`. Which of several alternatives was meant is decided in `alternatives`.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use regex::Regex;
use serde_json::{Value as Json, json};

use super::alternatives::{Finding, alternative, one_of};
use crate::base::fault::did_you_mean;
use crate::base::timefmt::{Period, parse_iso};

/// Values that fit many patterns: the first that fits one shows how to write a value.
const EXAMPLES: [&str; 14] = [
    "2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00.000Z",
    "2024-01-01T00:00:00.000000Z",
    "2024-01-01T00:00:00+00:00",
    "2024-01-01 00:00:00",
    "2024-01-01T00:00:00",
    "2024-01-01",
    "2024-01",
    "PT1H",
    "P1D",
    "P1M",
    "https://example.com",
    CRON,
    "1234",
];
/// Five cron fields.
const CRON: &str = "H * * * *";

/// Explains an error.
pub(super) fn explain(error: &ValidationError<'_>, root: &Json) -> Finding {
    let pointer = error.instance_path().to_string();
    let keyword = error.schema_path().to_string();
    let schema = keyword.rsplit_once('/').and_then(|(parent, _)| root.pointer(parent)).unwrap_or(&Json::Null);
    let value = error.instance();
    let found = |text: String, hint: Option<String>| Finding { pointer: pointer.clone(), text, hint };
    match error.kind() {
        Kind::Required { property } => missing(&pointer, property.as_str().unwrap_or_default(), value, schema),
        Kind::AdditionalProperties { unexpected } => unknown(pointer, unexpected, value, schema),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let branches = root.pointer(&keyword).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
            alternative(error, context, branches, &|error| explain(error, root))
        }
        Kind::Type { .. } if value.is_null() => found(" is missing: its value is null".into(), written(schema)),
        Kind::Type { kind } => {
            let hint = retyped(value, kind);
            found(format!(" must be {}, and is {}", types(kind), type_name(value)), hint)
        }
        Kind::Enum { options } => one_of(pointer, value, options.as_array().map_or(&[][..], Vec::as_slice)),
        Kind::Constant { expected_value } => found(format!(" must be {expected_value}"), None),
        Kind::Pattern { .. } if value.as_str() == Some("") => found(" is empty".into(), written(schema)),
        Kind::Pattern { pattern } => unlike(pointer, pattern, schema),
        Kind::Minimum { limit } => found(format!(" must be at least {limit}"), None),
        Kind::Maximum { limit } => found(format!(" must be at most {limit}"), None),
        Kind::ExclusiveMinimum { limit } => found(format!(" must be more than {limit}"), None),
        Kind::ExclusiveMaximum { limit } => found(format!(" must be less than {limit}"), None),
        Kind::MinLength { .. } if value.as_str() == Some("") => found(" is empty".into(), written(schema)),
        Kind::MinLength { limit } => found(format!(" must have at least {limit} characters"), None),
        Kind::MaxLength { limit } => found(format!(" must have at most {limit} characters"), None),
        Kind::MinItems { limit } => found(format!(" must have at least {}", items(*limit)), None),
        Kind::MaxItems { limit } => found(format!(" must have at most {}", items(*limit)), None),
        Kind::UniqueItems => found(" has an item twice".into(), None),
        _ => found(format!(": {}", error.masked_with("the value")), None),
    }
}

fn items(count: u64) -> String {
    if count == 1 { "one item".into() } else { format!("{count} items") }
}

/// A key that is missing in the object at `pointer`.
fn missing(pointer: &str, name: &str, object: &Json, schema: &Json) -> Finding {
    let declared = schema["properties"].as_object();
    let undeclared = object.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str));
    let undeclared = undeclared.filter(|key| declared.is_none_or(|all| !all.contains_key(*key)));
    let hint = match did_you_mean(name, undeclared) {
        Some(near) => Some(format!("there is a key `{near}`: did you mean `{name}`?")),
        None => added(name, &schema["properties"][name]),
    };
    let step = name.replace('~', "~0").replace('/', "~1");
    Finding { pointer: format!("{pointer}/{step}"), text: " is missing".into(), hint }
}

/// How a missing key is added.
fn added(name: &str, schema: &Json) -> Option<String> {
    if schema["airbyte_secret"] == true {
        return Some(format!("add it, as \"{name}\": \"env:NAME\", where the variable NAME holds the value"));
    }
    Some(format!("add it, as {}: {}", json!(name), example(schema)?))
}

/// How a value is written.
fn written(schema: &Json) -> Option<String> {
    Some(format!("write it as {}", example(schema)?))
}

/// A value that fits a schema, as JSON.
fn example(schema: &Json) -> Option<Json> {
    let own = [&schema["const"], &schema["examples"][0], &schema["default"], &schema["enum"][0]];
    let own = own.into_iter().find(|value| !value.is_null()).cloned();
    own.or_else(|| fitting(schema["pattern"].as_str()?).map(|text| json!(text)))
        .or_else(|| (schema["format"] == "date-time").then(|| json!(EXAMPLES[0])))
}

/// A well-known value that fits a pattern.
fn fitting(pattern: &str) -> Option<&'static str> {
    let pattern = Regex::new(pattern).ok()?;
    // A pattern that takes anything asks for nothing that an example could show.
    let takes_anything = pattern.is_match("~ any text ~");
    EXAMPLES.into_iter().find(|text| !takes_anything && pattern.is_match(text))
}

/// A text that does not match its pattern.
fn unlike(pointer: String, pattern: &str, schema: &Json) -> Finding {
    let own = schema["examples"][0].as_str().or(schema["default"].as_str());
    let (descriptor, known) = (schema["pattern_descriptor"].as_str(), own.or_else(|| fitting(pattern)));
    let what = known.and_then(kind_of);
    match (known, descriptor) {
        (Some(known), _) if own.is_some() || what.is_some() || descriptor.is_none() => {
            let text = what.map_or(" is not written as it must be".to_owned(), |what| format!(" must be {what}"));
            Finding { pointer, text, hint: Some(format!("write it as `{known}`")) }
        }
        (_, Some(descriptor)) => {
            let text = format!(" must be written as `{descriptor}`");
            Finding { pointer, text, hint: None }
        }
        _ => Finding { pointer, text: format!(" must match the pattern `{pattern}`"), hint: None },
    }
}

/// What kind of value an example is.
fn kind_of(example: &str) -> Option<&'static str> {
    if example.starts_with('P') && Period::parse(example).is_ok() {
        Some("an ISO-8601 duration")
    } else if example.contains('-') && parse_iso(example).is_some() {
        Some(if example.len() > 10 { "a date and time" } else { "a date" })
    } else if example.starts_with("http") {
        Some("an http or https address")
    } else if example == CRON {
        Some("five cron fields")
    } else {
        None
    }
}

/// Keys that an object may not have; the first is reported.
fn unknown(pointer: String, unexpected: &[String], value: &Json, schema: &Json) -> Finding {
    let unknown = unexpected.first().map_or("", String::as_str);
    let known: Vec<&str> =
        schema["properties"].as_object().into_iter().flat_map(|p| p.keys().map(String::as_str)).collect();
    // A key that is there was not misspelled.
    let absent = known.iter().copied().filter(|key| value.get(key).is_none());
    let hint = match did_you_mean(unknown, absent) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it can hold {}", known.join(", ")),
    };
    Finding { pointer, text: format!(" has an unknown key `{unknown}`"), hint: Some(hint) }
}

/// The wanted types, in words.
fn types(kind: &TypeKind) -> String {
    let wanted: Vec<&str> = match kind {
        TypeKind::Single(one) => vec![name(*one)],
        TypeKind::Multiple(all) => all.iter().filter(|kind| *kind != JsonType::Null).map(name).collect(),
    };
    wanted.join(" or ")
}

fn name(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a text",
    }
}

fn type_name(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// What makes the value one of the wanted type, where that is a matter of spelling.
fn retyped(value: &Json, kind: &TypeKind) -> Option<String> {
    let wants = |wanted: JsonType| match kind {
        TypeKind::Single(one) => *one == wanted,
        TypeKind::Multiple(all) => all.contains(wanted),
    };
    match value {
        Json::String(text) if wants(JsonType::Integer) && text.trim().parse::<i64>().is_ok() => {
            Some("write it without quotes".into())
        }
        Json::String(text) if wants(JsonType::Number) && text.trim().parse::<f64>().is_ok() => {
            Some("write it without quotes".into())
        }
        Json::String(text) if wants(JsonType::Boolean) && ["true", "false"].contains(&text.trim()) => {
            Some("write it without quotes".into())
        }
        Json::Number(_) | Json::Bool(_) if wants(JsonType::String) => Some("write it in quotes".into()),
        Json::String(_) | Json::Number(_) | Json::Object(_) if wants(JsonType::Array) => {
            Some("write it as a list, in [ and ]".into())
        }
        _ => None,
    }
}
