//! The verb `discover`: the catalog of a source.
//!
//! Input: the options. Output: the catalog in the run's protocol. Called by [`super::run`].

use std::sync::Arc;

use crate::base::fault::Result;
use crate::engine::build::StreamPlan;
use crate::protocol::singer_catalog;
use crate::protocol::singer_catalog::Selection;
use crate::protocol::{Protocol, airbyte};
use crate::run::catalog;
use crate::run::context::Context;
use crate::run::load::Purpose;

pub(super) fn discover(context: &Context) -> Result<()> {
    let loaded = context.load(Purpose::Discover)?;
    catalog::warn_of_tables(context, &loaded.plan, |_| true);
    let streams = loaded.plan.streams.iter().map(|stream| stream.with_schema(&loaded.shared));
    let streams = streams.collect::<Result<Vec<_>>>()?;
    let streams = streams.iter().map(|stream| loaded.evolved(stream, context)).collect::<Result<Vec<_>>>()?;
    match context.protocol {
        Protocol::Singer => {
            let entry = |stream: &Arc<StreamPlan>| {
                let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
                let schema = stream.wire(&stream.schema, &Selection::default(), context.protocol).schema;
                singer_catalog::entry(
                    (&stream.name, stream.sent_name(context.protocol)),
                    schema,
                    &stream.keys(),
                    cursor,
                )
            };
            context.pretty(&singer_catalog::Catalog { streams: streams.iter().map(entry).collect() })?;
        }
        Protocol::Airbyte => {
            let entry = |stream: &Arc<StreamPlan>| {
                let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
                let (name, schema, keys) = (&*stream.name, &stream.schema, &stream.key_paths[..]);
                airbyte::StreamEntry { name, schema, keys, cursor, files: stream.files.is_some() }.json()
            };
            context.message(&airbyte::catalog(streams.iter().map(entry).collect()))?;
        }
    }
    // The process ends here, so a thousand streams need not be freed first.
    std::mem::forget((streams, loaded.plan));
    Ok(())
}
