//! Compiles one stream.
//!
//! Input: a [`DeclarativeStream`] of the manifest. Output: a [`StreamPlan`], or the fault of an invalid combination.
//! Called by [`super`]. Each part of a stream is compiled by the module that runs it; this module joins them.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Build, StreamPlan, identity};
use crate::base::fault::Result;
use crate::drift::rules::Rule;
use crate::engine::cursor::{self, CursorPlan};
use crate::engine::extract::{self, decode, dom_extract};
use crate::engine::shape::ops;
use crate::engine::slice::{self, Router};
use crate::engine::{files, job_plan, page, query_properties, requester, slice_recovery};
use crate::manifest::model::{
    DeclarativeStream, Decoder, PaginationStrategy, Paginator, ParentStreamConfig, PartitionRouter, Requester,
    Retriever, SimpleRetriever, Stream,
};
use crate::manifest::template::{Template, Vars};

/// The maximum nesting of parents.
const MAX_PARENTS: usize = 10;

impl Build<'_> {
    /// Compiles a stream; `depth` is its nesting as a parent.
    pub(super) fn declarative(&self, def: &DeclarativeStream, depth: usize) -> Result<StreamPlan> {
        if depth > MAX_PARENTS {
            return Err(def.at.fault("parent streams are nested too deeply"));
        }
        let name: Arc<str> = match &def.name {
            Some(name) => Template::compile(name, &[])?.text(&Vars::new(self.cx))?.into(),
            None => return Err(def.at.field("name", None).fault("`name` is missing")),
        };
        self.compile(def, &name, depth).map_err(|f| f.of_stream(&name))
    }

    fn compile(&self, def: &DeclarativeStream, name: &Arc<str>, depth: usize) -> Result<StreamPlan> {
        let cx = self.cx;
        let retriever = &def.retriever.reading();
        let Requester::HttpRequester(definition) = &retriever.requester;
        let routers = def.retriever.routers();
        let parents = parents(routers).map(|config| self.stream(&config.stream, depth + 1).map(Arc::new));
        let parents = parents.collect::<Result<_>>()?;
        let router = slice::build(routers, def.retriever.lists_routers(), cx)?;
        let mut cursor = self.cursor(def, &router)?;
        let extractor = &retriever.record_selector.extractor;
        let lists = dom_extract::list_retriever(extractor).map(|def| self.source_of_records(def, name).map(Arc::new));
        let lists = lists.transpose()?;
        check_page_length(retriever)?;
        check_first_pages(routers, retriever, cursor.as_ref())?;
        let mut names = slice::extra_names(routers);
        names.push(query_properties::VARIABLE.to_owned());
        names.extend(job_plan::VARIABLES.map(str::to_owned));
        let jobs = match &def.retriever {
            Retriever::SimpleRetriever(_) => None,
            Retriever::AsyncRetriever(def) => Some(job_plan::build(self, def, &names)?),
        };
        let requester = requester::build(self, definition, &names, job_plan::may_roam(&def.retriever))?;
        if let Some(cursor) = &mut cursor {
            let end = cursor.end_name();
            let by_template =
                requester.reads_of_slice(end) || jobs.as_ref().is_some_and(|jobs| jobs.reads_of_slice(end));
            cursor.set_asks_end(by_template);
        }
        let files = def.file_uploader.as_ref().map(|files| files::build(self, files, def, &requester)).transpose()?;
        if files.is_some() && becomes_smaller(retriever) {
            let at = def.at.field("file_uploader", None);
            return Err(at.fault("recovery with smaller pages or windows does not work for records with files"));
        }
        let overlaps = self.safety.overlaps() && jobs.is_none();
        let pages = page::build(retriever.paginator.as_ref(), cx)?.overlapping(overlaps);
        let filters = cursor.as_ref().is_some_and(|c| c.filters);
        let schema = self.schema(def, name)?;
        let transformations = def.transformations.as_deref().unwrap_or_default();
        Ok(StreamPlan {
            key_paths: identity::keys(def)?,
            filters: identity::filters_hash(def, retriever, definition),
            adaptation: slice_recovery::build(retriever, &requester.errors, &pages, cursor.as_ref(), cx)?,
            requester,
            pages,
            decoder: decode::build(retriever.decoder.as_ref(), Some(extractor), &retriever.at)?,
            records: extract::build(extractor, cx)?,
            lists,
            jobs,
            properties: query_properties::build(self, definition, name)?,
            shape: ops::build(&retriever.record_selector, transformations, filters, &schema, cx)?,
            files,
            router,
            parents,
            cursor,
            legacy_partition: identity::legacy_partition(def, routers, cx)?,
            slice_options_once: retriever.ignore_stream_slicer_parameters_on_paginated_requests.unwrap_or(false),
            envelope_optional: (self.accepts)(name, Rule::EnvelopeChanged),
            errors_accepted: (self.accepts)(name, Rule::PartialErrors),
            keep_answers: definition.use_cache.unwrap_or(depth > 0 || self.is_parent(name)),
            name: name.clone(),
            table_name: None,
            schema,
            reviewed: def.schema_loader.is_none() && (self.baseline)(name).is_some(),
            schema_source: self.schema_source(def, name)?,
            group: None,
            parents_groups: Vec::new(),
            with_state: None,
            deletes: None,
            ids: None,
        })
    }

    /// The cursor of a stream, in addition to its partitions.
    fn cursor(&self, def: &DeclarativeStream, router: &Router) -> Result<Option<CursorPlan>> {
        let Some(sync) = &def.incremental_sync else { return Ok(None) };
        let mut cursor = cursor::build(sync, self.safety, self.cx)?;
        cursor.global |= router.is_grouped();
        if cursor.counts() && router.is_some() {
            return Err(def.at.fault("an IncrementingCountCursor cannot be combined with a `partition_router`"));
        }
        Ok(Some(cursor))
    }

    /// Is the stream a parent of another one?
    fn is_parent(&self, name: &str) -> bool {
        fn among<'a>(streams: &[&'a DeclarativeStream], out: &mut HashSet<&'a str>) {
            for config in streams.iter().flat_map(|s| parents(s.retriever.routers())) {
                let streams = config.stream.all();
                out.extend(streams.iter().filter_map(|s| s.name.as_ref()?.value.as_str()));
                among(&streams, out);
            }
        }
        let all = || {
            let mut out = HashSet::new();
            among(&self.manifest.source.streams.iter().flatten().flat_map(Stream::all).collect::<Vec<_>>(), &mut out);
            out
        };
        self.parents.get_or_init(all).contains(name)
    }
}

/// The parents of a stream's partitions.
fn parents(routers: &[PartitionRouter]) -> impl Iterator<Item = &ParentStreamConfig> {
    routers.iter().flat_map(PartitionRouter::parents)
}

/// Can the stream request smaller pages or shorter windows?
fn becomes_smaller(retriever: &SimpleRetriever) -> bool {
    retriever.page_size_reduction.is_some() || retriever.request_window_splitting.is_some()
}

/// Refuses paging by offset if the extracted records do not show how many the API returned.
fn check_page_length(retriever: &SimpleRetriever) -> Result<()> {
    if let Some(Paginator::DefaultPaginator(paginator)) = &retriever.paginator
        && matches!(paginator.pagination_strategy, PaginationStrategy::OffsetIncrement(_))
        && dom_extract::is_union(&retriever.record_selector.extractor)
    {
        let fault = retriever.at.fault("several extractors together return more records than a page of the API");
        return Err(fault.hint("page by number or cursor, or use `mode: first_match`"));
    }
    Ok(())
}

/// Refuses combinations that do not work if parent records contain the first pages.
fn check_first_pages(
    routers: &[PartitionRouter],
    retriever: &SimpleRetriever,
    cursor: Option<&CursorPlan>,
) -> Result<()> {
    let Some(config) = parents(routers).find(|config| config.lazy_read_pointer.is_some()) else { return Ok(()) };
    let reason = if cursor.is_some_and(CursorPlan::has_steps) {
        "the cursor cannot have `step` and `cursor_granularity`"
    } else if !matches!(retriever.decoder, None | Some(Decoder::JsonDecoder(_))) {
        "the decoder must be a JsonDecoder"
    } else if becomes_smaller(retriever) {
        "recovery with smaller pages or windows does not work"
    } else {
        return Ok(());
    };
    let at = config.at.field("lazy_read_pointer", None);
    Err(at.fault(format!("{reason} if the parent's records contain the first pages")))
}
