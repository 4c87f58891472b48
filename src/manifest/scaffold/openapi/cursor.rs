//! Recognizes which parameter filters a list by the time of the last change, and which field of a record holds it.
//!
//! Input: an operation, and the properties of its records. Output: a [`CursorPlan`], or a comment. Called by `streams`.

use serde_json::{Map, Value as Json};

use super::super::plan::{CursorPlan, DECIDE, ISO_FORMATS, Slot};
use super::document::{Operation, Parameter, type_name};
use super::names::squeezed;

/// Parameters that filter by the last change, the best first.
const SINCE_NAMES: [&str; 30] = [
    "modifiedsince",
    "updatedsince",
    "updatedafter",
    "modifiedafter",
    "changedsince",
    "changedafter",
    "updatedatmin",
    "updatedatgte",
    "updatedatgt",
    "updatedgte",
    "updatedgt",
    "dateupdatedgt",
    "updatedatafter",
    "updatedatstart",
    "updatedfrom",
    "lastmodifiedafter",
    "lastmodifiedsince",
    "lastupdatedafter",
    "lastupdatedsince",
    "lastupdated",
    "updatedminimum",
    "filterupdatedatgte",
    "filterupdatedatgt",
    "updatedmin",
    "modifieddate",
    "modifiedfrom",
    "since",
    "starttime",
    "updatedstart",
    "ifmodifiedsince",
];
/// Fields of a record with the time of its last change, the best first.
const CHANGED_NAMES: [&str; 18] = [
    "updatedat",
    "modifiedat",
    "lastmodified",
    "lastmodifiedat",
    "lastupdated",
    "lastupdatedat",
    "updated",
    "modified",
    "dateupdated",
    "datemodified",
    "changedat",
    "lastmodifieddate",
    "modifieddate",
    "updateddate",
    "updatedon",
    "modifiedon",
    "updatetime",
    "lasteditedtime",
];
/// Fields with the time of an event that never changes.
const EVENT_NAMES: [&str; 5] = ["createdat", "timestamp", "occurredat", "eventtime", "created"];

/// The cursor of a list, and comments on it.
pub(super) fn detect(operation: &Operation<'_>, properties: &Map<String, Json>) -> (Option<CursorPlan>, Vec<String>) {
    let since = SINCE_NAMES.iter().find_map(|name| operation.query().find(|p| squeezed(p.name) == *name));
    let of = |names: &[&str]| {
        let found = names.iter().find_map(|name| properties.iter().find(|(field, _)| squeezed(field) == *name));
        found.filter(|(_, schema)| is_time(schema))
    };
    let changed = of(&CHANGED_NAMES);
    match (since, changed) {
        (Some(since), Some((field, schema))) => {
            let (plan, notes) = cursor(since, field, schema);
            (Some(plan), notes)
        }
        (Some(since), None) => {
            let event = of(&EVENT_NAMES).map_or_else(String::new, |(field, _)| format!(" `{field}` is no such time."));
            let note = format!(
                "{DECIDE}`{}` may filter by the last change, and no field of a record tells when that was.{event} The \
                 stream is read whole.",
                since.name
            );
            (None, vec![note])
        }
        (None, Some((field, _))) => {
            let note = format!(
                "`{field}` tells when a record changed, and no parameter filters by it. Each run reads everything."
            );
            (None, vec![note])
        }
        (None, None) => (None, Vec::new()),
    }
}

/// Can a field be a time: a text, or a number?
fn is_time(schema: &Json) -> bool {
    matches!(type_name(schema), Some("string" | "integer" | "number") | None)
}

fn cursor(since: &Parameter<'_>, field: &str, schema: &Json) -> (CursorPlan, Vec<String>) {
    let mut notes = Vec::new();
    let slot = Slot::Query(since.name.to_owned());
    let mut plan = CursorPlan::iso(field, Some(slot));
    if since.is_number() {
        let millis = since.description.to_ascii_lowercase().contains("milli");
        plan.format = if millis { "%ms" } else { "%s" };
        if !millis && !since.description.to_ascii_lowercase().contains("second") {
            notes.push(format!(
                "{DECIDE}`{}` is a number; seconds since 1970 are assumed, `%ms` are milliseconds.",
                since.name
            ));
        }
    } else if since.schema["format"] == "date" {
        plan.format = "%Y-%m-%d";
    } else if since.schema["format"] != "date-time" {
        notes.push(format!(
            "{DECIDE}the document does not say how `{}` is written; 2024-01-31T12:00:00Z is assumed.",
            since.name
        ));
    }
    if matches!(type_name(schema), Some("integer" | "number")) {
        plan.record_formats = vec![if plan.format == "%ms" { "%ms" } else { "%s" }];
        if !since.is_number() {
            notes.push(format!(
                "{DECIDE}`{field}` is a number; seconds since 1970 are assumed, `%ms` are milliseconds."
            ));
        }
    } else if schema["format"] == "date" {
        plan.record_formats = vec!["%Y-%m-%d"];
    } else {
        plan.record_formats = ISO_FORMATS.to_vec();
        if schema["format"] != "date-time" {
            notes.push(format!("{DECIDE}the document does not say how `{field}` is written; ISO 8601 is assumed."));
        }
    }
    if squeezed(since.name) == "starttime" {
        notes.push(format!("{DECIDE}does `{}` filter by `{field}`, or by another time?", since.name));
    }
    (plan, notes)
}
