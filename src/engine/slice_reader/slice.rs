//! A slice as it is asked for: what is the same for all its pages.
//!
//! Input: a stream, a partition and a window. Output: the variables of templates and the options of requests; what
//! an answer says of records after its own. Called by [`super::SliceReader`].

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

/// A slice, however its window is split.
pub(super) struct Slice<'r> {
    pub(super) engine: &'r EngineContext,
    pub(super) stream: &'r StreamPlan,
    pub(super) partition: &'r Partition,
    /// The slice as templates about records see it: with its whole window, also where a part of that is asked for.
    pub(super) variable: Json,
    /// The extra variables of its partition.
    pub(super) extra: Json,
    /// The fields that each request of a page names; one request that names none, mostly.
    pub(super) chunks: Vec<Option<Vec<String>>>,
    /// What paging reads of an answer.
    pub(super) wanted: Wanted,
}

/// A window that requests ask for, and how it shows in them.
pub(super) struct AskedWindow {
    pub(super) window: Option<Window>,
    /// The slice in templates of requests.
    pub(super) variable: Json,
    /// The slice in request options.
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

    /// An answer without a body: a page without records, unless the vendor promised that there are some.
    pub(super) fn check_empty(&self, reply: &Reply, pager: &Pager<'_>) -> Result<()> {
        if pager.is_promised() {
            return Err(Fault::data(format!(
                "the answer (HTTP {}) is empty, though the one before it said that there is another page",
                reply.status
            ))
            .hint("run again later; if it stays so, report it to the vendor"));
        }
        if reply.status != 204 {
            let message = format!("an answer (HTTP {}) is empty: it is taken for a page without records", reply.status);
            self.engine.notice_once(&self.stream.name, &message);
        }
        Ok(())
    }

    /// What an answer says of records after its own.
    pub(super) fn more_records(&self, answer: &Answer) -> MoreRecords {
        let records = &self.stream.records;
        let body = answer.body();
        // Where the body itself is a record, its fields say nothing of others.
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

    /// The variables of templates about records.
    pub(super) fn record_vars(&self) -> Vars<'_> {
        Vars { slice: Some(&self.variable), extra: Some(&self.extra), ..Vars::new(&self.engine.cx) }
    }
}

impl AskedWindow {
    pub(super) fn new(stream: &StreamPlan, partition: &Partition, window: Option<Window>) -> Self {
        // Requests about jobs name the slice in templates alone.
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

/// The slice and the extra variables of a request that names fields: their names take the place of other extra fields.
pub(super) fn naming(variable: &Json, names: &[String]) -> (Json, Json) {
    let extra = json!({VARIABLE: names});
    let mut variable = variable.clone();
    variable["extra_fields"] = extra.clone();
    (variable, extra)
}
