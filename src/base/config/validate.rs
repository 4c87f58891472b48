//! Checks JSON against a JSON schema, and says what is wrong in the words of a config.
//!
//! Comes in: a config or a part of it, and a schema. Goes out: nothing, or a fault that names the place and what is
//! allowed there, and never a value. Called when a config is loaded and when its source is known.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value as Json;

use super::{Config, secret};
use crate::base::fault::{Failure, Fault, Result, did_you_mean};

/// Checks the source's part against the manifest's `connection_specification`.
pub fn validate_source(config: &Config, specification: &Json) -> Result<()> {
    // Keys that start with two underscores are the platform's own, and so are two others.
    let mut json = config.source.clone();
    if let Some(map) = json.as_object_mut() {
        map.retain(|key, _| !key.starts_with("__") && key != "_limit" && key != "_page_size");
    }
    validate(&json, specification, "")
}

/// Validates and says what is wrong first, where, and what is allowed; never a value.
pub fn validate(json: &Json, schema: &Json, prefix: &str) -> Result<()> {
    // Formats are advice, as in the reference: a source may take a date where its schema speaks of a time.
    let validator = jsonschema::options().should_validate_formats(false).build(schema).map_err(|e| {
        Fault::config(format!("the connection specification is not a valid JSON schema: {}", e.masked()))
    })?;
    // What a reference stands for is judged where it is known.
    let known = |error: &ValidationError<'_>| error.instance().as_str().and_then(secret::reference).is_none();
    let Some(error) = validator.iter_errors(json).find(known) else { return Ok(()) };
    let pointer = error.instance_path().to_string();
    let mut path = prefix.to_owned();
    for segment in pointer.split('/').skip(1) {
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            path += &format!("[{segment}]");
        } else {
            path += if path.is_empty() { "" } else { "." };
            path += segment;
        }
    }
    let place = if path.is_empty() { "config".to_owned() } else { format!("config `{path}`") };
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        let unknown = unexpected.first().map_or("", String::as_str);
        let known = allowed_keys(schema, &pointer);
        let detail = format!("Additional properties are not allowed ('{unknown}' was unexpected)");
        let fault = Fault::config(format!("{place} has an unknown key `{unknown}`"))
            .airbyte_message(format!("Config validation error: {detail}"), Failure::Config);
        return Err(match did_you_mean(unknown, known.iter().map(String::as_str)) {
            Some(name) => fault.hint(format!("did you mean `{name}`?")),
            None => fault.hint(format!("known keys: {}", known.join(", "))),
        });
    }
    if let Some(keys) = alternatives(&error) {
        let fault = Fault::config(format!("{place} needs one of {}", keys.join(", ")));
        let message = format!("Config validation error: {}", fault.message);
        return Err(fault.airbyte_message(message, Failure::Config));
    }
    let fault = Fault::config(format!("{place}: {}", error.masked_with("the value")));
    // As the reference words it; other faults it words with the value, which is nobody's business.
    let detail = match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("'{}' is a required property", property.as_str().unwrap_or_default())
        }
        _ => fault.message.clone(),
    };
    Err(fault.airbyte_message(format!("Config validation error: {detail}"), Failure::Config))
}

/// The keys of which one is needed, where each alternative of an `anyOf` or `oneOf` lacks a key.
fn alternatives(error: &ValidationError<'_>) -> Option<Vec<String>> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else {
        return None;
    };
    let outer = error.instance_path().to_string();
    let lacks = |branch: &Vec<ValidationError<'_>>| {
        branch.iter().find_map(|inner| match inner.kind() {
            ValidationErrorKind::Required { property } => {
                let inner = inner.instance_path().to_string();
                let steps = inner.strip_prefix(&outer)?.split('/').skip(1).chain([property.as_str()?]);
                Some(format!("`{}`", steps.collect::<Vec<_>>().join(".")))
            }
            _ => None,
        })
    };
    context.iter().map(lacks).collect()
}

/// The property names that `schema` declares at a pointer into an instance.
fn allowed_keys(schema: &Json, pointer: &str) -> Vec<String> {
    let mut at = schema;
    for segment in pointer.split('/').skip(1) {
        at = match &at["properties"][segment] {
            Json::Null if at["items"].is_object() => &at["items"],
            Json::Null => &at["additionalProperties"],
            found => found,
        };
    }
    at["properties"].as_object().map(|p| p.keys().cloned().collect()).unwrap_or_default()
}
