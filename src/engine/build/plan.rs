//! The compiled plan of a run: a source and its streams.
//!
//! Input: none; `build` creates it. Output: a [`SourcePlan`] with a [`StreamPlan`] for each stream. Read by the
//! engine, by `run` and by `cli`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use sha2::Digest as _;
use time::OffsetDateTime;

use super::schema::SchemaSource;
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::base::timefmt::Period;
use crate::engine::cursor::partitions::LegacyPartition;
use crate::engine::cursor::{CursorPlan, Window};
use crate::engine::deletes::DeletePlan;
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
    /// The name of the source.
    pub source: Arc<str>,
    /// The streams in manifest order.
    pub streams: Vec<Arc<StreamPlan>>,
    /// The streams of the connection check.
    pub check: Vec<String>,
    /// The number of slices read in parallel.
    pub concurrency: usize,
    /// The maximum number of parallel slices while the cap is not reached.
    pub max_concurrency: usize,
}

/// A stream, ready to run.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// The name of the stream.
    pub name: Arc<str>,
    /// The name for Singer targets, if its own would collide with another stream's table.
    pub table_name: Option<Arc<str>>,
    /// The paths of its key fields.
    pub key_paths: Vec<Vec<String>>,
    /// The schema of a record, as far as the manifest defines it.
    pub schema: Json,
    /// Is the schema a baseline that was reviewed for drift?
    pub reviewed: bool,
    /// How to request the schema from the vendor, see [`StreamPlan::with_schema`].
    pub schema_source: Option<SchemaSource>,
    /// A hash of the filters: a bookmark is invalid under another hash.
    pub filters: String,
    /// The request and its credentials.
    pub requester: RequesterPlan,
    /// The paging.
    pub pages: PagePlan,
    /// The format of a body.
    pub decoder: Decoder,
    /// How a slice recovers if the vendor cannot serve it as requested.
    pub adaptation: RecoveryPolicy,
    /// How records are found.
    pub records: Records,
    /// Reads complete lists if a record contains only a part.
    pub lists: Option<Arc<StreamPlan>>,
    /// The jobs that export its records.
    pub jobs: Option<JobPlan>,
    /// The fields named in requests.
    pub properties: Option<Properties>,
    /// The filter and transformations of records.
    pub shape: Pipeline,
    /// How the file of each record is downloaded.
    pub files: Option<FilePlan>,
    /// The partitions of the stream.
    pub router: Router,
    /// The parent streams of the partitions.
    pub parents: Vec<Arc<StreamPlan>>,
    /// The cursor of an incremental stream.
    pub cursor: Option<CursorPlan>,
    /// The partition in a state of an older format, which is migrated.
    pub legacy_partition: Option<LegacyPartition>,
    /// Are the slice's options sent only with the first page?
    pub slice_options_once: bool,
    /// May the records' envelope be missing from a response?
    pub envelope_optional: bool,
    /// May responses report errors alongside records?
    pub errors_accepted: bool,
    /// Are responses cached, because another stream reads this one too?
    pub keep_answers: bool,
    /// Streams of one group are not read at the same time.
    pub group: Option<Arc<str>>,
    /// The groups of its parents.
    pub parents_groups: Vec<Arc<str>>,
    /// The stream to read instead if there is a state.
    pub with_state: Option<WithState>,
    /// How its deletes are found out.
    pub deletes: Option<Arc<DeletePlan>>,
    /// The stream that reads its keys alone.
    pub ids: Option<Arc<StreamPlan>>,
}

/// The stream to read instead if there is a state.
#[derive(Debug, Clone)]
pub struct WithState {
    /// The stream.
    pub stream: Arc<StreamPlan>,
    /// A state older than this is ignored.
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

    /// The filter hashes of all streams, for the state's marker.
    pub fn filters(&self) -> BTreeMap<String, String> {
        self.streams.iter().map(|s| (s.name.to_string(), s.filters.clone())).collect()
    }
}

impl StreamPlan {
    /// The slice variable of templates: the partition, and the window bounds under their names.
    pub(in crate::engine) fn slice_variable(&self, partition: &Partition, window: Option<&Window>) -> Json {
        let bounds = self.cursor.as_ref().zip(window).map(|(cursor, window)| cursor.names(window));
        slice::variable(partition, bounds.as_ref().map_or(&[], |bounds| &bounds[..]))
    }

    /// The stream to read for a state, and the remaining state: a state older than the API's retention is dropped.
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

    /// The time up to which a state was read.
    fn stands_at(&self, state: &Map<String, Json>, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let Some(cursor) = &self.cursor else {
            return state.get("__ab_no_cursor_state_message").filter(|v| **v == Json::Bool(true)).map(|_| now);
        };
        let state = if self.router.is_some() { state.get("state")?.as_object()? } else { state };
        // Resuming from it is refused.
        let ahead = cursor.is_ahead(state).then_some(now);
        ahead.or_else(|| cursor.begin(Some(state), 0).ok().filter(|_| !state.is_empty())?.position())
    }

    /// A hash of what the stream reads: its filters, its start date, and the config without secrets. Keys of another
    /// scope cannot be compared.
    pub fn scope(&self, config: &str) -> String {
        let ids = self.ids.as_ref().map(|ids| ids.filters.as_str());
        let first = self.cursor.as_ref().and_then(|cursor| {
            let first = cursor.begin(None, 0).ok()?.windows(cursor).first()?.start;
            Some(cursor.write(first))
        });
        let what = serde_json::json!([self.filters, ids, first, config]);
        let hash = sha2::Sha256::digest(what.to_string().as_bytes());
        hash.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// The stream with another schema.
    pub fn with_evolved(&self, schema: Json) -> Arc<StreamPlan> {
        Arc::new(StreamPlan { schema, ..self.clone() })
    }

    /// The stream's name in messages.
    pub fn sent_name(&self, protocol: Protocol) -> &str {
        match protocol {
            Protocol::Singer => self.table_name.as_deref().unwrap_or(&self.name),
            Protocol::Airbyte => &self.name,
        }
    }

    /// The stream with other key fields.
    pub fn with_keys(&self, keys: &[String]) -> Arc<StreamPlan> {
        Arc::new(StreamPlan { key_paths: keys.iter().map(|key| vec![key.clone()]).collect(), ..self.clone() })
    }

    /// The fields named in its requests, as far as config and manifest determine them.
    pub fn asked(&self, cx: &EvalContext) -> Vec<String> {
        let named = self.properties.as_ref().map(Properties::named).unwrap_or_default();
        named.into_iter().chain(self.requester.lists(&Vars::new(cx))).collect()
    }

    /// The names of all its ancestors.
    pub fn ancestors(&self) -> Vec<&Arc<str>> {
        self.parents.iter().flat_map(|p| std::iter::once(&p.name).chain(p.ancestors())).collect()
    }

    /// The stream's top-level key fields: targets support no others.
    pub fn keys(&self) -> Vec<String> {
        self.key_paths.iter().filter_map(|path| if let [one] = &path[..] { Some(one.clone()) } else { None }).collect()
    }
}

/// Does a state contain a cursor? A run that failed before its first slice leaves a state without one.
fn has_cursor(state: &Map<String, Json>) -> bool {
    let is_partitioned = state.contains_key("use_global_cursor");
    let held = |key: &str| match state.get(key) {
        Some(Json::Object(held)) => !held.is_empty(),
        Some(Json::Array(held)) => !held.is_empty(),
        _ => false,
    };
    if is_partitioned { held("state") || held("states") } else { !state.is_empty() }
}
