//! What a run reads: a source and its streams, compiled.
//!
//! Input: nothing of its own, `build` fills it in. Output: a [`SourcePlan`] with a [`StreamPlan`] for each stream.
//! Read by the engine, by `run` and by `cli`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use super::schema::SchemaSource;
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::base::timefmt::Period;
use crate::engine::cursor::partitions::LegacyPartition;
use crate::engine::cursor::{CursorPlan, Window};
use crate::engine::extract::Records;
use crate::engine::extract::decode::Decoder;
use crate::engine::files::FilePlan;
use crate::engine::job_plan::JobPlan;
use crate::engine::page::PagePlan;
use crate::engine::query_properties::Properties;
use crate::engine::requester::RequesterPlan;
use crate::engine::shape::ops::Pipeline;
use crate::engine::slice::{self, Partition, Router};
use crate::engine::slice_recovery::RecoveryPolicy;
use crate::manifest::template::{EvalContext, Vars};
use crate::protocol::Protocol;

/// A source, ready to run.
#[derive(Debug)]
pub struct SourcePlan {
    /// Its name.
    pub source: Arc<str>,
    /// Its streams in the order of the manifest.
    pub streams: Vec<Arc<StreamPlan>>,
    /// Names of the streams that prove a connection.
    pub check: Vec<String>,
    /// Slices read at a time.
    pub concurrency: usize,
    /// The most slices at a time, when that fills the cap.
    pub max_concurrency: usize,
}

/// A stream, ready to run.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Its name for Singer targets, where they would put its own into another stream's table.
    pub table_name: Option<Arc<str>>,
    /// The paths of its key fields.
    pub key_paths: Vec<Vec<String>>,
    /// What a record looks like, as far as the manifest says.
    pub schema: Json,
    /// Is that a baseline which was reviewed for drift?
    pub reviewed: bool,
    /// What the vendor must be asked for it, see [`StreamPlan::with_schema`].
    pub schema_source: Option<SchemaSource>,
    /// A hash of what is read: a bookmark means nothing under another.
    pub filters: String,
    /// What is requested, and who asks.
    pub requester: RequesterPlan,
    /// How the next page is asked for.
    pub pages: PagePlan,
    /// What a body is.
    pub decoder: Decoder,
    /// What is done when the vendor cannot give a slice as it was asked for.
    pub adaptation: RecoveryPolicy,
    /// How its records are found.
    pub records: Records,
    /// Reads the lists that a record holds only in part.
    pub lists: Option<Arc<StreamPlan>>,
    /// The jobs that prepare its records.
    pub jobs: Option<JobPlan>,
    /// The fields that requests name.
    pub properties: Option<Properties>,
    /// What is done to each.
    pub shape: Pipeline,
    /// How the file of each is fetched.
    pub files: Option<FilePlan>,
    /// Its partitions.
    pub router: Router,
    /// The streams that they come from.
    pub parents: Vec<Arc<StreamPlan>>,
    /// How later runs bring only what changed.
    pub cursor: Option<CursorPlan>,
    /// The partition in a state of the older form, which is taken over.
    pub legacy_partition: Option<LegacyPartition>,
    /// Sends the slice's options with the first page only.
    pub slice_options_once: bool,
    /// May the answer's envelope be missing?
    pub envelope_optional: bool,
    /// May its answers report errors beside its records?
    pub errors_accepted: bool,
    /// Are its answers kept, because another stream reads it too?
    pub keep_answers: bool,
    /// The streams of one group are not read at the same time.
    pub group: Option<Arc<str>>,
    /// Groups of the streams that its partitions come from.
    pub parents_groups: Vec<Arc<str>>,
    /// What is read in its place once there is a state.
    pub with_state: Option<WithState>,
}

/// What is read in a stream's place once there is a state.
#[derive(Debug, Clone)]
pub struct WithState {
    /// It.
    pub stream: Arc<StreamPlan>,
    /// A state that is older than this is none.
    pub retention: Option<Period>,
}

impl SourcePlan {
    /// A stream by name.
    pub fn stream(&self, name: &str) -> Result<&Arc<StreamPlan>> {
        self.streams.iter().find(|s| &*s.name == name).ok_or_else(|| {
            let fault = Fault::config(format!("the source `{}` has no stream `{name}`", self.source));
            let known = || self.streams.iter().map(|s| &*s.name);
            match did_you_mean(name, known()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("it has {}", known().collect::<Vec<_>>().join(", "))),
            }
        })
    }

    /// The filters of all streams, for the state's mark.
    pub fn filters(&self) -> BTreeMap<String, String> {
        self.streams.iter().map(|s| (s.name.to_string(), s.filters.clone())).collect()
    }
}

impl StreamPlan {
    /// A slice as templates see it: the partition, and the bounds of the window under their names.
    pub(in crate::engine) fn slice_variable(&self, partition: &Partition, window: Option<&Window>) -> Json {
        let bounds = self.cursor.as_ref().zip(window).map(|(cursor, window)| cursor.names(window));
        slice::variable(partition, bounds.as_ref().map_or(&[], |bounds| &bounds[..]))
    }

    /// What is read with that state, and the state that is left: one that the API's memory does not reach back to is
    /// none.
    pub fn with_state<'s>(
        self: &Arc<Self>,
        state: Option<&'s Map<String, Json>>,
        now: OffsetDateTime,
    ) -> (&Arc<StreamPlan>, Option<&'s Map<String, Json>>) {
        let Some((with, state)) = self.with_state.as_ref().zip(state.filter(|s| has_cursor(s))) else {
            return (self, state);
        };
        let reached = match with.retention {
            None => true,
            Some(retention) => {
                let stands = self.stands_at(state, now).or_else(|| with.stream.stands_at(state, now));
                stands.is_some_and(|at| retention.before(now).is_none_or(|oldest| oldest <= at))
            }
        };
        if reached { (&with.stream, Some(state)) } else { (self, None) }
    }

    /// The time up to which a state says that it was read.
    fn stands_at(&self, state: &Map<String, Json>, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let Some(cursor) = &self.cursor else {
            return state.get("__ab_no_cursor_state_message").filter(|v| **v == Json::Bool(true)).map(|_| now);
        };
        let state = if self.router.is_some() { state.get("state")?.as_object()? } else { state };
        // Whoever goes on from it refuses it.
        let ahead = cursor.is_ahead(state).then_some(now);
        ahead.or_else(|| cursor.begin(Some(state), 0).ok().filter(|_| !state.is_empty())?.position())
    }

    /// The same with another schema.
    pub fn with_evolved(&self, schema: Json) -> Arc<StreamPlan> {
        Arc::new(StreamPlan { schema, ..self.clone() })
    }

    /// Its name in messages.
    pub fn sent_name(&self, protocol: Protocol) -> &str {
        match protocol {
            Protocol::Singer => self.table_name.as_deref().unwrap_or(&self.name),
            Protocol::Airbyte => &self.name,
        }
    }

    /// The same with other key fields.
    pub fn with_keys(&self, keys: &[String]) -> Arc<StreamPlan> {
        Arc::new(StreamPlan { key_paths: keys.iter().map(|key| vec![key.clone()]).collect(), ..self.clone() })
    }

    /// The fields that its requests ask for by name, as far as the config and the manifest alone say.
    pub fn asked(&self, cx: &EvalContext) -> Vec<String> {
        let named = self.properties.as_ref().map(Properties::named).unwrap_or_default();
        named.into_iter().chain(self.requester.lists(&Vars::new(cx))).collect()
    }

    /// The names of its parents, and of theirs.
    pub fn ancestors(&self) -> Vec<&Arc<str>> {
        self.parents.iter().flat_map(|p| std::iter::once(&p.name).chain(p.ancestors())).collect()
    }

    /// Its key fields at the top of a record: targets know no others.
    pub fn keys(&self) -> Vec<String> {
        self.key_paths.iter().filter_map(|path| if let [one] = &path[..] { Some(one.clone()) } else { None }).collect()
    }
}

/// Does a state hold a cursor? One that a run left which failed before its first slice was read holds none.
fn has_cursor(state: &Map<String, Json>) -> bool {
    let is_partitioned = state.contains_key("use_global_cursor");
    let held = |key: &str| match state.get(key) {
        Some(Json::Object(held)) => !held.is_empty(),
        Some(Json::Array(held)) => !held.is_empty(),
        _ => false,
    };
    if is_partitioned { held("state") || held("states") } else { !state.is_empty() }
}
