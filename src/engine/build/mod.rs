//! Compiles a manifest into an executable plan: compiles every template and checks every component.
//!
//! Input: a typed manifest, the config and "now". Output: a [`SourcePlan`]. Called by `run` before any request. Each
//! stage compiles its own part; this module joins them.

mod backfill;
mod deletes;
mod dynamic;
mod faults;
mod identity;
mod plan;
mod schema;
mod schema_refs;
mod stream;
mod stream_schema;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::context::EngineContext;
use crate::base::config::Safety;
use crate::base::config::deletes::DeleteSettings;
use crate::base::fault::Result;
use crate::base::percent::requote;
use crate::base::timefmt::Period;
use crate::drift::rules::Rule;
use crate::engine::auth;
use crate::engine::cursor::CursorPlan;
use crate::engine::fetch::address::origin_of;
use crate::manifest::Manifest;
use crate::manifest::model::{self, Check, DeclarativeStream, Requester, Retriever, StateDelegatingStream, Stream};
use crate::manifest::node::{OneOrMany, Place, Spelling, Text};
use crate::manifest::template::{EvalContext, Template, Vars};
use crate::protocol::table_names::TableNames;
pub use faults::faults;
pub use plan::{SourcePlan, StreamPlan, WithState};

/// The default number of slices read in parallel: enough to hide latency, without wasted calls.
const CONCURRENCY: usize = 4;
/// The highest concurrency that a manifest may set.
const MAX_CONCURRENCY: usize = 64;

/// What the build needs in addition to the manifest.
pub struct Build<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// Config and now.
    pub cx: &'a EvalContext,
    /// The baseline of a built-in stream, by name.
    pub baseline: &'a dyn Fn(&str) -> Option<Json>,
    /// Builds authenticators.
    pub auth: &'a auth::Builder,
    /// Settings that close gaps in the vendor's paging.
    pub safety: &'a Safety,
    /// How the deletes of each stream are found out.
    pub deletes: &'a BTreeMap<String, DeleteSettings>,
    /// Does the policy accept such a change in a stream's responses? (`dripfeed.drift`)
    pub accepts: &'a dyn Fn(&str, Rule) -> bool,
    /// What sends requests to the vendor, if only the vendor knows the streams or schemas.
    pub shared: Option<&'a EngineContext>,
    /// The names of parent streams, once computed.
    pub parents: OnceCell<HashSet<&'a str>>,
}

/// Compiles a manifest.
pub fn plan(build: &Build<'_>) -> Result<SourcePlan> {
    let mut streams = StreamList::default();
    for def in build.manifest.source.streams.iter().flatten() {
        match def {
            Stream::ConditionalStreams(def) => {
                if Template::compile(&def.condition, &[])?.truth(&Vars::new(build.cx))? {
                    def.streams.iter().try_for_each(|def| streams.add(build.declarative(def, 0)?, &def.at))?;
                }
            }
            def => streams.add(build.stream(def, 0)?, def.at())?,
        }
    }
    let mut generated: Vec<(&str, Vec<String>)> = Vec::new();
    for def in build.manifest.source.dynamic_streams.iter().flatten() {
        let mut names = Vec::new();
        for stream in dynamic::streams(build, def)? {
            let stream = build.stream(&stream, 0)?;
            names.push(stream.name.to_string());
            streams.add(stream, &def.at)?;
        }
        generated.push((def.name.as_deref().unwrap_or_default(), names));
    }
    let mut streams = streams.streams;
    build.group(&mut streams)?;
    name_tables(&mut streams);
    deletes::add(&mut streams, build.deletes, build.manifest)?;
    // The platform may override the list in the config.
    let named = build.cx.config.get("__airbyte_check_stream_names").and_then(Json::as_array);
    let named = named.map(|names| names.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    let of_manifest = build.check_names(&streams, &generated)?;
    // The check reports a stream that does not exist: the others can still be read.
    let check: Vec<String> = named.unwrap_or(of_manifest);
    let (concurrency, max_concurrency) = build.concurrency()?;
    Ok(SourcePlan { source: build.manifest.name.clone(), streams, check, concurrency, max_concurrency })
}

/// Gives streams distinct names if their tables would collide.
fn name_tables(streams: &mut [Arc<StreamPlan>]) {
    let names = TableNames::of(streams.iter().map(|stream| &*stream.name));
    for stream in streams {
        let Some(name) = names.renamed(&stream.name).map(Arc::<str>::from) else { continue };
        let stream = Arc::make_mut(stream);
        if let Some(with_state) = &mut stream.with_state {
            Arc::make_mut(&mut with_state.stream).table_name = Some(name.clone());
        }
        stream.table_name = Some(name);
    }
}

/// The streams so far; names are unique.
#[derive(Default)]
struct StreamList {
    streams: Vec<Arc<StreamPlan>>,
    names: HashSet<Arc<str>>,
}

impl StreamList {
    fn add(&mut self, stream: StreamPlan, at: &Place) -> Result<()> {
        if !self.names.insert(stream.name.clone()) {
            return Err(at.fault(format!("two streams are named `{}`", stream.name)));
        }
        self.streams.push(Arc::new(stream));
        Ok(())
    }
}

impl Build<'_> {
    /// A static stream, compiled as for a read without state.
    fn stream(&self, def: &Stream, depth: usize) -> Result<StreamPlan> {
        match def {
            Stream::DeclarativeStream(def) => self.declarative(def, depth),
            Stream::StateDelegatingStream(def) => self.delegating(def, depth),
            Stream::ConditionalStreams(def) => {
                Err(def.at.fault("`ConditionalStreams` is allowed only under `streams`"))
            }
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
            return Err(at().fault("an IncrementingCountCursor does not show the age of a state"));
        }
        stream.with_state = Some(WithState { stream: Arc::new(incremental), retention });
        Ok(stream)
    }

    /// Compiles a retriever that serves another purpose than a stream: a stream without schema and cursor.
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
                schema_loader: Some(OneOrMany(Vec::new(), Spelling::List)),
                transformations: None,
                incremental_sync: None,
                state_migrations: None,
                file_uploader: None,
            },
            1,
        )
    }

    /// The streams that the manifest uses for the connection check; `generated` has the names that each dynamic
    /// stream produced.
    fn check_names(&self, streams: &[Arc<StreamPlan>], generated: &[(&str, Vec<String>)]) -> Result<Vec<String>> {
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(match &self.manifest.source.check {
            Check::CheckStream(check) => {
                let mut names = check.stream_names.clone().unwrap_or_default();
                for some in check.dynamic_streams_check_configs.iter().flatten() {
                    let found = generated.iter().find(|(name, _)| *name == some.dynamic_stream_name);
                    let (_, of_it) = found.ok_or_else(|| {
                        let name = &some.dynamic_stream_name;
                        some.at.fault(format!("`check` names the dynamic stream `{name}`, which does not exist"))
                    })?;
                    names.extend(of_it.iter().take(some.stream_count.map_or(usize::MAX, count)).cloned());
                }
                names
            }
            Check::CheckDynamicStream(check) => {
                let first = if check.use_check_availability == Some(false) { 0 } else { count(check.stream_count) };
                streams.iter().take(first).map(|s| s.name.to_string()).collect()
            }
        })
    }

    /// The number of slices read in parallel, and its maximum while the rate limit is not reached.
    fn concurrency(&self) -> Result<(usize, usize)> {
        let Some(level) = &self.manifest.source.concurrency_level else { return Ok((CONCURRENCY, MAX_CONCURRENCY)) };
        let number = Template::compile(&level.default_concurrency, &[])?.number(&Vars::new(self.cx))?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let number = number.max(1.0) as usize;
        let max = level.max_concurrency.and_then(|max| usize::try_from(max).ok());
        let number = number.min(max.unwrap_or(MAX_CONCURRENCY)).clamp(1, MAX_CONCURRENCY);
        // An explicit 1 stays 1; a number without a maximum stays as it is.
        Ok((number, if number == 1 { 1 } else { max.unwrap_or(number).min(MAX_CONCURRENCY) }))
    }

    /// Marks streams that must not be read at the same time.
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
}

/// The host of the manifest's first stream, if the config determines it.
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

/// The base URL of a requester.
pub(super) fn base_of(requester: &model::HttpRequester) -> Option<&Text> {
    requester.url_base.as_ref().or(requester.url.as_ref())
}
