//! Evaluates a response without records: is it empty, or are the records elsewhere?
//!
//! Input: a JSON body without a value at the path of a stream's records. Output: a fault if the envelope changed (a
//! list elsewhere looks like the stream's records), or if a decoded body reports an error. Otherwise the page is
//! empty: many vendors omit an empty list. Called by [`super::answer`]. The reference treats every such body as an
//! empty page.

use serde_json::{Map, Value as Json};

use super::build::StreamPlan;
use super::context::EngineContext;
use crate::base::fault::{Fault, Result};
use crate::base::json::scan;
use crate::engine::fetch;
use crate::engine::page::more::MoreRecords;

/// The maximum depth at which a list is searched.
const MAX_DEPTH: usize = 8;

/// The number of list items that are examined.
const MAX_ITEMS: usize = 5;

/// Fields with the number of records in a list, which are not totals elsewhere.
const SIZES: [&str; 2] = ["size", "length"];

/// A list in a body.
struct List<'j> {
    path: String,
    items: &'j [Json],
    /// The fields next to it; `None` if the list is the whole body.
    beside: Option<&'j Map<String, Json>>,
}

/// Is it a page without records? Returns a fault if it contains records of the stream elsewhere.
pub(super) fn of_an_empty_page(shared: &EngineContext, stream: &StreamPlan, body: &[u8]) -> Result<()> {
    let body: Json = scan::json(body).unwrap_or(Json::Null);
    let mut lists = Vec::new();
    if let (false, Json::Array(bodies)) = (stream.decoder.is_json(), &body) {
        // A decoder created a list of bodies.
        for body in bodies {
            if let Some(error) = fetch::reported_error(body) {
                return Err(Fault::data(format!(
                    "the response reports an error instead of records; the vendor says: {error}"
                )));
            }
            collect(body, String::new(), 0, &mut lists);
        }
    } else {
        collect(&body, String::new(), 0, &mut lists);
    }
    let none_at_all = MoreRecords::of(&body, &stream.records.names()).counts_nothing();
    let is_full = |list: &&List<'_>| !none_at_all && !list.counts_nothing() && list.holds_records_of(stream);
    let records = lists.iter().find(is_full);
    let path = stream.records.shown();
    match (records, lists.first()) {
        (Some(list), _) if !stream.envelope_optional => Err(Fault::data(format!(
            "the response has nothing at `{path}`, where its records should be, but a list that looks like records {}",
            list.shown()
        ))
        .of_rule("envelope_changed")
        .hint(
            "the vendor may have changed its responses: correct the `field_path` of the stream's extractor; if these \
            are other records, add {\"rule\": \"envelope_changed\", \"policy\": \"ignore\", \"allow_unsafe\": true} to \
             dripfeed.drift.rules",
        )),
        (None, Some(list)) => {
            let message = format!(
                "a response has nothing at `{path}`, and another list {}: it counts as an empty page",
                list.shown()
            );
            shared.notice_once(&stream.name, &message);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The lists of objects in a body.
fn collect<'j>(at: &'j Json, path: String, depth: usize, lists: &mut Vec<List<'j>>) {
    if depth > MAX_DEPTH {
        return;
    }
    let map = match at {
        Json::Object(map) => map,
        Json::Array(items) if depth == 0 => {
            lists.push(List { path, items, beside: None });
            return;
        }
        _ => return,
    };
    for (name, value) in map {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Json::Array(items) if items.iter().any(Json::is_object) => {
                lists.push(List { path, items, beside: Some(map) });
            }
            Json::Object(_) => collect(value, path, depth + 1, lists),
            _ => {}
        }
    }
}

impl List<'_> {
    /// Does the vendor report zero records?
    fn counts_nothing(&self) -> bool {
        self.beside.is_some_and(|beside| {
            SIZES.iter().any(|name| beside.get(*name).and_then(Json::as_u64) == Some(0))
                || MoreRecords::beside(beside).counts_nothing()
        })
    }

    /// The path of the list.
    fn shown(&self) -> String {
        if self.beside.is_none() { "as its root".to_owned() } else { format!("at `{}`", self.path) }
    }

    /// Do its objects, or the `node` in each (GraphQL connections), have the stream's key? Without a key: at least
    /// half of its fields.
    fn holds_records_of(&self, stream: &StreamPlan) -> bool {
        let objects = self.items.iter().filter(|item| item.is_object()).take(MAX_ITEMS);
        objects.map(|object| object.get("node").filter(|node| node.is_object()).unwrap_or(object)).any(|object| {
            if stream.key_paths.is_empty() {
                let fields = stream.schema["properties"].as_object();
                return fields.is_some_and(|fields| {
                    let there = fields.keys().filter(|field| object.get(*field).is_some()).count();
                    there > 0 && there * 2 >= fields.len()
                });
            }
            stream.key_paths.iter().all(|path| {
                let key = path.iter().try_fold(object, |at, name| at.get(name));
                key.is_some_and(|key| !key.is_null())
            })
        })
    }
}
