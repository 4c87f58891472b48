//! A cursor for each partition, or one for all of them.
//!
//! Input: a stream's state, then its partitions as they are found and finished. Output: each partition's windows, and
//! the state in the format of airbyte-cdk's `ConcurrentPerPartitionCursor`. Called by `scheduler` and `parents`.

use std::collections::HashSet;
use std::time::Instant;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::{Cursor, CursorPlan, Window};
use crate::base::fault::{Fault, Result};
use crate::base::json::python;

/// With more partitions than this, one cursor covers all, as in the reference.
const MOST_PARTITIONS: usize = 10_000;

/// The cursors of a partitioned stream.
#[derive(Debug)]
pub struct Partitions {
    global: bool,
    /// The initial cursor of partitions without one of their own.
    common: Option<Map<String, Json>>,
    /// The additional lookback from `common`, in seconds.
    lookback: u64,
    /// Did any record have a cursor value?
    synced: bool,
    each: IndexMap<String, Cursor>,
    seen: HashSet<String>,
    open: usize,
    /// Are all partitions known?
    listed: bool,
    failed: bool,
    highest: Option<OffsetDateTime>,
    began: Instant,
    parent_state: Option<Json>,
    /// The state of the parents while children are read: `None` until the first of them is done, as in the reference.
    parents_before: Option<Json>,
    first: Option<String>,
    /// The state of the parents once all children are read.
    parents_after: Option<Json>,
    /// May the state come from [`from_legacy`]?
    pub migrates: bool,
}

/// The partition keys of an older state format: only their values.
#[derive(Debug, Clone)]
pub struct LegacyPartition {
    /// The current name of the partition field.
    pub field: String,
    /// Does a partition also contain its parent's partition?
    pub has_parent_slice: bool,
}

/// Converts an older state, with a cursor per parent id, to the current format; `None` for any other state.
pub fn from_legacy(
    state: &Map<String, Json>,
    partition: &LegacyPartition,
    cursor_field: &str,
) -> Option<Map<String, Json>> {
    let is_cursor = |c: &Json| c.as_object().is_some_and(|c| c.len() == 1 && c.contains_key(cursor_field));
    if state.is_empty() || state.contains_key("states") || !state.values().all(is_cursor) {
        return None;
    }
    let states = state.iter().map(|(id, cursor)| {
        let mut key = Map::from_iter([(partition.field.clone(), json!(id))]);
        if partition.has_parent_slice {
            key.insert("parent_slice".to_owned(), json!({}));
        }
        json!({"partition": key, "cursor": cursor})
    });
    Some(Map::from_iter([("states".to_owned(), states.collect())]))
}

/// The identity of a partition in a state from [`from_legacy`]: ids are texts there, and parents are unknown.
fn legacy_identity(key: &Map<String, Json>) -> String {
    let of_legacy = key.iter().map(|(name, value)| {
        let value = match value {
            _ if name == "parent_slice" => json!({}),
            Json::String(_) => value.clone(),
            other => json!(other.to_string()),
        };
        (name.clone(), value)
    });
    identity(&of_legacy.collect())
}

/// The identity of a partition: its key as canonical JSON.
pub fn identity(key: &Map<String, Json>) -> String {
    python::canonical(&Json::Object(key.clone()))
}

impl Partitions {
    /// Starts from a stream's state. `parents` states whether partitions come from other streams.
    pub fn begin(plan: &CursorPlan, state: Option<&Map<String, Json>>, parents: bool) -> Result<Self> {
        let mut out = Partitions {
            global: plan.global,
            common: None,
            lookback: 0,
            synced: false,
            each: IndexMap::new(),
            seen: HashSet::new(),
            open: 0,
            listed: false,
            failed: false,
            highest: None,
            began: Instant::now(),
            parent_state: None,
            parents_before: parents.then(|| json!({})),
            first: None,
            parents_after: parents.then(|| json!({})),
            migrates: false,
        };
        let Some(state) = state.filter(|s| !s.is_empty()) else { return Ok(out) };
        let object = |key: &str| state.get(key).and_then(Json::as_object).filter(|o| !o.is_empty()).cloned();
        if state.contains_key("states") || state.contains_key("use_global_cursor") || state.contains_key("state") {
            out.common = object("state");
            out.lookback = state.get("lookback_window").and_then(Json::as_u64).unwrap_or(0);
            out.global |= state.get("use_global_cursor") == Some(&Json::Bool(true));
            if parents && let Some(parent_state) = object("parent_state") {
                out.parent_state = Some(Json::Object(parent_state));
            }
            for entry in state.get("states").and_then(Json::as_array).into_iter().flatten() {
                let both =
                    entry.get("partition").and_then(Json::as_object).zip(entry.get("cursor").and_then(Json::as_object));
                let (partition, cursor) = both.ok_or_else(|| {
                    Fault::config("the state's `states` must be objects with `partition` and `cursor`")
                })?;
                if !out.global {
                    out.each.insert(identity(partition), plan.begin(Some(cursor), 0)?);
                }
            }
        } else if state.get(&plan.field).is_some() {
            out.common = Some(Map::from_iter([(plan.field.clone(), state[&plan.field].clone())]));
        }
        if let Some(common) = &out.common {
            out.highest = plan.begin(Some(common), 0)?.position();
        }
        Ok(out)
    }

    /// Adds a partition that was found; returns its windows to read. Empty for a known partition.
    pub fn open(&mut self, plan: &CursorPlan, key: &Map<String, Json>) -> Result<Vec<Window>> {
        let id = identity(key);
        if !self.seen.insert(id.clone()) {
            return Ok(Vec::new());
        }
        if self.seen.len() > MOST_PARTITIONS {
            self.global = true;
        }
        self.first.get_or_insert_with(|| id.clone());
        if self.migrates
            && !self.each.contains_key(&id)
            && let Some(cursor) = self.each.shift_remove(&legacy_identity(key))
        {
            self.each.insert(id.clone(), cursor);
        }
        if !self.each.contains_key(&id) {
            // With too many partitions for separate cursors, the common cursor is the only source.
            let whole = plan.new_partitions_whole() && !self.global;
            let common = self.common.as_ref().filter(|_| !whole);
            let lookback = if common.is_some() { self.lookback } else { 0 };
            let cursor = plan.begin(common, lookback)?;
            self.each.insert(id.clone(), cursor);
        }
        let cursor = self.each.get_mut(&id).ok_or_else(|| Fault::bug("a partition without cursor"))?;
        let windows = cursor.windows(plan);
        self.open += windows.len();
        Ok(windows)
    }

    /// The cursor of a partition.
    pub fn cursor(&self, id: &str) -> Option<&Cursor> {
        self.each.get(id)
    }

    /// Marks a window of a partition as read.
    pub fn close(&mut self, plan: &CursorPlan, id: &str, window: &Window, newest: Option<OffsetDateTime>) {
        self.open = self.open.saturating_sub(1);
        self.synced |= newest.is_some();
        let Some(cursor) = self.each.get_mut(id) else { return };
        cursor.close(plan, window, newest);
        if !cursor.is_read() {
            return;
        }
        self.highest = self.highest.max(cursor.position());
        if self.first.as_deref() == Some(id) && self.parent_state.is_none() {
            self.parent_state = self.parents_before.clone();
        }
        if self.global {
            // With one common cursor, the partition's own is no longer needed.
            self.each.swap_remove(id);
        }
    }

    /// A window failed: the stream's common cursor does not move.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Called when all partitions are known.
    pub fn listed(&mut self) {
        self.listed = true;
    }

    /// Sets the state of the parents before they are read.
    pub fn parents_begin(&mut self, state: Json) {
        self.parents_before = Some(state);
    }

    /// Is there one cursor for all partitions? Then the state does not change until the stream is done.
    pub fn is_global(&self) -> bool {
        self.global
    }

    /// Sets the state of the parents after they are read.
    pub fn parents_read(&mut self, state: Json) {
        self.parents_after = Some(state);
    }

    /// Called when the stream is done; if all of it was read, the common cursor and the parents' state move.
    pub fn finish(&mut self, plan: &CursorPlan) {
        if self.open == 0 && self.parent_state.is_none() {
            self.parent_state = self.parents_before.clone();
        }
        if self.failed || !self.listed || self.open > 0 {
            return;
        }
        // Without any cursor value the cursor cannot move.
        if let Some(highest) = self.highest.filter(|_| self.synced) {
            self.common = Some(Map::from_iter([(plan.field.clone(), plan.json(highest))]));
            self.lookback = self.began.elapsed().as_secs() + 1;
        }
        if let Some(parents) = self.parents_after.take() {
            self.parent_state = Some(parents);
        }
    }

    /// The state of the parents at the start of this run.
    pub fn parent_state(&self) -> Option<&Json> {
        self.parent_state.as_ref()
    }

    /// The state to save.
    pub fn state(&self, plan: &CursorPlan) -> Json {
        let mut state = Map::new();
        state.insert("use_global_cursor".into(), json!(self.global));
        if !self.global {
            let states = self.each.iter().map(|(id, cursor)| {
                let partition: Json = serde_json::from_str(id).unwrap_or(Json::Null);
                json!({"partition": partition, "cursor": cursor.state(plan)})
            });
            state.insert("states".into(), states.collect());
        }
        if let Some(common) = &self.common {
            state.insert("state".into(), json!(common));
        }
        state.insert("lookback_window".into(), json!(self.lookback));
        if let Some(parents) = &self.parent_state {
            state.insert("parent_state".into(), parents.clone());
        }
        Json::Object(state)
    }
}
