//! From a manifest to what can be run: every template compiled, every component checked.
//!
//! Comes in: a typed manifest, the config and "now". Goes out: a [`Plan`]. Called by `cli` before any request. Each
//! stage compiles its own part; this joins them.

mod backfill;
mod dynamic;
mod schema;
mod schema_refs;

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use sha2::Digest as _;
use time::OffsetDateTime;

use super::async_job::{self, JobPlan};
use super::build::schema::SchemaSource;
use super::build::schema_refs::SchemaRefs;
use super::files::{self, FilePlan};
use super::query_properties::{self, Properties};
use super::requester::{self, RequesterPlan};
use super::slice_reader::EngineContext;
use super::slice_recovery::{self, RecoveryPolicy};
use crate::base::config::Safety;
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::base::json::python;
use crate::base::percent::requote;
use crate::base::timefmt::Period;
use crate::engine::auth;
use crate::engine::cursor::{self, CursorPlan, Window};
use crate::engine::extract::decode::{self, Decoder};
use crate::engine::extract::{self, Records, dom_extract};
use crate::engine::fetch::address::origin_of;
use crate::engine::page::{self, PagePlan};
use crate::engine::shape::ops::{self, Pipeline};
use crate::engine::slice::{self, Partition, Router};
use crate::manifest::Manifest;
use crate::manifest::model::{
    self, Check, DeclarativeStream, Requester, Retriever, SchemaLoader, StateDelegatingStream, Stream,
};
use crate::manifest::node::{OneOrMany, Place, Text};
use crate::manifest::template::{EvalContext, Template, Vars};

/// A source, ready to run.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub source: Arc<str>,
    /// Its streams in the order of the manifest.
    pub streams: Vec<Arc<StreamPlan>>,
    /// Names of the streams that prove a connection.
    pub check: Vec<String>,
    /// Slices read at a time.
    pub concurrency: usize,
    /// The most slices at a time, when that fills the cap.
    pub most_concurrency: usize,
}

/// A stream, ready to run.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// Its name.
    pub name: Arc<str>,
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
    /// The partition's name in a state of the older form, which is taken over.
    pub legacy_partition: Option<String>,
    /// Sends the slice's options with the first page only.
    pub slice_options_once: bool,
    /// May the answer's envelope be missing?
    pub envelope_optional: bool,
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

/// Streams inside streams: parents of parents of …
const MAX_PARENTS: usize = 10;
/// Slices read at a time when the manifest says nothing; latency is hidden, no call is wasted.
const CONCURRENCY: usize = 4;
/// The most that a manifest may ask for.
const MAX_CONCURRENCY: usize = 64;

/// What building needs beside the manifest.
pub struct Build<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// Config and now.
    pub cx: &'a EvalContext,
    /// The baseline of a built-in stream, by name.
    pub baseline: &'a dyn Fn(&str) -> Option<Json>,
    /// Builds authenticators.
    pub auth: &'a auth::Builder,
    /// How the gaps of the vendor's paging are closed.
    pub safety: &'a Safety,
    /// May a stream's envelope be missing? (`dripfeed.drift`)
    pub envelope_optional: &'a dyn Fn(&str) -> bool,
    /// What asks the vendor, where streams or schemas are known to it alone.
    pub shared: Option<&'a EngineContext>,
    /// The names of streams that are another's parent, once they were looked for.
    pub parents: OnceCell<HashSet<&'a str>>,
}

/// Compiles a manifest.
pub fn plan(build: &Build<'_>) -> Result<Plan> {
    let source = &build.manifest.source;
    let mut streams: Vec<Arc<StreamPlan>> = Vec::new();
    let mut known = HashSet::new();
    let mut add = |stream: StreamPlan, at: &Place| -> Result<()> {
        if !known.insert(stream.name.clone()) {
            return Err(at.fault(format!("two streams are named `{}`", stream.name)));
        }
        streams.push(Arc::new(stream));
        Ok(())
    };
    for def in source.streams.iter().flatten() {
        match def {
            Stream::ConditionalStreams(def) => {
                if Template::compile(&def.condition, &[])?.truth(&Vars::new(build.cx))? {
                    def.streams.iter().try_for_each(|def| add(build.declarative(def, 0)?, &def.at))?;
                }
            }
            def => add(build.stream(def, 0)?, def.at())?,
        }
    }
    let mut made: Vec<(&str, Vec<String>)> = Vec::new();
    for def in source.dynamic_streams.iter().flatten() {
        let mut names = Vec::new();
        for stream in dynamic::streams(build, def)? {
            let stream = build.stream(&stream, 0)?;
            names.push(stream.name.to_string());
            add(stream, &def.at)?;
        }
        made.push((def.name.as_deref().unwrap_or_default(), names));
    }
    build.group(&mut streams)?;
    // The platform may name others in the config.
    let named = build.cx.config.get("__airbyte_check_stream_names").and_then(Json::as_array);
    let named = named.map(|names| names.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    let of_manifest = match &source.check {
        Check::CheckStream(check) => {
            let mut names = check.stream_names.clone().unwrap_or_default();
            for some in check.dynamic_streams_check_configs.iter().flatten() {
                let of = made.iter().find(|(name, _)| *name == some.dynamic_stream_name).ok_or_else(|| {
                    let name = &some.dynamic_stream_name;
                    some.at.fault(format!("`check` names the dynamic stream `{name}`, which does not exist"))
                })?;
                let count = some.stream_count.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
                names.extend(of.1.iter().take(count).cloned());
            }
            names
        }
        Check::CheckDynamicStream(check) => {
            let count = match check.use_check_availability {
                Some(false) => 0,
                _ => usize::try_from(check.stream_count).unwrap_or(usize::MAX),
            };
            streams.iter().take(count).map(|s| s.name.to_string()).collect()
        }
    };
    // One that does not exist is the check's to tell: the others can be read all the same.
    let check: Vec<String> = named.unwrap_or(of_manifest);
    let (concurrency, most) = match &source.concurrency_level {
        None => (CONCURRENCY, MAX_CONCURRENCY),
        Some(level) => {
            let n = Template::compile(&level.default_concurrency, &[])?.number(&Vars::new(build.cx))?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let n = n.max(1.0) as usize;
            let most = level.max_concurrency.and_then(|m| usize::try_from(m).ok());
            let n = n.min(most.unwrap_or(MAX_CONCURRENCY)).clamp(1, MAX_CONCURRENCY);
            // One at a time is meant so, and so is a number without a most.
            (n, if n == 1 { 1 } else { most.unwrap_or(n).min(MAX_CONCURRENCY) })
        }
    };
    Ok(Plan { source: build.manifest.name.clone(), streams, check, concurrency, most_concurrency: most })
}

impl Plan {
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
    pub(super) fn slice_variable(&self, partition: &Partition, window: Option<&Window>) -> Json {
        let bounds = self.cursor.as_ref().zip(window).map(|(cursor, window)| cursor.names(window));
        slice::variable(partition, bounds.as_ref().map_or(&[], |bounds| &bounds[..]))
    }

    /// What is read with that state, and the state that is left: one that the API's memory does not reach back to is none.
    pub fn with_state<'s>(
        self: &Arc<Self>,
        state: Option<&'s Map<String, Json>>,
        now: OffsetDateTime,
    ) -> (&Arc<StreamPlan>, Option<&'s Map<String, Json>>) {
        let Some((with, state)) = self.with_state.as_ref().zip(state.filter(|s| !s.is_empty())) else {
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
        cursor.begin(Some(state), 0).ok().filter(|_| !state.is_empty())?.position()
    }

    /// The same with another schema.
    pub fn with_evolved(&self, schema: Json) -> Arc<StreamPlan> {
        Arc::new(StreamPlan { schema, ..self.clone() })
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

impl Build<'_> {
    /// A stream that is there in any case: as it is read without a state.
    fn stream(&self, def: &Stream, depth: usize) -> Result<StreamPlan> {
        match def {
            Stream::DeclarativeStream(def) => self.declarative(def, depth),
            Stream::StateDelegatingStream(def) => self.delegating(def, depth),
            Stream::ConditionalStreams(def) => Err(def.at.fault("`ConditionalStreams` can stand under `streams` only")),
        }
    }

    fn delegating(&self, def: &StateDelegatingStream, depth: usize) -> Result<StreamPlan> {
        let vars = Vars::new(self.cx);
        let name = Template::compile(&def.name, &[])?.text(&vars)?;
        let mut stream = self.declarative(&def.full_refresh_stream, depth)?;
        let incremental = self.declarative(&def.incremental_stream, depth)?;
        if *stream.name != *name || *incremental.name != *name {
            return Err(def.at.fault(format!(
                "the stream `{name}` delegates to streams of other names: `{}` and `{}`",
                stream.name, incremental.name
            )));
        }
        let written = match def.api_retention_period.as_ref().filter(|t| !t.value.is_null()) {
            Some(text) => Some(Template::compile(text, &[])?.text(&vars)?).filter(|period| !period.is_empty()),
            None => None,
        };
        let at = || def.at.field("api_retention_period", None);
        let retention = written.map(|w| Period::parse(&w).map_err(|e| at().fault(e))).transpose()?;
        if retention.is_some()
            && [&stream, &incremental].iter().any(|s| s.cursor.as_ref().is_some_and(CursorPlan::counts))
        {
            return Err(at().fault("an IncrementingCountCursor does not tell how old a state is"));
        }
        stream.with_state = Some(WithState { stream: Arc::new(incremental), retention });
        Ok(stream)
    }

    /// What gives records for other ends than a stream's: the retriever, as a stream without schema and cursor.
    pub(super) fn source_of_records(&self, retriever: &Retriever, name: &str) -> Result<StreamPlan> {
        let at = match retriever {
            Retriever::SimpleRetriever(def) => &def.at,
            Retriever::AsyncRetriever(def) => &def.at,
        };
        self.declarative(
            &DeclarativeStream {
                at: at.clone(),
                name: Some(Text { value: json!(name), at: at.clone() }),
                retriever: retriever.clone(),
                primary_key: None,
                schema_loader: Some(OneOrMany(Vec::new())),
                transformations: None,
                incremental_sync: None,
                state_migrations: None,
                file_uploader: None,
            },
            1,
        )
    }

    /// Notes which streams must not be read at the same time.
    fn group(&self, streams: &mut [Arc<StreamPlan>]) -> Result<()> {
        for (group, def) in self.manifest.source.stream_groups.iter().flatten() {
            let named = |text: &Text| Template::compile(text, &[])?.text(&Vars::new(self.cx));
            let defs = def.streams.iter().flat_map(Stream::all);
            let names: Vec<String> = defs.filter_map(|s| s.name.as_ref()).map(named).collect::<Result<_>>()?;
            let is_in = |name: &str| names.iter().any(|n| n == name);
            for stream in streams.iter_mut() {
                let parent = stream.ancestors().into_iter().any(|a| is_in(a));
                let inside = is_in(&stream.name);
                let Some(stream) = Arc::get_mut(stream) else { continue };
                stream.group = inside.then(|| group.as_str().into()).or(stream.group.take());
                stream.parents_groups.extend(parent.then(|| Arc::from(group.as_str())));
            }
        }
        Ok(())
    }

    fn declarative(&self, def: &DeclarativeStream, depth: usize) -> Result<StreamPlan> {
        if depth > MAX_PARENTS {
            return Err(def.at.fault("parent streams are nested too deeply"));
        }
        let name: Arc<str> = match &def.name {
            Some(name) => Template::compile(name, &[])?.text(&Vars::new(self.cx))?.into(),
            None => return Err(def.at.field("name", None).fault("`name` is missing")),
        };
        self.named(def, &name, depth).map_err(|f| f.of_stream(&name))
    }

    fn named(&self, def: &DeclarativeStream, name: &Arc<str>, depth: usize) -> Result<StreamPlan> {
        let cx = self.cx;
        let retriever = &def.retriever.reading();
        let Requester::HttpRequester(definition) = &retriever.requester;
        let routers = def.retriever.routers();
        let mut parents = Vec::new();
        for config in routers.iter().flat_map(model::PartitionRouter::parents) {
            parents.push(Arc::new(self.stream(&config.stream, depth + 1)?));
        }
        let router = slice::build(routers, cx)?;
        let mut cursor = def.incremental_sync.as_ref().map(|c| cursor::build(c, self.safety, cx)).transpose()?;
        if let Some(cursor) = &mut cursor {
            cursor.global |= router.is_grouped();
            if cursor.counts() && router.is_some() {
                return Err(def.at.fault("an IncrementingCountCursor cannot stand beside a `partition_router`"));
            }
        }
        let extractor = &retriever.record_selector.extractor;
        let lists = dom_extract::list_retriever(extractor).map(|def| self.source_of_records(def, name).map(Arc::new));
        let lists = lists.transpose()?;
        if let Some(paginator) = &retriever.paginator
            && let model::Paginator::DefaultPaginator(paginator) = paginator
            && matches!(paginator.pagination_strategy, model::PaginationStrategy::OffsetIncrement(_))
            && dom_extract::is_union(extractor)
        {
            let fault = retriever.at.fault("several extractors together give more records than a page of the API has");
            return Err(fault.hint("page by number or cursor, or take `mode: first_match`"));
        }
        for config in routers.iter().flat_map(model::PartitionRouter::parents).filter(|c| c.lazy_read_pointer.is_some())
        {
            let at = config.at.field("lazy_read_pointer", None);
            let refused =
                |what: &str| Err(at.fault(format!("{what}, where first pages stand in the parent's records")));
            if cursor.as_ref().is_some_and(CursorPlan::has_steps) {
                return refused("the cursor cannot have `step` and `cursor_granularity`");
            }
            if !matches!(retriever.decoder, None | Some(model::Decoder::JsonDecoder(_))) {
                return refused("the decoder must be a JsonDecoder");
            }
            if retriever.page_size_reduction.is_some() || retriever.request_window_splitting.is_some() {
                return refused("pages and windows cannot become smaller");
            }
        }
        let mut names = slice::extra_names(routers);
        names.push(query_properties::VARIABLE.to_owned());
        names.extend(async_job::VARIABLES.map(str::to_owned));
        let jobs = match &def.retriever {
            Retriever::SimpleRetriever(_) => None,
            Retriever::AsyncRetriever(def) => Some(async_job::build(self, def, &names)?),
        };
        let requester = requester::build(self, definition, &names, async_job::may_roam(&def.retriever))?;
        let files = def.file_uploader.as_ref().map(|files| files::build(self, files, def, &requester)).transpose()?;
        if files.is_some() && (retriever.page_size_reduction.is_some() || retriever.request_window_splitting.is_some())
        {
            let at = def.at.field("file_uploader", None);
            return Err(at.fault("pages and windows cannot become smaller where each record has a file"));
        }
        let pages = page::build(retriever.paginator.as_ref(), cx)?;
        let filters = cursor.as_ref().is_some_and(|c| c.filters);
        let schema = self.schema(def, name)?;
        Ok(StreamPlan {
            key_paths: keys(def)?,
            filters: filters_hash(def, retriever, definition),
            adaptation: slice_recovery::build(retriever, &requester.errors, &pages, cursor.as_ref(), cx)?,
            requester,
            pages,
            decoder: decode::build(retriever.decoder.as_ref(), Some(extractor), &retriever.at)?,
            records: extract::build(extractor, cx)?,
            lists,
            jobs,
            properties: query_properties::build(self, definition, name)?,
            shape: ops::build(
                &retriever.record_selector,
                def.transformations.as_deref().unwrap_or_default(),
                filters,
                &schema,
                cx,
            )?,
            files,
            router,
            parents,
            cursor,
            legacy_partition: legacy_partition(def, routers, cx)?,
            slice_options_once: retriever.ignore_stream_slicer_parameters_on_paginated_requests.unwrap_or(false),
            envelope_optional: (self.envelope_optional)(name),
            keep_answers: definition.use_cache.unwrap_or(depth > 0 || self.is_parent(name)),
            name: name.clone(),
            schema,
            reviewed: def.schema_loader.is_none() && (self.baseline)(name).is_some(),
            schema_source: self.schema_source(def, name)?,
            group: None,
            parents_groups: Vec::new(),
            with_state: None,
        })
    }

    /// Is a stream of that name another's parent?
    fn is_parent(&self, name: &str) -> bool {
        fn among<'a>(streams: &[&'a DeclarativeStream], out: &mut HashSet<&'a str>) {
            for config in streams.iter().flat_map(|s| s.retriever.routers()).flat_map(model::PartitionRouter::parents) {
                let parents = config.stream.all();
                out.extend(parents.iter().filter_map(|p| p.name.as_ref()?.value.as_str()));
                among(&parents, out);
            }
        }
        let all = || {
            let mut out = HashSet::new();
            among(&self.manifest.source.streams.iter().flatten().flat_map(Stream::all).collect::<Vec<_>>(), &mut out);
            out
        };
        self.parents.get_or_init(all).contains(name)
    }

    fn schema(&self, def: &DeclarativeStream, name: &str) -> Result<Json> {
        let Some(loaders) = &def.schema_loader else {
            return match (self.baseline)(name) {
                Some(baseline) => Ok(baseline),
                None => self.schema_beside(name, &def.at),
            };
        };
        let mut schemas = Vec::new();
        for loader in &loaders.0 {
            schemas.push(match loader {
                SchemaLoader::InlineSchemaLoader(def) => def.schema.clone().unwrap_or_else(|| json!({})),
                SchemaLoader::JsonFileSchemaLoader(def) => self.schema_file(def, name)?,
                SchemaLoader::DynamicSchemaLoader(_) => continue,
            });
        }
        if schemas.len() == 1 && loaders.0.len() == 1 {
            return Ok(schemas.remove(0));
        }
        // Several loaders: earlier ones win.
        let mut properties = serde_json::Map::new();
        for schema in &schemas {
            for (key, value) in schema["properties"].as_object().into_iter().flatten() {
                properties.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        Ok(
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": ["null", "object"], "properties": properties}),
        )
    }

    fn schema_source(&self, def: &DeclarativeStream, name: &str) -> Result<Option<SchemaSource>> {
        let loaders = def.schema_loader.as_ref().map_or(&[][..], |l| &l.0);
        let dynamic = loaders.iter().find_map(|loader| match loader {
            SchemaLoader::DynamicSchemaLoader(def) => Some(def),
            _ => None,
        });
        dynamic.map(|def| SchemaSource::build(self, def, name)).transpose()
    }

    fn schema_file(&self, def: &model::JsonFileSchemaLoader, name: &str) -> Result<Json> {
        let Some(text) = &def.file_path else { return self.schema_beside(name, &def.at) };
        let written = Template::compile(text, &[])?.text(&Vars::new(self.cx))?;
        let at = &text.at;
        let Some(folder) = self.manifest.folder.as_deref() else {
            return Err(at.fault("this manifest has no folder to read schema files from"));
        };
        // In a Python package the path starts at its root, one level above the manifest: `./source_x/schemas/…`.
        let below = written.trim_start_matches("./").split_once('/').filter(|(first, _)| first.starts_with("source_"));
        let below = below.map(|(_, rest)| folder.join(rest)).filter(|path| path.exists());
        schema_of(folder, &below.unwrap_or_else(|| folder.join(&written)), &written, at)
    }

    /// The schema of a stream that names none: `schemas/<stream>.json` beside the manifest, or none at all.
    fn schema_beside(&self, name: &str, at: &Place) -> Result<Json> {
        let path =
            self.manifest.folder.as_ref().map(|folder| (folder, folder.join("schemas").join(format!("{name}.json"))));
        match path.filter(|(_, path)| path.is_file()) {
            Some((folder, path)) => schema_of(folder, &path, &format!("schemas/{name}.json"), at),
            None => Ok(json!({})),
        }
    }
}

/// The partition's name in states of the older form, where the manifest takes them over.
fn legacy_partition(
    def: &DeclarativeStream,
    routers: &[model::PartitionRouter],
    cx: &EvalContext,
) -> Result<Option<String>> {
    let Some(model::StateMigration::LegacyToPerPartitionStateMigration(migration)) =
        def.state_migrations.iter().flatten().next()
    else {
        return Ok(None);
    };
    let [model::PartitionRouter::SubstreamPartitionRouter(router)] = routers else {
        return Err(migration.at.fault("the migration needs one SubstreamPartitionRouter"));
    };
    if def.incremental_sync.is_none() {
        return Err(migration.at.fault("the migration needs an `incremental_sync`"));
    }
    // With several parents there is no telling whose ids they are: such states are left alone.
    let [parent] = &router.parent_stream_configs[..] else { return Ok(None) };
    Template::compile(&parent.partition_field, &[])?.text(&Vars::new(cx)).map(Some)
}

/// The host that a manifest's first stream asks, if it can be told from the config.
pub fn host(manifest: &Manifest, cx: &EvalContext) -> Option<String> {
    let def = manifest.source.streams.iter().flatten().find_map(|stream| match stream {
        model::Stream::DeclarativeStream(def) => Some(def),
        _ => None,
    })?;
    let retriever = def.retriever.reading();
    let Requester::HttpRequester(requester) = &retriever.requester;
    let base = Template::compile(base_of(requester)?, &[]).ok()?.text(&Vars::new(cx)).ok()?;
    origin_of(&requote(&base))
}

/// The address that a requester's own paths stand under.
pub(super) fn base_of(requester: &model::HttpRequester) -> Option<&Text> {
    requester.url_base.as_ref().or(requester.url.as_ref())
}

/// Reads a schema and what it refers to.
fn schema_of(folder: &Path, path: &Path, written: &str, at: &Place) -> Result<Json> {
    let schema = read_schema(folder, path, written, at)?;
    let shared = path.parent().unwrap_or(folder).join("shared");
    SchemaRefs { folder, shared: &shared, at, nodes: Cell::new(0) }.resolved(&schema)
}

/// Reads a schema, which must stand inside the manifest's folder.
pub(super) fn read_schema(folder: &Path, path: &Path, written: &str, at: &Place) -> Result<Json> {
    let unreadable = |e: std::io::Error| at.fault(format!("cannot read the schema {written}: {e}"));
    let path = path.canonicalize().map_err(unreadable)?;
    if !path.starts_with(folder.canonicalize().map_err(unreadable)?) {
        let fault = at.fault(format!("the schema {written} is outside the manifest's folder"));
        return Err(fault.hint("copy it beside the manifest"));
    }
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|e| {
        at.fault(format!("the schema {written} is not valid JSON at line {}, column {}", e.line(), e.column()))
    })
}

/// The paths of a stream's key fields.
fn keys(def: &DeclarativeStream) -> Result<Vec<Vec<String>>> {
    let bad = || def.at.field("primary_key", None).fault("`primary_key` must be a field name or a list of them");
    let single = |value: &Json| match value {
        Json::String(s) => Ok(vec![s.clone()]),
        Json::Array(path) if !path.is_empty() => {
            path.iter().map(|step| step.as_str().map(str::to_owned).ok_or_else(bad)).collect()
        }
        _ => Err(bad()),
    };
    Ok(match &def.primary_key {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::String(s)) if s.is_empty() => Vec::new(),
        Some(Json::Array(items)) => items.iter().map(single).collect::<Result<_>>()?,
        Some(one) => vec![single(one)?],
    })
}

/// A hash of what decides which records a bookmark covers.
fn filters_hash(
    def: &DeclarativeStream,
    retriever: &model::SimpleRetriever,
    requester: &model::HttpRequester,
) -> String {
    let cursor = def.incremental_sync.as_ref().map(|c| &c.cursor_field().value);
    let filter = match &retriever.record_selector.record_filter {
        Some(model::Filter::RecordFilter(f)) => f.condition.as_ref().map(|c| &c.value),
        None => None,
    };
    let what = json!([requester.path.as_ref().map(|p| &p.value), cursor, filter]);
    let hash = sha2::Sha256::digest(python::canonical(&what).as_bytes());
    hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
}
