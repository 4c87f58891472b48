//! Reads parent streams for the partitions of their children.
//!
//! Input: a child stream and its state. Output: the parents' records, in order, and the state of incremental parents.
//! Called while a stream's slices are listed; parents of parents are read the same way.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use super::async_job;
use super::build::StreamPlan;
use super::collector::{PageTaker, RecordCollector};
use super::context::EngineContext;
use crate::base::fault::{Fault, Result};
use crate::engine::cursor::partitions::{Partitions, identity};
use crate::engine::cursor::{Cursor, Window};
use crate::engine::slice::{Parents, Partition};
use crate::manifest::template::Vars;

/// Reads the parents' records for a child.
pub struct ParentReader<'r> {
    shared: &'r EngineContext,
    child: &'r StreamPlan,
    /// The child's `parent_state`, by parent.
    before: Map<String, Json>,
    after: RefCell<Map<String, Json>>,
    embed: bool,
}

impl<'r> ParentReader<'r> {
    /// A reader for `child`, whose state may contain the parents' states.
    pub fn new(shared: &'r EngineContext, child: &'r StreamPlan, state: Option<&Map<String, Json>>) -> Self {
        let before = state.and_then(|s| s.get("parent_state")).and_then(Json::as_object).cloned().unwrap_or_default();
        let embed = state.is_none_or(Map::is_empty);
        ParentReader { shared, child, before, after: RefCell::default(), embed }
    }

    /// Ignores first pages in parent records: they do not belong to a window.
    pub(super) fn without_pages(self) -> Self {
        ParentReader { embed: false, ..self }
    }

    /// The state of the incremental parents before they are read.
    pub(super) fn before(&self) -> Option<Json> {
        let mut out = Map::new();
        for number in 0..self.child.parents.len() {
            let (parent, state) = self.parent(number);
            let Some(plan) = parent.cursor.as_ref().filter(|_| self.is_incremental(number)) else { continue };
            let state = if parent.router.is_some() {
                Partitions::begin(plan, state, parent.router.tells_parents()).ok()?.state(plan)
            } else {
                Json::Object(plan.begin(state, 0).ok()?.state(plan))
            };
            out.insert(parent.name.to_string(), state);
        }
        (!out.is_empty()).then_some(Json::Object(out))
    }

    /// The state of the parents after they are read.
    pub(super) fn state(&self) -> Option<Json> {
        let after = self.after.borrow();
        (!after.is_empty()).then(|| Json::Object(after.clone()))
    }

    /// A parent, and the state that it resumes from.
    fn parent(&self, number: usize) -> (&Arc<StreamPlan>, Option<&Map<String, Json>>) {
        let parent = &self.child.parents[number];
        let state = self.before.get(&*parent.name).and_then(Json::as_object).filter(|_| self.is_incremental(number));
        parent.with_state(state, self.shared.cx.now)
    }

    fn is_incremental(&self, parent: usize) -> bool {
        self.child.cursor.is_some() && self.child.router.parents().iter().any(|p| p.parent == parent && p.incremental)
    }
}

/// Refuses a stream's state if a parent's state in it is unreadable, before any request.
pub(super) fn check_states(child: &StreamPlan, state: Option<&Map<String, Json>>, now: OffsetDateTime) -> Result<()> {
    let Some(states) = state.and_then(|s| s.get("parent_state")).and_then(Json::as_object) else { return Ok(()) };
    for parent in child.router.parents().into_iter().filter(|parent| parent.incremental) {
        let stored = &child.parents[parent.parent];
        let (parent, state) = stored.with_state(states.get(&*stored.name).and_then(Json::as_object), now);
        let Some(plan) = parent.cursor.as_ref().filter(|_| child.cursor.is_some()) else { continue };
        if parent.router.is_some() {
            Partitions::begin(plan, state, parent.router.tells_parents()).map(drop)
        } else {
            plan.begin(state, 0).map(drop)
        }
        .map_err(|fault| fault.of_stream(&parent.name))?;
        check_states(parent, state, now)?;
    }
    Ok(())
}

/// Reads a whole stream without a cursor; `each` receives its records with their slices, until it needs no more.
pub fn read_all(
    shared: &EngineContext,
    stream: &StreamPlan,
    each: &mut dyn FnMut(&Json, &Json) -> Result<bool>,
) -> Result<()> {
    let parents = ParentReader::new(shared, stream, None);
    let enough = Cell::new(false);
    stream.router.each(&parents, &Vars::new(&shared.cx), &mut |partition| {
        if enough.get() {
            return Ok(());
        }
        read_slice(shared, stream, &partition, &mut |record, slice| {
            enough.set(!each(record, slice)?);
            Ok(!enough.get())
        })
    })
}

/// Reads one slice of such a stream; `each` receives its records, until it needs no more.
pub fn read_slice(
    shared: &EngineContext,
    stream: &StreamPlan,
    partition: &Partition,
    each: &mut dyn FnMut(&Json, &Json) -> Result<bool>,
) -> Result<()> {
    let slice = stream.slice_variable(partition, None);
    let mut each = |record: &Json, _: &Map<String, Json>| each(record, &slice);
    let mut feeding = Feeding { key: &partition.key, each: &mut each };
    let mut sink = RecordCollector::new(stream, None, None, &mut feeding);
    let outcome = async_job::read(shared, stream, partition, None, &mut sink)?;
    outcome.fault.map_or(Ok(()), Err)
}

impl Parents for ParentReader<'_> {
    fn embed(&self) -> bool {
        self.embed
    }

    fn read(&self, number: usize, each: &mut dyn FnMut(&Json, &Map<String, Json>) -> Result<()>) -> Result<()> {
        let incremental = self.is_incremental(number);
        let (parent, state) = self.parent(number);
        let grandparents = ParentReader::new(self.shared, parent, state);
        let vars = Vars::new(&self.shared.cx);
        let mut read = |partition: &Partition, window: Option<&Window>, cursor: Option<&Cursor>| {
            let mut each = |record: &Json, key: &Map<String, Json>| each(record, key).map(|()| true);
            let mut feeding = Feeding { key: &partition.key, each: &mut each };
            let mut sink = RecordCollector::new(parent, cursor, window, &mut feeding);
            let reading = async_job::read(self.shared, parent, partition, window, &mut sink)?;
            if let Some(fault) = reading.fault {
                return Err(fault);
            }
            if sink.highest().beyond.far > 0 {
                self.shared.notice_once(&parent.name, &sink.highest().beyond.message());
            }
            let newest = parent.cursor.as_ref().and_then(|c| c.settled(sink.highest().newest, reading.began));
            // A slice that was not read to its end has no value for a bookmark.
            Ok::<_, Fault>((!reading.incomplete).then_some(newest))
        };
        let Some(plan) = &parent.cursor else {
            return parent.router.each(&grandparents, &vars, &mut |partition| read(&partition, None, None).map(drop));
        };
        let mut last_state = None;
        if parent.router.is_some() {
            let mut partitions = Partitions::begin(plan, state, parent.router.tells_parents())?;
            parent.router.each(&grandparents, &vars, &mut |partition| {
                let id = identity(&partition.key);
                for window in partitions.open(plan, &partition.key)? {
                    let cursor = partitions.cursor(&id).cloned();
                    match read(&partition, Some(&window), cursor.as_ref())? {
                        Some(newest) => partitions.close(plan, &id, &window, newest),
                        None => partitions.fail(),
                    }
                }
                Ok(())
            })?;
            partitions.listed();
            if let Some(state) = grandparents.state() {
                partitions.parents_read(state);
            }
            partitions.finish(plan);
            last_state = Some(partitions.state(plan));
        } else {
            let mut cursor = plan.begin(state, 0)?;
            let begun = cursor.clone();
            for window in cursor.windows(plan) {
                if let Some(newest) = read(&Partition::default(), Some(&window), Some(&begun))? {
                    cursor.close(plan, &window, newest);
                }
                last_state = Some(Json::Object(cursor.state(plan)));
            }
            last_state.get_or_insert_with(|| Json::Object(cursor.state(plan)));
        }
        if let Some(state) = last_state.filter(|_| incremental) {
            self.after.borrow_mut().insert(parent.name.to_string(), state);
        }
        Ok(())
    }
}

/// Passes on the records of each complete page, until no more are wanted.
struct Feeding<'f> {
    key: &'f Map<String, Json>,
    each: &'f mut dyn FnMut(&Json, &Map<String, Json>) -> Result<bool>,
}

impl PageTaker for Feeding<'_> {
    fn take(&mut self, records: Vec<Json>) -> Result<bool> {
        for record in records {
            if !(self.each)(&record, self.key)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
