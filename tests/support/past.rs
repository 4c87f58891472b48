//! A vendor whose records are of the past, and backfills of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use super::tap::{Ran, Tap, items};
use super::vendor::{Asked, Vendor};

pub const NOW: &str = "2024-12-01T00:00:00Z";

/// A record of a vendor, of which there is one version at a time.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: String,
    pub part: String,
    pub at: Json,
    pub v: u64,
}

pub type Rows = Arc<Mutex<Vec<Row>>>;

/// Rows, as (id, at).
pub fn rows(all: &[(&str, &str)]) -> Rows {
    let row = |(id, at): &(&str, &str)| Row { id: (*id).into(), part: String::new(), at: json!(at), v: 1 };
    Arc::new(Mutex::new(all.iter().map(row).collect()))
}

pub fn key(at: &Json) -> String {
    // Numbers of one length and texts of one form compare as texts.
    at.as_str().map_or_else(|| at.to_string(), str::to_owned)
}

/// Serves `/items` two at a time, oldest first: `since` and `before` are inclusive bounds, `part` is a filter; `newest`
/// turns the order round. `hook` sees every request before it is answered.
pub fn vendor(rows: &Rows, hook: impl Fn(&Asked, &mut Vec<Row>) -> Option<Json> + Send + Sync + 'static) -> Vendor {
    let rows = rows.clone();
    Vendor::answering(move |asked| {
        let mut rows = rows.lock().unwrap();
        if let Some(reply) = hook(asked, &mut rows) {
            return reply;
        }
        let wanted = |row: &&Row| {
            asked.param("since").is_none_or(|since| key(&row.at) >= since)
                && asked.param("before").is_none_or(|before| key(&row.at) <= before)
                && asked.param("part").is_none_or(|part| row.part == part)
        };
        let mut found: Vec<(String, &Row)> =
            rows.iter().filter(wanted).map(|row| (format!("{} {}", key(&row.at), row.id), row)).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let newest = asked.param("newest").is_some();
        if newest {
            found.reverse();
        }
        let after = asked.param("after");
        let passed =
            |place: &str| after.as_deref().is_some_and(|after| if newest { place >= after } else { place <= after });
        let page: Vec<_> = found.iter().filter(|(place, _)| !passed(place)).take(2).collect();
        let more = page.last().filter(|(place, _)| found.last().is_some_and(|(last, _)| last != place));
        let data: Vec<Json> =
            page.iter().map(|(_, r)| json!({"id": r.id, "part": r.part, "at": r.at, "v": r.v})).collect();
        json!({"status": 200, "json": {"data": data, "next": more.map(|(place, _)| place)}})
    })
}

pub fn quiet(_: &Asked, _: &mut Vec<Row>) -> Option<Json> {
    None
}

pub fn parameter(name: &str) -> Json {
    json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": name})
}

/// A cursor by `at`; `more` says the rest of it.
pub fn by_time(more: Json) -> Json {
    let mut cursor = json!({
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-10-01T00:00:00Z", "start_time_option": parameter("since"),
    });
    for (key, value) in more.as_object().unwrap() {
        cursor[key] = value.clone();
        if value.is_null() {
            cursor.as_object_mut().unwrap().remove(key);
        }
    }
    cursor
}

pub fn both(more: Json) -> Json {
    let mut more = more;
    more["end_time_option"] = parameter("before");
    by_time(more)
}

pub fn schema() -> Json {
    json!({"id": {"type": "string"}, "part": {"type": "string"}, "v": {"type": "integer"}})
}

pub fn manifest(cursor: &Json, retriever: Json) -> String {
    let mut retriever = retriever;
    retriever["paginator"] = json!({
        "type": "DefaultPaginator", "page_token_option": parameter("after"),
        "pagination_strategy": {
            "type": "CursorPagination", "cursor_value": "{{ response['next'] }}",
            "stop_condition": "{{ not response['next'] }}",
        },
    });
    items(&schema(), &json!({"incremental_sync": cursor}), &retriever)
}

/// Partitions that are named.
pub fn parts(values: &[&str]) -> Json {
    json!({"partition_router": {
        "type": "ListPartitionRouter", "cursor_field": "part", "values": values, "request_option": parameter("part"),
    }})
}

pub fn tap(manifest: &str, vendor: &Vendor, span: &str, state: &Json) -> Tap {
    let tap = Tap::new("read --log-format json --backfill").args(&[span]).source(manifest);
    let tap = tap.config(&json!({"url": vendor.url})).env("DRIPFEED_NOW", NOW);
    if state.is_null() { tap } else { tap.state(state) }
}

pub fn read(manifest: &str, vendor: &Vendor, span: &str, state: &Json) -> Ran {
    tap(manifest, vendor, span, state).run()
}

/// The windows that were asked for, each once, in order.
pub fn windows(vendor: &Vendor) -> Vec<String> {
    let short = |t: Option<String>| t.map_or("-".into(), |t| t.replace("T00:00:00Z", ""));
    let window = |a: &Asked| format!("{}..{}", short(a.param("since")), short(a.param("before")));
    vendor.asked().iter().map(window).collect::<BTreeSet<_>>().into_iter().collect()
}

pub fn ids(ran: &Ran) -> Vec<String> {
    let mut ids: Vec<String> = ran.records("items").iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

pub fn backfilled(ran: &Ran) -> Vec<String> {
    let state = &ran.state()["bookmarks"]["items"];
    let short = |t: &Json| t.as_str().unwrap().replace("T00:00:00Z", "");
    let spans = state["backfilled"].as_array().unwrap();
    spans.iter().map(|s| format!("{}..{}", short(&s["start"]), short(&s["end"]))).collect()
}

pub fn is_open(ran: &Ran) -> bool {
    ran.state()["bookmarks"]["items"]["open"].is_object()
}

/// A row before, at and after each bound.
pub fn around() -> Rows {
    rows(&[
        ("a", "2023-12-31T23:59:59Z"),
        ("b", "2024-01-01T00:00:00Z"),
        ("c", "2024-01-31T23:59:59Z"),
        ("d", "2024-02-01T00:00:00Z"),
        ("e", "2024-02-29T23:59:59Z"),
        ("f", "2024-03-01T00:00:00Z"),
        ("g", "2024-11-30T00:00:00Z"),
    ])
}

pub const CATCH_UP: &str = "2024-11-30T23:59:00Z..2024-12-01";
