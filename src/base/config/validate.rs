//! Checks JSON against a JSON schema, and says what is wrong in the words of a config.
//!
//! Input: a config or a part of it, and a schema. Output: nothing, or a fault that names the place and what is
//! allowed there, and never a value. Called when a config is loaded and when its source is known.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value as Json;

use super::Config;
use super::alternatives::Finding;
use super::explain::explain;
use super::quick_check;
use super::references::{reference, references};
use crate::base::fault::{Failure, Fault, Result};

/// Checks the source's part against the manifest's `connection_specification`.
pub fn validate_source(config: &Config, specification: &Json) -> Result<()> {
    // Keys that start with two underscores are the platform's own, and so are two others.
    let mut json = config.source.clone();
    if let Some(map) = json.as_object_mut() {
        map.retain(|key, _| !key.starts_with("__") && key != "_limit" && key != "_page_size");
    }
    validate_by_foreign(&json, specification, "")
}

/// As [`validate()`], by a schema that is not ours: one that is no schema is refused whatever the config holds.
pub fn validate_by_foreign(json: &Json, schema: &Json, prefix: &str) -> Result<()> {
    if quick_check::is_sound(schema) { validate(json, schema, prefix) } else { validate_slowly(json, schema, prefix) }
}

/// Validates and says what is wrong first, where, and what is allowed; never a value.
pub fn validate(json: &Json, schema: &Json, prefix: &str) -> Result<()> {
    if quick_check::is_valid(json, schema) == Some(true) {
        return Ok(());
    }
    validate_slowly(json, schema, prefix)
}

/// Validates with the validator.
fn validate_slowly(json: &Json, schema: &Json, prefix: &str) -> Result<()> {
    // Formats are advice, as in the reference: a source may take a date where its schema speaks of a time.
    let validator = jsonschema::options().should_validate_formats(false).build(schema).map_err(|e| {
        Fault::config(format!("the connection specification is not a valid JSON schema: {}", e.masked()))
    })?;
    // What a reference stands for is judged where it is known.
    let known = |error: &ValidationError<'_>| match error.kind() {
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            references(error.instance()).is_empty()
        }
        _ => error.instance().as_str().and_then(reference).is_none(),
    };
    let Some(error) = validator.iter_errors(json).find(known) else { return Ok(()) };
    let Finding { pointer, text, hint } = explain(&error, schema);
    let fault = Fault::config(format!("{}{text}", place(prefix, &pointer)));
    // As the reference words it; other faults it words with the value, which is nobody's business.
    let detail = match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("'{}' is a required property", property.as_str().unwrap_or_default())
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let unknown = unexpected.first().map_or("", String::as_str);
            format!("Additional properties are not allowed ('{unknown}' was unexpected)")
        }
        _ => fault.message.clone(),
    };
    let fault = fault.airbyte_message(format!("Config validation error: {detail}"), Failure::Config);
    Err(hint.into_iter().fold(fault, Fault::hint))
}

/// A place in the config, as the subject of a sentence.
fn place(prefix: &str, pointer: &str) -> String {
    let mut path = prefix.to_owned();
    for segment in pointer.split('/').skip(1) {
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            path += &format!("[{segment}]");
        } else {
            path += if path.is_empty() { "" } else { "." };
            path += &segment.replace("~1", "/").replace("~0", "~");
        }
    }
    if path.is_empty() { "config".to_owned() } else { format!("config `{path}`") }
}
