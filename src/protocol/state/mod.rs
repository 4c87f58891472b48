//! The state document of a Singer run.
//!
//! Input: a state file, then each stream's state as it advances. Output: always the whole document, so that a run can
//! resume from any one. Called by `singer` (writes it) and `run` (reads it).

pub mod per_stream;

use std::collections::BTreeMap;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value as Json, json};

use crate::base::fault::{Fault, Result};

/// The version of our marker in the document.
const VERSION: u64 = 1;

/// The largest state, in bytes: that of 10,000 partitions, which is the most that a stream keeps, has two megabytes. In
/// memory a state takes a hundred times its size.
const MAX_BYTES: usize = 64 << 20;

/// Refuses a state that is too large to be one.
fn fits(bytes: usize, shown: &str) -> Result<()> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let most = MAX_BYTES >> 20;
    Err(Fault::config(format!("the state {shown} is larger than {most} MiB"))
        .hint("no run writes such a state: use an earlier one"))
}

/// The value of a bookmark's cursor field, in readable form.
pub fn shown(bookmark: &Json) -> Option<String> {
    let value = bookmark.get("replication_key_value").filter(|v| !v.is_null())?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// A Singer state: the bookmarks of all streams, including those that this run does not read.
#[derive(Debug, Clone, Default)]
pub struct StateDoc {
    source: String,
    /// A hash of each stream's filters: a bookmark is invalid under other filters.
    shapes: BTreeMap<String, String>,
    bookmarks: Map<String, Json>,
    currently_syncing: Option<String>,
    /// Other content of the document.
    rest: Map<String, Json>,
    empty: bool,
    /// The tenant, if the config has one.
    tenant: Option<String>,
    /// The target that the state belongs to.
    target: Option<String>,
    /// Does it belong to backfills? Their bookmarks describe the past ranges that were read, and are invalid for
    /// other runs.
    of_backfills: bool,
}

impl StateDoc {
    /// A document without bookmarks.
    pub fn new(source: &str, shapes: BTreeMap<String, String>) -> Self {
        StateDoc { source: source.into(), shapes, empty: true, ..StateDoc::default() }
    }

    /// Marks the document as belonging to backfills.
    #[must_use]
    pub fn of_backfills(self) -> Self {
        StateDoc { of_backfills: true, ..self }
    }

    /// Marks the document as belonging to live runs.
    #[must_use]
    pub fn of_live_runs(self) -> Self {
        StateDoc { of_backfills: false, ..self }
    }

    /// Sets the tenant from the config.
    #[must_use]
    pub fn of_tenant(self, tenant: Option<&str>) -> Self {
        StateDoc { tenant: tenant.map(str::to_owned), ..self }
    }

    /// Sets the target.
    #[must_use]
    pub fn of_target(self, target: &str) -> Self {
        StateDoc { target: Some(target.to_owned()), ..self }
    }

    /// A document that knows only the filters of these streams; for others it accepts any bookmark.
    #[must_use]
    pub fn about(mut self, streams: &[String]) -> Self {
        self.shapes.retain(|stream, _| streams.contains(stream));
        self
    }

    /// Adds the content of a file. `reset` names streams whose bookmarks are dropped.
    pub fn with_file(self, path: &Path, reset: &[String]) -> Result<Self> {
        let shown = path.display();
        let bytes = std::fs::read(path).map_err(|e| {
            Fault::config(format!("cannot read the state {shown}: {e}")).hint("a first run has no --state")
        })?;
        self.with_bytes(&bytes, &shown.to_string(), reset)
    }

    /// Adds the content of a document given as bytes; `shown` is its name in messages.
    pub fn with_bytes(self, bytes: &[u8], shown: &str, reset: &[String]) -> Result<Self> {
        fits(bytes.len(), shown)?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| Fault::config(format!("the state {shown} is not UTF-8 text")))?;
        if text.trim().is_empty() {
            return Err(Fault::config(format!("the state {shown} is empty, which is not a valid state"))
                .hint("to start from the beginning, leave out --state, or pass `{}`"));
        }
        let json: Json = serde_json::from_str(text).map_err(|e| {
            Fault::config(format!("the state {shown} is not valid JSON at line {}, column {}", e.line(), e.column()))
                .hint("if its writing was interrupted, use the state before it; this run read nothing")
        })?;
        let named =
            |f: Fault| Fault { message: f.message.replacen("the state", &format!("the state {shown}"), 1), ..f };
        self.with(json, reset).map_err(named)
    }

    /// Parses a document from JSON.
    pub fn parse(json: Json, source: &str, shapes: BTreeMap<String, String>, reset: &[String]) -> Result<Self> {
        Self::new(source, shapes).with(json, reset)
    }

    /// Adds the content of another document.
    pub fn with(self, json: Json, reset: &[String]) -> Result<Self> {
        let mut doc = self;
        let mut map = match json {
            Json::Object(map) => map,
            Json::Array(items) if items.is_empty() => return Ok(doc),
            Json::Array(_) => {
                return Err(Fault::config("the state is a list, which is Airbyte's format")
                    .hint("a Singer run takes a Singer state: one object with `bookmarks`"));
            }
            _ => return Err(Fault::config("the state must be a JSON object")),
        };
        if map.get("type") == Some(&json!("STATE")) {
            return Err(Fault::config("the state is a whole STATE message").hint("pass only its `value`"));
        }
        if !map.contains_key("bookmarks") {
            map = of_meltano(map);
        }
        let mut of_backfills = false;
        if let Some(mark) = map.shift_remove("dripfeed") {
            if mark["v"].as_u64().is_some_and(|v| v > VERSION) {
                return Err(Fault::config("the state was written by a newer dripfeed").hint("update dripfeed"));
            }
            if let Some(other) = mark["source"].as_str()
                && other != doc.source
            {
                return Err(Fault::config(format!(
                    "the state belongs to the source `{other}`, but this run reads `{}`",
                    doc.source
                ))
                .hint("give each source its own state"));
            }
            let other = mark["tenant"].as_str();
            if let (Some(other), Some(tenant)) = (other, &doc.tenant)
                && other != tenant
            {
                return Err(Fault::config(format!(
                    "the state belongs to the tenant `{other}`, but the config names the tenant `{tenant}`"
                ))
                .hint(format!("to take it over, write `{tenant}` for `tenant` in the state's `dripfeed` object")));
            }
            doc.tenant = doc.tenant.or_else(|| other.map(str::to_owned));
            let other = mark["target"].as_str();
            if let (Some(other), Some(target)) = (other, &doc.target)
                && other != target
            {
                return Err(Fault::config(format!("the state now belongs to the target `{other}`"))
                    .hint("run again: this target then gets its own state"));
            }
            doc.target = doc.target.or_else(|| other.map(str::to_owned));
            of_backfills = mark["backfill"] == Json::Bool(true);
            for (stream, shape) in mark["shape"].as_object().into_iter().flatten() {
                let now = doc.shapes.get(stream);
                if now.is_some_and(|now| Some(now.as_str()) != shape.as_str()) && !reset.contains(stream) {
                    return Err(Fault::config(format!(
                        "the filter of stream `{stream}` has changed since the state was written, so its bookmark \
                        would skip records"
                    ))
                    .hint(format!("read it from the start with `--reset {stream}`")));
                }
                doc.shapes.entry(stream.clone()).or_insert_with(|| shape.as_str().unwrap_or_default().to_owned());
            }
        }
        match map.shift_remove("bookmarks") {
            Some(Json::Object(bookmarks)) => doc.bookmarks = bookmarks,
            None | Some(Json::Null) => {}
            Some(_) => return Err(Fault::config("the state's `bookmarks` must be an object")),
        }
        if of_backfills && !doc.of_backfills {
            return Err(Fault::config("the state belongs to a backfill, but this run is a live run")
                .hint("a backfill has its own state: pass the state of the last live run"));
        }
        if doc.of_backfills && !of_backfills && !doc.bookmarks.is_empty() {
            return Err(Fault::config("the state belongs to live runs, but this run is a backfill")
                .hint("a backfill has its own state; start the first backfill without one"));
        }
        for stream in reset {
            doc.bookmarks.shift_remove(stream);
        }
        if let Some(stream) = doc.bookmarks.iter().find(|(_, b)| !b.is_object()).map(|(s, _)| s) {
            return Err(Fault::config(format!("the state's bookmark of `{stream}` must be an object")));
        }
        map.shift_remove("currently_syncing");
        doc.empty = doc.bookmarks.is_empty() && map.is_empty();
        doc.rest = map;
        Ok(doc)
    }

    /// The input state of a stream, without Singer's own keys.
    pub fn of(&self, stream: &str) -> Option<Map<String, Json>> {
        let mut bookmark = self.bookmarks.get(stream)?.as_object()?.clone();
        for own in ["replication_key", "replication_key_value"] {
            bookmark.shift_remove(own);
        }
        (!bookmark.is_empty()).then_some(bookmark)
    }

    /// Sets a stream's state; `replication` is its cursor field with the readable value.
    pub fn set(&mut self, stream: &str, state: &Json, replication: Option<(&str, Json)>) {
        let mut bookmark = state.as_object().cloned().unwrap_or_default();
        if let Some((field, value)) = replication {
            bookmark.insert("replication_key".into(), json!(field));
            bookmark.insert("replication_key_value".into(), value);
        }
        self.bookmarks.insert(stream.into(), Json::Object(bookmark));
        self.empty = false;
    }

    /// Removes the bookmark of a stream that was read completely and stores none; one of an earlier definition is
    /// invalid.
    pub fn clear(&mut self, stream: &str) {
        self.bookmarks.shift_remove(stream);
        self.empty = false;
    }

    /// A stream's raw bookmark.
    pub fn bookmark(&self, stream: &str) -> Option<&Json> {
        self.bookmarks.get(stream)
    }

    /// Sets or removes a stream's raw bookmark.
    pub fn put(&mut self, stream: &str, bookmark: Option<Json>) {
        match bookmark {
            Some(bookmark) => drop(self.bookmarks.insert(stream.into(), bookmark)),
            None => drop(self.bookmarks.shift_remove(stream)),
        }
        self.empty = false;
    }

    /// The readable value of a stream's cursor field.
    pub fn shown(&self, stream: &str) -> Option<String> {
        self.bookmarks.get(stream).and_then(shown)
    }

    /// Sets the stream that is currently read.
    pub fn syncing(&mut self, stream: Option<&str>) {
        self.currently_syncing = stream.map(str::to_owned);
    }

    /// Is the document empty: no input state, and nothing finished yet?
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// The document as JSON.
    pub fn json(&self) -> Json {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Our mark in the document: what it belongs to.
    fn mark(&self) -> Json {
        let shapes: BTreeMap<_, _> = self.shapes.iter().filter(|(s, _)| self.bookmarks.contains_key(*s)).collect();
        let mut mark = json!({"v": VERSION, "source": self.source, "shape": shapes});
        for (name, owner) in [("tenant", &self.tenant), ("target", &self.target)] {
            if let Some(owner) = owner {
                mark[name] = json!(owner);
            }
        }
        if self.of_backfills {
            mark["backfill"] = json!(true);
        }
        mark
    }
}

impl Serialize for StateDoc {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.rest.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.serialize_entry("bookmarks", &self.bookmarks)?;
        if let Some(stream) = &self.currently_syncing {
            map.serialize_entry("currently_syncing", stream)?;
        }
        map.serialize_entry("dripfeed", &self.mark())?;
        map.end()
    }
}

/// Extracts the state from Meltano's stored and printed form: `{"singer_state": …}`, also under `completed`, which
/// `partial` ones override. Other documents are returned unchanged.
fn of_meltano(mut map: Map<String, Json>) -> Map<String, Json> {
    let mut state = |name: &str| match map.shift_remove(name) {
        Some(Json::Object(mut stored)) => Some(match stored.shift_remove("singer_state") {
            Some(Json::Object(inner)) => inner,
            Some(_) => Map::new(),
            None => stored,
        }),
        Some(Json::Null) => Some(Map::new()),
        Some(other) => {
            map.insert(name.to_owned(), other);
            None
        }
        None => None,
    };
    if let Some(inner) = state("singer_state") {
        return inner;
    }
    let (completed, partial) = (state("completed"), state("partial"));
    if completed.is_none() && partial.is_none() {
        return map;
    }
    let (mut completed, partial) = (completed.unwrap_or_default(), partial.unwrap_or_default());
    for (name, value) in partial {
        match (completed.get_mut(&name), value) {
            (Some(Json::Object(before)), Json::Object(after)) => before.extend(after),
            (_, value) => drop(completed.insert(name, value)),
        }
    }
    completed
}
