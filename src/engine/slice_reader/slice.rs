//! A requested slice: everything that is the same for all its pages.
//!
//! Input: a stream, a partition and a window. Output: template variables and request options; the paging information
//! in a response. Called by [`super::SliceReader`].

use serde_json::{Value as Json, json};

use super::Answer;
use crate::base::fault::{Fault, Result};
use crate::engine::answer;
use crate::engine::build::StreamPlan;
use crate::engine::context::EngineContext;
use crate::engine::cursor::Window;
use crate::engine::fetch::Reply;
use crate::engine::page::more::MoreRecords;
use crate::engine::page::{Pager, Wanted};
use crate::engine::query_properties::VARIABLE;
use crate::engine::slice::Partition;
use crate::manifest::template::{RequestOptions, Vars};

/// A slice, independent of how its window is split.
pub(super) struct Slice<'r> {
    pub(super) engine: &'r EngineContext,
    pub(super) stream: &'r StreamPlan,
    pub(super) partition: &'r Partition,
    /// The slice variable of record templates: it has the whole window, even if only a part of that is requested.
    pub(super) variable: Json,
    /// The extra variables of its partition.
    pub(super) extra: Json,
    /// The fields that each request of a page names; usually a single request that names none.
    pub(super) chunks: Vec<Option<Vec<String>>>,
    /// What paging reads from a response.
    pub(super) wanted: Wanted,
}

/// A requested window, and its form in requests.
pub(super) struct AskedWindow {
    pub(super) window: Option<Window>,
    /// The slice variable of request templates.
    pub(super) variable: Json,
    /// The request options of the slice.
    pub(super) options: RequestOptions,
}

impl<'r> Slice<'r> {
    pub(super) fn new(
        engine: &'r EngineContext,
        stream: &'r StreamPlan,
        partition: &'r Partition,
        window: Option<&Window>,
    ) -> Result<Self> {
        let chunks = stream.properties.as_ref().map(|properties| properties.chunks(engine)).transpose()?;
        Ok(Slice {
            engine,
            stream,
            partition,
            variable: stream.slice_variable(partition, window),
            extra: Json::Object(partition.extra.clone()),
            chunks: chunks.map_or_else(|| vec![None], |chunks| chunks.into_iter().map(Some).collect()),
            wanted: stream.pages.wanted(),
        })
    }

    /// Handles a response without a body: a page without records, unless the vendor promised records.
    pub(super) fn check_empty(&self, reply: &Reply, pager: &Pager<'_>) -> Result<()> {
        if pager.is_promised() {
            return Err(Fault::data(format!(
                "the response (HTTP {}) is empty, but the previous one announced another page",
                reply.status
            ))
            .hint("run again later; if it happens again, report it to the vendor"));
        }
        if reply.status != 204 {
            let message = format!("a response (HTTP {}) is empty: it counts as a page without records", reply.status);
            self.engine.notice_once(&self.stream.name, &message);
        }
        Ok(())
    }

    /// The paging information in a response.
    pub(super) fn more_records(&self, answer: &Answer) -> MoreRecords {
        let records = &self.stream.records;
        let body = answer.body();
        // If the body itself is a record, its fields are not paging information.
        let json = match &answer.found.list_at {
            _ if records.are_the_body() => Json::Null,
            Some(list) => {
                let around = [&body[..list.start], b"[]", &body[list.end..]].concat();
                answer::parsed(&around).unwrap_or_default()
            }
            None => answer::parsed(body).unwrap_or_default(),
        };
        let mut out = MoreRecords::of(&json, &records.names());
        if let Some(link) = answer.reply.header("link") {
            out.link(link);
        }
        out
    }

    /// The variables of record templates.
    pub(super) fn record_vars(&self) -> Vars<'_> {
        Vars { slice: Some(&self.variable), extra: Some(&self.extra), ..Vars::new(&self.engine.cx) }
    }
}

impl AskedWindow {
    pub(super) fn new(stream: &StreamPlan, partition: &Partition, window: Option<Window>) -> Self {
        // Job requests use the slice only in templates.
        let mut options = RequestOptions::default();
        if stream.jobs.is_none() {
            options = partition.options.clone();
            if let (Some(cursor), Some(window)) = (&stream.cursor, &window) {
                cursor.options(window, &mut options);
            }
        }
        AskedWindow { window, variable: stream.slice_variable(partition, window.as_ref()), options }
    }
}

/// The slice and extra variables of a request that names fields: the names replace other extra fields.
pub(super) fn naming(variable: &Json, names: &[String]) -> (Json, Json) {
    let extra = json!({VARIABLE: names});
    let mut variable = variable.clone();
    variable["extra_fields"] = extra.clone();
    (variable, extra)
}
