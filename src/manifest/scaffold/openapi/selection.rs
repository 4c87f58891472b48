//! Finds fields that a list leaves out unless a parameter asks for them, as Asana's `opt_fields`.
//!
//! Input: an operation, and the properties that its list gives. Output: the parameter with all fields of a record, and
//! their schemas from the path of a single record. Called by `streams`.

use serde_json::{Map, Value as Json};

use super::document::{Description, Operation, Parameter};
use super::names::{self, squeezed};
use super::records;
use super::schema::Converter;

/// Parameters that select fields.
const SELECTS: [&str; 4] = ["optfields", "fields", "select", "includefields"];

/// A parameter that asks for more fields.
pub(super) struct Wanted {
    pub(super) parameter: String,
    pub(super) value: String,
    pub(super) note: String,
    pub(super) properties: Map<String, Json>,
}

/// The parameter that asks for the fields that a list lacks.
pub(super) fn fields(document: &Description, operation: &Operation<'_>, known: &Map<String, Json>) -> Option<Wanted> {
    let parameter = operation.query().find(|parameter| SELECTS.contains(&squeezed(parameter.name).as_str()))?;
    let listed = listed(document, parameter)?;
    let single = single(document, operation.path)?;
    let whole = Converter::new(document).record(single);
    let is_field = |name: &&str| !name.contains('.') && (known.contains_key(*name) || whole.contains_key(*name));
    let mut names: Vec<&str> = listed.into_iter().filter(is_field).collect();
    let lacks = names.iter().any(|name| !known.contains_key(*name));
    if !lacks {
        return None;
    }
    // What the list gives by itself it may no longer give once fields are chosen.
    let own: Vec<&str> = known.keys().map(String::as_str).filter(|name| !names.contains(name)).collect();
    names.splice(0..0, own);
    let properties = names.iter().filter_map(|name| {
        let schema = known.get(*name).or_else(|| whole.get(*name))?;
        Some(((*name).to_owned(), schema.clone()))
    });
    Some(Wanted {
        parameter: parameter.name.to_owned(),
        note: format!(
            "The list leaves fields out unless `{}` names them. Fields of objects need a dot: `a.b`.",
            parameter.name
        ),
        properties: properties.collect(),
        value: names.join(","),
    })
}

/// The fields that a parameter allows, if it takes them with commas.
fn listed<'d>(document: &'d Description, parameter: &Parameter<'d>) -> Option<Vec<&'d str>> {
    let schema = document.resolved(parameter.schema);
    let is_joined = parameter.written["explode"] == Json::Bool(false) || parameter.written["collectionFormat"] == "csv";
    if !is_joined {
        return None;
    }
    let values = document.resolved(&schema["items"])["enum"].as_array()?;
    Some(values.iter().filter_map(Json::as_str).collect())
}

/// The schema of a single record: that of the path with one more variable, of the same last word.
fn single<'d>(document: &'d Description, path: &str) -> Option<&'d Json> {
    let word = names::last_word(path)?;
    let ends = |other: &str| names::is_single(other) && names::last_word(other) == Some(word);
    let operations = document.operations();
    let mut found: Vec<&Operation<'d>> = operations.iter().filter(|operation| ends(operation.path)).collect();
    // `/tasks/{id}` rather than `/lists/{list}/tasks/{id}`.
    found.sort_by_key(|operation| operation.path.len());
    let schema = document.answer_schema(found.first()?)?;
    let holder = document.resolved(schema);
    // The record itself, or the only object in an envelope.
    if records::has_key(document, holder) {
        return Some(schema);
    }
    holder["properties"].as_object()?.values().find(|inner| records::has_key(document, inner))
}
