//! What is suspicious about a sample: places where a manifest and the vendor's answers do not fit.
//!
//! Input: the plan of a stream, its sample, and the exchanges. Output: [`Suspicion`]s with a stable code, and the
//! declared and seen types of each field. Called by `test_read`.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value as Json;

use super::FieldTypes;
use crate::base::display::number;
use crate::base::json::python;
use crate::base::json::schema::Reader;
use crate::engine::build::StreamPlan;
use crate::engine::sample::{SampledPage, StreamSample};
use crate::run::exchange::Exchange;
use crate::run::schema_sample::SchemaSample;

/// The deepest list that is looked for in a body.
const DEEPEST: usize = 4;

/// Something that a person should look at.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Suspicion {
    /// Its kind, for programs.
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Suspicion {
    pub(super) fn new(code: &'static str, message: String) -> Suspicion {
        Suspicion { code, message }
    }
}

/// Everything suspicious about a sample.
pub(super) fn of(
    stream: &StreamPlan,
    sample: &StreamSample,
    schema: &SchemaSample,
    exchanges: &[Exchange],
) -> Vec<Suspicion> {
    let pages: Vec<&SampledPage> = sample.slices.iter().flat_map(|slice| &slice.pages).collect();
    let records: Vec<&Json> = pages.iter().flat_map(|page| &page.records).collect();
    let extracted: u64 = pages.iter().map(|page| page.extracted).sum();
    let mut out = Vec::new();
    if extracted == 0 && sample.fault.is_none() {
        out.extend(nothing_found(stream, exchanges));
    } else if records.is_empty() && sample.fault.is_none() {
        let message = format!("the filter of the record selector drops all {}", count(extracted, "record"));
        out.push(Suspicion::new("all_filtered", message));
    }
    out.extend(undefined_parameters(stream, exchanges));
    if !records.is_empty() {
        out.extend(keys(stream, &records));
        out.extend(cursor(stream, &records));
        out.extend(types(stream, schema));
    }
    out
}

fn count(n: u64, what: &str) -> String {
    number(usize::try_from(n).unwrap_or(usize::MAX), what)
}

/// The records' place is empty or missing: where the response has lists.
fn nothing_found(stream: &StreamPlan, exchanges: &[Exchange]) -> Option<Suspicion> {
    let last = exchanges
        .iter()
        .rfind(|exchange| exchange.is_of(&stream.name))
        .filter(|exchange| exchange.response.status < 400)?;
    let place = stream.records.shown();
    let place = if place.is_empty() { "the body".to_owned() } else { format!("`{place}`") };
    let Some(body) = last.response.json() else {
        let kind = last.response.headers.get("content-type").and_then(Json::as_str).unwrap_or("no content type");
        let message = format!("the answer is no JSON ({kind}): the retriever may need a `decoder`");
        return Some(Suspicion::new("not_json", message));
    };
    let mut lists = Vec::new();
    find_lists(&body, &mut Vec::new(), &mut lists);
    lists.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    let message = match lists.first() {
        Some((path, length)) => {
            let at = if path.is_empty() { "the body itself".to_owned() } else { format!("`{}`", path.join(".")) };
            format!("no record was found at {place}, but {at} is a list of {}", number(*length, "object"))
        }
        None => format!("no record was found at {place}; the answer holds no list of objects"),
    };
    Some(Suspicion::new("nothing_found", message))
}

/// Finds the lists of objects in a body.
fn find_lists(value: &Json, path: &mut Vec<String>, out: &mut Vec<(Vec<String>, usize)>) {
    match value {
        Json::Array(items) if items.first().is_some_and(Json::is_object) => out.push((path.clone(), items.len())),
        Json::Object(map) if path.len() < DEEPEST => {
            for (name, inner) in map {
                path.push(name.clone());
                find_lists(inner, path, out);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Parameters with a template that gave nothing useful.
fn undefined_parameters(stream: &StreamPlan, exchanges: &[Exchange]) -> Vec<Suspicion> {
    let Some(exchange) = exchanges.iter().find(|exchange| exchange.is_of(&stream.name)) else { return Vec::new() };
    // These may be left out on purpose.
    let optional = |template: &str| [" if ", " or ", "default", ".get("].iter().any(|word| template.contains(word));
    let declared = stream.requester.declared_parameters();
    let sent = |name: &str| exchange.parameters().any(|[known, _]| known == name);
    let unsent = declared.iter().filter(|(name, template)| {
        !sent(name) && !name.contains("{{") && template.contains("{{") && !optional(template)
    });
    let unsent = unsent.map(|(name, template)| {
        format!("the parameter `{name}` is not sent, because its template gives nothing: {template}")
    });
    let odd = exchange.parameters().filter(|[_, value]| ["None", "null", "undefined"].contains(&value.as_str()));
    let odd = odd.map(|[name, value]| format!("the parameter `{name}` is sent as `{value}`: check its template"));
    unsent.chain(odd).map(|message| Suspicion::new("undefined_parameter", message)).collect()
}

/// The value at a path of a record, other than null.
fn at<'v>(record: &'v Json, path: &[String]) -> Option<&'v Json> {
    path.iter().try_fold(record, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// Keys that are missing or repeated.
fn keys(stream: &StreamPlan, records: &[&Json]) -> Vec<Suspicion> {
    if stream.key_paths.is_empty() {
        let message = "the stream has no `primary_key`: a target appends every version of a record".to_owned();
        return vec![Suspicion::new("no_key", message)];
    }
    let of = number(records.len(), "record");
    let mut out: Vec<Suspicion> = Vec::new();
    for path in &stream.key_paths {
        let missing = records.iter().filter(|record| at(record, path).is_none()).count();
        if missing > 0 {
            let message = format!("{missing} of {of} have no value for the key `{}`", path.join("."));
            out.push(Suspicion::new("key_missing", message));
        }
    }
    let mut known = HashSet::new();
    let key = |record: &Json| {
        let parts = stream.key_paths.iter().map(|path| at(record, path).map(python::canonical));
        parts.collect::<Option<Vec<_>>>()
    };
    let repeated = records.iter().filter_map(|record| key(record)).filter(|key| !known.insert(key.clone())).count();
    if repeated > 0 {
        let message = format!("{repeated} of {of} repeat the key of another one: it may not be unique");
        out.push(Suspicion::new("key_repeated", message));
    }
    out
}

/// Cursor values that are missing or cannot be read.
fn cursor(stream: &StreamPlan, records: &[&Json]) -> Vec<Suspicion> {
    let Some(plan) = &stream.cursor else { return Vec::new() };
    let of = number(records.len(), "record");
    let values: Vec<&Json> =
        records.iter().filter_map(|record| record.get(&plan.field)).filter(|value| !value.is_null()).collect();
    let mut out = Vec::new();
    if values.len() < records.len() {
        let missing = records.len() - values.len();
        let message = format!("{missing} of {of} have no value for the cursor `{}`", plan.field);
        out.push(Suspicion::new("cursor_missing", message));
    }
    let unreadable = values.iter().filter(|value| plan.read(value).is_none()).count();
    if unreadable > 0 {
        let message = format!(
            "{unreadable} of {of} have a cursor `{}` in none of the stream's formats: check `datetime_format` and \
             `cursor_datetime_formats`",
            plan.field
        );
        out.push(Suspicion::new("cursor_format", message));
    }
    out
}

/// Fields of several types, and fields with values that do not fit the schema.
fn types(stream: &StreamPlan, sample: &SchemaSample) -> Vec<Suspicion> {
    let mixed = sample.fields().filter(|(_, field)| field.types().len() > 1).map(|(name, field)| {
        let message = format!("`{name}` has values of several types: {}", field.types().join(", "));
        Suspicion::new("mixed_types", message)
    });
    let fields = fields(&stream.schema, sample);
    let has_schema = fields.iter().any(|field| !field.declared.is_empty());
    let new: Vec<&str> = fields.iter().filter(|field| field.declared.is_empty()).map(|field| &*field.name).collect();
    let undeclared = (has_schema && !new.is_empty()).then(|| {
        let message = format!("the schema lacks {}: {}", number(new.len(), "field"), new.join(", "));
        Suspicion::new("undeclared_fields", message)
    });
    let bare = (!has_schema).then(|| {
        let message = "the stream declares no fields: `dripfeed discover --infer` writes them from a sample".to_owned();
        Suspicion::new("no_schema", message)
    });
    let declared = |field: &&FieldTypes| !field.declared.is_empty() && !field.seen.is_empty();
    let differ = fields.iter().filter(declared).filter(|field| !fits(field)).map(|field| {
        let message = format!("`{}` is declared as {}, and seen as {}", field.name, field.declared, field.seen);
        Suspicion::new("type_differs", message)
    });
    mixed.chain(undeclared).chain(bare).chain(differ).collect()
}

/// Do the types seen fit the declared ones?
fn fits(field: &FieldTypes) -> bool {
    let types =
        |text: &str| text.split(' ').next().unwrap_or_default().split('|').map(str::to_owned).collect::<Vec<_>>();
    let declared = types(&field.declared);
    let takes = |seen: &String| declared.contains(seen) || seen == "integer" && declared.iter().any(|d| d == "number");
    let format = |text: &str| text.split_once(' ').map(|(_, format)| format.to_owned());
    let all = declared.iter().any(|name| name == "any");
    let same_format = format(&field.declared).is_none_or(|wanted| format(&field.seen) == Some(wanted));
    all || types(&field.seen).iter().all(takes) && same_format
}

/// The declared and seen types of each field of a record: declared ones in the schema's order, then new ones.
pub(super) fn fields(schema: &Json, sample: &SchemaSample) -> Vec<FieldTypes> {
    let reader = Reader::new(schema);
    let declared = reader.properties(schema);
    let seen = |field: &SchemaSample| described(&field.types(), field.format());
    let mut out: Vec<FieldTypes> = declared
        .iter()
        .map(|(name, inner)| {
            let types: Vec<&str> = reader.types(inner).into_iter().filter(|name| *name != "null").collect();
            let declared = if types.is_empty() { "any".to_owned() } else { described(&types, reader.format(inner)) };
            let field = sample.fields().find(|(other, _)| other == name);
            FieldTypes { name: (*name).clone(), declared, seen: field.map(|(_, f)| seen(f)).unwrap_or_default() }
        })
        .collect();
    let is_new = |name: &str| !declared.iter().any(|(known, _)| *known == name);
    let new = sample.fields().filter(|(name, field)| is_new(name) && field.seen() > 0);
    out.extend(new.map(|(name, field)| FieldTypes {
        name: name.to_owned(),
        declared: String::new(),
        seen: seen(field),
    }));
    out
}

fn described(types: &[&str], format: Option<&str>) -> String {
    let types = types.join("|");
    match format {
        Some(format) if !types.is_empty() => format!("{types} {format}"),
        _ => types,
    }
}
