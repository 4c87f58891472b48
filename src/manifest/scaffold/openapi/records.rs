//! Finds the records in an answer, and the field that identifies one.
//!
//! Input: the schema of an answer. Output: a [`RecordList`]: the path of the list, its envelope and its items. Called
//! by `streams` and by the choice of paths.

use serde_json::{Map, Value as Json};

use super::document::{Description, Operation, type_name};
use super::names;

/// Names that lists of records bear, the best first.
const LIST_NAMES: [&str; 12] = [
    "data", "results", "items", "values", "records", "entries", "list", "rows", "objects", "content", "nodes",
    "elements",
];

/// Names of lists that are no records.
const NO_RECORDS: [&str; 8] =
    ["errors", "warnings", "warningmessages", "errormessages", "links", "included", "messages", "facets"];

/// Names of fields that identify a record, the best first.
const KEYS: [&str; 8] = ["id", "gid", "uuid", "guid", "_id", "key", "identifier", "slug"];

/// How deep the parts of an `allOf` are followed.
const MAX_PARTS: usize = 12;

/// A list of records in an answer.
#[derive(Debug)]
pub(super) struct RecordList<'d> {
    /// Where it is.
    pub(super) path: Vec<String>,
    /// Other places that could be it.
    pub(super) others: Vec<String>,
    /// The members of the answer, if it is an object.
    pub(super) envelope: Map<String, Json>,
    /// The schema of a record.
    pub(super) items: &'d Json,
}

/// The list of records of an operation's answer, if there is one.
pub(super) fn find<'d>(document: &'d Description, operation: &Operation<'d>) -> Option<RecordList<'d>> {
    let schema = document.answer_schema(operation)?;
    if let Some(items) = items(document, schema) {
        return Some(RecordList { path: Vec::new(), others: Vec::new(), envelope: Map::new(), items });
    }
    let envelope = document.merged(schema);
    let (path, others, items) = in_object(document, schema, operation, 0)?;
    Some(RecordList { path, others, envelope, items })
}

/// The schema of the items, if a schema is a list of objects.
fn items<'d>(document: &'d Description, schema: &'d Json) -> Option<&'d Json> {
    let schema = only_branch(document, document.resolved(schema));
    let items = schema.get("items")?;
    if type_name(schema).is_some_and(|name| name != "array") {
        return None;
    }
    let merged = document.merged(items);
    let has_fields = ["properties", "oneOf", "anyOf"].iter().any(|key| merged.contains_key(*key));
    (has_fields || merged.get("type").is_some_and(|kind| kind == "object")).then_some(items)
}

/// The only alternative beside null, or the only part of a combination.
fn only_branch<'d>(document: &'d Description, schema: &'d Json) -> &'d Json {
    for key in ["allOf", "oneOf", "anyOf"] {
        let branches = schema[key].as_array().into_iter().flatten().filter(|branch| branch["type"] != "null");
        let branches: Vec<&Json> = branches.collect();
        if let [one] = branches.as_slice() {
            return document.resolved(one);
        }
    }
    schema
}

/// A list in an answer: its path, the others, and its items.
type Found<'d> = (Vec<String>, Vec<String>, &'d Json);

fn in_object<'d>(
    document: &'d Description,
    schema: &'d Json,
    operation: &Operation<'d>,
    depth: usize,
) -> Option<Found<'d>> {
    let properties = properties(document, schema);
    let is_list = |name: &str| !NO_RECORDS.contains(&names::squeezed(name).as_str());
    let lists: Vec<(&str, &'d Json)> = properties
        .iter()
        .filter(|(name, _)| is_list(name))
        .filter_map(|(name, schema)| Some((*name, items(document, schema)?)))
        .collect();
    let last = names::squeezed(names::last_word(operation.path).unwrap_or_default());
    let rank = |name: &str| {
        let name = names::squeezed(name);
        let by_path = !name.is_empty() && (last.ends_with(&name) || name.ends_with(&last) && !last.is_empty());
        let listed = LIST_NAMES.iter().position(|known| *known == name);
        if by_path { Some(0) } else { listed.map(|at| at + 1) }
    };
    let best =
        lists.iter().filter_map(|(name, items)| Some((rank(name)?, *name, *items))).min_by_key(|(rank, ..)| *rank);
    let is_record = properties.iter().any(|(name, _)| KEYS.contains(name));
    let best = best.map(|(_, name, items)| (name, items));
    let only = lists.first().copied().filter(|_| lists.len() == 1 && !is_record);
    // A record has lists of its own; an answer with a list of this name is a list all the same.
    let chosen = best
        .filter(|(name, _)| !is_record || LIST_NAMES.contains(name))
        .or(only)
        .or_else(|| (!is_record && lists.len() > 1).then(|| lists[0]));
    if let Some((name, items)) = chosen {
        let others = lists.iter().map(|(name, _)| (*name).to_owned()).filter(|other| other != name).collect();
        return Some((vec![name.to_owned()], others, items));
    }
    if depth > 0 || is_record {
        return None;
    }
    let inner = properties.iter().filter(|(_, schema)| type_name(document.resolved(schema)) == Some("object"));
    inner
        .filter_map(|(name, schema)| {
            let (path, others, items) = in_object(document, schema, operation, depth + 1)?;
            Some(([vec![(*name).to_owned()], path].concat(), others, items))
        })
        .find(|(path, ..)| path.last().is_some_and(|last| LIST_NAMES.contains(&last.as_str())))
}

/// The properties of an object, borrowed from the document.
fn properties<'d>(document: &'d Description, schema: &'d Json) -> Vec<(&'d str, &'d Json)> {
    let mut out = Vec::new();
    add_properties(document, schema, MAX_PARTS, &mut out);
    out
}

fn add_properties<'d>(document: &'d Description, schema: &'d Json, depth: usize, out: &mut Vec<(&'d str, &'d Json)>) {
    let schema = document.resolved(schema);
    if depth > 0 {
        let parts = schema["allOf"].as_array().into_iter().flatten();
        parts.for_each(|part| add_properties(document, part, depth - 1, out));
    }
    out.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)));
}

/// The field that identifies a record, and whether the document requires it.
pub(super) fn key(document: &Description, items: &Json, stream: &str) -> Option<(String, bool)> {
    let merged = document.merged(items);
    let properties = merged.get("properties")?.as_object()?;
    let required = merged.get("required").and_then(Json::as_array);
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let singular = names::singular(stream);
    let own = [format!("{singular}_id"), format!("{}_id", singular.rsplit('_').next().unwrap_or_default())];
    let candidates = KEYS.iter().copied().chain(own.iter().map(String::as_str));
    let camel = |name: &str| names::squeezed(name);
    let mut found: Vec<(String, bool)> = Vec::new();
    for candidate in candidates {
        let same = |name: &&String| *name == candidate || candidate.len() > 3 && camel(name) == camel(candidate);
        let Some(name) = properties.keys().find(same) else { continue };
        let schema = document.merged(&properties[name]);
        let kind = type_name_of(&schema);
        if matches!(kind, Some("string" | "integer" | "number") | None) {
            found.push((name.clone(), is_required(name)));
        }
    }
    // An id that may be missing is still better than a key that is always there.
    found.into_iter().next()
}

/// Does an object have a field that identifies it?
pub(super) fn has_key(document: &Description, schema: &Json) -> bool {
    properties(document, schema).iter().any(|(name, _)| KEYS.contains(name))
}

/// The type in merged members.
pub(super) fn type_name_of(members: &Map<String, Json>) -> Option<&str> {
    match members.get("type")? {
        Json::String(name) => Some(name),
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null"),
        _ => None,
    }
}
