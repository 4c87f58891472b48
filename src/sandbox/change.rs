//! Simulated vendor changes: the kinds of drift, D1 to D34, in an API.
//!
//! Input: `--change` as written; a task, or the list of tasks, before it is served. Output: the same, as the changed
//! vendor serves it. Called by [`super::server`]. The expected result of each is in `fixtures/drift/expected.md`.

use std::fmt::Write as _;

use anyhow::{Context, bail};
use serde_json::{Map, Value as Json, json};

type Task = Map<String, Json>;

/// One change, and whom it affects.
#[derive(Debug, Clone)]
pub struct StagedChange {
    effect: Effect,
    /// Only for the tenant with this token suffix.
    tenant: Option<String>,
    /// Only for tasks whose number is a multiple of this.
    every: u64,
    /// Only after the tenant has made this many calls.
    after: u64,
}

#[derive(Debug, Clone, Copy)]
enum Effect {
    /// Changes a task with a number.
    Task(fn(&mut Task, u64)),
    /// Changes the bytes of a task: for invalid JSON.
    Bytes(fn(&mut Vec<u8>)),
    /// Changes the list of tasks.
    List(fn(&mut List)),
    /// Serves the task twice.
    Twice,
}
use Effect::{Bytes, List as Whole, Task as Each, Twice};

/// How the list of tasks is served.
#[derive(Debug)]
pub(super) struct List {
    /// The field that holds it.
    pub(super) name: &'static str,
    /// The maximum number of tasks on a page.
    pub(super) most: u64,
    /// Is `modified_since` respected?
    pub(super) filtered: bool,
    /// Is `sort` respected?
    pub(super) sorted: bool,
    /// Does it contain tasks?
    pub(super) full: bool,
    /// Response headers.
    pub(super) headers: &'static str,
    /// A replacement response: status, content type, body.
    pub(super) instead: Option<(&'static str, &'static str, &'static str)>,
}

/// The API version in each response.
pub(super) const VERSION: &str = "Api-Version: 2024-06\r\n";

/// All changes. The fields are chosen so that each change is exactly one kind of the taxonomy: `milestone` is
/// optional, `parent_id` rare, `completed` never null, all others always present.
#[rustfmt::skip]
const CHANGES: &[(&str, &str, Effect)] = &[
    ("D1", "`blocked` is new", Each(|task, n| add(task, "blocked", json!(n.is_multiple_of(7))))),
    ("D2", "`milestone`, which some tasks had, is gone", Each(|task, _| remove(task, "milestone"))),
    ("D3", "`comment_count`, which all had, is gone", Each(|task, _| remove(task, "comment_count"))),
    ("D4", "`completed` is now called `done`", Each(|task, _| rename(task, "completed", "done"))),
    ("D5", "`version` has fractions", Each(|task, _| each(task, "version", |v| number(&format!("{v}.5"))))),
    ("D6", "`comment_count` is a string", Each(|task, _| {
        each(task, "comment_count", |v| json!(format!("{v} comments")));
    })),
    ("D7", "`estimate_hours` is whole", Each(|task, _| each(task, "estimate_hours", |v| hours(v, f64::floor)))),
    ("D8", "`assignee` is only the user's id", Each(|task, _| each(task, "assignee", |v| v["id"].clone()))),
    ("D9", "`completed` is null", Each(|task, _| add(task, "completed", Json::Null))),
    ("D10", "`due_on` is never null", Each(|task, _| instead(task, "due_on", Json::Null, "2026-02-01"))),
    ("D11", "`id`, the key, is null", Each(|task, _| add(task, "id", Json::Null))),
    ("D12", "`modified_at`, the cursor, is gone", Each(|task, _| remove(task, "modified_at"))),
    ("D13", "`priority` may be `urgent`", Each(|task, _| add(task, "priority", json!("urgent")))),
    ("D14", "`priority` is never `high`", Each(|task, _| instead(task, "priority", json!("high"), "normal"))),
    ("D15", "`created_at` is a day such as 02/01/2024", Each(|task, _| each(task, "created_at", american))),
    ("D16", "`estimate_hours` is hundredths", Each(|task, _| {
        each(task, "estimate_hours", |v| hours(v, |h| h * 100.0));
    })),
    ("D17", "`assignee` also has a `name`", Each(|task, _| inside(task, |user, _| add(user, "name", json!("Ada"))))),
    ("D18", "`assignee.email` is now `email`", Each(|task, _| inside(task, |user, task| {
        task.extend(user.shift_remove_entry("email"));
    }))),
    ("D19", "items of `tags` are objects", Each(|task, _| each(task, "tags", |tags| {
        tags.as_array().into_iter().flatten().map(|tag| json!({"name": tag})).collect()
    }))),
    ("D20", "`labels` is new; its field names are the labels' ids", Each(|task, n| {
        add(task, "labels", json!({format!("l{n}"): true, format!("m{n}"): false}));
    })),
    ("D21", "`id`, the key, is a number", Each(|task, n| add(task, "id", json!(n)))),
    ("D22", "`comment_count` is 2^70", Each(|task, _| add(task, "comment_count", json!(2_u128.pow(70))))),
    ("D23", "tasks appear twice", Twice),
    ("D24", "the list is under `items` instead of `data`", Whole(|list| list.name = "items")),
    ("D25", "pages have at most 50 tasks", Whole(|list| list.most = 50)),
    ("D26", "`modified_since` does nothing", Whole(|list| list.filtered = false)),
    ("D26o", "`sort` does nothing", Whole(|list| list.sorted = false)),
    ("D27", "the list is gone", Whole(|list| list.instead = Some(("404 Not Found", JSON, r#"{"error":"gone"}"#)))),
    ("D28", "the list is forbidden", Whole(|list| list.instead = Some(("403 Forbidden", JSON, r#"{"error":"no"}"#)))),
    ("D28e", "the list is empty", Whole(|list| list.full = false)),
    ("D29", "`region` is new, for one TENANT", Each(|task, _| add(task, "region", json!("eu")))),
    ("D30", "`parent_id`, which few tasks had, is gone", Each(|task, _| remove(task, "parent_id"))),
    ("D31", "headers announce a deprecation, a sunset and another version", Whole(|list| {
        list.headers = "Api-Version: 2026-06\r\nDeprecation: @1767225600\r\nSunset: Fri, 01 Jan 2027 00:00:00 GMT\r\n";
    })),
    ("D32", "a web page instead of the list", Whole(|list| {
        list.instead = Some(("200 OK", "text/html", "<!doctype html><title>We have moved</title>"));
    })),
    ("D33", "`created_at` is written `createdAt`", Each(|task, _| rename(task, "created_at", "createdAt"))),
    ("D34", "`notes` appears twice in a task", Bytes(|task| drop(task.splice(1..1, *br#""notes":"","#)))),
    ("huge", "a task of 20 MB", Each(|task, _| add(task, "notes", json!("x".repeat(20_000_000))))),
    ("utf8", "a name that is not UTF-8", Bytes(|task| spoil(task, br#""name":""#))),
    ("text", "a string instead of a task", Bytes(|task| *task = br#""t""#.to_vec())),
];

const JSON: &str = "application/json";

fn add(task: &mut Task, name: &str, value: Json) {
    task.insert(name.to_owned(), value);
}

fn remove(task: &mut Task, name: &str) {
    task.shift_remove(name);
}

fn rename(task: &mut Task, old: &str, new: &str) {
    if let Some(value) = task.shift_remove(old) {
        add(task, new, value);
    }
}

/// Replaces a value.
fn instead(task: &mut Task, name: &str, old: Json, new: &str) {
    if task.get(name) == Some(&old) {
        add(task, name, json!(new));
    }
}

/// Changes a value, unless it is null.
fn each(task: &mut Task, name: &str, change: impl Fn(&Json) -> Json) {
    if let Some(value) = task.get_mut(name).filter(|value| !value.is_null()) {
        *value = change(value);
    }
}

/// Changes the assignee, if there is one, and optionally the task.
fn inside(task: &mut Task, change: impl Fn(&mut Task, &mut Task)) {
    if let Some(Json::Object(mut assignee)) = task.get("assignee").cloned() {
        change(&mut assignee, task);
        add(task, "assignee", Json::Object(assignee));
    }
}

/// A number with exactly these digits.
fn number(digits: &str) -> Json {
    serde_json::from_str(digits).unwrap_or_default()
}

/// Changes the hours.
fn hours(value: &Json, change: fn(f64) -> f64) -> Json {
    number(&change(value.as_f64().unwrap_or_default()).to_string())
}

/// `2024-02-01T…` as `02/01/2024`.
fn american(time: &Json) -> Json {
    let day: Vec<&str> = time.as_str().unwrap_or_default().splitn(3, ['-', 'T']).collect();
    match day.as_slice() {
        [year, month, rest] => json!(format!("{month}/{}/{year}", rest.get(..2).unwrap_or_default())),
        _ => Json::Null,
    }
}

/// Inserts a byte that is invalid in UTF-8 after the given text.
fn spoil(task: &mut Vec<u8>, after: &[u8]) {
    if let Some(at) = task.windows(after.len()).position(|bytes| bytes == after) {
        task.insert(at + after.len(), 0xff);
    }
}

impl StagedChange {
    /// Parses `D6@acme:every=50:after=20`.
    pub fn parse(text: &str) -> anyhow::Result<StagedChange> {
        let (first, rest) = text.split_once(':').unwrap_or((text, ""));
        let (name, tenant) =
            first.split_once('@').map_or((first, None), |(name, tenant)| (name, Some(tenant.to_owned())));
        let known = CHANGES.iter().find(|(id, ..)| *id == name);
        let effect = known.with_context(|| format!("unknown change {name:?}; --help lists the changes"))?.2;
        let mut change = StagedChange { effect, tenant, every: 1, after: 0 };
        for part in rest.split(':').filter(|part| !part.is_empty()) {
            let of = |name: &str| part.strip_prefix(name).and_then(|number| number.parse::<u64>().ok());
            match (of("every=").filter(|n| *n > 0), of("after=")) {
                (Some(every), _) => change.every = every,
                (_, Some(after)) => change.after = after,
                _ => bail!("{part:?} is neither every=N (N at least 1) nor after=CALLS"),
            }
        }
        Ok(change)
    }

    /// Does the change apply to a tenant's call?
    pub(super) fn holds(&self, tenant: &str, calls: u64) -> bool {
        calls > self.after && self.tenant.as_deref().is_none_or(|only| tenant.strip_prefix('-') == Some(only))
    }
}

/// The text of `--help`.
pub(super) fn help() -> String {
    let mut out =
        "Change the API as vendors do, for all tenants or for the tenant with the token sandbox-token-TENANT, for all \
         tasks or every Nth, from the start or after CALLS calls of the tenant; repeatable:"
            .to_owned();
    for (name, what, _) in CHANGES {
        let _ = write!(out, "\n  {name:<5} {what}");
    }
    out
}

/// How the list is served after some changes.
pub(super) fn list(changes: &[&StagedChange]) -> List {
    let mut list =
        List { name: "data", most: 100, filtered: true, sorted: true, full: true, headers: VERSION, instead: None };
    for change in changes {
        if let Whole(effect) = change.effect {
            effect(&mut list);
        }
    }
    list
}

/// A task after some changes: its bytes, and how many times it is served.
pub(super) fn task(changes: &[&StagedChange], n: u64, text: String) -> (Vec<u8>, usize) {
    let mut bytes = text.into_bytes();
    let mut times = 1;
    for change in changes.iter().filter(|change| n.is_multiple_of(change.every)) {
        match change.effect {
            Each(effect) => {
                if let Ok(Json::Object(mut task)) = serde_json::from_slice(&bytes) {
                    effect(&mut task, n);
                    bytes = Json::Object(task).to_string().into_bytes();
                }
            }
            Bytes(effect) => effect(&mut bytes),
            Twice => times = 2,
            Whole(_) => {}
        }
    }
    (bytes, times)
}
